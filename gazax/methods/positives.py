"""Which other images are an image's positives: of the same label, or looked at alike."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from gazax.losses.contrastive import unit_rows


def same_label(
    label: Float[ArrayLike, "b k"], everyone: Float[ArrayLike, "B k"]
) -> Bool[Array, "b B"]:
    """Whether two images share a label.

    They share one where a label is present (1) in both, or where neither has any label present
    and all of both are known: two normal images without a column for it.

    Args:
      label: 1 present, 0 absent, NaN unknown.
      everyone: the same for the images to compare with.

    Source: ours.
    """
    label, everyone = jnp.asarray(label, jnp.float32), jnp.asarray(everyone, jnp.float32)
    shared = ((label == 1)[:, None] & (everyone == 1)[None]).any(axis=-1)
    empty, all_empty = (label == 0).all(axis=-1), (everyone == 0).all(axis=-1)
    return shared | (empty[:, None] & all_empty[None])


def similar_gaze(
    gaze: Float[ArrayLike, "b h w"], everyone: Float[ArrayLike, "B h w"], *, threshold: float
) -> Bool[Array, "b B"]:
    """Whether two gaze maps correlate (Pearson) by ``threshold`` or more.

    Args:
      gaze: gaze maps, on any grid; a constant one, such as that of an image without gaze, is
        similar to none.
      everyone: the same for the images to compare with.
      threshold: in (-1, 1].

    Source: ours; Zhao et al. 2023 (McGIP) compare gaze by other measures.
    """

    def standardise(maps: ArrayLike) -> Array:
        rows = jnp.asarray(maps, jnp.float32).reshape(jnp.shape(maps)[0], -1)
        rows = rows - rows.mean(axis=1, keepdims=True)
        norm = jnp.sqrt(jnp.square(rows).sum(axis=1, keepdims=True))
        return jnp.where(norm > 0, rows / jnp.where(norm > 0, norm, 1.0), 0.0)

    a, b = standardise(gaze), standardise(everyone)
    varies = (jnp.abs(a).max(axis=1) > 0)[:, None] & (jnp.abs(b).max(axis=1) > 0)[None]
    correlation = jnp.einsum("in,jn->ij", a, b, precision="highest")
    return varies & (correlation >= threshold)


def mean_positive(
    own: Float[ArrayLike, "b d"], everyone: Float[ArrayLike, "B d"], chosen: Bool[Array, "b B"]
) -> Float[Array, "b d"]:
    """Mean direction of the chosen images' features; the row's own where none is chosen.

    Args:
      own: what stands for a row without positives: the feature of its other view.
      everyone: features of all images; rows that nobody chose may hold anything.
      chosen: positives of each row.

    Returns:
      Means of unit vectors, float32.
    """
    wanted = chosen.any(axis=0)
    rows = unit_rows(jnp.where(wanted[:, None], jnp.asarray(everyone, jnp.float32), 1.0))
    count = chosen.sum(axis=1, keepdims=True)
    weight = chosen / jnp.maximum(count, 1)
    mean = jnp.einsum("ij,jd->id", weight.astype(jnp.float32), rows, precision="highest")
    return jnp.where(count > 0, mean, unit_rows(jnp.asarray(own, jnp.float32)))
