"""The data sets that gazax reads, and the way from each of them to records.

To add one: write a reader of its tables that returns a `RawDataset`, and a line in `DATASETS`.
"""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazax.config import choose
from gazax.data.cache import (
    cache_folder,
    describe_contents,
    describe_folder,
    find_or_make,
    fingerprint,
)
from gazax.data.gaze_folder import TABLES, read_gaze_folder
from gazax.data.preparation import VERSION, write_records
from gazax.data.raw import RawDataset
from gazax.data.records import Records
from gazax.data.tables import Faults
from gazax.typing import InputError, Size

PathLike = str | os.PathLike


@dataclass(frozen=True)
class Dataset:
    """How a data set is told from another and how it is read.

    Args:
      identify: ``(root, **arguments) -> dict``: all that its records depend on, the defaults of
        arguments included, in json's types and found without opening every image.
      read: ``(root, cache, faults, progress, **arguments) -> RawDataset``.
    """

    identify: Callable[..., dict[str, Any]]
    read: Callable[..., RawDataset]


def prepare(
    name: str,
    *,
    root: PathLike | None = None,
    size: Size,
    cache: PathLike | None = None,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
    **arguments: Any,
) -> Records:
    """Makes records of a data set, or finds them where they were made before.

    Args:
      name: a key of `DATASETS`.
      root: the source; it is never written to. The phantom has none.
      size: (height, width) that images are fitted into, px; their aspect is kept.
      cache: folder for prepared data; default $GAZAX_DATA, else the user's cache folder.
      max_bad_fraction: the part of the rows of any file, or of the images, that may be faulty and
        is then left out and counted.
      progress: show a progress bar on a terminal.
      **arguments: the data set's own: for ``gaze_folder`` those of `read_gaze_folder`, for
        ``phantom`` those of `gazax.data.phantom.write_gaze_folder` (`image_size` is its `size`).

    Raises:
      InputError: the source is missing or faulty; the message names file, row and mend.
    """
    choose("data set", name, (*DATASETS, *WITHOUT_READER))
    if name in WITHOUT_READER:
        raise InputError(WITHOUT_READER[name])
    dataset, folder = DATASETS[name], cache_folder(cache)
    source = None if root is None else Path(root).expanduser()
    facts = {
        "dataset": name,
        "version": VERSION,
        "size": list(size),
        "max_bad_fraction": max_bad_fraction,
    }
    identity = dataset.identify(source, **arguments)
    key = fingerprint(facts | identity)
    if source is not None and folder.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"the cache {folder} lies within the source {source}, which is never written to; set "
            "GAZAX_DATA to another folder"
        )

    def make(directory: Path) -> None:
        faults = Faults(max_bad_fraction)
        raw = dataset.read(source, folder, faults, progress, **arguments)
        known = {"arguments": identity["arguments"], "fingerprint": key}
        write_records(raw, directory, size=size, facts=facts | known, progress=progress)

    return Records(find_or_make(folder / f"{name}-{size[0]}x{size[1]}-{key}", make))


def _identify_gaze_folder(root: Path | None, **arguments: Any) -> dict[str, Any]:
    if root is None:
        raise InputError(
            "a gaze folder needs a root, the folder that holds images/ and labels.csv: set "
            "--config.data.root=DIR, or --source=DIR of gazax.prepare"
        )
    if not root.is_dir():
        raise InputError(f"no folder {root}; root is the one that holds images/ and labels.csv")
    return {
        "arguments": _with_defaults(read_gaze_folder, ("root", "faults"), arguments),
        "images": describe_folder(root / "images"),
        "masks": describe_folder(root / "masks"),
        "tables": describe_contents(root / table for table in TABLES),
    }


def _read_gaze_folder(
    root: Path, cache: Path, faults: Faults, progress: bool, **arguments: Any
) -> RawDataset:
    return read_gaze_folder(root, faults=faults, **arguments)


def _identify_phantom(root: Path | None, **arguments: Any) -> dict[str, Any]:
    """Its arguments with their defaults: the pixels follow from them, on any machine."""
    if root is not None:
        raise InputError(f"the phantom is made, not read: leave root empty (it is {str(root)!r})")
    from gazax.data import phantom  # only here: a generator is a lot to import for other data

    without = ("out", "workers", "progress")
    chosen = _with_defaults(phantom.write_gaze_folder, without, _phantom_arguments(arguments))
    return {"arguments": chosen, "phantom": phantom.VERSION}


def _read_phantom(
    root: None, cache: Path, faults: Faults, progress: bool, **arguments: Any
) -> RawDataset:
    from gazax.data import phantom

    key = fingerprint(_identify_phantom(None, **arguments))

    def make(directory: Path) -> None:
        phantom.write_gaze_folder(
            directory / "gaze_folder", progress=progress, **_phantom_arguments(arguments)
        )

    folder = find_or_make(cache / f"phantom-{key}", make)
    return read_gaze_folder(folder / "gaze_folder", faults=faults)


def _with_defaults(
    function: Callable, without: tuple[str, ...], arguments: dict[str, Any]
) -> dict[str, Any]:
    """Keyword arguments of a function, the ones that are not given at their defaults."""
    parameters = inspect.signature(function).parameters.values()
    known = {p.name: p.default for p in parameters if p.name not in without}
    if unknown := set(arguments) - set(known):
        raise InputError(
            f"the data set has no argument {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(known))}"
        )
    return known | arguments


def _phantom_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"size" if k == "image_size" else k: v for k, v in arguments.items()}


DATASETS: dict[str, Dataset] = {
    "phantom": Dataset(_identify_phantom, _read_phantom),
    "gaze_folder": Dataset(_identify_gaze_folder, _read_gaze_folder),
}

_REFLACX = (
    "REFLACX 1.0.0 (https://physionet.org/content/reflacx-xray-localization/1.0.0/, credentialed)"
)
_MIMIC_CXR_JPG = (
    "MIMIC-CXR-JPG 2.0.0 (https://physionet.org/content/mimic-cxr-jpg/2.0.0/, credentialed)"
)
_RSNA = (
    "the RSNA Pneumonia Detection Challenge of 2018 "
    "(https://www.kaggle.com/c/rsna-pneumonia-detection-challenge, with an account): "
    "stage_2_train_labels.csv, stage_2_detailed_class_info.csv and stage_2_train_images/"
)
_CHESTXRAY14 = (
    "ChestX-ray14 (https://nihcc.app.box.com/v/ChestXray-NIHCC): images/, Data_Entry_2017.csv (or "
    "its v2020), train_val_list.txt, test_list.txt and BBox_List_2017.csv"
)


def _not_yet(title: str, *parts: str) -> str:
    """What to get, where to put it, and what runs until there is a reader."""
    return (
        f"{title} cannot be read by this version of gazax yet. Get {' and '.join(parts)}, and put "
        f"{'all of it' if len(parts) == 1 else 'these trees'} into one folder for "
        "--config.data.root=DIR. Today these run: "
        "'python -m gazax.main --config=configs/gazat_vit.py' on the phantom, and "
        "'...gazat_vit.py:data=gaze_folder --config.data.root=DIR' on a folder of your own."
    )


WITHOUT_READER = {
    "reflacx": _not_yet("REFLACX", _REFLACX, f"the images of {_MIMIC_CXR_JPG}"),
    "mimic_cxr": _not_yet("MIMIC-CXR", f"{_MIMIC_CXR_JPG}: files/ and its mimic-cxr-2.0.0-*.csv"),
    "rsna_pneumonia": _not_yet("RSNA Pneumonia", _RSNA),
    "chestxray14": _not_yet("ChestX-ray14", _CHESTXRAY14),
}
"""Data sets whose configs resolve already: what to get, where to put it, what runs today."""
