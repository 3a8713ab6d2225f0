"""Which crop and learning rate suit a method: chosen on validation, before it is compared.

    python -m gazax.sweep --config=configs/baselines/tuning.py --out=runs/tuning
    python -m gazax.sweep --config=configs/baselines/tuning.py:method=byol --out=runs/byol_tuning
    python -m gazax.sweep --config=configs/baselines/tuning.py:contrast=3 --out=runs/tuning_3

method: simclr, byol, moco, moco_v3, simsiam, mcgip or focus_contrast (where it is how often is
cropped); the same four runs for each. What GazAT was chosen from stands in
`configs/ablations/mechanism.py`.

2026-11-22, simclr, `:contrast=3`, validation, 119 phantom images, before pooling by attention:
probe macro AUC .629 at rate 3e-4 and .592 at 1e-3, both with crop .5; with 10 % of the labels .380
and .392. At 2e-3 the features collapse. The crops of .8 and the other methods are not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, choose, parse_arg

METHODS = ("simclr", "byol", "moco", "moco_v3", "simsiam", "mcgip", "focus_contrast")
RATES = {"rate_3": 3e-4, "rate_10": 1e-3}
CROPS = {"crop_50": "views.standard.crop=0.5,1.0", "crop_80": "views.standard.crop=0.8,1.0"}
"""The least share of the area that is cropped."""
FOCUS_CROPS = {
    "crop_always": "views.crop_probability=1.0",
    "crop_half": "views.crop_probability=0.5",
}
"""How often is cropped, for FocusContrast."""


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, method="simclr", contrast=1.0, steps=0, smoke=False)
    method = choose("config argument method", arg.method, METHODS)
    crops = FOCUS_CROPS if method == "focus_contrast" else CROPS
    file = f"configs/baselines/{method}.py:{{size}}"
    config = ablations.pretraining_sweep(
        {
            f"{of_rate}_{of_crop}": (file, (f"optim.learning_rate={rate}", crop))
            for of_rate, rate in RATES.items()
            for of_crop, crop in crops.items()
        },
        reference="",
        smoke=arg.smoke,
        contrast=arg.contrast,
        steps=arg.steps,
        suites=("representation",),
        metrics=ablations.FEATURES,
    )
    config.split = "validation"
    config.seeds = (0,)
    return config
