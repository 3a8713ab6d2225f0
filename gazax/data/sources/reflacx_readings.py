"""What single readings of REFLACX left behind: fixations, ellipses and a chest box."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from gazax.data.raw import NO_GAZE, RawGaze
from gazax.data.sources.ellipses import corners
from gazax.data.sources.files import is_inside
from gazax.data.sources.reflacx_labels import read_labels
from gazax.data.sources.reflacx_metadata import WHERE, Reading
from gazax.data.sources.tables import Faults, Table, all_of
from gazax.typing import InputError

FIXATIONS, ELLIPSES, CHEST_BOX = (
    "fixations.csv",
    "anomaly_location_ellipses.csv",
    "chest_bounding_box.csv",
)
MOST_ELLIPSES = 100
"""Of one reading; a table of more is damaged, and to merge its boxes would take for ever."""
READINGS = "main_data/"
"""What faults of whole readings are counted under."""
TIMES = ("timestamp_start_fixation", "timestamp_end_fixation")
POSITION = ("x_position", "y_position")
DEGREE = ("angular_resolution_x_pixels_per_degree", "angular_resolution_y_pixels_per_degree")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
SHOWN = tuple(f"{corner}_shown_from_image" for corner in CORNERS)


class Marks:
    """Reads what single readings left behind, and counts it.

    Args:
      label_set: a key of `LABEL_SETS`.
      certainty: the least one of an ellipse that is used.
      roots: folders out of which no file is read.
      faults: where faulty rows and missing files are counted, a kind of file at a time.
    """

    def __init__(self, label_set: str, certainty: float, roots: tuple[Path, ...], faults: Faults):
        self._label_set = label_set
        self._certainty = certainty
        self._roots = roots
        self._faults = faults
        self._rows: Counter[str] = Counter()
        self.counts = {
            "fixations_without_angular_resolution": 0,
            "ellipses": 0,
            "ellipses_below_certainty": 0,
            "ellipses_of_other_labels": 0,
        }
        """For the summary."""

    def fixations(self, reading: Reading, reader: int) -> RawGaze:
        """The fixations of a reading in order of time; none where they were discarded."""
        if reading.discarded:
            return NO_GAZE
        columns = (*TIMES, *POSITION, *DEGREE, *SHOWN)
        table = self._open(reading, FIXATIONS, columns, known_only=True)
        if table is None:
            return NO_GAZE
        if not table.total:
            message = f"{table.name} has no rows, and is not discarded; restore it from {WHERE}"
            self._faults.add(READINGS, "no fixations", message)
        xy, window, sigma = (table.matrix(names) for names in (POSITION, SHOWN, DEGREE))
        start, end = table.numbers(TIMES[0]), table.numbers(TIMES[1])
        table.leave_out(
            ~all_of(np.isfinite(xy)), "position", lambda i: "x_position and y_position are px"
        )
        table.leave_out(
            ~(np.isfinite(start) & np.isfinite(end) & (end >= start)),
            "duration",
            lambda i: f"it ends at {end[i]} and starts at {start[i]} s; restore it from {WHERE}",
        )
        table.leave_out(
            ~_has_area(window) & ~all_of(np.isnan(window)),
            "window",
            lambda i: f"*_shown_from_image, {window[i].tolist()}, encloses nothing",
        )
        unknown = ~all_of(np.isfinite(sigma) & (sigma > 0))
        sigma[unknown] = np.nan
        self.counts["fixations_without_angular_resolution"] += int((unknown & table.good).sum())
        rows = np.flatnonzero(table.good)
        rows = rows[np.argsort(start[rows], kind="stable")]
        who = np.full(len(table), reader, np.int32)
        return RawGaze(xy, end - start, sigma, window, who)[rows]

    def ellipses(self, reading: Reading) -> tuple[Float[np.ndarray, "e 4"], Int[np.ndarray, "e"]]:
        """xmin, ymin, xmax, ymax of every certain enough ellipse, once for each label it has."""
        table = self._open(reading, ELLIPSES, (*CORNERS, "certainty"))
        if table is not None and table.total > MOST_ELLIPSES:
            message = f"{table.name} has {table.total} ellipses; restore it from {WHERE}"
            self._faults.add(READINGS, f"too many in {ELLIPSES}", message)
            table = None
        if table is None:
            return np.zeros((0, 4)), np.zeros(0, np.int32)
        extremes, certainty = corners(table.matrix(CORNERS)), table.numbers("certainty")
        table.leave_out(
            ~_has_area(extremes),
            "extent",
            lambda i: f"the ellipse spans {extremes[i].tolist()}, which has no area",
        )
        table.leave_out(
            ~((certainty >= 1) & (certainty <= 5)),
            "certainty",
            lambda i: f"certainty is {table.text('certainty')[i][:200]!r}; it is 1 to 5",
        )
        has = read_labels(table, self._label_set, 1)[0] == 1
        sure = certainty >= self._certainty
        ellipse, label = np.nonzero(has & (table.good & sure)[:, None])
        self.counts["ellipses"] += len(np.unique(ellipse))
        self.counts["ellipses_below_certainty"] += int((table.good & ~sure).sum())
        self.counts["ellipses_of_other_labels"] += int((table.good & sure & ~has.any(1)).sum())
        return extremes[ellipse], label.astype(np.int32)

    def chest(self, reading: Reading) -> Float[np.ndarray, "c 4"]:
        """xmin, ymin, xmax, ymax of the chest: one row, or none."""
        table = self._open(reading, CHEST_BOX, CORNERS)
        if table is None:
            return np.zeros((0, 4))
        box = corners(table.matrix(CORNERS))
        table.leave_out(
            ~_has_area(box),
            "extent",
            lambda i: f"the box spans {box[i].tolist()}, which has no area",
        )
        return box[table.good]

    def check(self, readings: int) -> None:
        """Stops when too many rows of one kind of file, or too many readings, are faulty."""
        for name, rows in self._rows.items():
            self._faults.check(name, rows)
        self._faults.check(READINGS, readings, "readings")

    def _open(
        self, reading: Reading, name: str, columns: Sequence[str], *, known_only: bool = False
    ) -> Table | None:
        path, shown = reading.folder / name, f"{reading.reading_id}/{name}"
        if not is_inside(path, self._roots):
            message = f"{shown} is a link that leads out of the source; it is not read"
            self._faults.add(READINGS, "link", message)
        elif not path.exists():
            message = f"{shown} is missing in {path.parent.parent}; get it from {WHERE}"
            self._faults.add(READINGS, f"no {name}", message)
        else:
            together = _Together(self._faults, name)
            try:
                table = Table(
                    path,
                    columns,
                    faults=together,
                    known_only=known_only,
                    may_be_empty=True,
                    name=shown,
                )
            except InputError as error:  # one damaged file of thousands; the others are read
                message = f"{shown}: {error}; restore it from {WHERE}"
                self._faults.add(READINGS, f"damaged {name}", message)
            else:
                self._rows[name] += table.total
                return table
        return None


class _Together(Faults):
    """The faults of one of thousands of small files, counted as those of all of its name."""

    def __init__(self, faults: Faults, name: str):
        super().__init__(faults.max_bad_fraction)
        self._all, self._name = faults, name

    def add(self, file: str, reason: str, message: str) -> None:
        """Passes a fault on; the message names the one file."""
        self._all.add(self._name, reason, message)


def join_gaze(parts: Sequence[RawGaze]) -> RawGaze:
    """The fixations of several readings, one reading after the other."""
    return RawGaze(
        np.concatenate([part.xy for part in parts]),
        np.concatenate([part.duration for part in parts]),
        np.concatenate([part.sigma for part in parts]),
        np.concatenate([part.window for part in parts]),
        np.concatenate([part.reader for part in parts]),
    )


def _has_area(extremes: Float[np.ndarray, "rows 4"]) -> Bool[np.ndarray, "rows"]:
    return all_of(np.isfinite(extremes)) & all_of(extremes[:, 2:] > extremes[:, :2])
