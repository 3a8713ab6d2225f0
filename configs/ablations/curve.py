"""When does gaze help? The gain of an image's own gaze over another image's, along one axis.

    python -m gazax.sweep --config=configs/ablations/curve.py --out=runs/curve_contrast
    python -m gazax.sweep --config=configs/ablations/curve.py:axis=images --out=runs/curve_images
    python -m gazax.sweep --config=configs/ablations/curve.py:axis=steps --out=runs/curve_steps

axis=contrast: of the phantom's lesions, 1 is the default difficulty. axis=images: how many images
the phantom has; the labels that probes are fitted to and the test split grow with it. axis=steps:
length of training. contrast: that of the other two axes. Everything else is `components.py`'s.

2026-11-22 and 24, two cores of an AMD EPYC, a run on each, other jobs beside them, three seeds;
phantom numbers, test split, own minus shuffled, accuracy with 10 % of the labels at contrast 1, 2,
3 and 4: .026, .083, .078, .099, attention CC .060, .068, .076, .089; axis=images, 400, 800, 1200
and 2400 images at contrast 3: .034, .070, .098, .121; axis=steps, 100, 200, 400 and 800 steps:
.090, .092, .087, .073; intervals in the README.
"""

from ml_collections import ConfigDict

from gazax.config import choose, load_beside, parse_arg

AXES = {
    "contrast": ("data.source.contrast", "lesion contrast", (1.0, 2.0, 3.0, 4.0)),
    "images": ("data.source.count", "images", (400, 800, 1200, 2400)),
    "steps": ("train.steps", "training steps", (100, 200, 400, 800)),
}
SMOKE = {"contrast": 1.0, "images": 48, "steps": 2}
"""Where each axis begins at the size of tests."""
COMMON = ("seeds", "suites", "metrics")


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, axis="contrast", contrast=3.0, smoke=False)
    key, label, places = choose("axis", arg.axis, AXES)
    if arg.smoke:
        places = tuple(place / places[0] * SMOKE[arg.axis] for place in places[:2])
    components = load_beside(__file__, f"components.py:{'smoke' if arg.smoke else ''}")
    config = ConfigDict({name: components[name] for name in COMMON})
    config.x_label = label
    config.variants = ConfigDict(sort_keys=False)
    for place in places:
        name = f"{place:g}".replace(".", "p")  # a key of a config has no dot
        settings = {"data.source.contrast": arg.contrast, key: place}
        for gaze in ("own", "shuffled"):
            config.variants[f"{gaze}_{name}"] = ConfigDict(
                dict(
                    config=components.variants[gaze].config,
                    overrides=(
                        f"data.gaze={gaze}",
                        *(f"{leaf}={value:g}" for leaf, value in settings.items()),
                    ),
                    reference=f"shuffled_{name}",
                    x=float(place),
                    line=gaze,
                )
            )
    return config
