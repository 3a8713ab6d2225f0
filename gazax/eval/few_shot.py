"""Draws of a few training images, the same for whatever is to be learned from them."""

import math

import numpy as np
from jaxtyping import Int, Real, Shaped

from gazax.typing import InputError


def draw_rows(
    labels: Real[np.ndarray, "n k"],
    patients: Shaped[np.ndarray, "n"],
    *,
    fraction: float,
    num_draws: int = 5,
    seed: int,
    minimum: int = 2,
    label_names: tuple[str, ...] = (),
) -> list[Int[np.ndarray, "rows"]]:
    """Rows of a fraction of the training images, whole patients at a time, several times.

    First come patients who have what is rarest: until each label is 1 in `minimum` images and 0 in
    as many, of different patients where there are so many. Then patients come at random until the
    fraction is reached; the last one, or the first step, can go beyond it. A smaller fraction of
    the same seed is part of a larger one, draw by draw. Nothing but labels, patients and seed
    counts, so that every method learns from the same images.

    Args:
      labels: 1, 0 or NaN. Images without any known label are never drawn and do not count.
      patients: any type that sorts.
      fraction: of the images, in (0, 1].
      num_draws: how many draws.
      seed: of the draws.
      minimum: images of each value of each label.
      label_names: what a message calls the columns; by default their numbers.

    Returns:
      The row numbers of each draw, in order.

    Raises:
      InputError: a label has one value in fewer than `minimum` images, there is no label, or an
        argument is out of range.

    Source: ours; whole patients, because images of one patient are alike, so that two of them are
    less than two examples.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction is {fraction}; give a number above 0, up to 1")
    if num_draws < 1 or minimum < 1:
        raise InputError(f"num_draws is {num_draws} and minimum {minimum}; give 1 or more of each")
    if not labels.shape[1]:
        raise InputError("there is no label column, so that there is nothing to draw images of")
    for column, label in enumerate(labels.T):
        for value in (1, 0):
            count = int((label == value).sum())
            if count < minimum:
                name = label_names[column] if label_names else str(column)
                raise InputError(
                    f"few-shot learning needs {minimum} training images in which label '{name}' "
                    f"is {value}, and there {'is' if count == 1 else 'are'} {count}; leave the "
                    "label out, or put more such images into training"
                )
    usable = np.flatnonzero(~np.isnan(labels).all(axis=1))
    _, patient = np.unique(np.asarray(patients)[usable], return_inverse=True)
    sizes = np.bincount(patient)
    # [patients, 2 k]: who has an image in which a label is 1, or 0
    values = np.concatenate([labels[usable] == 1, labels[usable] == 0], axis=1)
    has = np.zeros((len(sizes), values.shape[1]), bool)
    np.logical_or.at(has, patient, values)
    target = math.ceil(fraction * usable.size - 1e-9)  # .07 * 300 comes out above 21
    rng = np.random.default_rng(seed)
    return [
        usable[np.isin(patient, _draw(rng.permutation(len(sizes)), sizes, has, target, minimum))]
        for _ in range(num_draws)
    ]


def _draw(
    order: np.ndarray, sizes: np.ndarray, has: np.ndarray, target: int, minimum: int
) -> np.ndarray:
    """Patients of one draw: the first ones of this order who are needed, then the first ones."""
    wanted = np.minimum(has.sum(axis=0), minimum)
    taken = np.zeros(len(sizes), bool)
    for value in np.argsort(has.sum(axis=0), kind="stable"):
        missing = wanted[value] - has[taken, value].sum()
        more = order[has[order, value] & ~taken[order]][: max(missing, 0)]
        taken[more] = True
    rest = order[~taken[order]]
    before = sizes[taken].sum() + np.cumsum(sizes[rest]) - sizes[rest]
    taken[rest[before < target]] = True
    return np.flatnonzero(taken)
