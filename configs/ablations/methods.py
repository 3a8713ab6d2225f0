"""Every method of the comparison, on the same images, splits, steps and few-shot draws (§2.5.2).

    python -m gazax.sweep --config=configs/ablations/methods.py --out=runs/methods
    python -m gazax.sweep --config=configs/ablations/methods.py:contrast=3,steps=900 --out=runs/long
    python -m gazax.sweep --config=configs/ablations/methods.py:smoke --out=runs/methods_smoke

`gazat`, which the others are compared with, and what it would be with the gaze of other images, at
random places, of the mean map or without any; the self-supervised methods that know no gaze; those
that do (McGIP on three of them, FocusContrast); supervised learning with every label; and
`untrained`, the random weights that each of them has to beat. A method's rate and crop are to be
chosen on validation by `configs/baselines/tuning.py`, with the same budget, and are not yet: all
have the rate that SimCLR had. GazAT's were searched by hand (`mechanism.py`).
contrast: of the phantom's lesions; 1 is the default difficulty. steps: of training; 0 = the 300 of
`:study`, in which no method without gaze is shown to learn (`tuning.py`). It is not yet run at
`:study` size.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

BASELINE = "configs/baselines/{name}.py:{{size}}"
MCGIP = "configs/baselines/mcgip.py:on={name},{{size}}"
VARIANTS: dict[str, ablations.Variant] = {
    "gazat": (ablations.GAZAT, ()),
    "gazat_shuffled": (ablations.GAZAT, ("data.gaze=shuffled",)),
    "gazat_random": (BASELINE.format(name="random_attention"), ()),
    "gazat_mean": (ablations.GAZAT, ("data.gaze=mean",)),
    "gazat_no_gaze": (ablations.GAZAT, ("data.gaze=none",)),
    **{
        name: (BASELINE.format(name=name), ())
        for name in ("simclr", "byol", "moco", "moco_v3", "simsiam")
    },
    **{f"mcgip_{name}": (MCGIP.format(name=name), ()) for name in ("simclr", "byol", "moco")},
    "focus_contrast": (BASELINE.format(name="focus_contrast"), ()),
    "supervised": (BASELINE.format(name="supervised"), ()),
    # One step at a rate at which no number moves.
    "untrained": (
        ablations.GAZAT,
        ("train.steps=1", "optim.learning_rate=1e-12", "optim.warmup_fraction=0.0"),
    ),
}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, steps=0, smoke=False)
    return ablations.pretraining_sweep(
        VARIANTS,
        reference="gazat",
        smoke=arg.smoke,
        contrast=arg.contrast,
        steps=arg.steps,
        suites=("representation", "alignment", "interpretability"),
        metrics=(*ablations.FEATURES, *ablations.ATTENTION, "attention/nss", "attention/pointing"),
    )
