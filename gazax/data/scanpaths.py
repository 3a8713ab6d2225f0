"""Scanpaths of training images, as small arrays of a fixed size that pairs can be compared by.

An image has one scanpath: the fixations, in order of time, of the one of its readers who has the
most of them (of equal ones the lower slot; readers of weight 0 do not count). It is taken of the
gaze that training uses. Where several readers' fixations are added up as one's
(config.data.normalize_readers=False), they follow each other; fixations that draw a map, the mean
one or a predicted one, are no scanpath, and are taken row by row.

The unit of length is the diagonal of the image's content, which stands for the screen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gazax.config import choose
from gazax.typing import SCANPATH_COLUMNS, Batch, InputError, Scanpath, Size

MERGE = 40 / 800
"""Published: fixations nearer than this, in x and in y, are one; of the content's longer side."""
DIRECTION = 45.0
"""Published: degrees; saccades that turn by less are one."""
AMPLITUDE = 160 / math.hypot(1920, 1080)
"""Published: 160 px of a screen of 1920 x 1080; of the content's diagonal."""
DURATION = 100 / 60
"""Published: 100 samples of the eye tracker; s at 60 Hz (ours: the rate is not said). Longer
fixations are not left out."""
REACH, SHARE = 0.2, 10
"""Published: of DBSCAN, eps, and the part of all points that is the fewest of a core's."""
GRID = 32


class Saccade(NamedTuple):
    """A row of a simplified scanpath; lengths in diagonals of the content."""

    x: float
    y: float
    dx: float
    dy: float
    duration: float
    """Of the fixation that it starts from, s."""

    @property
    def length(self) -> float:
        """Euclidean."""
        return math.hypot(self.dx, self.dy)


@dataclass(frozen=True)
class Describe:
    """Example -> its scanpath, padded to a fixed length.

    Args:
      measure: 'multimatch', steps are `Saccade` rows, or 'tima', rows (M00, Hu) of clusters.
      length: s of the batch.
      image_ids: by `index`, for the message.

    Raises:
      InputError: a measure that compares no scanpaths; when called, a scanpath that is longer.
    """

    measure: str
    length: int
    image_ids: Sequence[str]

    def __post_init__(self) -> None:
        """Values are typed by people, in configs."""
        choose("config.method.partners.measure", self.measure, SCANPATH_COLUMNS)

    def __call__(self, example: Batch) -> Scanpath:
        """Of one example, without the batch axis; one without gaze has a count of 0."""
        rows = scanpath(example, self.measure)
        if len(rows) > self.length:
            raise InputError(
                f"image {self.image_ids[int(example['index'])]!r} has a scanpath of {len(rows)} "
                f"steps and a batch holds {self.length}: set config.method.partners.length to "
                f"{len(rows)} or more, or to 0 for what the longest needs (nothing is cut off "
                "silently)"
            )
        steps = np.zeros((self.length, SCANPATH_COLUMNS[self.measure]), np.float32)
        steps[: len(rows)] = rows
        return {"steps": steps, "count": np.int32(len(rows))}  # type: ignore[return-value]


def scanpath(example: Batch, measure: str) -> Float[np.ndarray, "s k"]:
    """The steps of an example's scanpath, as many as there are, see `Describe`."""
    fixations = {name: np.asarray(rows) for name, rows in example["fixations"].items()}
    reader = fixations["reader"]
    counts = np.bincount(reader[reader >= 0], minlength=1)
    counts[np.asarray(example["reader_weight"])[: len(counts)] <= 0] = 0
    own = reader == counts.argmax() if counts.any() else np.zeros(len(reader), bool)
    fixations = {name: rows[own] for name, rows in fixations.items()}
    xmin, ymin, xmax, ymax = np.asarray(example["content"], np.float64).tolist()
    width, height = xmax - xmin, ymax - ymin
    xy = fixations["xy"].astype(np.float64) - np.array([[xmin, ymin]])
    if measure == "tima":
        size = np.asarray(example["image"]).shape[:2]
        rows = [
            _moments({name: rows[chosen] for name, rows in fixations.items()}, size)
            for chosen in clusters(xy / np.array([[width, height]]))
        ]
    else:
        diagonal = math.hypot(width, height)
        merged = merge(
            xy / diagonal,
            fixations["duration"].astype(np.float64),
            nearer=MERGE * max(width, height) / diagonal,
        )
        rows = simplify(*merged)
    return np.array(rows, np.float32).reshape(-1, SCANPATH_COLUMNS[measure])


def merge(
    xy: Float[np.ndarray, "f 2"], duration: Float[np.ndarray, "f"], *, nearer: float
) -> tuple[Float[np.ndarray, "g 2"], Float[np.ndarray, "g"]]:
    """Fixations near the first of those before them, made one with it.

    Args:
      xy, duration: in order of time.
      nearer: merged are those that lie nearer than this both in x and in y.

    Returns:
      Positions of the first of each, and their durations together.

    Source: McGIP's code, of samples; that the last run counts is ours (there it is lost).
    """
    first: list[int] = []
    total: list[float] = []
    for f in range(len(xy)):
        if first and np.abs(xy[f] - xy[first[-1]]).max() < nearer:
            total[-1] += duration[f]
        else:
            first.append(f)
            total.append(float(duration[f]))
    return xy[first].reshape(-1, 2), np.array(total, np.float64)


def simplify(
    xy: Float[np.ndarray, "f 2"],
    duration: Float[np.ndarray, "f"],
    *,
    amplitude: float = AMPLITUDE,
    direction: float = DIRECTION,
    longest: float = DURATION,
) -> list[Saccade]:
    """Saccades of a scanpath, with those joined that hardly turn or that are short.

    One after the other until nothing changes: two saccades that turn by less than `direction`
    are joined where the fixation between them lasts less than `longest`; a saccade shorter than
    `amplitude` is joined with the next one (the last with the one before), where one of the
    fixations that it lies between lasts less than `longest`.

    Args:
      xy, duration: in order of time.
      amplitude: in the unit of xy.
      direction: degrees.
      longest: s.

    Returns:
      The saccades, at least one; of fewer than three fixations none.

    Source: MultiMatch's simplification as in multimatch_gaze 0.1.3, whose numbers it gives, to the
    letter: where the last saccade is joined with one that was joined in the same round, only the
    last two vectors make the new one, and a round that joins but the end may be the last. One
    saccade is left alone, as in McGIP (there it is an error).
    """
    if len(xy) < 3:
        return []
    saccades = [
        Saccade(*map(float, (*start, *vector, lasts)))
        for start, vector, lasts in zip(xy, np.diff(xy, axis=0), duration, strict=False)
    ]
    number = len(saccades)
    while True:
        saccades = _join_straight(saccades, direction, longest)
        saccades, end_joined = _join_short(saccades, float(duration[-1]), amplitude, longest)
        # Counted as there, by durations, of which the joined end leaves one too many.
        if len(saccades) + end_joined == number:
            return saccades
        number = len(saccades) + end_joined


def _join_straight(saccades: list[Saccade], direction: float, longest: float) -> list[Saccade]:
    """Those joined, two by two, that turn by little, with a short fixation between."""
    joined, i = [], 0
    while i < len(saccades):
        both = saccades[i : i + 2]
        if len(both) == 2 and _turn(*both) < direction and both[1].duration < longest:
            joined.append(_sum(*both))
            i += 2
        else:
            joined.append(both[0])
            i += 1
    return joined


def _join_short(
    saccades: list[Saccade], last: float, amplitude: float, longest: float
) -> tuple[list[Saccade], bool]:
    """Short ones joined with the next, near a short fixation, and whether the end was joined."""
    if len(saccades) < 2:
        return saccades, False
    ends = [saccade.duration for saccade in saccades[1:]] + [last]
    joined, i = [], 0
    while i < len(saccades):
        own = saccades[i]
        short = own.length < amplitude and min(own.duration, ends[i]) < longest
        if short and i + 1 == len(saccades):
            two = _sum(*saccades[-2:])
            joined[-1] = joined[-1]._replace(dx=two.dx, dy=two.dy)
            return joined, True
        joined.append(_sum(own, saccades[i + 1]) if short else own)
        i += 2 if short else 1
    return joined, False


def _sum(one: Saccade, other: Saccade) -> Saccade:
    """From where the one starts."""
    return one._replace(dx=one.dx + other.dx, dy=one.dy + other.dy)


def _turn(one: Saccade, other: Saccade) -> float:
    """Degrees between two saccades; infinite where one has no length."""
    lengths = one.length * other.length
    if not lengths:
        return math.inf
    cosine = (one.dx * other.dx + one.dy * other.dy) / lengths
    return math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))


def clusters(xy: Float[np.ndarray, "f 2"]) -> list[np.ndarray]:
    """Fixations that are near each other in place and in time, as indices.

    DBSCAN on (x, y, t / f), t counting the fixations, with eps .2 and f // 10 + 1 points to a core.

    Args:
      xy: in shares of the content's width and height, in order of time.

    Returns:
      Clusters in the order of their first core; what is noise is in none.

    Source: the spatio-temporal measure of GzPT's code. There it takes samples, here fixations, so
    that of five or fewer each is a cluster; x is a share of the width and y of the height (there
    it is the other way round).
    """
    from sklearn.cluster import DBSCAN  # only here: it takes a while to import

    if not len(xy):
        return []
    points = np.column_stack([xy, np.arange(len(xy)) / len(xy)])
    found = DBSCAN(eps=REACH, min_samples=len(xy) // SHARE + 1).fit(points).labels_
    return [np.flatnonzero(found == cluster) for cluster in range(found.max() + 1)]


def _moments(fixations: dict[str, np.ndarray], size: Size) -> tuple[float, float]:
    """`gazax.ops.gaze_similarity.moments` of the gaze map of fixations; on the host, in numpy."""
    height, width = size
    lower, upper = np.split(fixations["window"].astype(np.float64), 2, axis=1)

    def profile(axis: int, length: int) -> np.ndarray:
        centre = np.arange(length)[None] + 0.5
        z = (centre - fixations["xy"][:, axis, None]) / fixations["sigma"][:, axis, None]
        inside = (centre >= lower[:, axis, None]) & (centre < upper[:, axis, None])
        return np.where(inside, np.exp(-0.5 * z**2), 0.0)

    rows = profile(1, height) * fixations["duration"][:, None]
    columns = profile(0, width)
    heat = rows.T @ columns
    low, high = heat.min(), heat.max()
    if high <= low:
        return 0.0, 0.0
    pooled = _pooled(rows).T @ _pooled(columns)  # pooling is linear in rows and in columns
    mass = (pooled - low) / (high - low)
    total = mass.sum()
    i, j = np.indices(mass.shape)
    centre = (mass * i).sum() / total, (mass * j).sum() / total
    square = (i - centre[0]) ** 2 + (j - centre[1]) ** 2
    return float(total), float((mass * square).sum() / total**2)


def _pooled(lines: Float[np.ndarray, "f n"]) -> Float[np.ndarray, "f cells"]:
    """Means over the cells of a grid, with pixels split by area."""
    sums = np.pad(lines.cumsum(axis=1), ((0, 0), (1, 0)))
    length = lines.shape[1]
    edges = np.arange(GRID + 1) * (length / GRID)
    at_edges = np.stack([np.interp(edges, np.arange(length + 1), line) for line in sums])
    return np.diff(at_edges, axis=1) * (GRID / length)
