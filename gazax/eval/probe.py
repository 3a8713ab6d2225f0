"""Linear probe: what a linear classifier reads off frozen features."""

import dataclasses
import functools
import warnings

import numpy as np
from jaxtyping import Float, Real
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from gazax.metrics.classification import roc_auc
from gazax.typing import InputError

REGULARISATION = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""C of scikit-learn: the inverse of the L2 penalty of the sum of the losses (ours)."""

_FLOOR = 1e-12
"""Of a probability in a log loss."""
_SMALL = 2**20
"""Numbers in features up to which one thread is used: L-BFGS on little data does little but wait
for its threads, 15 times as long as the work takes (10 to 960 rows of 96, two busy cores)."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """Logistic regression on standardised features.

    Attributes:
      scaler: standardises.
      classifiers: one a label; a number where training knows one value of it only (.5: none).
        Where labels exclude each other: a single one, of all classes.
      num_labels: k.
    """

    scaler: StandardScaler
    classifiers: tuple[LogisticRegression | float, ...] | LogisticRegression
    num_labels: int

    def score(self, features: Real[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Probabilities.

        They sum to 1 where labels exclude each other; a class that training does not have gets 0.
        A label of one value in training gets that value, one that is never known .5.
        """
        probabilities = np.zeros((len(features), self.num_labels))
        if not len(features):
            return probabilities
        x = self.scaler.transform(_float64(features))
        if isinstance(self.classifiers, LogisticRegression):
            probabilities[:, self.classifiers.classes_] = self.classifiers.predict_proba(x)
            return probabilities
        for column, one in enumerate(self.classifiers):
            known = isinstance(one, float)
            probabilities[:, column] = one if known else expit(one.decision_function(x))
        return probabilities


def fit_probe(
    features: Real[np.ndarray, "n d"],
    labels: Real[np.ndarray, "n k"],
    *,
    inverse_penalty: float,
    exclusive: bool = False,
    scaler: StandardScaler | None = None,
) -> Probe:
    """Fits a probe to training features.

    Args:
      features: on any scale.
      labels: 1, 0 or NaN (left out).
      inverse_penalty: C.
      exclusive: the rows of labels are one-hot (or NaN: left out): one multinomial regression
        rather than one a label.
      scaler: fitted to other features, such as those of images whose labels are not to be used;
        None fits it to these.

    Raises:
      InputError: there is no feature row.
    """
    scaler, x = _scaled(features, scaler)
    return _fit(scaler, x, labels, inverse_penalty=inverse_penalty, exclusive=exclusive)


def choose_probe(
    features: Real[np.ndarray, "n d"],
    labels: Real[np.ndarray, "n k"],
    validation_features: Real[np.ndarray, "m d"],
    validation_labels: Real[np.ndarray, "m k"],
    *,
    exclusive: bool = False,
    scaler: StandardScaler | None = None,
) -> tuple[Probe, float]:
    """The probe of the penalty that does best on validation, and its macro AUC there.

    Best is the highest macro AUC; where labels exclude each other, the lowest log loss. An AUC
    does not see the scale of the weights: with the strongest penalty, which often ranks best, the
    classes' shares decide which one is largest, and the accuracy suffers. Of equally good
    penalties the strongest is taken. Where validation cannot tell, as no label has both values
    there, it is the middle one of `REGULARISATION`.

    The AUC has been chosen on the data that it is measured on: it compares steps of a run, and
    is not a result. NaN where validation has no label with both values.

    Args:
      features, labels, exclusive, scaler: as in `fit_probe`.
      validation_features, validation_labels: of validation; m can be 0.
    """
    scaler, x = _scaled(features, scaler)
    fit = functools.partial(_fit, scaler, x, labels, exclusive=exclusive)
    if not ((validation_labels == 0).any(axis=0) & (validation_labels == 1).any(axis=0)).any():
        return fit(inverse_penalty=REGULARISATION[len(REGULARISATION) // 2]), np.nan
    tried = []
    for inverse_penalty in REGULARISATION:
        probe = fit(inverse_penalty=inverse_penalty)
        scores = probe.score(validation_features)
        auc = roc_auc(scores, validation_labels)["macro"]
        goodness = -log_loss(scores, validation_labels) if exclusive else auc
        tried.append((goodness, auc, probe))
    _, auc, probe = max(tried, key=lambda one: one[0])
    return probe, auc


def _scaled(
    features: np.ndarray, scaler: StandardScaler | None
) -> tuple[StandardScaler, np.ndarray]:
    if not len(features):
        raise InputError("a probe needs training features, and there is no row of them")
    x = _float64(features)
    scaler = StandardScaler().fit(x) if scaler is None else scaler
    return scaler, scaler.transform(x)


def _fit(
    scaler: StandardScaler,
    x: np.ndarray,
    labels: np.ndarray,
    *,
    inverse_penalty: float,
    exclusive: bool,
) -> Probe:
    num_labels = labels.shape[1]
    with (
        threadpool_limits(limits=1 if x.size <= _SMALL else None),
        warnings.catch_warnings(),
    ):
        # An untrained backbone's features can be nearly collinear; the ranking is what counts.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if exclusive:
            known = ~np.isnan(labels).any(axis=1)
            classes = labels[known].argmax(axis=1)
            if len(np.unique(classes)) > 1:
                one = LogisticRegression(C=inverse_penalty, max_iter=300).fit(x[known], classes)
                return Probe(scaler, one, num_labels)
            # One class, or none: what a single label each gives is then right.
        return Probe(
            scaler, tuple(_fit_label(x, label, inverse_penalty) for label in labels.T), num_labels
        )


def _fit_label(
    x: np.ndarray, label: np.ndarray, inverse_penalty: float
) -> LogisticRegression | float:
    known = ~np.isnan(label)
    values = np.unique(label[known])
    if len(values) < 2:
        return float(values[0]) if len(values) else 0.5
    return LogisticRegression(C=inverse_penalty, max_iter=300).fit(x[known], label[known])


def log_loss(probabilities: Real[np.ndarray, "n k"], one_hot: Real[np.ndarray, "n k"]) -> float:
    """Minus the mean log probability of the right class, in nats.

    Args:
      probabilities: of classes that exclude each other.
      one_hot: 1, 0, or NaN in the whole row (left out); one row at least is known.
    """
    known = ~np.isnan(one_hot).any(axis=1)
    of_class = (probabilities[known] * one_hot[known]).sum(axis=1)
    return float(-np.log(np.maximum(of_class, _FLOOR)).mean())


def _float64(features: np.ndarray) -> np.ndarray:
    return np.asarray(features, np.float64)
