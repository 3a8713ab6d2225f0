"""The evaluation of a segmentation: during its training on validation, at its end on test.

Masks are predicted and compared batch by batch: what is kept of an image is one number a label.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gazax.eval.encode import OfBatch, Split, content_masks, walk
from gazax.eval.record import Part
from gazax.eval.report import Numbers, TestReport, block
from gazax.methods.base import Params, State
from gazax.methods.segmentation import Segmentation
from gazax.metrics.classification import means_of_defined
from gazax.metrics.segmentation import dice, iou
from gazax.metrics.statistics import (
    Resamples,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_statistic,
    paired_difference,
)
from gazax.train.sharding import replicated
from gazax.typing import InputError

METRICS = {"dice": dice, "iou": iou}
FALSE_POSITIVE = "false_positive_rate"
THRESHOLD = 0.5
"""A pixel is predicted where its probability is at least this."""
FRACTIONS = np.arange(1, 10) / 10
"""Of the mean mask's maximum: where its threshold is looked for (ours)."""
Scores = dict[str, np.ndarray]
"""metric -> [n, k]. Overlaps are NaN where the label is not marked in the image; `FALSE_POSITIVE`,
1 where anything is predicted and 0 where nothing is, wherever it is not known to be absent."""


class SegmentationEvaluation:
    """Dice and IoU of each label in the images in which it is marked, and their mean over labels.

    An overlap says nothing of the images that do not have the label, where every mark is wrong.
    There it is the false positive rate that counts: the share of the images in which the label is
    known to be absent that get any mark of it, were it a single pixel.

    Beside them the mean mask: where training images have the label, with the threshold that is
    best on validation. A model that does not beat it has learned where a label is in general.

    Args:
      method: what predicts, and says what is to be found.
      train, validation: splits; the first gives the mean mask, the second its threshold.
      mesh: the devices that predict.
      seed: of the bootstrap.
      label_names: of the planes.

    Raises:
      InputError: a label is marked in no training image.
    """

    def __init__(
        self,
        method: Segmentation,
        *,
        train: Split,
        validation: Split,
        mesh: Mesh,
        seed: int,
        label_names: Sequence[str],
    ) -> None:
        self._mesh = mesh
        self._masks = jax.jit(method.masks, out_shardings=replicated(mesh))
        self._predict = jax.jit(
            lambda params, state, batch: method.predict(params, state, batch) >= THRESHOLD,
            out_shardings=replicated(mesh),
        )
        self._validation = validation
        self._seed = seed
        self._label_names = tuple(label_names)
        self._mean_masks = self._mean_over(train)
        for column, name in enumerate(self._label_names):
            if not self._mean_masks[..., column].any():
                others = ",".join(other for other in self._label_names if other != name)
                raise InputError(
                    f"segmentation with method.target='{method.target}': '{name}' is marked in "
                    f"none of the {len(train.index)} training images; give masks or boxes of it, "
                    f"or leave it out with --config.data.labels={others or 'OTHERS'}."
                )

    def on_validation(self, params: Params, state: State) -> dict[str, float]:
        """Means over validation, of each label and over labels; absent where none is marked."""
        predicted = {"segmentation": functools.partial(self._predict, params, state)}
        scores = self._score(self._validation, predicted, {})["segmentation"]
        values = {}
        for metric in METRICS:
            values[f"validation/{metric}"] = macro(scores[metric])
            for name, column in zip(self._label_names, scores[metric].T, strict=True):
                values[f"validation/{metric}/{name}"] = macro(column[:, None])
        return {name: value for name, value in values.items() if not np.isnan(value)}

    def on_test(
        self, trained: tuple[Params, State], first: tuple[Params, State], test: Split
    ) -> TestReport:
        """The numbers to report.

        Args:
          trained: chosen on validation.
          first: not looked at: before training the decoder is random, and the mean mask says more.
          test: the split that nothing was chosen on.
        """
        part = self.measure(trained, test)
        return TestReport(part.numbers, part.table)

    def measure(self, weights: tuple[Params, State], split: Split) -> Part:
        """Every number of a split, by label and by image.

        Rows: ``segmentation``, ``mean_mask``. Columns: ``dice``, ``iou`` and
        ``false_positive_rate``, means over labels of means over images; with ``/LABEL`` behind
        them, of one label, by images in ``values``; ``dice_per_image`` and ``iou_per_image``, the
        mean over the labels that are marked in an image, by images in ``values``.

        Args:
          weights: parameters and state.
          split: the images to find the labels in.
        """
        model = {"segmentation": functools.partial(self._predict, *weights)}
        mean_mask = self._mean_masks >= self._mean_mask_thresholds()[None, None, :]
        scores = self._score(split, model, {"mean_mask": mean_mask})
        of_model = scores["segmentation"]
        numbers: Numbers = {}
        values: dict[str, np.ndarray] = {}

        for metric in of_model:
            statistics = {row: _resampled_macro(found[metric]) for row, found in scores.items()}
            statistics["segmentation-mean_mask"] = paired_difference(
                statistics["segmentation"], statistics["mean_mask"]
            )
            for row, statistic in statistics.items():
                numbers[f"{row}/{metric}"] = bootstrap_statistic(
                    statistic, split.patient, seed=self._seed
                )
            for row, found in scores.items():
                for name, column in zip(self._label_names, found[metric].T, strict=True):
                    values[f"{row}/{metric}/{name}"] = column
        for metric in METRICS:
            for row, found in scores.items():
                values[f"{row}/{metric}_per_image"] = _mean_over_labels(found[metric])
            numbers[f"segmentation-mean_mask/{metric}_per_image"] = bootstrap_difference(
                values[f"segmentation/{metric}_per_image"],
                values[f"mean_mask/{metric}_per_image"],
                split.patient,
                seed=self._seed,
            )
        for name, of_images in values.items():
            numbers[name] = bootstrap_interval(of_images, split.patient, seed=self._seed)
        numbers = {name: found for name, found in numbers.items() if not np.isnan(found[0])}
        return Part(
            numbers,
            self._table(numbers, of_model),
            {name: of_images[None] for name, of_images in values.items()},
        )

    def _score(
        self, split: Split, predicted: Mapping[str, OfBatch], masks: Mapping[str, np.ndarray]
    ) -> dict[str, Scores]:
        """Scores by row, in the split's order, in one pass over it.

        Args:
          split: its images.
          predicted: row -> what predicts the masks of a batch on the devices.
          masks: row -> [h, w, k] bool, the same for every image.
        """
        metrics = (*METRICS, FALSE_POSITIVE)
        found: dict[str, dict[str, list[np.ndarray]]] = {
            row: {metric: [] for metric in metrics} for row in (*predicted, *masks)
        }
        for true, absent, content, of_batch in self._truth(split, *predicted.values()):
            repeated = (np.broadcast_to(one, true.shape) for one in masks.values())
            marked = true.any(axis=(1, 2))
            for parts, one in zip(found.values(), (*of_batch, *repeated), strict=True):
                for metric, function in METRICS.items():
                    overlap = function(true, one, where=content)
                    parts[metric].append(np.where(marked, overlap, np.nan))
                any_mark = (one & content[..., None]).any(axis=(1, 2))
                parts[FALSE_POSITIVE].append(np.where(absent, any_mark, np.nan))
        return {
            row: {metric: np.concatenate(parts) for metric, parts in of_row.items()}
            for row, of_row in found.items()
        }

    def _truth(
        self, split: Split, *functions: OfBatch
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, tuple[Any, ...]]]:
        """Batch by batch: what is marked, [b, h, w, k]; which labels are absent, [b, k]; the
        content, [b, h, w]; what functions of the batch give."""
        first = (self._masks, functools.partial(content_masks, mesh=self._mesh))
        for _, found in walk(split.batches(), *first, *functions, mesh=self._mesh):
            masks, content, *rest = found
            # An unknown plane, which is NaN, has nothing marked and is not known to be absent.
            absent = (masks == 0).all(axis=(1, 2))
            yield (masks >= 0.5) & content[..., None], absent, content, tuple(rest)

    def _mean_over(self, split: Split) -> np.ndarray:
        """[h, w, k]: the mean of the masks of each label; zeros where it is marked nowhere."""
        total, count = 0.0, 0
        for true, *_ in self._truth(split):
            total = total + true.sum(axis=0, dtype=np.float64)
            count = count + true.any(axis=(1, 2)).sum(axis=0)
        return total / np.maximum(count, 1)

    def _mean_mask_thresholds(self) -> np.ndarray:
        """[k]: of the mean masks, those with the highest Dice on validation."""
        peaks = np.where(self._mean_masks.any(axis=(0, 1)), self._mean_masks.max(axis=(0, 1)), 1.0)
        tried = {
            str(fraction): self._mean_masks >= fraction * peaks[None, None, :]
            for fraction in FRACTIONS
        }
        scores = self._score(self._validation, {}, tried)
        found = [[macro(column[:, None]) for column in one["dice"].T] for one in scores.values()]
        # A label that validation does not have takes the first fraction.
        best = np.nan_to_num(np.array(found), nan=-1.0).argmax(axis=0)
        return FRACTIONS[best] * peaks

    def _table(self, numbers: Numbers, scores: Scores) -> str:
        overlaps = {"dice": "Dice", "iou": "IoU"}
        columns = {**overlaps, FALSE_POSITIVE: "false positives"}
        lines = block(numbers, rows=ROWS, columns=columns)
        lines += block(
            numbers,
            rows=ROWS,
            columns={f"{name}_per_image": f"{title} per image" for name, title in overlaps.items()},
        )
        labels = {
            f"{name}/{metric}": numbers[f"segmentation/{metric}/{name}"]
            for name in self._label_names
            for metric in columns
            if f"segmentation/{metric}/{name}" in numbers
        }
        marked = (~np.isnan(scores["dice"])).sum(axis=0)
        titles = {
            name: f"{name} ({count} images)"
            for name, count in zip(self._label_names, marked, strict=True)
        }
        lines += block(labels, rows=titles, columns=columns)
        absent = (~np.isnan(scores[FALSE_POSITIVE])).sum(axis=0)
        if absent.any():
            of_labels = ", ".join(
                f"{name} {count}" for name, count in zip(self._label_names, absent, strict=True)
            )
            lines.append("false positives: share of the images without a label that get any mark")
            lines.append(f"of it; images without: {of_labels}")
        for name, count in zip(self._label_names, marked, strict=True):
            if not count:
                lines.append(f"{name}: left out of the mean (marked in no image of the test split)")
        return "\n".join(lines)


def make_masks(
    method: Segmentation, params: Params, state: State, *, mesh: Mesh
) -> dict[str, OfBatch]:
    """What makes pictures [b, h, w] of a batch on the devices, of all labels in one.

    Returns:
      ``mask``, the highest of the labels' probabilities; ``marked``, 1 where any label is.
    """

    def picture(planes: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(jnp.nan_to_num(planes).max(-1), replicated(mesh))

    predicted = jax.jit(lambda *given: picture(method.predict(*given)))
    marked = jax.jit(lambda batch: picture(method.masks(batch)))
    return {"mask": functools.partial(predicted, params, state), "marked": marked}


ROWS = {
    "segmentation": "segmentation",
    "mean_mask": "mean training mask",
    "segmentation-mean_mask": "segmentation - mean mask",
}


def macro(values: np.ndarray) -> float:
    """Mean over labels of the mean over images of [n, k]; NaN entries and labels are left out."""
    return float(_resampled_macro(values)(np.ones((1, len(values)), np.int64))[0])


def _resampled_macro(values: np.ndarray) -> Resamples:
    """`macro` of drawn images."""
    known = ~np.isnan(values)
    defined = np.where(known, values, 0.0)

    def of(times: np.ndarray) -> np.ndarray:
        counts, sums = times @ known, times @ defined
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return means_of_defined(means)

    return of


def _mean_over_labels(values: np.ndarray) -> np.ndarray:
    """[n] of [n, k]; NaN entries are left out, and an image that has nothing else is NaN."""
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
