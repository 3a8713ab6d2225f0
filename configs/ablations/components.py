"""What is it that helps? GazAT's own gaze against controls, and SimCLR with its own augmentation.

    python -m gazax.sweep --config=configs/ablations/components.py --out=runs/components
    python -m gazax.sweep --config=configs/ablations/components.py:contrast=3 --out=runs/three
    python -m gazax.sweep --config=configs/ablations/components.py:smoke --out=runs/components_smoke

`own`: each image's own gaze, which everything is compared with. `shuffled`: that of another image,
`random`: its fixations at random places, `mean`: the mean map of training; what these gain over
`no_gaze`, the same two views made by the plain transform, is not due to where somebody looked in
this image. `simclr` has views and a learning rate of its own, chosen on validation by
`configs/baselines/tuning.py`, and the same features are read.
contrast: of the phantom's lesions; 1 is the default difficulty.

2026-11-22 and 24, two cores of an AMD EPYC, a run on each, other jobs beside them, three seeds,
phantom numbers, test split, accuracy with 10 % of the labels, `:contrast=3`: own .485, shuffled
.407, mean .437, random .347, no_gaze .340, simclr, not yet tuned, .334; at the default difficulty
.371, .350, .360, .338, .338, .338, of which no difference is shown; with intervals and the rest in
the README.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

GAZE = {
    "own": "own",
    "shuffled": "shuffled",
    "random": "random",
    "mean": "mean",
    "no_gaze": "none",
}
TUNED = ("optim.learning_rate=1e-3", "views.standard.crop=0.8,1.0")
"""The best of four settings of SimCLR at the default difficulty, and of three at contrast 3."""


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, smoke=False)
    variants = ablations.of_gazat({name: (f"data.gaze={gaze}",) for name, gaze in GAZE.items()})
    variants["simclr"] = ("configs/baselines/simclr.py:{size}", TUNED)
    return ablations.pretraining_sweep(
        variants, reference="own", smoke=arg.smoke, contrast=arg.contrast
    )
