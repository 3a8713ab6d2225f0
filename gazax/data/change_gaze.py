"""The gaze of training records, changed as `gazax.data.gaze_settings` says.

The same images come at the same places whatever the gaze, so that a run with gaze and its controls
differ in nothing else.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from gazax.data.arrays import ToArrays, find_names
from gazax.data.gaze_settings import GazeSettings
from gazax.data.mean_gaze import MIN_FIXATIONS, fit_fixations, mean_gaze_map
from gazax.data.predicted_gaze import PredictedGaze
from gazax.data.records import Source
from gazax.typing import InputError

Fields = dict[str, np.ndarray]
"""The fixations of one record."""
_RANDOM = 3
"""Sets the draws of positions apart from those of the epochs' orders, which have the same seed."""


class ChangeGaze:
    """Record -> record: the gaze of a training image as the settings want it.

    An image has gaze where a reader who is kept and whose weight is above 0 has fixations on it,
    and `gaze_fraction` keeps it; of any other the fixations are removed. Fixations of an image are
    taken in this order: readers, part, count, sigma, window, then the control that `gaze` asks
    for, then the sum over readers. The mean gaze map is that of the maps made so. Predicted gaze is
    that of one more reader, behind those of the records, whose weight is 1.

    Adding heat maps without normalising them is done by making all fixations those of one reader,
    each with its duration times its reader's weight: a heat map is linear in the durations, so that
    render(w_1 d_1 + w_2 d_2) = w_1 render(d_1) + w_2 render(d_2), and the mean over one reader is
    that reader's map.

    Args:
      source: the training records.
      settings: what to do.
      seed: of the pairing, the random positions and the choice of the images that keep gaze, each
        a function of seed and image id (or index) alone.
      arrays: makes `ToArrays` of weights of readers; the attribute `to_arrays` is the one that
        belongs to the changed records.
      predicted: of the same split, where the settings ask for it. Without it everything can be
        checked, and no image that needs it can be made.

    Raises:
      InputError: a reader is unknown or none of the readers looked at a training image, no other
        image to take gaze from, or too few rows for a map.

    Source: ours; weights and parts of the gaze are varied as the proposal's §2.2.2 leaves open.
    """

    def __init__(
        self,
        source: Source,
        settings: GazeSettings,
        *,
        seed: int,
        arrays: Callable[..., ToArrays],
        predicted: PredictedGaze | None = None,
    ):
        records = source.records
        self.source = source
        self.settings = settings
        self.seed = seed
        self.first = records.indices(source.split).start
        given = arrays().reader_weights
        self.weights = np.ones_like(given) if settings.reader_weights == "equal" else given
        self.kept = np.ones(len(given), bool)
        if settings.readers:
            self.kept[:] = False
            self.kept[find_names("config.data.readers", settings.readers, records.reader_ids)] = (
                True
            )
        self.has_gaze = self._choose_images()
        joined = settings.gaze == "mean" or not settings.normalize_readers
        own_arrays = arrays(reader_weights=self._table(not settings.normalize_readers))
        self.to_arrays = arrays(reader_weights=np.append(self._table(joined), np.float32(1)))
        self.predicted = predicted
        if settings.gaze == "mean" or settings.predictor:
            self._check_rows()
        self.donor = self._pair() if settings.gaze == "shuffled" else None
        self.mean = self._mean_fixations(own_arrays) if settings.gaze == "mean" else None

    def __call__(self, record: dict) -> dict:
        """The record with its fixations changed."""
        position = int(record["index"]) - self.first
        content = record["content"]
        if self.settings.predictor and not self.has_gaze[position]:
            assert self.predicted is not None, "only checks do without it"
            fixations = self.predicted.fixations(position, content)
            fixations["reader"] += len(self.weights)
        elif self.settings.gaze == "none" or not self.has_gaze[position]:
            fixations = _rows(record["fixations"], slice(0))
        elif self.mean is not None:
            fixations = move(self.mean, self._frame, content)
        elif self.donor is not None:
            donor = self.source[self.donor[position]]
            fixations = self._join(move(self._own(donor), donor["content"], content))
        else:
            fixations = self._join(self._own(record))
        if self.settings.gaze == "random":
            fixations = _scatter(fixations, content, (self.seed, int(record["index"]), _RANDOM))
        return record | {"fixations": fixations}

    @property
    def _frame(self) -> Float[np.ndarray, "4"]:
        height, width = self.source.records.size
        return np.array([0, 0, width, height], np.float32)

    def _own(self, record: dict) -> Fields:
        """The fixations of the readers and of the time that count, as they are to be drawn."""
        settings, fixations = self.settings, record["fixations"]
        fixations = _rows(fixations, self.kept[fixations["reader"]])
        if settings.part != "all":
            share = early_share(fixations["duration"], fixations["reader"])
            share = share if settings.part == "early" else 1 - share
            fixations = _rows(fixations | {"share": share}, share > 0)
        share = fixations.pop("share", np.float32(1))
        if settings.weight_by == "count":
            fixations["duration"] = np.ones_like(fixations["duration"])
        fixations["duration"] = (fixations["duration"] * share).astype(np.float32)
        if settings.sigma == "fraction":
            fixations["sigma"] = np.full_like(fixations["sigma"], np.nan)
        if not settings.window:
            fixations["window"] = np.full_like(fixations["window"], np.nan)
        return fixations

    def _join(self, fixations: Fields) -> Fields:
        """All fixations as those of one reader, where readers are added up."""
        if self.settings.normalize_readers:
            return fixations
        reader = fixations["reader"]
        duration = fixations["duration"] * self.weights[reader]
        return fixations | {"duration": duration, "reader": np.zeros_like(reader)}

    def _check_rows(self) -> None:
        if self.to_arrays.max_fixations < MIN_FIXATIONS:
            raise InputError(
                f"config.data.gaze='{self.settings.gaze}' draws a map with {MIN_FIXATIONS} "
                "fixations or more: set config.data.max_fixations to that (it is "
                f"{self.to_arrays.max_fixations})"
            )

    def _table(self, joined: bool) -> Float[np.ndarray, "n"]:
        """The weight of each reader of a changed record."""
        return np.ones_like(self.weights) if joined else self.weights

    def _choose_images(self) -> Bool[np.ndarray, "n"]:
        """Which images of the split have gaze, by position."""
        records, settings = self.source.records, self.settings
        counts = self.kept & (self.weights > 0)
        indices = records.indices(self.source.split)
        looked = [any(counts[r] for r in records.readers[i]) for i in indices]
        candidates = np.flatnonzero(looked)
        if settings.readers and not len(candidates):
            raise InputError(
                f"config.data.readers is {settings.readers} and none of them, with a weight above "
                "0, looked at a training image; choose others or leave it empty"
            )
        number = round(settings.gaze_fraction * len(candidates))
        if settings.gaze_fraction > 0 and len(candidates):
            number = max(number, 1)
        chosen = np.zeros(len(indices), bool)
        chosen[self._ranked(candidates, "gaze_fraction")[:number]] = True
        return chosen

    def _pair(self) -> Int[np.ndarray, "n"]:
        """Whose gaze each image gets: one cycle through all that have gaze, in an order by hash."""
        ring = self._ranked(self._positions(2), "shuffled")
        donor = np.full(len(self.has_gaze), -1)
        donor[ring] = np.roll(ring, -1)
        return donor

    def _mean_fixations(self, arrays: ToArrays) -> Fields:
        """Fixations that draw the mean gaze map of the images with gaze, in the whole frame."""
        positions = self._positions(1)

        def examples() -> Iterator[tuple[Fields, Any]]:
            for position in positions:
                record = self.source[position]
                changed = record | {"fixations": self._join(self._own(record))}
                example = arrays(changed, place=0, weight=1.0)
                fixations: Any = example["fixations"]
                yield move(fixations, record["content"], self._frame), example["reader_weight"]

        mean = mean_gaze_map(examples(), size=self.source.records.size)
        return fit_fixations(mean, arrays.max_fixations)

    def _positions(self, at_least: int) -> Int[np.ndarray, "m"]:
        positions = np.flatnonzero(self.has_gaze)
        if len(positions) < at_least:
            raise InputError(
                f"config.data.gaze='{self.settings.gaze}' needs {at_least} or more training images "
                f"with gaze and there are {len(positions)} (of {len(self.has_gaze)}, under these "
                "settings); use more gaze or config.data.gaze='none'"
            )
        return positions

    def _ranked(self, positions: Sequence[int] | np.ndarray, purpose: str) -> np.ndarray:
        """Positions in the order of a hash of seed and image id."""
        ids = self.source.records.image_ids

        def digest(position: Any) -> bytes:
            name = ids[self.first + position]
            return hashlib.sha256(f"{purpose} {self.seed} {name}".encode()).digest()

        return np.array(sorted(positions, key=digest), np.int64)


def early_share(
    duration: Float[np.ndarray, "f"], reader: Int[np.ndarray, "f"]
) -> Float[np.ndarray, "f"]:
    """Of each fixation, the part that lies in the first half of its reader's total duration.

    Args:
      duration: seconds, each reader's in order of time.
      reader: whose it is.

    Returns:
      0 to 1; of [1, 2, 1] s by one reader it is [1, .5, 0]. The late half has the rest. Where all
      of a reader's fixations last 0, they are taken to last the same.
    """
    share = np.zeros(len(duration))
    for one in np.unique(reader):
        own = reader == one
        lasts = duration[own].astype(np.float64)
        lasts = lasts if lasts.any() else np.ones_like(lasts)
        end = lasts.cumsum()
        left = end[-1] / 2 - (end - lasts)  # of the half, when the fixation begins
        parts = np.divide(left, lasts, out=np.where(left > 0, 1.0, 0.0), where=lasts > 0)
        share[own] = parts.clip(0, 1)
    return share.round(6)  # a sum of decimals that misses the middle by an ulp is no fixation


def move(fixations: Fields, content: Float[np.ndarray, "4"], to: Float[np.ndarray, "4"]) -> Fields:
    """Carries fixations from one content rectangle to another, in proportion.

    A sigma or a window that is not given (NaN) stays so.
    """
    content, to = content.astype(np.float64), to.astype(np.float64)
    scale = (to[2:] - to[:2]) / (content[2:] - content[:2])

    def carry(points: np.ndarray) -> np.ndarray:
        pairs = (points.reshape(-1, 2) - content[None, :2]) * scale[None] + to[None, :2]
        return pairs.reshape(points.shape).astype(np.float32)

    sigma = (fixations["sigma"] * scale[None]).astype(np.float32)
    moved = {"xy": carry(fixations["xy"]), "sigma": sigma, "window": carry(fixations["window"])}
    return fixations | moved


def _scatter(fixations: Fields, content: Float[np.ndarray, "4"], seeds: tuple[int, ...]) -> Fields:
    """Positions uniform over the content, where anything could be seen."""
    number = len(fixations["duration"])
    words = np.random.Philox(np.random.SeedSequence(seeds)).random_raw(2 * number)
    unit = (words >> np.uint64(11)).reshape(number, 2) * 2.0**-53
    xy = content[None, :2] + unit * (content[2:] - content[:2])[None]
    window = np.full_like(fixations["window"], np.nan)
    return fixations | {"xy": xy.astype(np.float32), "window": window}


def _rows(fixations: Fields, rows: Any) -> Fields:
    return {name: values[rows] for name, values in fixations.items()}
