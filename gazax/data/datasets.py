"""The data sets that gazax reads.

To add one: write a reader of its tables, two functions, and a line in `DATASETS`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazax.data.cache import describe, find_or_make, fingerprint
from gazax.data.raw import RawDataset
from gazax.data.sources.chestxray14 import files_of_chestxray14, read_chestxray14
from gazax.data.sources.egd_cxr import canvas_of_egd_cxr, files_of_egd_cxr, read_egd_cxr
from gazax.data.sources.files import SourceFiles
from gazax.data.sources.gaze_folder import files_of_gaze_folder, read_gaze_folder
from gazax.data.sources.mimic_cxr import files_of_mimic_cxr, read_mimic_cxr
from gazax.data.sources.reflacx import DISPLAY, files_of_reflacx, read_reflacx
from gazax.data.sources.rsna_pneumonia import files_of_rsna_pneumonia, read_rsna_pneumonia
from gazax.data.sources.tables import Faults
from gazax.typing import InputError, Size

PATHS = ("mimic_cxr", "splits")
"""Arguments that say where something lies; what lies there is part of the fingerprint."""


@dataclass(frozen=True)
class Dataset:
    """A data set that lies in a folder.

    Args:
      files: ``(root, **arguments) -> SourceFiles``: what its records depend on, found without
        opening every image.
      read: ``(root, *, faults, **arguments) -> RawDataset``, with the same arguments and their
        defaults.
      title: what it is.
      source: where to get it, and what of it; shown where something is missing.
      display: how its DICOM files become grey values, see `RawDataset.display`.
      canvas: the canvas of its images by the arguments of `read`, see `RawDataset.canvas`.
    """

    files: Callable[..., SourceFiles]
    read: Callable[..., RawDataset]
    title: str
    source: str
    display: str = "standard"
    canvas: Callable[..., Size | None] = lambda **arguments: None

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of `read`, the ones that are not given at their defaults."""
        return with_defaults(self.read, ("root", "faults"), given)

    def find(self, root: Path | None, given: dict[str, Any]) -> tuple[Path, SourceFiles]:
        """The source's folder and files.

        Raises:
          InputError: no root, no such folder, an unknown argument.
        """
        arguments = self.arguments(given)
        if root is None:
            raise InputError(
                f"{self.title} needs a root, its folder: set --config.data.root=DIR, or "
                f"--source=DIR of gazax.prepare. It is {self.source}"
            )
        if not root.is_dir():
            raise InputError(f"no folder {root}; root is the one that holds {self.title}")
        return root, self.files(root, **arguments)

    def identify(self, root: Path | None, given: dict[str, Any]) -> dict[str, Any]:
        """All that its records depend on, in json's types.

        Raises:
          InputError: as `find`, or files are missing.
        """
        folder, files = self.find(root, given)
        if files.missing:
            raise InputError(
                f"{folder} lacks parts of {self.title}:\n  "
                + "\n  ".join(files.missing)
                + f"\nIt is {self.source}"
            )
        kept = {k: v for k, v in self.arguments(given).items() if k not in PATHS}
        return {"arguments": kept, **describe(files, folder)}

    def load(
        self,
        root: Path | None,
        cache: Path,
        faults: Faults,
        given: dict[str, Any],
        progress: bool = False,
    ) -> RawDataset:
        """Its tables, read and checked."""
        assert root is not None
        return self.read(root, faults=faults, **given)


class Phantom:
    """The simulated data set: written as a gaze folder into the cache, then read as one."""

    title = "the phantom"
    display = "standard"

    def canvas(self, **arguments: Any) -> None:
        """Its images are all of one size."""

    def identify(self, root: Path | None, given: dict[str, Any]) -> dict[str, Any]:
        """Its arguments with their defaults: the pixels follow from them, on any machine."""
        if root is not None:
            raise InputError(
                f"the phantom is made, not read: leave root empty (it is {str(root)!r})"
            )
        from gazax.data import phantom  # only here: a generator is a lot to import

        without = ("out", "workers", "progress")
        chosen = with_defaults(phantom.write_gaze_folder, without, _renamed(given))
        return {"arguments": chosen, "phantom": phantom.VERSION}

    def load(
        self,
        root: Path | None,
        cache: Path,
        faults: Faults,
        given: dict[str, Any],
        progress: bool = False,
    ) -> RawDataset:
        """Its tables, read and checked."""
        from gazax.data import phantom

        def make(directory: Path) -> None:
            phantom.write_gaze_folder(
                directory / "gaze_folder", progress=progress, **_renamed(given)
            )

        key = fingerprint(self.identify(None, given))
        folder = find_or_make(cache / f"phantom-{key}", make)
        return read_gaze_folder(folder / "gaze_folder", faults=faults)


def with_defaults(
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


def _renamed(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"size" if k == "image_size" else k: v for k, v in arguments.items()}


_MIMIC = (
    "MIMIC-CXR-JPG 2.1.0 (https://physionet.org/content/mimic-cxr-jpg/2.1.0/) or MIMIC-CXR 2.1.0 "
    "(https://physionet.org/content/mimic-cxr/2.1.0/), both credentialed"
)
_BESIDE = "below the same folder or wherever data.source.mimic_cxr (--mimic_cxr) says"

DATASETS: dict[str, Dataset | Phantom] = {
    "phantom": Phantom(),
    "gaze_folder": Dataset(
        files_of_gaze_folder,
        read_gaze_folder,
        "a gaze folder",
        "your own: the folder that holds images/ and labels.csv (the README has its layout)",
    ),
    "reflacx": Dataset(
        files_of_reflacx,
        read_reflacx,
        "REFLACX",
        "REFLACX 1.0.0 (https://physionet.org/content/reflacx-xray-localization/1.0.0/, "
        f"credentialed), with the images of {_MIMIC}, {_BESIDE}",
        display=DISPLAY,
    ),
    "egd_cxr": Dataset(
        files_of_egd_cxr,
        read_egd_cxr,
        "EGD-CXR",
        "EGD-CXR 1.0.0 (https://physionet.org/content/egd-cxr/1.0.0/, credentialed), with the "
        f"images of {_MIMIC}, {_BESIDE}",
        canvas=canvas_of_egd_cxr,
    ),
    "mimic_cxr": Dataset(
        files_of_mimic_cxr, read_mimic_cxr, "MIMIC-CXR", f"{_MIMIC}, with its mimic-cxr-2.0.0-*.csv"
    ),
    "rsna_pneumonia": Dataset(
        files_of_rsna_pneumonia,
        read_rsna_pneumonia,
        "RSNA Pneumonia",
        "the RSNA Pneumonia Detection Challenge of 2018 "
        "(https://www.kaggle.com/c/rsna-pneumonia-detection-challenge, with an account)",
    ),
    "chestxray14": Dataset(
        files_of_chestxray14,
        read_chestxray14,
        "ChestX-ray14",
        "ChestX-ray14 (https://nihcc.app.box.com/v/ChestXray-NIHCC)",
    ),
}
