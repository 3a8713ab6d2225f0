"""The evaluation of a classifier: during its training on validation, at its end on test."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from gazax.eval.encode import Split, make_encoder
from gazax.eval.report import Numbers, TestReport, block
from gazax.methods.base import Params, State
from gazax.methods.supervised import Supervised
from gazax.metrics.classification import ResampledRocAuc, accuracy, f1, f1_thresholds, roc_auc
from gazax.metrics.statistics import bootstrap_statistic
from gazax.train.sharding import batch_sharding, place_batch, replicated
from gazax.typing import Batch, InputError

Statistic = Callable[[np.ndarray], float]
"""From row numbers, some of them repeated, to a number."""


class ClassificationEvaluation:
    """How well labels are told apart, beside a prior that knows nothing of the image.

    The prior gives every image the labels' shares in training. A label of which a split has one
    value only has no AUC; it is named and left out of macro means.

    Args:
      method: what predicts.
      train, validation: splits; the first gives the prior, the second the thresholds of F1.
      mesh: the devices that predict.
      seed: of the bootstrap.
      label_names: of the columns of the splits' labels.

    Raises:
      InputError: there is no label column, one has a single value in training, or, where labels
        exclude each other, a row is not one-hot.
    """

    def __init__(
        self,
        method: Supervised,
        *,
        train: Split,
        validation: Split,
        mesh: Mesh,
        seed: int,
        label_names: Sequence[str],
    ) -> None:
        self._exclusive = method.task == "multiclass"
        self._label_names = tuple(label_names)
        check_labels(train.label, self._label_names, exclusive=self._exclusive)
        self._predict = make_predictor(method, mesh=mesh)
        self._encode = make_encoder(method, mesh=mesh)
        self._validation = validation
        self._prior = np.nanmean(self._known(train.label), axis=0, dtype=np.float64)
        self._seed = seed

    def on_validation(self, params: Params, state: State) -> dict[str, float]:
        """Numbers of validation, to follow and to choose by; absent where there is none."""
        scores = self._predict(params, state, self._validation.batches())
        label = self._known(self._validation.label)
        areas = roc_auc(scores, label)
        values = {"auc_macro": areas["macro"], "auc_micro": areas["micro"]}
        if self._exclusive:
            values["accuracy"] = accuracy(scores, label)
        return {f"validation/{k}": float(v) for k, v in values.items() if not np.isnan(v)}

    def on_test(
        self, trained: tuple[Params, State], first: tuple[Params, State], test: Split
    ) -> TestReport:
        """The numbers to report.

        Args:
          trained: chosen on validation.
          first: not looked at: before training the head is random, and the prior says more.
          test: the split that nothing was chosen on.
        """
        validation_scores = self._predict(*trained, self._validation.batches())
        scores = self._predict(*trained, test.batches())
        label = self._known(test.label)
        both = [len(np.unique(column[~np.isnan(column)])) > 1 for column in label.T]
        statistics = {
            "classifier": self._statistics(scores, validation_scores, label, np.array(both)),
            "prior": self._statistics(
                np.tile(self._prior, (len(label), 1)),
                np.tile(self._prior, (len(self._validation.label), 1)),
                label,
                np.array(both),
            ),
        }
        statistics["classifier-prior"] = {
            name: functools.partial(_difference, one, statistics["prior"][name])
            for name, one in statistics["classifier"].items()
        }
        areas = ResampledRocAuc(scores, label)
        statistics["classifier"] |= {
            f"auc/{name}": functools.partial(areas.of_class, column)
            for column, name in enumerate(self._label_names)
        }
        numbers = {
            f"{row}/{name}": bootstrap_statistic(statistic, test.patient, seed=self._seed)
            for row, of_row in statistics.items()
            for name, statistic in of_row.items()
        }
        numbers = {name: found for name, found in numbers.items() if not np.isnan(found[0])}
        attention = self._encode(*trained, test.batches()).attention
        return TestReport(numbers, self._table(numbers, label), {"attention": attention})

    def _statistics(
        self,
        scores: np.ndarray,
        validation_scores: np.ndarray,
        label: np.ndarray,
        both: np.ndarray,
    ) -> dict[str, Statistic]:
        """Statistics of the rows of test; `both` says which labels have both values there."""
        areas = ResampledRocAuc(scores, label)
        if self._exclusive:
            called, thresholds = np.eye(scores.shape[1])[scores.argmax(axis=1)], np.ones(both.size)
        else:
            thresholds = f1_thresholds(validation_scores, self._validation.label)
            # None was found for a label that no image of validation has.
            called, thresholds = scores, np.where(np.isnan(thresholds), 0.5, thresholds)

        def f1_macro(rows: np.ndarray) -> float:
            return f1(called[rows][:, both], label[rows][:, both], thresholds=thresholds[both])[
                "macro"
            ]

        statistics: dict[str, Statistic] = {
            "auc_macro": areas.macro,
            "auc_micro": areas.micro,
            "f1_macro": f1_macro,
        }
        if self._exclusive:
            statistics["accuracy"] = lambda rows: accuracy(scores[rows], label[rows])
        return statistics

    def _known(self, label: np.ndarray) -> np.ndarray:
        """The labels as the loss sees them: a class is known where all of its row is."""
        if not self._exclusive:
            return label
        return np.where(np.isnan(label).any(axis=1, keepdims=True), np.nan, label)

    def _table(self, numbers: Numbers, label: np.ndarray) -> str:
        lines = block(numbers, rows=ROWS, columns=COLUMNS)
        of_labels = {
            f"classifier/auc/{name}": numbers.get(f"classifier/auc/{name}")
            for name in self._label_names
        }
        lines += block(
            {f"{name}/auc": found for name, found in of_labels.items() if found},
            rows={f"classifier/auc/{name}": name for name in self._label_names},
            columns={"auc": "AUC"},
        )
        for name, column in zip(self._label_names, label.T, strict=True):
            values = np.unique(column[~np.isnan(column)])
            if values.size < 2:
                has = f"it is {values[0]:g} wherever it is known" if values.size else "unknown"
                lines.append(f"{name}: left out of macro means ({has} in the test split)")
        return "\n".join(lines)


ROWS = {
    "classifier": "classifier",
    "prior": "prior (shares in training)",
    "classifier-prior": "classifier - prior",
}
COLUMNS = {
    "auc_macro": "macro AUC",
    "auc_micro": "micro AUC",
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
}


def check_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Refuses labels that nothing can be learned from.

    Args:
      counts: label -> how many training images have it `present` and `absent`.
    """
    if not counts:
        raise InputError(
            "classification needs labels and labels.csv has no label column; add one (1, 0 or "
            "empty), or pretrain without labels."
        )
    for name, count in counts.items():
        present, absent = count["present"], count["absent"]
        if present and absent:
            continue
        found = "only 1: it is constant" if present else "only 0: the class is absent"
        others = ",".join(other for other in counts if other != name)
        raise InputError(
            f"label '{name}' has {found if present + absent else 'no known value'} in the training "
            f"split ({present} present, {absent} absent), so that nothing can be learned of it; "
            f"leave it out with --config.data.labels={others or 'OTHERS'}, or mend labels.csv or "
            "its split."
        )


def check_labels(label: np.ndarray, label_names: Sequence[str], *, exclusive: bool) -> None:
    """`check_counts`, and for labels that exclude each other that an image has one and no more.

    Args:
      label: [n, k] of the training split.
      label_names: of its columns.
      exclusive: whether every image has one label and no more.
    """
    if not label_names:
        check_counts({})
    if exclusive:
        known = ~np.isnan(label).any(axis=1)
        wrong = np.flatnonzero(known & (label.sum(axis=1) != 1))
        if wrong.size:
            row = label[wrong[0]]
            found = (
                ", ".join(name for name, one in zip(label_names, row, strict=True) if one)
                or "none of them"
            )
            raise InputError(
                f"method.task='multiclass' wants one label an image; {wrong.size} training images "
                f"have another number of them, the first one {found}: take "
                "method.task='multilabel'."
            )
        label = label[known]
    check_counts(
        {
            name: {"present": int((column == 1).sum()), "absent": int((column == 0).sum())}
            for name, column in zip(label_names, label.T, strict=True)
        }
    )


def make_predictor(
    method: Supervised, *, mesh: Mesh
) -> Callable[[Params, State, Iterable[Batch]], np.ndarray]:
    """A function from weights and batches to probabilities [n, k], compiled once for all calls."""
    predict = jax.jit(method.predict, out_shardings=replicated(mesh))

    def run(params: Params, state: State, batches: Iterable[Batch]) -> np.ndarray:
        found = []
        for batch in batches:
            real = batch["weight"] > 0
            of_batch = predict(params, state, place_batch(batch, batch_sharding(mesh)))
            found.append(np.asarray(of_batch)[real])
        return np.concatenate(found)

    return run


def _difference(one: Statistic, other: Statistic, rows: np.ndarray) -> float:
    return one(rows) - other(rows)
