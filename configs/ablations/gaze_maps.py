"""How should fixations become a map? (§2.5.4, 3)

    python -m gazax.sweep --config=configs/ablations/gaze_maps.py --out=runs/gaze_maps
    python -m gazax.sweep --config=configs/ablations/gaze_maps.py:contrast=3 --out=runs/gaze_maps_3
    python -m gazax.sweep --config=configs/ablations/gaze_maps.py:smoke --out=runs/gaze_maps_smoke

`duration`, which the others are compared with, is the proposal's (§2.2.2): a Gaussian a fixation as
high as it is long, each reader's map to [0, 1], their mean. The others change one thing: the
width, `count` instead of duration, readers added up as they are, fixations drawn where the reader
could not see, the first or the last half of the time. `:study` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

CHANGES = {
    "duration": (),
    "half_sigma": ("data.sigma=fraction", f"data.sigma_fraction={1 / 56}"),
    "twice_sigma": ("data.sigma=fraction", f"data.sigma_fraction={1 / 14}"),
    "count": ("data.weight_by=count",),
    "not_normalized": ("data.normalize_readers=False",),
    "no_window": ("data.window=False",),
    "early": ("data.part=early",),
    "late": ("data.part=late",),
}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, smoke=False)
    return ablations.pretraining_sweep(
        ablations.of_gazat(CHANGES), reference="duration", smoke=arg.smoke, contrast=arg.contrast
    )
