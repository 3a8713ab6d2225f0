"""Which mechanism lets gaze reach the features: chosen on validation, on a phantom of another seed.

    python -m gazax.sweep --config=configs/ablations/mechanism.py --out=runs/mechanism
    python -m gazax.sweep --config=configs/ablations/mechanism.py:contrast=1 --out=runs/mechanism_1

Each variant changes one thing of `gazat_vit.py:study`, whose stem and pooling were chosen so; own
gaze throughout. This sweep is not yet run. What was tried by hand before it existed, on the same
idea (training on seed 0, few-shot accuracy at 1, 10 and 100 % of labels on all 1,200 images of seed
1, penalty chosen there, attention CC; one run of 300 steps each, 2026-11-22, phantom numbers; the
mean map's CC is .550 at contrast 1 and .493 at 3):

    contrast 1, patch stem, 4 blocks, class token         .341 / .358 / .396, CC .596
    contrast 1, conv stem, 4 blocks, pooling both         .349 / .393 / .427, CC .587
    contrast 3, conv stem, 2 blocks, pooling both         .421 / .491 / .605, CC .547
    contrast 3, the same, shuffled gaze                   .347 / .436 / .516, CC .465
    contrast 3, the same, own gaze, positives=gaze beta 2 .424 / .469 / .542, CC .534
    contrast 3, the same, own gaze, pooling attention     .370 / .474 / .552, CC .547
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

CHANGES = {
    "study": (),
    "patch_stem": ("model.stem=patch",),
    "backbone_pooling": ("method.pooling=backbone",),
    "attention_pooling": ("method.pooling=attention",),
    "module": ("method.attention=module",),
    "rollout": ("method.attention=rollout",),
    "alpha_3": ("method.alpha=3.0",),
    "alpha_30": ("method.alpha=30.0",),
    "last_level": ("method.levels=1,", "method.level_weights=1.0,"),
    "half_sigma": ("data.sigma=fraction", f"data.sigma_fraction={1 / 56}"),
    "twice_sigma": ("data.sigma=fraction", f"data.sigma_fraction={1 / 14}"),
    "gaze_positives": ("method.positives=gaze",),
    "no_regions": ("method.beta=0.0",),
}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=3.0, smoke=False)
    changes = {name: (*one, "data.source.seed=1") for name, one in CHANGES.items()}
    config = ablations.pretraining_sweep(
        ablations.of_gazat(changes),
        reference="study",
        smoke=arg.smoke,
        contrast=arg.contrast,
        metrics=(
            "few_shot_1/accuracy",
            "few_shot_10/accuracy",
            "probe/auc_macro",
            "attention-mean_map/cc",
        ),
    )
    config.split = "validation"
    config.seeds = (0,)
    return config
