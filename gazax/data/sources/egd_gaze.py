"""The gaze of EGD-CXR: its fixations, or the 60 Hz samples that they were found in.

``fixations.csv`` and ``eye_gaze.csv`` have the same columns, and a fixation is the last of its
samples. What the columns mean that are read here:

- ``DICOM_ID``: the image; with 39 characters instead of 44, a screen with one white dot by which
  the calibration was checked (`egd_drift`). Such an id is an image's id without its last
  five characters, which is chance and no reference: it is never matched by its beginning.
- ``X_ORIGINAL``, ``Y_ORIGINAL``: the pixel of the original DICOM image, truncated to whole numbers,
  so that .5 is added. The authors rounded the image's sides up to even numbers first: at the right
  and lower edge of an odd one a point is off by up to one pixel. A gaze that left the image was
  written as -1 times the scale, -1 to -4 in both columns: where it went is not known.
- ``FPOGD``: seconds from the fixation's start. Differences of ``Time (in secs)`` are no durations:
  they hold saccades and blinks.
- ``FPOGV``: 1 while the tracker sees an eye that holds still; 0 in saccades and blinks.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gazax.data.raw import RawGaze
from gazax.data.sources.tables import Faults, Table

TABLES = {
    "fixations": "fixations.csv",
    "samples": "eye_gaze.csv",
    "cxrgazelearn": "eye_gaze.csv",
}
"""What gaze is read from, by the argument `gaze`."""
RATE_HZ = 60.0
"""Samples a second: of the tracker, by its makers and by the release."""
CXRGAZELEARN_SIGMA_PX = 75.5
"""OpenCV's choice for a kernel of 501 px, .3 ((501 - 1) / 2 - 1) + .8, px of the stored image."""

_CALIBRATION = re.compile("[0-9a-f]{8}(-[0-9a-f]{8}){3}-[0-9a-f]{3}")
_LEFT_OUT, _SCREEN, _UNKNOWN = -1, -2, -3


class EgdGaze(NamedTuple):
    """The gaze on every image, and what became of the other rows."""

    gaze: tuple[RawGaze, ...]
    """In the order of the images."""
    left_out: int
    """Rows that went with an image that was left out."""
    notes: dict


def is_calibration(dicom_id: str) -> bool:
    """Whether an id is that of a calibration screen: 39 characters, groups of 8, 8, 8, 8 and 3."""
    return _CALIBRATION.fullmatch(dicom_id) is not None


def read_egd_gaze(
    path: Path,
    image_ids: Collection[str],
    left_out: Collection[str],
    faults: Faults,
    *,
    kind: str,
    size: Float[np.ndarray, "n 2"] | None = None,
    ragged: bool = False,
) -> EgdGaze:
    """Reads one of the two tables.

    Rows that say nothing of where on the image somebody looked are left out and counted after the
    faulty ones, without a limit to their number: ``off the image``, and ``no fixation`` (`FPOGV` is
    not 1).

    Args:
      path: fixations.csv or eye_gaze.csv.
      image_ids: the images, in their order.
      left_out: images that exist and are not used.
      faults: where rows that are left out are counted.
      kind: a key of `TABLES`: ``fixations`` last `FPOGD`; each of ``samples`` is a fixation of
        1/60 s, however long the tracker took for the next one; each sample of ``cxrgazelearn``
        counts 1, has the sigma of `CXRGAZELEARN_SIGMA_PX`, and `FPOGV` is not looked at.
      size: (width, height) of each image, px: what lies beyond is off the image, too.
      ragged: the table has a first column without a name.

    Raises:
      InputError: not readable, or too many rows are faulty.
    """
    validity = () if kind == "cxrgazelearn" else ("FPOGV",)
    durations = ("FPOGD",) if kind == "fixations" else ()
    columns = ("DICOM_ID", "X_ORIGINAL", "Y_ORIGINAL", *validity, *durations)
    table = Table(path, columns, faults=faults, known_only=True, ragged=ragged)
    ids = table.text("DICOM_ID")
    place = {name: _place_of(name, left_out) for name in set(ids)}
    place |= {name: i for i, name in enumerate(image_ids)}
    image = np.fromiter((place[name] for name in ids), np.int32, len(ids))
    table.leave_out(
        image == _UNKNOWN,
        "unknown image",
        lambda i: f"no image {ids[i]!r} in the master sheet; remove the row",
    )

    xy = np.stack([table.numbers("X_ORIGINAL"), table.numbers("Y_ORIGINAL")], 1)
    read = image != _SCREEN
    table.leave_out(
        read & ~np.isfinite(xy).all(1),
        "not a number",
        lambda i: (
            f"X_ORIGINAL is {table.text('X_ORIGINAL')[i]!r}, Y_ORIGINAL is "
            f"{table.text('Y_ORIGINAL')[i]!r}; a pixel of the image is expected"
        ),
    )
    duration = table.numbers("FPOGD") if durations else _constant(kind, len(table))
    table.leave_out(
        read & ~(np.isfinite(duration) & (duration >= 0)),
        "duration",
        lambda i: f"FPOGD is {table.text('FPOGD')[i]!r}; it is seconds, 0 or more",
    )
    table.check()

    used = image >= 0
    off = (xy < 0).any(1)
    if size is not None:
        off |= (xy >= size[np.maximum(image, 0)]).any(1)
    table.leave_out(
        used & off,
        "off the image",
        None,  # the gaze was elsewhere: nothing that anyone could mend
    )
    if validity:
        valid = table.numbers("FPOGV") == 1
        table.leave_out(
            used & ~valid,
            "no fixation",
            None,  # no eye was seen to hold still
        )
    rows = np.flatnonzero(table.good & used)
    rows = rows[np.argsort(image[rows], kind="stable")]
    groups = np.split(rows, np.searchsorted(image[rows], np.arange(1, len(image_ids))))
    sigma = CXRGAZELEARN_SIGMA_PX if kind == "cxrgazelearn" else np.nan
    return EgdGaze(
        gaze=tuple(_gaze(xy[group] + 0.5, duration[group], sigma) for group in groups),
        left_out=int((table.good & (image == _LEFT_OUT)).sum()),
        notes={
            "calibration_screens": sum(code == _SCREEN for code in place.values()),
            "calibration_rows": int((image == _SCREEN).sum()),
        },
    )


def _place_of(name: str, left_out: Collection[str]) -> int:
    """Of an image that is not used."""
    if name in left_out:
        return _LEFT_OUT
    return _SCREEN if is_calibration(name) else _UNKNOWN


def _constant(kind: str, count: int) -> np.ndarray:
    return np.full(count, 1.0 if kind == "cxrgazelearn" else 1 / RATE_HZ)


def _gaze(xy: np.ndarray, duration: np.ndarray, sigma: float) -> RawGaze:
    count = len(duration)
    return RawGaze(
        xy,
        duration,
        np.full((count, 2), sigma),
        np.full((count, 4), np.nan),
        np.zeros(count, np.int32),
    )
