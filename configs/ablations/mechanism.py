"""Which mechanism lets gaze reach the features at the default difficulty? Chosen on validation.

    python -m gazax.sweep --config=configs/ablations/mechanism.py --out=runs/mechanism
    python -m gazax.sweep --config=configs/ablations/mechanism.py:report=half_sigma --out=runs/half

Each variant changes one thing of `gazat_vit.py:study`, own gaze throughout: stem, size of the
cells, what is pooled, where attention is taken and how strongly it is aligned, the width of a
fixation (1 / 28 of the side in `study`), regions that are positives across images, and the
curriculum. report: the variant of this name with own gaze, another image's and the mean map, on
test. contrast: of the phantom's lesions.

2026-11-24, two cores of an AMD EPYC, a run on each, other jobs beside them, three seeds, phantom
numbers, validation, 119 images: 10 % accuracy, 10 % macro AUC, probe macro AUC, attention CC minus
that of the mean map; the last five have one seed (the whole sweep has 45 runs, 35 were run).

    study              .401  .578  .664   .027    half_sigma         .406  .580  .626   .043
    module             .402  .580  .618   .027    twice_sigma        .362  .544  .623  -.033
    alpha_1            .352  .534  .571  -.016    gaze_positives     .385  .562  .633   .028
    alpha_30           .394  .568  .634   .036    no_regions         .378  .550  .603   .028
    last_level         .385  .569  .634   .033    look_first         .380  .557  .642   .028
    patch_stem         .351  .534  .604   .007    backbone_pooling   .350  .533  .601   .030
    cells_of_4_px      .398  .564  .606   .061    attention_pooling  .343  .539  .567   .029
    rollout            .334  .535  .642   .035

Of the features no difference from `study` is clear of chance; of the attention five are, by
Holm's correction: half_sigma and cells_of_4_px better, twice_sigma, alpha_1 and patch_stem worse.

On test, `:report=half_sigma`, 243 images, the same day: 10 % accuracy .349, with another image's
gaze .337, with the mean map .341; probe macro AUC .607, .559, .575: no difference is shown.

Before, by hand (2026-11-22, one run of 300 steps each, all 1,200 images of a phantom of seed 1,
few-shot accuracy at 1, 10 and 100 % of labels, attention CC): at contrast 1 a patch stem, 4 blocks
and the class token had .341, .358, .396, .596; a stem of convolutions and pooling both .349, .393,
.427, .587, which became `study`.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, choose, parse_arg

CHANGES = {
    "study": (),
    "patch_stem": ("model.stem=patch",),
    "cells_of_4_px": ("model.patch_size=4",),
    "backbone_pooling": ("method.pooling=backbone",),
    "attention_pooling": ("method.pooling=attention",),
    "module": ("method.attention=module",),
    "rollout": ("method.attention=rollout",),
    "alpha_1": ("method.alpha=1.0",),
    "alpha_30": ("method.alpha=30.0",),
    "last_level": ("method.levels=1,", "method.level_weights=1.0,"),
    "half_sigma": ("data.sigma=fraction", f"data.sigma_fraction={1 / 56}"),
    "twice_sigma": ("data.sigma=fraction", f"data.sigma_fraction={1 / 14}"),
    "gaze_positives": ("method.positives=gaze",),
    "no_regions": ("method.beta=0.0",),
    "look_first": ("method.look_first=0.5",),
}


GAZE = ("own", "shuffled", "mean")


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, report="", contrast=1.0, smoke=False)
    if arg.report:
        change = choose("config argument report", arg.report, CHANGES)
        changes, reference = {gaze: (*change, f"data.gaze={gaze}") for gaze in GAZE}, "own"
    else:
        changes, reference = CHANGES, "study"
    config = ablations.pretraining_sweep(
        ablations.of_gazat(changes),
        reference=reference,
        smoke=arg.smoke,
        contrast=arg.contrast,
        metrics=(
            "few_shot_1/accuracy",
            "few_shot_10/accuracy",
            "few_shot_10/auc_macro",
            "probe/auc_macro",
            "attention-mean_map/cc",
        ),
    )
    config.split = "test" if arg.report else "validation"
    return config
