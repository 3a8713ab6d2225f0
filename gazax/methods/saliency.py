"""Where people will look: a U-Net that predicts the density of gaze, with or without a guide.

L = mean over the images with gaze of KL(gaze density || predicted density)     (the paper, III.B)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.losses import saliency_kl
from gazax.losses.parallel import masked_mean
from gazax.methods.base import Params, State
from gazax.methods.dual_encoder import GUIDE, DualEncoder
from gazax.methods.scoped import require_frozen
from gazax.methods.views import own_gaze, standard_views
from gazax.ops.gaze import to_density
from gazax.ops.image import to_float
from gazax.typing import Batch, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True)
class Saliency:
    """Prediction of gaze from the image alone, on one standard view of it.

    An image that nobody looked at is in the batch and teaches nothing.

    Attributes:
      backbone: the U-Net: (image, guide=, train=) -> (log density, out).
      guide: the classifier's encoder, whose `tapped` map the U-Net's decoder starts from; None for
        a U-Net that stands alone.
      standard: strengths, as `standard_view` takes them; the gaze map moves along.
      mean, std: both encoders see (pixels in [0, 1] - mean) / std.
      freeze, axis_name: see `gazax.methods.base.Method`.

    Source: Qiu et al., "Joint enhancement ...", III.B: the guide is frozen (`freeze`), the loss is
    the KL divergence. Its code lets the frozen guide's batch statistics drift; here they stay.
    """

    backbone: nn.Module
    guide: nn.Module | None
    standard: Mapping[str, Any]
    mean: float
    std: float
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `densenet`, where there is a guide, and `unet`."""
        params, state, _ = self._encoders.init(rng, to_float(batch["image"][:2]))
        return params, state

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; one term, `loss/saliency`.

        With ``train=False`` the images are as they are, and those of weight 0 do not count.
        """
        image, gaze = to_float(batch["image"]), own_gaze(batch)
        counts = jnp.ones(len(gaze), bool)
        if train:
            image, gaze, _ = standard_views(batch, gaze, rng, standard=self.standard)
        else:
            counts = jnp.asarray(batch["weight"]) > 0
        seen, state = self._encoders.look(params, state, image, train=train, tapped=_tapped(batch))
        valid = counts & (gaze.max(axis=(1, 2)) > 0)
        losses = saliency_kl(seen.unet["log_density"], jax.vmap(to_density)(gaze), valid=valid)
        total = masked_mean(losses, valid, axis_name=self.axis_name)
        return total, (state, {"loss/saliency": total})

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def precompute(self, params: Params, state: State, batch: Batch) -> dict[str, Array]:
        """See `gazax.methods.base.Precomputes`: what the guide taps."""
        if self.guide is None:
            return {}
        require_frozen(params, (GUIDE,), self.freeze)
        seen, _ = self._encoders.look(params, state, to_float(batch["image"]), train=False)
        # In bfloat16 these are values of bfloat16 already.
        return {"guide": seen.guide["tapped"].astype(self.guide.dtype)}

    def saliency(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h w"]:
        """See `gazax.methods.base.PredictsSaliency`."""
        return self.encode(params, state, batch)[1]

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h w"]]:
        """See `Method.encode`; the U-Net's features, and the predicted density."""
        image = to_float(batch["image"])
        (_, out), _ = self._encoders.look(params, state, image, train=False, tapped=_tapped(batch))
        return out["features"].astype(jnp.float32), jnp.exp(out["log_density"])

    @property
    def _encoders(self) -> DualEncoder:
        return DualEncoder(
            self.guide, self.backbone, self.mean, self.std, self.freeze, self.axis_name
        )


def _tapped(batch: Batch) -> Float[Array, "b gh gw d"] | None:
    """What the guide says of the batch, where that was computed before."""
    return jnp.asarray(batch["cached"]["guide"]) if "cached" in batch else None
