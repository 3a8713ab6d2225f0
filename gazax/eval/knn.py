"""Nearest neighbours: what can be read off frozen features without learning anything."""

import dataclasses

import numpy as np
from jaxtyping import Float, Real

from gazax.eval.probe import log_loss
from gazax.metrics.classification import roc_auc
from gazax.typing import InputError

NEIGHBOURS = (1, 5, 10, 20, 50, 100, 200)
"""Tried (ours); Caron et al. try 10, 20, 100 and 200."""
TEMPERATURE = 0.07

_CHUNK = 2**24  # similarities held at a time: 128 MiB


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """A vote of the k training images nearest to an image.

    p = sum_i w_i y_i / sum_i w_i, w_i = exp(cosine(image, i) / .07), over the k nearest

    An image whose label is not known has no vote on that label: the k nearest ones are those of the
    images that have it.

    Attributes:
      features: [n, d] of training, of length 1 (or 0).
      labels: [n, k] 1, 0 or NaN.
      num_neighbours: k; all of them where there are fewer.

    Source: Wu et al. 2018, arXiv:1805.01978, §3.4 (the weights and their temperature); Caron et al.
    2021, arXiv:2104.14294, use the same. Probabilities, and unknown labels, are ours.
    """

    features: np.ndarray
    labels: np.ndarray
    num_neighbours: int

    def score(self, features: Real[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Probabilities; .5 for a label that is never known in training."""
        return _votes(features, self.features, self.labels, (self.num_neighbours,))[0]


def choose_neighbours(
    features: Real[np.ndarray, "n d"],
    labels: Real[np.ndarray, "n k"],
    validation_features: Real[np.ndarray, "m d"],
    validation_labels: Real[np.ndarray, "m k"],
    *,
    exclusive: bool = False,
) -> tuple[Neighbours, float]:
    """The vote of as many neighbours as do best on validation, and its macro AUC there.

    Best is the highest macro AUC; where labels exclude each other, the lowest log loss, as an AUC
    does not see which class is largest (see `gazax.eval.probe.choose_probe`). A class that none of
    the neighbours has counts with 1 / n, n training images, so that one such image does not decide.
    Of equally good numbers the smallest is taken. Where validation cannot tell, as no label has
    both values there, it is 20, and the AUC is NaN.

    Args:
      features: of training, of any length but 0.
      labels: 1, 0 or NaN.
      validation_features, validation_labels: the same of validation; m can be 0.
      exclusive: the rows of labels are one-hot (or NaN).

    Raises:
      InputError: there is no training row.
    """
    if not len(features):
        raise InputError("there is no training row to be a neighbour")
    unit = _unit(features)
    chosen = 20, np.nan
    if ((validation_labels == 0).any(axis=0) & (validation_labels == 1).any(axis=0)).any():
        best = -np.inf
        votes = _votes(validation_features, unit, labels, NEIGHBOURS)
        for num_neighbours, scores in zip(NEIGHBOURS, votes, strict=True):
            auc = roc_auc(scores, validation_labels)["macro"]
            goodness = auc
            if exclusive:
                goodness = -log_loss(np.maximum(scores, 1 / len(unit)), validation_labels)
            if goodness > best:
                best, chosen = goodness, (num_neighbours, auc)
    return Neighbours(unit, np.asarray(labels, np.float64), chosen[0]), chosen[1]


def _votes(
    features: np.ndarray, unit: np.ndarray, labels: np.ndarray, numbers: tuple[int, ...]
) -> np.ndarray:
    """[numbers, m, k]: the votes of each number of neighbours."""
    queries = _unit(features)
    votes = np.full((len(numbers), len(queries), labels.shape[1]), 0.5)
    # Labels that are known in the same images have the same neighbours.
    patterns, pattern = np.unique(~np.isnan(labels), axis=1, return_inverse=True)
    step = max(1, _CHUNK // len(unit))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        similarity = queries[chunk] @ unit.T
        for number, known in enumerate(patterns.T):
            if known.any():
                columns = np.flatnonzero(pattern == number)
                of_known = _votes_of(similarity[:, known], labels[known][:, columns], numbers)
                votes[:, chunk, columns] = of_known
    return votes


def _votes_of(similarity: np.ndarray, labels: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:
    """[numbers, m, k] from similarities [m, n] and known labels [n, k]."""
    most = min(max(numbers), len(labels))
    nearest = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
    close = np.take_along_axis(similarity, nearest, axis=1)
    order = np.argsort(-close, axis=1, kind="stable")
    nearest = np.take_along_axis(nearest, order, axis=1)
    close = np.take_along_axis(close, order, axis=1)
    # Weights relative to the nearest, which changes no share, so that none can vanish or overflow.
    weight = np.exp((close - close[:, :1]) / TEMPERATURE)
    total = np.cumsum(weight, axis=1)
    present = np.cumsum(weight[:, :, None] * labels[nearest], axis=1)
    last = np.minimum(numbers, most) - 1
    shares = present[:, last] / total[:, last, None]
    return np.moveaxis(np.clip(shares, 0, 1), 1, 0)


def _unit(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)
