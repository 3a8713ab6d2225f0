"""The optional tables of a gaze folder: fixations, samples, readers and boxes.

Every row is tied to an image by `Images`; a row of an image that had to be left out goes with it
and is no fault of its own, while a row of an image that nobody has heard of is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from gazax.config import choose
from gazax.data.pixels import images
from gazax.data.raw import RawGaze
from gazax.data.sources.fixations import detect_by_dispersion, detect_by_velocity
from gazax.data.sources.tables import Faults, Table, all_of
from gazax.typing import InputError

FIXATIONS = ("image_id", "reader_id", "x_px", "y_px", "duration_s")
SIGMA = ("sigma_x_px", "sigma_y_px")
WINDOW = ("window_xmin", "window_ymin", "window_xmax", "window_ymax")
SAMPLES = ("image_id", "reader_id", "t_s", "x_px", "y_px")
BOXES = ("image_id", "label", "x_px", "y_px", "width_px", "height_px")
READERS = ("reader_id", "weight")
ALGORITHMS = ("idt", "ivt")
"""By dispersion or by velocity."""


@dataclass(frozen=True)
class Images:
    """The images that tables may speak of."""

    paths: Mapping[str, Path]
    """Those that are used, in their order."""
    left_out: frozenset[str]
    """Those that exist in a part (a file or a row) and cannot be used."""

    def positions(self, table: Table) -> Int[np.ndarray, "rows"]:
        """Position in `paths` of each row's image; -1 without one. Unknown images are faults."""
        order = {image_id: i for i, image_id in enumerate(self.paths)}
        ids = table.text("image_id")
        table.leave_out(
            np.array([i not in order and i not in self.left_out for i in ids], bool),
            "unknown image",
            lambda i: f"no image {ids[i]!r} in labels.csv and images/; add it or remove the row",
        )
        return np.array([order.get(image_id, -1) for image_id in ids], np.int64)


@dataclass(frozen=True)
class GazeTable:
    """Fixations of all images in one table; `image` is the position of each row's image."""

    image: Int[np.ndarray, "rows"]
    gaze: RawGaze
    reader_names: tuple[str, ...]
    """What `gaze.reader` counts in."""
    left_out: int
    """Fixations that went with an image that was left out; of samples it is not known."""
    other_columns: tuple[str, ...]


@dataclass(frozen=True)
class Detection:
    """How samples become fixations; see `gazax.data.sources.fixations`."""

    algorithm: str
    degree_fraction: float
    dispersion_deg: float
    velocity_deg_s: float
    min_duration_s: float
    max_gap_s: float

    def __post_init__(self):
        """Names are typed by people, in configs."""
        choose("fixation_algorithm", self.algorithm, ALGORITHMS)

    def __call__(
        self, t: Float[np.ndarray, "s"], xy: Float[np.ndarray, "s 2"], *, longer_side_px: float
    ) -> tuple[Float[np.ndarray, "f 2"], Float[np.ndarray, "f"]]:
        """Positions and durations of the fixations of one reader on one image."""
        degree_px = self.degree_fraction * longer_side_px
        durations = {"min_duration_s": self.min_duration_s, "max_gap_s": self.max_gap_s}
        if self.algorithm == "ivt":
            velocity = self.velocity_deg_s * degree_px
            return detect_by_velocity(t, xy, velocity_px_s=velocity, **durations)
        dispersion = self.dispersion_deg * degree_px
        return detect_by_dispersion(t, xy, dispersion_px=dispersion, **durations)


def read_fixations(path: Path, known: Images, faults: Faults) -> GazeTable:
    """Reads fixations.csv; a position outside the image is kept, its Gaussian reaches in."""
    table = Table(path, FIXATIONS, groups=(SIGMA, WINDOW), faults=faults)
    image = known.positions(table)
    xy = table.matrix(("x_px", "y_px"))
    duration = table.numbers("duration_s")
    _leave_out_non_numbers(table, all_of(np.isfinite(xy)), ("x_px", "y_px"))
    table.leave_out(
        ~(np.isfinite(duration) & (duration >= 0)),
        "duration",
        lambda i: f"duration_s is {table.text('duration_s')[i]!r}; it is seconds, 0 or more",
    )
    sigma = _optional(table, SIGMA)
    table.leave_out(
        ~all_of((sigma > 0) & np.isfinite(sigma)) & ~all_of(np.isnan(sigma)),
        "sigma",
        lambda i: "sigma_x_px and sigma_y_px are px above 0, or both empty",
    )
    window = _optional(table, WINDOW)
    proper = all_of(window[:, 2:] > window[:, :2]) & all_of(np.isfinite(window))
    table.leave_out(
        ~proper & ~all_of(np.isnan(window)),
        "window",
        lambda i: "the window needs xmin < xmax and ymin < ymax, in px, or all four cells empty",
    )
    table.check()
    names, reader = _readers(table)
    rows = table.good & (image >= 0)
    return GazeTable(
        image=image[rows],
        gaze=RawGaze(xy, duration, sigma, window, reader.astype(np.int32))[rows],
        reader_names=names,
        left_out=int((table.good & (image < 0)).sum()),
        other_columns=table.other_columns,
    )


def read_samples(path: Path, known: Images, faults: Faults, detect: Detection) -> GazeTable:
    """Reads samples.csv and turns it into fixations, one reader and one image at a time.

    An empty or NaN position is a blink. Times of one reader on one image increase downwards.
    """
    table = Table(path, SAMPLES, faults=faults)
    image = known.positions(table)
    xy, t = table.matrix(("x_px", "y_px")), table.numbers("t_s")
    for axis, column in enumerate(("x_px", "y_px")):
        blink = np.array([cell.lower() in ("", "nan") for cell in table.text(column)], bool)
        _leave_out_non_numbers(table, blink | np.isfinite(xy[:, axis]), (column,))
    _leave_out_non_numbers(table, np.isfinite(t), ("t_s",))
    names, reader = _readers(table)

    kept = np.flatnonzero(table.good & (image >= 0))
    kept = kept[np.lexsort((reader[kept], image[kept]))]  # stable: the file's order within each
    same = (np.diff(image[kept]) == 0) & (np.diff(reader[kept]) == 0)
    late = np.zeros(len(table), bool)
    late[kept[1:]] = same & (np.diff(t[kept]) <= 0)
    table.leave_out(
        late,
        "order of time",
        lambda i: (
            f"t_s is {t[i]:g}, not later than this reader's sample before it; sort the samples by "
            "time, and give a second reading of the same image a reader_id of its own"
        ),
    )
    table.check()

    paths = list(known.paths.values())
    positions, durations, where, who = [], [], [], []
    for group in np.split(kept, 1 + np.flatnonzero(~same)) if len(kept) else ():
        try:
            size = images.image_size(paths[image[group[0]]])
        except images.DecodeError:
            continue  # the preparation names this image when it comes to its pixels
        group = group[table.good[group]]
        centre, duration = detect(t[group], xy[group], longer_side_px=max(size))
        positions.append(centre)
        durations.append(duration)
        where.append(np.full(len(duration), image[group[0]]))
        who.append(np.full(len(duration), reader[group[0]], np.int32))
    duration = np.concatenate([np.zeros(0), *durations])
    nothing = np.full((len(duration), 4), np.nan)
    return GazeTable(
        image=np.concatenate([np.zeros(0, np.int64), *where]),
        gaze=RawGaze(
            np.concatenate([np.zeros((0, 2)), *positions]),
            duration,
            nothing[:, :2],
            nothing,
            np.concatenate([np.zeros(0, np.int32), *who]),
        ),
        reader_names=names,
        left_out=0,
        other_columns=table.other_columns,
    )


def read_readers(path: Path, faults: Faults) -> dict[str, float]:
    """Reads readers.csv: the weight of each reader, 0 or more; who is not listed weighs 1."""
    table = Table(path, READERS, faults=faults)
    names, weights = table.text("reader_id"), table.numbers("weight")
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            raise InputError(f"{table.where(i)}: reader_id {name!r} stands there twice; remove one")
        seen.add(name)
    table.leave_out(
        ~(np.isfinite(weights) & (weights >= 0)),
        "weight",
        lambda i: f"weight is {table.text('weight')[i]!r}; it is a number, 0 or more",
    )
    table.check()
    return {names[i]: float(weights[i]) for i in np.flatnonzero(table.good)}


def read_boxes(
    path: Path, known: Images, label_names: Sequence[str], faults: Faults
) -> tuple[Int[np.ndarray, "m"], Float[np.ndarray, "m 4"], Int[np.ndarray, "m"]]:
    """Reads boxes.csv.

    Returns:
      Position of each box's image; xmin, ymin, xmax, ymax; label column.
    """
    table = Table(path, BOXES, faults=faults)
    image = known.positions(table)
    columns = {name: i for i, name in enumerate(label_names)}
    labels = table.text("label")
    table.leave_out(
        np.array([label not in columns for label in labels], bool),
        "unknown label",
        lambda i: (
            f"label {labels[i]!r} is no column of labels.csv "
            f"({', '.join(label_names) or 'it has none'}); add the column or mend the name"
        ),
    )
    corner, extent = table.matrix(BOXES[2:4]), table.matrix(BOXES[4:])
    _leave_out_non_numbers(
        table, all_of(np.isfinite(corner)) & all_of(np.isfinite(extent)), BOXES[2:]
    )
    end = corner + extent
    table.leave_out(  # of numbers large enough, the sum is the larger one, or infinite
        ~all_of((end > corner) & np.isfinite(end)),
        "size",
        lambda i: "width_px and height_px of a box are above 0",
    )
    table.check()
    rows = table.good & (image >= 0)
    label = np.array([columns.get(label, -1) for label in labels], np.int32)
    return image[rows], np.concatenate([corner, end], 1)[rows], label[rows]


def _readers(table: Table) -> tuple[tuple[str, ...], Int[np.ndarray, "rows"]]:
    """The names in their order, and the place of each row's among them."""
    # not by an array of texts: in one, each takes as much memory as the longest
    cells = table.text("reader_id")
    names = sorted(set(cells))
    place = {name: i for i, name in enumerate(names)}
    return tuple(names), np.fromiter((place[cell] for cell in cells), np.int64, len(cells))


def _optional(table: Table, names: Sequence[str]) -> Float[np.ndarray, "rows c"]:
    """The columns, NaN where the table lacks them; text in a cell is a fault, nothing is not."""
    if names[0] not in table.columns:
        return np.full((len(table), len(names)), np.nan)
    values = table.matrix(names)
    for axis, name in enumerate(names):
        empty = np.array([cell.lower() in ("", "nan") for cell in table.text(name)], bool)
        _leave_out_non_numbers(table, empty | ~np.isnan(values[:, axis]), (name,))
    return values


def _leave_out_non_numbers(
    table: Table, fine: Bool[np.ndarray, "rows"], names: Sequence[str]
) -> None:
    def explain(i: int) -> str:
        found = ", ".join(f"{name} is {table.text(name)[i]!r}" for name in names)
        return f"{found}; a finite number is expected"

    table.leave_out(~fine, "not a number", explain)
