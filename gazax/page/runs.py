"""What evaluated workdirs hold, read for a page."""

import dataclasses
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from gazax.config import flatten
from gazax.eval.measured import IncomparableError, check_images
from gazax.eval.record import DAMAGE, Record
from gazax.eval.report import protocol_words
from gazax.page.names import OF_MAPS, OF_MASKS
from gazax.page.sweep_runs import sweep_name
from gazax.train.logging import read_metrics
from gazax.train.workdir import read_config, read_json
from gazax.typing import InputError

EVALUATION = "evaluation"
"""The folder of a workdir that the evaluation writes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One image of the test split with what people and the model looked at.

    Attributes:
      image: [h, w] uint8.
      content: [h, w] bool, real pixels.
      gaze: [h, w], of all readers; zeros where nobody's gaze is known.
      reader_names: [r]; r can be 0.
      reader_gaze: [r, h, w].
      xy: [f, 2] fixations, px.
      reader: [f] rows of ``reader_names``.
      maps: [h, w] of the model: ``attention``, ``saliency`` (the gaze that it predicts), or both;
        of a segmentation also ``mask``, the highest of its labels' probabilities, and ``marked``,
        what it should be.
      probability: [k] by the model.
      label: [k] 1, 0 or NaN.
      label_names: [k].
      image_id: the image's name in its data set.
    """

    image: np.ndarray
    content: np.ndarray
    gaze: np.ndarray
    reader_names: np.ndarray
    reader_gaze: np.ndarray
    xy: np.ndarray
    reader: np.ndarray
    maps: Mapping[str, np.ndarray]
    probability: np.ndarray
    label: np.ndarray
    label_names: np.ndarray
    image_id: str

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def answer(self) -> np.ndarray:
        """[h, w]: which of the maps stands for gaze: the prediction, if there is one."""
        return self.maps["saliency" if "saliency" in self.maps else "attention"]

    @property
    def has_gaze(self) -> bool:
        """Whether anybody's gaze on it is known."""
        return bool(self.reader_names.size or self.gaze.any())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One evaluated run.

    Attributes:
      name: short, and no other run's of the page.
      settings: its config, flat; and what it was run with.
      data: fingerprint of its records.
      evaluation: `numbers.json`.
      record: its test split.
      metrics: the lines of `metrics.jsonl`.
      folder: where `cases` are.
    """

    name: str
    settings: dict[str, Any]
    data: str
    evaluation: dict[str, Any]
    record: Record
    metrics: list[dict[str, float]]
    folder: epath.Path

    @property
    def phantom(self) -> bool:
        """Whether its images are simulated."""
        return bool(self.evaluation["phantom_numbers"])

    @property
    def protocol(self) -> str:
        """How its images were split; evaluations of before say nothing, and were strict."""
        return self.evaluation.get("protocol", "strict")

    @property
    def caveat(self) -> str:
        """What its protocol makes of its numbers; '' = they are what they look like."""
        return protocol_words(self.protocol)

    def cases(self) -> list[Case]:
        """The images that its evaluation set aside to be looked at, in order."""
        gallery = self.folder / EVALUATION / "gallery"
        if not gallery.exists():
            return []
        paths = [path for path in gallery.iterdir() if path.suffix == ".npz"]
        paths.sort(key=lambda path: (len(path.stem), path.stem))  # 2 before 10
        return [_read_case(path) for path in paths]


def same_images(first: Record, second: Record) -> bool:
    """Whether two test splits can be compared: images, patients and labels are the same."""
    try:
        check_images([first, second])
    except IncomparableError:
        return False
    return True


def image_groups(records: Sequence[Record]) -> list[int]:
    """For each test split the place of the first one that it can be compared with."""
    return [
        next(place for place, one in enumerate(records) if same_images(one, record))
        for record in records
    ]


def load_runs(workdirs: Sequence[str]) -> list[Run]:
    """The runs of workdirs, in order; of a workdir with stages, its evaluated stages.

    Raises:
      InputError: none is given, there is no such workdir, it is given twice, or it has not been
        evaluated.
    """
    if not workdirs:
        raise InputError("no workdir is given; give one or more, such as --workdirs=A,B.")
    folders: list[epath.Path] = []
    for given in workdirs:
        folder = epath.Path(given).expanduser()
        if not folder.is_dir():
            raise InputError(f"workdir '{given}': there is no such folder.")
        found = [one for one in _run_folders(folder) if (one / EVALUATION).is_dir()]
        if not found:
            raise InputError(
                f"workdir '{given}' has not been evaluated; run "
                f"python -m gazax.evaluate --workdir={given} first."
            )
        folders += found
    resolved = [pathlib.Path(folder).resolve() for folder in folders]
    for place, one in enumerate(resolved):
        if one in resolved[:place]:
            raise InputError(f"workdir '{folders[place]}' is given twice.")
    return [_load_run(folder, name) for folder, name in zip(folders, _names(resolved), strict=True)]


def _run_folders(workdir: epath.Path) -> list[epath.Path]:
    """The workdir itself, or the folders of its stages in their order."""
    if not (workdir / "config.json").exists():
        raise InputError(f"'{workdir}' has no config.json: it is not a workdir of gazax.")
    stages = read_json(workdir / "config.json").get("config", {}).get("stages")
    if isinstance(stages, list):
        return [workdir / name for name in stages if (workdir / name / "config.json").exists()]
    return [workdir]


def _names(folders: Sequence[pathlib.Path]) -> list[str]:
    """What a sweep calls them, or the shortest ends of the paths that tell them apart."""
    of_sweep = [sweep_name(folder) for folder in folders]
    if all(of_sweep) and len(set(of_sweep)) == len(of_sweep):
        return of_sweep
    for length in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("paths differ")


def _load_run(folder: epath.Path, name: str) -> Run:
    found = read_config(folder)
    settings = dict(flatten(found["config"]))
    settings |= {f"version of {k}": v for k, v in found.get("versions", {}).items()}
    path = folder / EVALUATION / "numbers.json"
    if not path.exists():
        raise InputError(
            f"workdir '{folder}' has no {EVALUATION}/numbers.json: its evaluation did not end; run "
            f"python -m gazax.evaluate --workdir={folder} again."
        )
    evaluation = read_json(path)
    missing = {"images", "patients", "phantom_numbers", "step", "suites"} - evaluation.keys()
    if missing:
        raise InputError(
            f"'{path}' has no {', '.join(sorted(missing))}; run "
            f"python -m gazax.evaluate --workdir={folder} again."
        )
    if wrong := _damage(evaluation):
        raise InputError(
            f"'{path}' is damaged ({wrong}); run python -m gazax.evaluate --workdir={folder} again."
        )
    return Run(
        name=name,
        settings=settings,
        data=found["data_fingerprint"],
        evaluation=evaluation,
        record=Record.load(folder / EVALUATION),
        metrics=read_metrics(folder),
        folder=folder,
    )


def _damage(evaluation: Mapping[str, Any]) -> str:
    """What of it is not as `gazax.experiment.results.write` leaves it; '' = nothing."""
    suites = evaluation["suites"]
    if not isinstance(suites, dict):
        return "suites is no block"
    for title, suite in suites.items():
        numbers = suite.get("numbers") if isinstance(suite, dict) else None
        if not isinstance(numbers, dict) or not isinstance(suite.get("table", ""), str):
            return f"suite '{title}' has no numbers, or no table"
        for name, one in numbers.items():
            is_interval = isinstance(one, list) and len(one) == 3
            if not is_interval or not all(x is None or type(x) in (int, float) for x in one):
                return f"{name} of '{title}' is no number with an interval"
    return ""


def _read_case(path: epath.Path) -> Case:
    names = [field.name for field in dataclasses.fields(Case) if field.name != "maps"]
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            arrays = {name: found[name] for name in names}
            maps = {name: found[name] for name in (*OF_MAPS, *OF_MASKS) if name in found}
        if not maps.keys() & set(OF_MAPS):
            raise KeyError("no map of the model is in it")
    except DAMAGE as error:
        raise InputError(f"'{path}' is damaged ({error}); evaluate its run again.") from None
    return Case(**arrays | {"image_id": str(arrays["image_id"])}, maps=maps)
