"""What layouts of the phantom share: a folder that is whole or absent, examples, invented ids."""

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from tqdm import tqdm

from gazax.data.phantom.example import Example, subject
from gazax.data.phantom.write import check, fresh_folder

__all__ = ["check", "examples", "fresh_folder", "image_path", "pseudo_id"]

FIRST = {"subject": 10_000_000, "study": 50_000_000}
PRIME = 9_999_991
"""Numbers of subjects and studies are their rank times a constant, modulo this: all different."""


def examples(
    *, count: int, size: int, seed: int, contrast: float, lesions: float, progress: bool
) -> Iterator[Example]:
    """Examples 0 to count - 1 of a phantom, one after the other; see `write_gaze_folder`."""
    disable = None if progress else True  # None: where nobody watches, as in a log file
    for number in tqdm(range(count), desc="phantom", unit="image", disable=disable):
        yield subject(seed, number, size=size, contrast=contrast, lesions=lesions)


def pseudo_id(kind: str, seed: int, number: int) -> str:
    """An invented id of the form that MIMIC-CXR has.

    Args:
      kind: subject (8 digits from 1), study (8 digits from 5) or dicom (five times 8 hexadecimal
        digits, 44 characters).
      seed, number: another id for each pair of them, within one kind and seed.
    """
    digest = hashlib.sha256(f"{kind} {seed} {number}".encode()).hexdigest()
    if kind == "dicom":
        return "-".join(digest[8 * i : 8 * i + 8] for i in range(5))
    start = int(hashlib.sha256(f"{kind} {seed}".encode()).hexdigest(), 16)
    return str(FIRST[kind] + (start + 7_654_321 * number) % PRIME)


def image_path(subject_id: str, study_id: str, dicom_id: str) -> PurePosixPath:
    """``files/pNN/pSUBJECT/sSTUDY/DICOM.dcm``, where MIMIC-CXR has an image."""
    folder = PurePosixPath("files", f"p{subject_id[:2]}", f"p{subject_id}", f"s{study_id}")
    return folder / f"{dicom_id}.dcm"
