"""Two encoders of one image: a classifier's, and a U-Net whose decoder may start from it."""

import dataclasses
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.methods.backbone import Backbone
from gazax.methods.base import Params, State
from gazax.typing import Key

GUIDE, UNET = "densenet", "unet"
"""Scopes of parameters and statistics."""


class Seen(NamedTuple):
    """What each of the two gives out."""

    guide: dict[str, Any]
    """Empty where the U-Net stands alone, or what the guide taps was given."""
    unet: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class DualEncoder:
    """The two encoders on normalised images.

    Attributes:
      guide: the classifier's encoder, which gives out `tapped`; None: the U-Net stands alone.
      unet: (image, guide=, train=) -> (log density, out).
      mean, std: both see (pixels in [0, 1] - mean) / std.
      freeze, axis_name: see `gazax.methods.base.Method`.

    Source: Qiu et al., "Joint enhancement ...", III.B and figure 1.
    """

    guide: nn.Module | None
    unet: nn.Module
    mean: float
    std: float
    freeze: tuple[str, ...]
    axis_name: str | None

    def init(self, rng: Key, image: Float[Array, "b h w 1"]) -> tuple[Params, State, Seen]:
        """Parameters and statistics by scope, and what images in [0, 1] give."""
        rng_guide, rng_unet = jax.random.split(rng)
        params, state, out, inputs = {}, {}, {}, None
        if self._guide is not None:
            params, state, out = self._guide.init(rng_guide, image)
            inputs = {"guide": out["tapped"]}
        of_unet, state_of_unet, drawn = self._unet.init(rng_unet, image, inputs)
        return params | of_unet, state | state_of_unet, Seen(out, drawn)

    def look(
        self,
        params: Params,
        state: State,
        image: Float[Array, "b h w 1"],
        *,
        train: bool,
        tapped: Float[Array, "b gh gw d"] | None = None,
        perturbations: Params | None = None,
    ) -> tuple[Seen, State]:
        """What images in [0, 1] give, and the state after them.

        Args:
          params, state: by scope.
          image: in [0, 1].
          train: whether to use and update the statistics of the batch.
          tapped: what the guide says of these images, where it is known already.
          perturbations: of the guide, see `Backbone.look`. What is derived with respect to them
            is what the guide says itself, and not what the U-Net makes of it.
        """
        out = {}
        if self._guide is not None and tapped is None:
            out, state = self._guide.look(
                params, state, image, train=train, perturbations=perturbations
            )
            tapped = out["tapped"]
            if perturbations is not None:  # else every Grad-CAM goes back through the U-Net
                tapped = jax.lax.stop_gradient(tapped)
        inputs = None if tapped is None else {"guide": tapped}
        drawn, state = self._unet.look(params, state, image, train=train, inputs=inputs)
        return Seen(out, drawn), state

    def zero_perturbations(
        self, params: Params, state: State, image: Float[Array, "b h w 1"]
    ) -> Params:
        """Of the guide; see `Backbone.zero_perturbations`."""
        if self._guide is None:
            raise ValueError("a U-Net that stands alone has no guide to explain")
        return self._guide.zero_perturbations(params, state, image)

    @property
    def _guide(self) -> Backbone | None:
        if self.guide is None:
            return None
        return Backbone(self.guide, self.mean, self.std, self.freeze, self.axis_name, GUIDE)

    @property
    def _unet(self) -> Backbone:
        return Backbone(self.unet, self.mean, self.std, self.freeze, self.axis_name, UNET)
