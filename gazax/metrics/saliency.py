"""How well a map says where people looked: against their fixations, or against another map.

Everything here is numpy float64 on the host, for one image at a time.

Points `xy` are in pixels, x right and y down; a point belongs to the pixel (floor(y), floor(x)).
Points outside the map, outside `where`, or not finite (padding) are ignored.

`where` is true on the pixels that count, so that padding around an image is left out: of the
points, of means and deviations, of densities, of the pixels that random points are drawn from. A
map may hold anything where it is false.

NSS, CC and the AUCs take any finite map. The AUCs depend on the order of its values only. SIM, KL
and information gain take non-negative maps and make densities of them inside: divided by their
sum; a map of zeros becomes the uniform density. (pysaliency subtracts a negative minimum.)

Shapes that do not match, a value that is not finite, and a negative one where a density is made
raise `InputError`.
"""

import numpy as np
from jaxtyping import Real

from gazax.metrics.maps import Map, Where, density, flatten, flatten_pair
from gazax.typing import InputError

_EPSILON = 2.2204e-16  # what the MIT saliency benchmark uses

Points = Real[np.ndarray, "f 2"]


def nss(saliency_map: Map, xy: Points, *, where: Where | None = None) -> float:
    """Normalised scanpath saliency: the mean z-score of the map at the fixations.

    (1/f) sum_i (s(x_i) - mean(s)) / std(s), with the population's deviation.

    Args:
      saliency_map: any scale.
      xy: fixations, px; two in one pixel count twice.
      where: pixels that count.

    Returns:
      Unbounded; chance is 0. A constant map gives 0; no fixation gives NaN.

    Source: Peters et al. 2005, doi:10.1016/j.visres.2005.03.019. The MIT benchmark counts a
    fixated pixel once and uses the sample's deviation; pysaliency does as we do.
    """
    values, inside = flatten(saliency_map, where)
    pixels = _pixels(xy, inside)
    if not pixels.size:
        return np.nan
    return float(_standardize(values)[pixels].mean())


def auc_judd(saliency_map: Map, xy: Points, *, where: Where | None = None) -> float:
    """Area under the ROC curve of fixated against all other pixels, by the MIT benchmark.

    A fixated pixel is a positive, once, however many fixations fall into it; every other pixel is
    a negative. The thresholds are the map's values at the positives: at t, the true positive rate
    is the share of positives >= t and the false positive rate that of negatives >= t. The curve is
    joined by straight lines, with (0, 0) and (1, 1) at its ends.

    Ties: values are used as they are, and a tie between a positive and a negative counts one half.
    The benchmark's code breaks ties at random, by noise of 1e-7; pysaliency's
    `AUC_Judd(jitter=False)` does as we do, but counts a pixel with two fixations twice.

    Args:
      saliency_map: any scale; only its order counts.
      xy: fixations, px.
      where: pixels that count.

    Returns:
      In [0, 1]; chance is .5. A constant map gives .5; no fixation, or no pixel without one, NaN.
      Above the plain AUC by up to 1 / (2 * fixated pixels) (more if positives tie): between two
      thresholds the straight line runs above the steps of the curve.

    Source: Judd et al. 2012, MIT-CSAIL-TR-2012-001; Bylinskii et al. 2019, arXiv:1604.03605, §3.
    """
    values, inside = flatten(saliency_map, where)
    fixated = np.zeros(values.size, bool)
    fixated[_pixels(xy, inside)] = True
    positives, negatives = np.sort(values[fixated]), np.sort(values[~fixated])
    if not positives.size or not negatives.size:
        return np.nan
    thresholds = positives[::-1]
    tpr = 1 - np.searchsorted(positives, thresholds) / positives.size
    fpr = 1 - np.searchsorted(negatives, thresholds) / negatives.size
    return float(np.trapezoid(np.r_[0, tpr, 1], np.r_[0, fpr, 1]))


def auc_borji(
    saliency_map: Map,
    xy: Points,
    *,
    rng: np.random.Generator,
    num_splits: int = 100,
    where: Where | None = None,
) -> float:
    """Area under the ROC curve of fixations against pixels drawn at random.

    P(s(fixation) > s(random)) + P(equal) / 2, the mean over splits. In each, as many pixels as
    there are fixations are drawn, uniformly and with replacement, from all that count, fixated or
    not.

    Args:
      saliency_map: any scale; only its order counts.
      xy: fixations, px; two in one pixel count twice.
      rng: what the pixels are drawn with.
      num_splits: draws that are averaged.
      where: pixels that count.

    Returns:
      In [0, 1]; chance is .5. A constant map gives .5; no fixation gives NaN.

    Source: Borji et al. 2013, doi:10.1109/TIP.2012.2210727. The MIT benchmark's code counts a
    fixated pixel once and puts thresholds 0.1 apart; ours are all the values. The limit of many
    splits is pysaliency's AUC with `nonfixations="uniform"`.
    """
    values, inside = flatten(saliency_map, where)
    pixels = _pixels(xy, inside)
    if not pixels.size:
        return np.nan
    draws = rng.integers(values.size, size=num_splits * pixels.size)
    return _auc(values[pixels], values[draws])


def auc_shuffled(
    saliency_map: Map,
    xy: Points,
    other_xy: Real[np.ndarray, "f_other 2"],
    *,
    rng: np.random.Generator,
    num_splits: int = 100,
    where: Where | None = None,
) -> float:
    """Area under the ROC curve of fixations against fixations of other images.

    P(s(fixation) > s(other)) + P(equal) / 2, the mean over splits. In each, as many of the other
    fixations as there are fixations (all, if there are fewer) are drawn uniformly, without
    replacement. A map that only knows the centre bias gets .5.

    Args:
      saliency_map: any scale; only its order counts.
      xy: fixations, px; two in one pixel count twice.
      other_xy: fixations of other images, in the pixels of this one; likewise. An evaluation takes
        those of other patients' images.
      rng: what the other fixations are drawn with.
      num_splits: draws that are averaged.
      where: pixels that count.

    Returns:
      In [0, 1]; chance is .5. A constant map gives .5; no fixation of either kind gives NaN.

    Numerics: about 1 ms for up to 15,000 other fixations and 6 ms for 120,000: where there are
    more, give a random part of them.
    Source: Zhang et al. 2008, doi:10.1167/8.7.32. The MIT benchmark's code counts a pixel once
    and puts thresholds 0.1 apart; ours are all the values. The limit of many splits, and the value
    when there are no more others than fixations, is pysaliency's AUC with
    `nonfixations="shuffled"`.
    """
    values, inside = flatten(saliency_map, where)
    pixels, others = _pixels(xy, inside), _pixels(other_xy, inside)
    if not pixels.size or not others.size:
        return np.nan
    count = min(pixels.size, others.size)
    draws = [rng.choice(others, count, replace=False, shuffle=False) for _ in range(num_splits)]
    return _auc(values[pixels], values[np.concatenate(draws)])


def cc(first_map: Map, second_map: Map, *, where: Where | None = None) -> float:
    """Pearson's correlation coefficient of two maps.

    sum (a - mean(a)) (b - mean(b)) / sqrt(sum (a - mean(a))^2 sum (b - mean(b))^2)

    Args:
      first_map, second_map: any scale; symmetric in them.
      where: pixels that count.

    Returns:
      In [-1, 1]. 0 if either map, or both, is constant (pysaliency: NaN if the second is).

    Source: Bylinskii et al. 2019, arXiv:1604.03605, §3.
    """
    a, b = flatten_pair(first_map, second_map, where)
    return float(np.clip((_standardize(a) * _standardize(b)).mean(), -1, 1))


def sim(first_map: Map, second_map: Map, *, where: Where | None = None) -> float:
    """Similarity: what the densities of two maps have in common, "histogram similarity" in some.

    sum min(p, q)

    Args:
      first_map, second_map: non-negative, any scale; symmetric in them.
      where: pixels that count.

    Returns:
      In [0, 1]; 1 for equal densities. A map of zeros counts as uniform.

    Source: Bylinskii et al. 2019, arXiv:1604.03605, §3.
    """
    a, b = flatten_pair(first_map, second_map, where)
    return min(float(np.minimum(density(a), density(b)).sum()), 1.0)


def kl(
    predicted: Map, target: Map, *, epsilon: float = _EPSILON, where: Where | None = None
) -> float:
    """Kullback-Leibler divergence of the prediction from the target.

    sum t ln(t / p)

    Args:
      predicted: p; non-negative, any scale.
      target: t; non-negative, any scale.
      epsilon: added to every pixel of both densities, which are then made densities again; what a
        prediction of 0 costs is ln(t / epsilon). 0 leaves it away.
      where: pixels that count.

    Returns:
      In nats, >= 0, and 0 if and only if the densities are equal. A map of zeros counts as
      uniform. With epsilon=0, infinity if p is 0 where t is not.

    Numerics: the MIT benchmark's t ln(eps + t / (p + eps)), pysaliency's `MIT_KLDiv`, differs from
    ours by less than 1e-6 but can be below 0. pysaliency's `image_based_kl_divergence` adds 1e-20
    before the division by the sum instead, and so depends on the map's scale where it is 0.
    Source: Bylinskii et al. 2019, arXiv:1604.03605, §3; the placing of epsilon is ours.
    """
    a, b = flatten_pair(predicted, target, where)
    p, t = density(density(a) + epsilon), density(density(b) + epsilon)
    p, t = p[t > 0], t[t > 0]
    with np.errstate(divide="ignore"):
        return max(float((t * (np.log(t) - np.log(p))).sum()), 0.0)


def information_gain(
    predicted: Map,
    xy: Points,
    baseline: Map,
    *,
    epsilon: float = _EPSILON,
    where: Where | None = None,
) -> float:
    """How much better the prediction's density explains the fixations than a baseline's does.

    (1/f) sum_i log2((p(x_i) + epsilon) / (b(x_i) + epsilon))

    Args:
      predicted: p; non-negative, any scale.
      xy: fixations, px; two in one pixel count twice.
      baseline: b; non-negative, any scale; usually the mean fixation density of training images.
      epsilon: added to both densities.
      where: pixels that count.

    Returns:
      Bits a fixation; 0 if the densities are equal at the fixations. No fixation gives NaN. A map
      of zeros counts as uniform.

    Source: Kuemmerer et al. 2015, doi:10.1073/pnas.1510393112; epsilon as in the MIT benchmark,
    which stretches both maps to [0, 1] first, which we do not.
    """
    a, b = flatten_pair(predicted, baseline, where)
    pixels = _pixels(xy, flatten(predicted, where)[1])
    if not pixels.size:
        return np.nan
    p, q = density(a)[pixels], density(b)[pixels]
    return float(np.log2((p + epsilon) / (q + epsilon)).mean())


def _pixels(xy: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Place of each fixation among the values that count; the others are left out."""
    xy = np.asarray(xy, np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise InputError(f"fixations are [f, 2] (x, y), these have the shape {xy.shape}")
    height, width = inside.shape
    x, y = np.floor(xy).T
    on_map = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # false for NaN
    column, row = x[on_map].astype(int), y[on_map].astype(int)
    counted = inside[row, column]
    place = np.cumsum(inside.ravel()) - 1
    return place[(row * width + column)[counted]]


def _standardize(values: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1, or zeros if all values are equal."""
    spread = np.ptp(values)
    if spread == 0:
        return np.zeros_like(values)
    centred = (values - values.mean()) / spread  # squares of a tiny map would be 0
    return centred / centred.std()


def _auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """P(positive > negative) + P(equal) / 2 over all pairs: the exact area under the curve."""
    negatives = np.sort(negatives)
    below = np.searchsorted(negatives, positives, side="left")
    up_to = np.searchsorted(negatives, positives, side="right")
    return float((below + up_to).mean() / (2 * negatives.size))
