"""What is killed, when, and what must be the same in the end."""

import abc
import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from etils import epath

from gazax.data.preparation import SUMMARY
from gazax.data.records import Records
from gazax.data.splits import SPLITS
from gazax.train.checkpoint import MANIFEST, find_damage
from gazax.train.source import load_source
from tests.faults.process import Process
from tests.runs import lines
from tests.train.toys import flat

CLOCKS = ("images_per_s", "step_s", "input_wait_share", "evaluation_s")


@dataclasses.dataclass(frozen=True)
class Moment:
    """When to kill: so many seconds after something is seen."""

    name: str
    seen: Callable[[], bool]
    seconds: float = 0.0
    group: bool = False
    """With all that the command has started."""


class Work(abc.ABC):
    """A command in a folder, which goes on when it is called again."""

    name: str
    whole = False
    """Whether each start is a new interpreter, see `Process`."""
    interval = 0
    """Steps between two checkpoints."""

    def __init__(self, folder: pathlib.Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = dict(env)
        self.log = folder.with_name(f"{folder.name}.log")
        self.log.mkdir(parents=True, exist_ok=True)

    def start(self, *, whole: bool = False) -> Process:
        """Begins it, or goes on."""
        module, *flags = self.words()
        return Process(module, flags, self.env, self.log, whole=whole or self.whole)

    @abc.abstractmethod
    def words(self) -> list[str]:
        """The module and its flags."""

    @abc.abstractmethod
    def moments(self, process: Process, draw: np.random.Generator) -> list[Moment]:
        """Those at which it can be killed now."""

    @abc.abstractmethod
    def found(self) -> str:
        """What a kill has left, in words."""

    def lost(self, process: Process) -> int:
        """Steps that it had told of and that have to be done again."""
        return 0

    @abc.abstractmethod
    def differs(self, other: "Work") -> list[str]:
        """What is not the same, bit for bit, as in a folder of an unbroken run."""

    def names(self) -> set[str]:
        """All that is there, less names that are drawn or tell the time."""
        names = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return {
            re.sub(r"tfevents.*|[0-9a-f]{32}", "*", name)
            for name in names
            if not name.endswith("lock")
        }


class Training(Work):
    """GazAT, of 30 steps."""

    name = "train"
    config = "configs/gazat_vit.py:smoke"
    every: Sequence[str] = (
        "--config.train.log_every=1",
        "--config.train.checkpoint_every=5",
        "--config.train.eval_every=15",
        "--config.train.keep=2",
    )
    interval = 5
    logged = 1
    """Steps between two that are told of."""

    def words(self) -> list[str]:
        return ["gazax.main", f"--config={self.config}", f"--workdir={self.folder}", *self.every]

    @property
    def run(self) -> pathlib.Path:
        """The workdir of the run at hand."""
        return self.folder

    @property
    def checkpoints(self) -> dict[int, bool]:
        """Step -> whether it has a manifest."""
        folder = self.run / "checkpoints"
        found = (
            [path for path in folder.iterdir() if path.name.isdigit()] if folder.exists() else []
        )
        return {int(path.name): (path / MANIFEST).exists() for path in found}

    @property
    def good(self) -> int:
        """The last step that is saved."""
        return max((step for step, whole in self.checkpoints.items() if whole), default=0)

    def is_writing(self) -> bool:
        """Whether a checkpoint's files are being written."""
        return any((self.run / "checkpoints").glob("*.orbax-checkpoint-tmp*"))

    def is_committed(self) -> bool:
        """Whether the last checkpoint is orbax's and not yet ours."""
        found = self.checkpoints
        return bool(found) and not found[max(found)]

    def is_pruning(self) -> bool:
        """Whether an old checkpoint is being removed."""
        return any(not whole and step < self.good for step, whole in self.checkpoints.items())

    def moments(self, process: Process, draw: np.random.Generator) -> list[Moment]:
        first = min(self.good + self.logged, 30)
        step = int(draw.choice(np.arange(first - first % self.logged, 31, self.logged)))
        second = draw.uniform
        return [
            Moment("start-up", lambda: True, second(0, 4)),
            Moment("a step", lambda: f"step {step}/30  loss" in process.said, second(0, 0.1)),
            Moment("a checkpoint's files", self.is_writing, second(0, 0.1)),
            Moment("between commit and manifest", self.is_committed),
            Moment("an old one's removal", self.is_pruning),
            Moment("the end", lambda: "step 30/30  val" in process.said, second(0, 1.5)),
        ]

    def found(self) -> str:
        if self.is_writing():
            return "a checkpoint's files half-written"
        if self.is_committed():
            return "a committed checkpoint without manifest"
        if self.is_pruning():
            return "an old checkpoint half-removed"
        if any(self.run.rglob("*.partial")):
            return "a file half-written"
        return "whole files"

    def lost(self, process: Process) -> int:
        told = re.findall(r"step (\d+)/\d+  loss", process.said)
        return max(0, int(told[-1]) - self.good) if told else 0

    def differs(self, other: "Work") -> list[str]:
        return runs_differ(self.folder, other.folder) + names_differ(self, other)


class Stages(Training):
    """The four stages of cooperative learning, of 30 steps each."""

    name = "stages"
    config = "configs/cooperative/all.py:smoke"
    every = ()
    interval = 10
    stages = ("stage1_triplet", "stage1_classify", "stage2_saliency", "stage3_fusion")

    @property
    def run(self) -> pathlib.Path:
        begun = [name for name in self.stages if (self.folder / name / "config.json").exists()]
        return self.folder / (begun or self.stages)[-1 if begun else 0]

    def moments(self, process: Process, draw: np.random.Generator) -> list[Moment]:
        names = list(self.stages)
        left = [name for name in names if not (self.folder / name / "summary.json").exists()]
        name = left[0] if left else names[-1]
        after = (left or names)[min(1, len(left) - 1)] if left else name
        summary = self.folder / name / "summary.json"

        def is_at(step: int) -> bool:
            said = process.said.rpartition(f"stage {name}:")[2]
            return f"stage {name}:" in process.said and f"step {step}/30" in said

        return [
            Moment(f"{name}, a step", lambda: is_at(15), draw.uniform(0, 0.5)),
            Moment(f"{name}, its summary", lambda: is_at(30), draw.uniform(0, 2)),
            Moment(f"{name} has ended", summary.exists, draw.uniform(0, 0.5)),
            Moment(
                f"{after} begins", lambda: f"stage {after}:" in process.said, draw.uniform(0, 3)
            ),
        ]

    def lost(self, process: Process) -> int:
        told = re.findall(r"step (\d+)/\d+  loss", process.said.rpartition("\nstage ")[2])
        return max(0, int(told[-1]) - self.good) if told else 0

    def differs(self, other: "Work") -> list[str]:
        found = names_differ(self, other)
        for name in self.stages:
            found += runs_differ(self.folder / name, other.folder / name)
        return found


SWEEP = """
from ml_collections import ConfigDict

def get_config(arg=""):
    config = ConfigDict()
    config.reference = "shuffled"
    config.seeds = (0,)
    config.suites = ("representation",)
    config.metrics = ("probe/accuracy",)
    config.variants = ConfigDict(sort_keys=False)
    for gaze in ("own", "shuffled"):
        overrides = (f"data.gaze={gaze}", "train.steps=20", "train.checkpoint_every=5")
        config.variants[gaze] = ConfigDict(
            dict(config="configs/gazat_vit.py:smoke", overrides=overrides)
        )
    return config
"""


class Sweeping(Work):
    """Two runs of 20 steps, trained, evaluated and compared."""

    name = "sweep"
    whole = True

    def words(self) -> list[str]:
        file = self.folder.parent / "sweep.py"
        file.write_text(SWEEP)
        return ["gazax.sweep", f"--config={file}", f"--out={self.folder}"]

    @property
    def logs(self) -> str:
        """What its runs have said."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("logs/*.log")))

    def moments(self, process: Process, draw: np.random.Generator) -> list[Moment]:
        before = {text: self.logs.count(text) for text in ("step 15/20", "gazax.evaluate")}

        def says(text: str) -> Callable[[], bool]:
            return lambda: self.logs.count(text) > before[text]

        group = bool(draw.integers(2))
        return [
            Moment("a run begins", lambda: "[" in process.said, draw.uniform(0, 8), group),
            Moment("a run trains", says("step 15/20"), draw.uniform(0, 2), group),
            Moment("a run is evaluated", says("gazax.evaluate"), draw.uniform(0, 10), group),
            Moment("the table", (self.folder / "table.txt").exists, 0.0, group),
        ]

    def found(self) -> str:
        state = self.folder / "sweep.json"
        runs = json.loads(state.read_text())["runs"].values() if state.exists() else ()
        return f"{sum(run['status'] == 'finished' for run in runs)} of 2 runs noted as finished"

    def differs(self, other: "Work") -> list[str]:
        found = names_differ(self, other)
        tables = [json.loads((of.folder / "table.json").read_text()) for of in (self, other)]
        if tables[0]["variants"] != tables[1]["variants"]:
            found.append("table.json")
        for run in (self.folder / "runs").iterdir():
            found += runs_differ(run, other.folder / "runs" / run.name)
        return found


class Preparing(Work):
    """A phantom, drawn by two processes, and its records."""

    name = "prepare"
    whole = True

    def words(self) -> list[str]:
        flags = (
            "--count=160",
            "--image_size=32",
            "--size=32",
            "--workers=2",
            f"--out={self.folder}",
        )
        return ["gazax.prepare", "--dataset=phantom", *flags]

    def _has(self, pattern: str) -> Callable[[], bool]:
        return lambda: any(self.folder.glob(pattern))

    def moments(self, process: Process, draw: np.random.Generator) -> list[Moment]:
        group = bool(draw.integers(2))
        image = f"*.partial/*/images/*{int(draw.integers(160)):03d}*.png"
        return [
            Moment("start-up", lambda: True, draw.uniform(0, 3), group),
            Moment("pictures", self._has(image), draw.uniform(0, 0.2), group),
            Moment("the pictures are there", self._has("phantom-*/gaze_folder"), 0.0, group),
            Moment("a block", self._has("*.blocks/*.partial"), draw.uniform(0, 0.3), group),
            Moment("a later block", self._has("*.blocks/00002*.partial"), 0.0, group),
            Moment("the end", self._has("*.blocks/*/failed.json"), draw.uniform(0, 0.5), group),
        ]

    def found(self) -> str:
        if self._has("*.blocks/*.partial")():
            return "a block half-written"
        if self._has("*.blocks")():
            return "blocks not joined"
        if self._has("*.partial")():
            return "pictures half-written"
        return "all or nothing"

    def differs(self, other: "Work") -> list[str]:
        found = names_differ(self, other)
        for path in sorted(other.folder.rglob("*")):
            name = path.relative_to(other.folder)
            mine = self.folder / name
            if path.name == SUMMARY:
                found += records_differ(mine.parent, path.parent)
            # Of array_record the bytes of two unbroken runs differ, and the records do not.
            elif path.is_file() and path.suffix != ".lock" and "array_record" not in path.name:
                same = mine.exists() and mine.read_bytes() == path.read_bytes()
                found += [] if same else [str(name)]
        return found


WORKS = {work.name: work for work in (Training, Stages, Sweeping, Preparing)}


def names_differ(one: Work, other: Work) -> list[str]:
    """Files and folders that only one of them has, as a kill's leavings are."""
    return sorted(one.names() ^ other.names())


def runs_differ(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What two workdirs do not have alike, to the bit: metrics, numbers, every checkpoint."""
    found = []
    if without_clocks(one) != without_clocks(other):
        found.append(f"{one.name}/metrics.jsonl")
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    if summaries[0] != summaries[1]:
        found.append(f"{one.name}/summary.json")
    steps = [sorted(path.name for path in (of / "checkpoints").iterdir()) for of in (one, other)]
    if steps[0] != steps[1]:
        return [*found, f"{one.name}/checkpoints: {steps[0]} and {steps[1]}"]
    for step in steps[0]:
        folders = [epath.Path(of) / "checkpoints" / step for of in (one, other)]
        found += [damage for folder in folders if (damage := find_damage(folder))]
        mine, theirs = (
            flat({"params": read.params, "state": read.state})
            for read in (load_source(folder) for folder in folders)
        )
        if mine.keys() != theirs.keys() or any(
            mine[key].tobytes() != theirs[key].tobytes() for key in mine
        ):
            found.append(f"{one.name}/checkpoints/{step}")
    return found


def records_differ(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What two folders of records do not have alike, to the bit."""
    mine, theirs = Records(one), Records(other)
    found = [] if mine.summary == theirs.summary else [SUMMARY]
    for split in SPLITS:
        for place, (a, b) in enumerate(zip(mine.source(split), theirs.source(split), strict=True)):
            if not all(
                np.array_equal(flat(a)[key], flat(b)[key], equal_nan=True)
                for key in flat(b)
                if key not in ("image_id", "patient_id")
            ):
                found.append(f"{split} {place}")
    return found


def without_clocks(workdir: pathlib.Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl`, less what tells the time."""
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in lines(workdir)]
