"""At which layers should attention be aligned, and how strongly? (§2.5.4, 5)

    python -m gazax.sweep --config=configs/ablations/layer_weights.py --out=runs/layers
    python -m gazax.sweep --config=configs/ablations/layer_weights.py:contrast=3 --out=runs/layers_3
    python -m gazax.sweep --config=configs/ablations/layer_weights.py:smoke --out=runs/layers_smoke

Of the two blocks of the ViT of `:study`: `equal`, which the others are compared with, one of them
alone, one three times as strongly as the other; and `equal` at a tenth of alpha and at three times.
`:study` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

CHANGES = {
    "equal": (),
    "first": ("method.levels=0,", "method.level_weights=1.0,"),
    "last": ("method.levels=1,", "method.level_weights=1.0,"),
    "falling": ("method.level_weights=0.75,0.25",),
    "rising": ("method.level_weights=0.25,0.75",),
    "alpha_1": ("method.alpha=1.0",),
    "alpha_30": ("method.alpha=30.0",),
}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, smoke=False)
    return ablations.pretraining_sweep(
        ablations.of_gazat(CHANGES), reference="equal", smoke=arg.smoke, contrast=arg.contrast
    )
