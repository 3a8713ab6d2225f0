"""Sweeps of runs that take no time: a program in the place of gazax.main and gazax.evaluate."""

import json
import sys

from ml_collections import ConfigDict

from gazax.experiment.sweep import Sweep

SPEC = "configs/gazat_vit.py:smoke"

FAKE = """
import json, os, pathlib, signal, sys, time, zlib
import numpy as np

here = pathlib.Path(__file__).parent
module, *flags = sys.argv[1:]
given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
workdir = pathlib.Path(given["workdir"])
with open(here / "calls", "a") as calls:
    calls.write(f"{module} {' '.join(flags)}\\n")
behaviours = here / "behaviour.json"
for text, behaviour in json.loads(behaviours.read_text() if behaviours.exists() else "{}").items():
    if text not in " ".join([module, *flags]):
        continue
    if behaviour == "crash":
        print("what went before")
        sys.exit("the loss is a fish")
    if behaviour == "preempted":
        sys.exit(75)
    if behaviour == "leaves nothing":
        sys.exit(0)
    if behaviour == "saves":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
        (here / "began").touch()
        time.sleep(60)
    if behaviour == "waits":
        (here / "began").touch()
        while not (here / "go").exists():
            time.sleep(0.05)
workdir.mkdir(parents=True, exist_ok=True)
if module == "gazax.main":
    (workdir / "summary.json").write_text("{}")
else:
    rng = np.random.default_rng(zlib.crc32(str(workdir).encode()))
    folder = workdir / {"test": "evaluation", "validation": "evaluation-validation"}[given["split"]]
    folder.mkdir(exist_ok=True)
    n = 12
    text = np.array([f"patient{i}" for i in range(n)])
    np.savez(
        folder / "examples.npz",
        **{
            "index": np.arange(n), "image_id": text, "patient": text,
            "label": np.eye(2)[np.arange(n) % 2], "label_names": np.array(["a", "b"]),
            "features": np.zeros((n, 0)), "embedding": np.zeros((n, 0)),
            "values/probe/accuracy": rng.integers(0, 2, (1, n)).astype(float),
            "scores/probe": rng.normal(size=(1, n, 2)),
        },
    )
    suites = dict.fromkeys(given["suite"].split(","), {})
    (folder / "numbers.json").write_text(json.dumps({"phantom_numbers": True, "suites": suites}))
"""


def config(variants, **settings):
    """A sweep's config; a variant is its overrides, or all of its settings."""
    made = dict(
        reference="",
        seeds=(0, 1),
        suites=("representation",),
        metrics=("probe/accuracy", "probe/auc_macro"),
        x_label="",
    )
    made = ConfigDict({**made, **settings})
    made.variants = ConfigDict(sort_keys=False)
    for name, given in variants.items():
        given = given if isinstance(given, dict) else dict(config=SPEC, overrides=given)
        made.variants[name] = ConfigDict(given)
    return made.lock()


class FakeRuns:
    """A program that notes how it is called and behaves as it is told.

    Args:
      folder: of the program and its notes.
    """

    def __init__(self, folder):
        self._folder = folder
        (folder / "fake.py").write_text(FAKE)

    def behave(self, behaviour):
        """A part of the command -> how a command that has it behaves."""
        (self._folder / "behaviour.json").write_text(json.dumps(behaviour))

    @property
    def calls(self):
        path = self._folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def sweep(self, plan, out):
        return Sweep(plan, out, program=(sys.executable, str(self._folder / "fake.py")))
