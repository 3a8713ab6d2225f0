"""Does predicted gaze help where people's is rare? A tenth of it, with and without predictions.

    python -m gazax.sweep --config=configs/ablations/predicted_gaze.py --out=runs/predicted
    python -m gazax.sweep --config=configs/ablations/predicted_gaze.py:contrast=3 --out=runs/three
    python -m gazax.sweep --config=configs/ablations/predicted_gaze.py:smoke --out=runs/smoke

GazAT on all training images, with gaze of people's on all of them (`real_100`), on a tenth
(`real_10`) or on none, and with predicted gaze where there is none: `real_10_predicted_90`, which
is compared with all others, and `predicted_100`. The `predictor`, a U-Net, sees the same tenth of
the gaze and no more, seed by seed; its step is chosen on validation. What the predicted gaze adds
is `real_10_predicted_90` against `real_10`, what it lacks is the rest to `real_100`.
contrast: of the phantom's lesions; 1 is the default difficulty.

2026-11-23, two cores of an AMD EPYC, about 4 min a run, `:contrast=3`, three seeds, phantom
numbers, test split, accuracy with 10 % of the labels and attention CC: real_100 .488, .538; real_10
.431, .506; real_10_predicted_90 .465, .521; predicted_100 .468, .521; none .341, -.120; with
intervals in the README.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

TENTH = "data.gaze_fraction=0.1"
PREDICTED = "data.gaze=predicted:stage:predictor"
GAZE = {
    "real_100": ("data.gaze=own",),
    "real_10": ("data.gaze=own", TENTH),
    "real_10_predicted_90": (PREDICTED, TENTH),
    "predicted_100": (PREDICTED, "data.gaze_fraction=0.0"),
    "none": ("data.gaze=none",),
}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, smoke=False)
    variants: dict[str, ablations.Variant] = {
        # All of its batches are of images with gaze: the others would teach it nothing.
        "predictor": ("configs/baselines/unet_s.py:{size}", (TENTH, "data.gaze_rate=1.0")),
        **ablations.of_gazat(GAZE),
    }
    config = ablations.pretraining_sweep(
        variants, reference="real_10_predicted_90", smoke=arg.smoke, contrast=arg.contrast
    )
    config.variants.predictor.suites = ()
    return config
