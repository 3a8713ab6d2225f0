"""Which crop and learning rate suit SimCLR: chosen on validation, before it is compared.

    python -m gazax.sweep --config=configs/baselines/simclr_tuning.py --out=runs/simclr_tuning
    python -m gazax.sweep --config=configs/baselines/simclr_tuning.py:contrast=3 --out=runs/tuning_3

2026-11-22, `:contrast=3`, validation, 119 phantom images, before pooling by attention: probe macro
AUC .629 at rate 3e-4 and .592 at 1e-3, both with crop .5; with 10 % of the labels .380 and .392. At
2e-3 the features collapse. The crops of .8 are not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import parse_arg

GRID = {
    "rate_3_crop_50": (3e-4, 0.5),
    "rate_10_crop_50": (1e-3, 0.5),
    "rate_3_crop_80": (3e-4, 0.8),
    "rate_10_crop_80": (1e-3, 0.8),
}
"""Learning rate (in the names, its ten-thousandths) and least share of the area that is cropped."""


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, smoke=False)
    size = "smoke" if arg.smoke else "study"
    config = ConfigDict()
    config.split = "validation"
    config.seeds = (0,)
    config.suites = ("representation",)
    config.metrics = (
        "few_shot_1/accuracy",
        "few_shot_10/accuracy",
        "probe/accuracy",
        "probe/auc_macro",
    )
    config.variants = ConfigDict(sort_keys=False)
    for name, (rate, crop) in GRID.items():
        overrides = (
            f"optim.learning_rate={rate}",
            f"views.standard.crop={crop},1.0",
            f"data.source.contrast={arg.contrast}",
        )
        config.variants[name] = ConfigDict(
            dict(config=f"configs/baselines/simclr.py:{size}", overrides=overrides)
        )
    return config
