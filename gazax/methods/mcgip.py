"""McGIP: images that were looked at alike are each other's positives.

Any contrastive method can take them: over the batch, or over a queue that keeps the descriptions
beside its keys. Pairs are compared as they meet; there is no table of all pairs.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gazax.config import choose
from gazax.ops.gaze_similarity import difference_hash, hash_similarity, moment_similarity, moments
from gazax.ops.scanpaths import multimatch, multimatch_similarity, tima_similarity
from gazax.typing import SCANPATH_COLUMNS, Batch, InputError, Key, Scalar

Described = dict[str, Array]
"""Of each image, arrays by name; zeros are an image without gaze."""
MEASURES = ("moments", "dhash", *SCANPATH_COLUMNS)


@dataclasses.dataclass(frozen=True)
class GazePartners:
    """Chooses the pairs of images whose gaze is similar.

    Attributes:
      measure: 'moments' or 'dhash' of the gaze map; 'multimatch' or 'tima' of the scanpath, for
        which the batch has to carry `scanpath`.
      threshold: in [0, 1); partners are more similar than this.
      keep: in (0, 1], of the similar pairs the share that is kept, drawn anew in every step.

    Raises:
      InputError: a value that is none of these.

    Source: McGIP, Zhao et al. 2024 (arXiv:2312.06069), and GzPT, which keeps a pair with a
    probability (its p is 1 - keep). Thresholds there: .95 for moments, .7 to .9 for hashes.
    """

    measure: str
    threshold: float
    keep: float = 1.0

    def __post_init__(self) -> None:
        """Values are typed by people, in configs."""
        choose("config.method.partners.measure", self.measure, MEASURES)
        if not 0 <= self.threshold < 1:
            raise InputError(f"method.partners.threshold is {self.threshold}; it lies in [0, 1).")
        if not 0 < self.keep <= 1:
            raise InputError(f"method.partners.keep is {self.keep}; it lies in (0, 1].")

    def describe(self, batch: Batch, gaze: Float[ArrayLike, "b h w"]) -> Described:
        """What pairs of images are compared by.

        Args:
          batch: with `scanpath`, for the measures of scanpaths.
          gaze: gaze maps.
        """
        if self.measure in SCANPATH_COLUMNS:
            if "scanpath" not in batch:
                raise InputError(
                    f"method.partners.measure='{self.measure}' compares scanpaths, and the batch "
                    "has none: give the training examples `scanpaths` (gazax.data.scanpaths)."
                )
            return {name: jnp.asarray(batch["scanpath"][name]) for name in ("steps", "count")}
        of_map = moments if self.measure == "moments" else difference_hash
        return {self.measure: jax.vmap(of_map)(jnp.asarray(gaze))}

    def choose(
        self,
        rng: Key,
        described: Described,
        own_id: Int[ArrayLike, "b"],
        everyone: Described,
        their_id: Int[ArrayLike, "B"],
    ) -> Bool[Array, "b B"]:
        """Which of all images are partners of each of one's own.

        A pair is kept or not by a draw from `rng` and the ids of the two, in either order, so that
        it is the same wherever and however often they meet in a step.

        Args:
          rng: of the step, the same on every device.
          described: of one's own images.
          own_id: which image each is, >= 0, as `Batch.index` has it.
          everyone, their_id: the same for the images to compare with.

        Returns:
          True for partners; an image is none of itself, and none has one without gaze.
        """
        own_id, their_id = jnp.asarray(own_id), jnp.asarray(their_id)

        def similar_to_all(one: Described) -> Float[Array, "B"]:
            return jax.vmap(lambda other: self._similarity(one, other))(everyone)

        # Image by image: scanpaths of all pairs at once would need a table for each.
        # One without gaze has a similarity of 0 to all, which is above no threshold.
        chosen = jax.lax.map(similar_to_all, described) > self.threshold
        chosen &= own_id[:, None] != their_id[None]
        if self.keep < 1:
            chosen &= _draws(rng, own_id, their_id) < self.keep
        return chosen

    def _similarity(self, one: Described, other: Described) -> Scalar:
        if self.measure == "moments":
            return moment_similarity(one["moments"], other["moments"])
        if self.measure == "dhash":
            return hash_similarity(one["dhash"], other["dhash"])
        pair = one["steps"], one["count"], other["steps"], other["count"]
        if self.measure == "multimatch":
            return multimatch_similarity(multimatch(*pair))
        return tima_similarity(*pair)


def _draws(rng: Key, own_id: Int[Array, "b"], their_id: Int[Array, "B"]) -> Float[Array, "b B"]:
    """Uniform in [0, 1), one for each two ids, in either order."""

    def of_pair(one: Array, other: Array) -> Array:
        first = jax.random.fold_in(rng, jnp.minimum(one, other))
        return jax.random.uniform(jax.random.fold_in(first, jnp.maximum(one, other)))

    return jax.vmap(lambda one: jax.vmap(lambda other: of_pair(one, other))(their_id))(own_id)
