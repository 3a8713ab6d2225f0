"""Whether people who rate the same things say the same."""

import numpy as np
from jaxtyping import Real

from gazax.typing import InputError


def fleiss_kappa(counts: Real[np.ndarray, "items categories"]) -> float:
    """Fleiss' kappa: agreement of any number of raters beyond chance.

    (P - P_e) / (1 - P_e)

    P is the share of the pairs of ratings of one item that agree, averaged over the items; P_e is
    what it would be if each rating were drawn from the overall shares of the categories.

    Args:
      counts: how many raters put each item into each category. Items may differ in how many
        rated them; the mean over items then counts each item once, whatever that number is.

    Returns:
      1 for perfect agreement, 0 for chance, below 0 for less than chance. NaN if no item has two
      ratings or only one category was ever used, when agreement is perfect and expected.

    Raises:
      InputError: a count is negative or not whole, or the shape is not [items, categories].

    Numerics: the order of the categories plays no part; ratings on a scale lose theirs.
    Source: Fleiss 1971, doi:10.1037/h0031619; with differing numbers of ratings, Gwet 2014,
    "Handbook of Inter-Rater Reliability": items with one rating count in the shares of the
    categories, not in the agreement.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 2:
        raise InputError(f"counts are [items, categories], these have the shape {counts.shape}")
    bad = np.argwhere(~((counts >= 0) & (counts == np.floor(counts)) & np.isfinite(counts)))
    if bad.size:
        item, category = bad[0]
        raise InputError(
            f"the count of item {item}, category {category} is {counts[item, category]:g}; "
            "give how many raters chose it, 0 or more"
        )
    ratings = counts.sum(axis=1)
    paired = ratings >= 2
    if not paired.any():
        return np.nan
    pairs = (counts * (counts - 1)).sum(axis=1)[paired] / (ratings * (ratings - 1))[paired]
    rated = ratings > 0
    shares = (counts[rated] / ratings[rated, None]).mean(axis=0)
    if (shares > 0).sum() == 1:
        return np.nan
    expected = (shares**2).sum()
    return float((pairs.mean() - expected) / (1 - expected))
