"""The contrast of regions: what was looked at, against what was not, of the other images."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from gazax.config import choose
from gazax.losses import regional_contrast
from gazax.losses.parallel import gather, masked_mean
from gazax.methods.positives import mean_positive, same_label, similar_gaze
from gazax.methods.views import Views
from gazax.ops.image import area_pool
from gazax.ops.regions import pool_regions, top_region
from gazax.typing import Batch, InputError, Scalar, Size

REGIONS = ("soft", "top")
POSITIVES = ("view", "label", "gaze")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegionalTerm:
    """L_regional of both views of a batch (proposal §2.3.3).

    Attributes:
      temperature: of the contrast.
      regions: 'soft', weighted by the gaze map, or 'top', the most looked-at cells.
      top_fraction: of the cells, for 'top', in (0, 1].
      positives: whose looked-at region is the positive: that of the other 'view', of images of the
        same 'label' (`same_label`) or of similar 'gaze' (`similar_gaze`); where a batch has no such
        image, the other view's.
      gaze_similarity: correlation from which gaze is similar.
      axis_name: mapped axis of the batch.

    Raises:
      InputError: a value that is none of these.
    """

    temperature: float
    regions: str
    top_fraction: float
    positives: str
    gaze_similarity: float
    axis_name: str | None

    def __post_init__(self) -> None:
        """Values are typed by people, in configs."""
        choose("method.regions", self.regions, REGIONS)
        choose("method.positives", self.positives, POSITIVES)
        if not 0 < self.top_fraction <= 1:
            raise InputError(f"method.top_fraction is {self.top_fraction}; it lies in (0, 1].")

    def check(self, batch: Batch) -> None:
        """Refuses positives that the data cannot tell."""
        if self.positives == "label" and not batch["label"].shape[1]:
            raise InputError(
                "method.positives='label' and the data has no label column; take view or gaze."
            )

    def __call__(
        self,
        feature_map: Float[Array, "b2 h_l w_l d"],
        views: Views,
        gaze: Float[Array, "b h w"],
        batch: Batch,
    ) -> Scalar:
        """Mean over both directions; the regions to avoid are those of the other view.

        Args:
          feature_map: of both views of each image, side by side.
          views: the same views.
          gaze: in the images' own frame, for positives of similar gaze.
          batch: its labels and which images they are.
        """
        grid = (feature_map.shape[1], feature_map.shape[2])

        def regions(features: Array, gaze: Array, content: Array) -> tuple[Array, Array]:
            gaze, content = area_pool(gaze, size=grid), area_pool(content, size=grid)
            if self.regions == "top":
                gaze = top_region(gaze, content, fraction=self.top_fraction)
            return pool_regions(features, gaze, content)

        high, low = jax.vmap(regions)(feature_map, views.gaze, views.content)
        (high_a, high_g), (low_a, low_g) = (
            rearrange(x, "(b v) d -> v b d", v=2) for x in (high, low)
        )
        valid = rearrange(views.valid, "(b v) -> b v", v=2).all(axis=1)
        index = jnp.asarray(batch["index"])
        common = dict(
            temperature=self.temperature,
            valid=valid,
            index=index,
            axis_name=self.axis_name,
        )
        positive_a, positive_g = high_a, high_g
        if self.positives != "view":
            chosen = self._chosen(gaze, batch["label"], grid)
            chosen &= gather(valid, self.axis_name)[None]
            chosen &= index[:, None] != gather(index, self.axis_name)[None]
            positive_a, positive_g = (
                mean_positive(other, gather(other, self.axis_name), chosen)
                for other in (high_a, high_g)
            )
        contrast = (
            regional_contrast(high_a, positive_g, low_g, **common)
            + regional_contrast(high_g, positive_a, low_a, **common)
        ) / 2
        return masked_mean(contrast, valid, axis_name=self.axis_name)

    def _chosen(self, gaze: Float[Array, "b h w"], label: Any, grid: Size) -> Bool[Array, "b B"]:
        """[b, B]: whose looked-at regions could be a row's positives."""
        if self.positives == "label":
            return same_label(label, gather(label, self.axis_name))
        maps = jax.vmap(lambda one: area_pool(one, size=grid))(gaze)
        return similar_gaze(maps, gather(maps, self.axis_name), threshold=self.gaze_similarity)
