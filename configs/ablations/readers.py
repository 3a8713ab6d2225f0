"""How many radiologists' gaze does it take, and whose? (§2.5.4, 2)

    python -m gazax.sweep --config=configs/ablations/readers.py --out=runs/readers
    python -m gazax.sweep --config=configs/ablations/readers.py:contrast=3 --out=runs/readers_3
    python -m gazax.sweep --config=configs/ablations/readers.py:smoke --out=runs/readers_smoke

The phantom's five readers, from the most to the least experienced: the first `one` to `five`, each
`without_K`, and `last`, the least experienced alone. `five`, which the others are compared with, is
everybody. What is measured against is always everybody's gaze. `:study` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

NAMES = tuple(f"reader_{place}" for place in range(1, 6))
COUNTS = ("one", "two", "three", "four")


def _only(names: tuple[str, ...]) -> tuple[str, ...]:
    return (f"data.readers={','.join(names)},",)


CHANGES = {
    **{count: _only(NAMES[: place + 1]) for place, count in enumerate(COUNTS)},
    "five": (),
    **{f"without_{i}": _only(NAMES[: i - 1] + NAMES[i:]) for i in range(1, 6)},
    "last": _only(NAMES[-1:]),
}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, smoke=False)
    return ablations.pretraining_sweep(
        ablations.of_gazat(CHANGES), reference="five", smoke=arg.smoke, contrast=arg.contrast
    )
