"""Where the images of MIMIC-CXR lie: one tree of folders, which several data sets refer to.

MIMIC-CXR 2.x (``.dcm``) and MIMIC-CXR-JPG 2.x (``.jpg``), wherever a download has put them::

    files/p10/p10000032/s50414267/<dicom_id>.jpg
          p{first two digits}/p{subject_id}/s{study_id}

MIMIC-Eye, which holds the images of REFLACX and EGD-CXR patient by patient::

    patient_10000032/CXR-JPG/s50414267/<dicom_id>.jpg

Ids and paths come out of tables that anybody may have edited. They are checked against the form of
MIMIC-CXR's own ids, digits and hexadecimal digits only, before they become a path.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gazax.data.sources.files import DEPTH, is_inside, list_folder
from gazax.typing import InputError

SUFFIXES = (".jpg", ".dcm")
"""Of the images, the preferred one first."""
_NUMBER = re.compile("[0-9]{8}")
_DICOM = re.compile("[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_GROUP = re.compile("p[0-9]{2}")
_SUBJECT = re.compile("p[0-9]{8}")
_STUDY = re.compile("s[0-9]{8}")
_PATIENT = re.compile("patient_[0-9]{8}")
_BY_PATIENT = "CXR-JPG"
_CROWDED = 200
"""A folder of more folders holds patients or readings; no tree begins in one of them."""
_LOOKED_AT = 1000
"""Studies that are searched for a first image."""


@dataclass(frozen=True)
class MimicTree:
    """A tree of radiographs.

    Args:
      root: the folder of the folders ``p10`` to ``p19``, or of MIMIC-Eye's ``patient_*``.
      suffix: ending of the images, ``.jpg`` or ``.dcm``.
      by_patient: the layout is MIMIC-Eye's.
    """

    root: Path
    suffix: str
    by_patient: bool = False

    def image(self, subject_id: str, study_id: str, dicom_id: str) -> Path | None:
        """Where an image lies if it is there at all; None where an id is not one of MIMIC-CXR's.

        Args:
          subject_id: eight digits, such as ``10000032``.
          study_id: eight digits.
          dicom_id: five groups of eight hexadecimal digits, joined by ``-``.
        """
        if not (
            _NUMBER.fullmatch(subject_id)
            and _NUMBER.fullmatch(study_id)
            and _DICOM.fullmatch(dicom_id)
        ):
            return None
        if self.by_patient:
            study = self.root / f"patient_{subject_id}/{_BY_PATIENT}/s{study_id}"
        else:
            study = self.root / f"p{subject_id[:2]}/p{subject_id}/s{study_id}"
        path = study / f"{dicom_id}{self.suffix}"
        if not path.exists():  # some may be there in the other form
            others = (path.with_suffix(suffix) for suffix in SUFFIXES if suffix != self.suffix)
            return next((other for other in others if other.exists()), path)
        return path

    def from_table(self, path: str) -> Path | None:
        """The image that a released table means, of which the last four parts of its path tell.

        ``physionet.org/files/mimic-cxr/2.0.0/files/p10/p10000032/s50414267/<dicom_id>.dcm`` and
        ``files/p10/...`` are the same image, and so is the ``.jpg`` of a ``.dcm``. None where the
        parts are not of that form.
        """
        parts = path.split("/")[-4:]
        if len(parts) < 4:
            return None
        group, subject, study, file = parts
        name, dot, suffix = file.partition(".")
        if (
            not _SUBJECT.fullmatch(subject)
            or group != subject[:3]
            or not _STUDY.fullmatch(study)
            or dot + suffix not in SUFFIXES
        ):
            return None
        return self.image(subject[1:], study[1:], name)


def find_mimic_tree(root: Path, mimic_cxr: str = "") -> MimicTree | None:
    """The tree of images at or below a folder, nearest first; None where there is none.

    Where MIMIC-CXR and MIMIC-CXR-JPG are equally near, the latter is taken.

    Args:
      root: folder of the source; links out of it are not followed.
      mimic_cxr: the folder to search instead, if the images lie elsewhere.

    Raises:
      InputError: two trees of one kind are equally near.
    """
    root = Path(mimic_cxr).expanduser() if mimic_cxr else root
    level = [root] if root.is_dir() else []
    for _ in range(DEPTH + 1):
        below = {folder: _folders(folder, root) for folder in level}
        found = [tree for folder in level if (tree := _tree_in(folder, below[folder]))]
        for suffix in SUFFIXES:
            same = [tree for tree in found if tree.suffix == suffix]
            if len(same) > 1:
                raise InputError(
                    f"{root} holds images of MIMIC-CXR ({suffix}) twice, in {same[0].root} and "
                    f"{same[1].root}; say with mimic_cxr which are meant"
                )
            if same:
                return same[0]
        level = [path for paths in below.values() if len(paths) <= _CROWDED for path in paths]
    return None


def _tree_in(folder: Path, below: list[Path]) -> MimicTree | None:
    groups = [path for path in below if _GROUP.fullmatch(path.name)]
    if groups and (suffix := _suffix(_studies(groups, _SUBJECT))):
        return MimicTree(folder, suffix)
    patients = [path for path in below if _PATIENT.fullmatch(path.name)]
    if patients and (suffix := _suffix(_studies(patients, re.compile(_BY_PATIENT)))):
        return MimicTree(folder, suffix, by_patient=True)
    return None


def _studies(folders: list[Path], between: re.Pattern) -> Iterator[Path]:
    """The studies two levels below, in order of name; those outside the tree are not looked at."""
    for folder in folders:
        for inner in _folders(folder, folder):
            if between.fullmatch(inner.name):
                for study in _folders(inner, folder):
                    if _STUDY.fullmatch(study.name):
                        yield study


def _suffix(studies: Iterator[Path]) -> str | None:
    """Ending of the first image; the preferred one where a study has both."""
    for _, study in zip(range(_LOOKED_AT), studies, strict=False):
        endings = {path.suffix for path in list_folder(study) if _DICOM.fullmatch(path.stem)}
        for suffix in SUFFIXES:
            if suffix in endings:
                return suffix
    return None


def _folders(folder: Path, root: Path) -> list[Path]:
    """Its folders in order of name, but hidden ones and those that a link leads to from outside."""
    try:
        with os.scandir(folder) as entries:
            inside = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".")
                # first, since a link to itself is an error where a folder is asked for
                and (not entry.is_symlink() or is_inside(Path(entry.path), (root,)))
                and entry.is_dir()
            ]
    except OSError as error:
        raise InputError(
            f"{folder} cannot be listed ({error.strerror}); mend its rights"
        ) from error
    return [folder / name for name in sorted(inside)]
