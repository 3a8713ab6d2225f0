"""The evaluation of a segmentation: during its training on validation, at its end on test.

Masks are predicted and compared batch by batch: what is kept of an image is one number a label.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from gazax.eval.encode import Split
from gazax.eval.report import Numbers, TestReport, block
from gazax.methods.base import Params, State
from gazax.methods.segmentation import Segmentation
from gazax.metrics.segmentation import dice, iou
from gazax.metrics.statistics import bootstrap_interval, bootstrap_statistic
from gazax.train.sharding import batch_sharding, place_batch, replicated
from gazax.typing import Batch, InputError

METRICS = {"dice": dice, "iou": iou}
THRESHOLD = 0.5
"""A pixel is predicted where its probability is at least this."""
FRACTIONS = np.arange(1, 10) / 10
"""Of the mean mask's maximum: where its threshold is looked for (ours)."""
Scores = dict[str, np.ndarray]
"""metric -> [n, k]; NaN where the label is not marked in the image."""


class SegmentationEvaluation:
    """Dice and IoU of each label in the images in which it is marked, and their mean over labels.

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
        self._place = batch_sharding(mesh)
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
        values = {}
        for metric, found in self._score_model(params, state, self._validation).items():
            values[f"validation/{metric}"] = macro(found)
            for name, column in zip(self._label_names, found.T, strict=True):
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
        mean_masks = self._mean_masks >= self._mean_mask_thresholds()[None, None, :]
        model = self._score_model(*trained, test)
        baseline = self._score(lambda batch: _repeat(mean_masks, batch), test)
        numbers: Numbers = {}
        for metric in METRICS:
            of_model, of_baseline = model[metric], baseline[metric]
            statistics = {
                "segmentation": lambda rows, one=of_model: macro(one[rows]),
                "mean_mask": lambda rows, one=of_baseline: macro(one[rows]),
                "segmentation-mean_mask": lambda rows, one=of_model, other=of_baseline: (
                    macro(one[rows]) - macro(other[rows])
                ),
            }
            for name, statistic in statistics.items():
                numbers[f"{name}/{metric}"] = bootstrap_statistic(
                    statistic, test.patient, seed=self._seed
                )
            for name, column in zip(self._label_names, of_model.T, strict=True):
                numbers[f"segmentation/{metric}/{name}"] = bootstrap_interval(
                    column, test.patient, seed=self._seed
                )
        numbers = {name: found for name, found in numbers.items() if not np.isnan(found[0])}
        marked = (~np.isnan(model["dice"])).sum(axis=0)
        return TestReport(numbers, self._table(numbers, marked))

    def _score_model(self, params: Params, state: State, split: Split) -> Scores:
        def predicted(batch: Batch) -> np.ndarray:
            return np.asarray(self._predict(params, state, place_batch(batch, self._place)))

        return self._score(predicted, split)

    def _score(self, predicted: Callable[[Batch], np.ndarray], split: Split) -> Scores:
        """Scores of what is predicted of a batch, in the split's order."""
        found: dict[str, list[np.ndarray]] = {metric: [] for metric in METRICS}
        for batch, true, content in self._truth(split):
            masks = predicted(batch)[batch["weight"] > 0]
            marked = true.any(axis=(1, 2))
            for metric, function in METRICS.items():
                values = function(true, masks, where=content)
                found[metric].append(np.where(marked, values, np.nan))
        return {metric: np.concatenate(parts) for metric, parts in found.items()}

    def _truth(self, split: Split) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
        """Each batch, what is marked in its images [b, h, w, k] and their content [b, h, w]."""
        row = 0
        for batch in split.batches():
            masks = np.asarray(self._masks(place_batch(batch, self._place)))
            masks = masks[batch["weight"] > 0]
            content = split.content[row : row + len(masks)]
            row += len(masks)
            # An unknown plane, which is NaN, has nothing marked.
            yield batch, (masks >= 0.5) & content[..., None], content

    def _mean_over(self, split: Split) -> np.ndarray:
        """[h, w, k]: the mean of the masks of each label; zeros where it is marked nowhere."""
        total, count = 0.0, 0
        for _, true, _ in self._truth(split):
            total = total + true.sum(axis=0, dtype=np.float64)
            count = count + true.any(axis=(1, 2)).sum(axis=0)
        return total / np.maximum(count, 1)

    def _mean_mask_thresholds(self) -> np.ndarray:
        """[k]: of the mean masks, those with the highest Dice on validation."""
        peaks = np.where(self._mean_masks.any(axis=(0, 1)), self._mean_masks.max(axis=(0, 1)), 1.0)
        tried = []
        for fraction in FRACTIONS:
            masks = self._mean_masks >= fraction * peaks[None, None, :]
            found = self._score(lambda batch, masks=masks: _repeat(masks, batch), self._validation)
            tried.append([macro(column[:, None]) for column in found["dice"].T])
        # A label that validation does not have takes the first fraction.
        best = np.nan_to_num(np.array(tried), nan=-1.0).argmax(axis=0)
        return FRACTIONS[best] * peaks

    def _table(self, numbers: Numbers, marked: np.ndarray) -> str:
        columns = {"dice": "Dice", "iou": "IoU"}
        lines = block(numbers, rows=ROWS, columns=columns)
        labels = {
            f"{name}/{metric}": numbers[f"segmentation/{metric}/{name}"]
            for name in self._label_names
            for metric in METRICS
            if f"segmentation/{metric}/{name}" in numbers
        }
        titles = {
            name: f"{name} ({count} images)"
            for name, count in zip(self._label_names, marked, strict=True)
        }
        lines += block(labels, rows=titles, columns=columns)
        for name, count in zip(self._label_names, marked, strict=True):
            if not count:
                lines.append(f"{name}: left out of the mean (marked in no image of the test split)")
        return "\n".join(lines)


ROWS = {
    "segmentation": "segmentation",
    "mean_mask": "mean training mask",
    "segmentation-mean_mask": "segmentation - mean mask",
}


def macro(values: np.ndarray) -> float:
    """Mean over labels of the mean over images of [n, k]; NaN entries and labels are left out."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    return float((sums[counts > 0] / counts[counts > 0]).mean()) if counts.any() else np.nan


def _repeat(masks: np.ndarray, batch: Batch) -> np.ndarray:
    return np.broadcast_to(masks, (len(batch["weight"]), *masks.shape))
