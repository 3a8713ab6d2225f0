"""The evaluation of a classifier: during its training on validation, at its end on test."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from gazax.eval import classification
from gazax.eval.encode import Encoder, OfBatch, Split, walk
from gazax.eval.record import Part
from gazax.eval.report import Numbers, TestReport, block
from gazax.eval.saliency_prediction import PICTURE, make_saliency
from gazax.methods.base import Classifies, Method, Params, PredictsSaliency, State
from gazax.metrics.classification import ResampledRocAuc, accuracy, roc_auc
from gazax.metrics.statistics import bootstrap_statistic, paired_difference
from gazax.train.sharding import replicated
from gazax.typing import Batch, InputError


@runtime_checkable
class ClassifyingMethod(Method, Classifies, Protocol):
    """A method that can be trained, and classifies."""


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
        method: ClassifyingMethod,
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
        self._pictures = make_pictures(method, mesh=mesh)
        self._validation = validation
        self._prior = np.nanmean(self._known(train.label), axis=0, dtype=np.float64)
        self._seed = seed

    def on_validation(self, params: Params, state: State) -> dict[str, float]:
        """Numbers of validation, to follow and to choose by; absent where there is none."""
        scores = self.probabilities((params, state), self._validation)
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
        part = self.measure(trained, test)
        return TestReport(part.numbers, part.table, self._pictures(*trained))

    def probabilities(self, weights: tuple[Params, State], split: Split) -> np.ndarray:
        """[n, k] of a split's images, in its order."""
        return self._predict(*weights, split.batches())

    def measure(self, weights: tuple[Params, State], split: Split) -> Part:
        """Every number of a split.

        Rows: ``classifier``, ``prior`` and ``classifier-prior``, whose columns are those of
        `classification.COLUMNS`, and ``classifier/auc/LABEL``, the AUC of each label.

        Args:
          weights: parameters and state.
          split: its images are classified; thresholds are those of validation.
        """
        label, validation_label = self._known(split.label), self._known(self._validation.label)
        scores = {
            "classifier": tuple(
                self.probabilities(weights, one) for one in (split, self._validation)
            ),
            "prior": tuple(
                np.tile(self._prior, (len(one), 1)) for one in (label, validation_label)
            ),
        }
        statistics = {
            row: classification.statistics(
                of_split,
                label,
                validation_scores=of_validation,
                validation_labels=validation_label,
                exclusive=self._exclusive,
            )
            for row, (of_split, of_validation) in scores.items()
        }
        statistics["classifier-prior"] = {
            name: paired_difference(one, statistics["prior"][name])
            for name, one in statistics["classifier"].items()
        }
        areas = ResampledRocAuc(scores["classifier"][0], label)
        statistics["classifier"] |= {
            f"auc/{name}": functools.partial(areas.of_class, column)
            for column, name in enumerate(self._label_names)
        }
        numbers = {
            f"{row}/{name}": bootstrap_statistic(statistic, split.patient, seed=self._seed)
            for row, of_row in statistics.items()
            for name, statistic in of_row.items()
        }
        numbers = {name: found for name, found in numbers.items() if not np.isnan(found[0])}
        values = {}
        if self._exclusive:
            values = {
                f"{row}/accuracy": classification.correct(of_split[None], label)
                for row, (of_split, _) in scores.items()
            }
        kept = {row: of_split[None] for row, (of_split, _) in scores.items()}
        return Part(numbers, self._table(numbers, label), values, kept)

    def _known(self, label: np.ndarray) -> np.ndarray:
        """The labels as the loss sees them: a class is known where all of its row is."""
        if not self._exclusive:
            return label
        return np.where(np.isnan(label).any(axis=1, keepdims=True), np.nan, label)

    def _table(self, numbers: Numbers, label: np.ndarray) -> str:
        lines = classification.table(numbers, rows=ROWS)
        of_labels = {
            f"classifier/auc/{name}": numbers.get(f"classifier/auc/{name}")
            for name in self._label_names
        }
        lines += block(
            {f"{name}/auc": found for name, found in of_labels.items() if found},
            rows={f"classifier/auc/{name}": name for name in self._label_names},
            columns={"auc": "AUC"},
        )
        return "\n".join([*lines, *classification.left_out(label, self._label_names)])


ROWS = {
    "classifier": "classifier",
    "prior": "prior (shares in training)",
    "classifier-prior": "classifier - prior",
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
            f"leave it out with --config.data.labels={others or 'OTHERS'}, or mend its table or "
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
    method: Classifies, *, mesh: Mesh
) -> Callable[[Params, State, Iterable[Batch]], np.ndarray]:
    """A function from weights and batches to probabilities [n, k], compiled once for all calls."""
    predict = jax.jit(method.predict, out_shardings=replicated(mesh))

    def run(params: Params, state: State, batches: Iterable[Batch]) -> np.ndarray:
        of_batch = functools.partial(predict, params, state)
        return np.concatenate([found for _, (found,) in walk(batches, of_batch, mesh=mesh)])

    return run


def make_explanation(method: Classifies, *, mesh: Mesh) -> Callable[[Params, State], OfBatch]:
    """A function from weights to what explains the prediction for a batch on the devices.

    Grad-CAM of each image's highest logit, [b, h, w]: its grid, bilinearly enlarged to the image.
    """

    @functools.partial(jax.jit, out_shardings=replicated(mesh))
    def explain(params: Params, state: State, batch: Batch) -> jax.Array:
        grid = method.explain(params, state, batch)
        b, height, width, _ = batch["image"].shape
        return jax.image.resize(grid, (b, height, width), "bilinear")

    return lambda params, state: functools.partial(explain, params, state)


def make_attention(method: ClassifyingMethod, *, mesh: Mesh) -> Callable[[Params, State], OfBatch]:
    """A function from weights to where a classifier looks in a batch on the devices, [b, h, w].

    What `Method.encode` says, but for a method whose `encode` gives predicted saliency: there it is
    the evidence for the class, see `make_explanation`.
    """
    if isinstance(method, PredictsSaliency):
        return make_explanation(method, mesh=mesh)
    return Encoder(method, mesh=mesh).attention


def make_pictures(
    method: ClassifyingMethod, *, mesh: Mesh
) -> Callable[[Params, State], dict[str, OfBatch]]:
    """A function from weights to what can be laid over images: attention, and saliency if any."""
    makers = {"attention": make_attention(method, mesh=mesh)}
    if isinstance(method, PredictsSaliency):
        makers[PICTURE] = make_saliency(method, mesh=mesh)
    return lambda params, state: {name: make(params, state) for name, make in makers.items()}
