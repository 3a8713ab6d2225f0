"""GG-CAM: the class activation map of an image's own label is held against the gaze.

L = L_classification / s_c^2 + ln(s_c + 1) + L_gaze / (2 s_g^2) + ln(s_g + 1)
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

from gazax.losses.multitask import precision_weights, uncertainty_weighted
from gazax.losses.parallel import gather, masked_mean
from gazax.methods.balance import BALANCE
from gazax.methods.base import Params, State
from gazax.methods.gaze_guided import GazeGuided, Seen
from gazax.models.heads import Classifier
from gazax.models.vit import ViT
from gazax.ops.gaze import to_density
from gazax.ops.image import area_pool, to_float
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms

SCALE = np.array([1.0, 0.5], np.float32)
"""Of classification and gaze in the weighted sum, as published."""


@dataclasses.dataclass(frozen=True)
class GGCAM(GazeGuided):
    """Classification of one standard view of each image, its activation maps guided by gaze.

    With F the backbone's feature map and w, b the head's kernel and bias, class c has in cell p ::

        M_c[p]  = sum_d w_dc F_d[p] + b_c                logit_c = mean over cells of M_c
        L_gaze  = mean over the image's labels c and over cells of
                  (sigmoid(M_c e^log_scale + shift) - G)^2

    G is the gaze map in [0, 1], area-pooled to the cells. Every class is guided, each by the
    images that have it: the map of the image's own label, or, with task 'multilabel', of each
    label that is present, is what meets G. An image without gaze, or without a label that is
    present, has no gaze term: value and gradient are exactly zero. The two sigmas, the scale and
    the shift are learned, in the scope `balance`; a term that no image of the batch has is left
    out, and its sigma stays where it is.

    Attributes:
      backbone: `features` must be the mean of `feature_map`.
      head: a `gazax.models.heads.Classifier`.
      log_sigma_classification, log_sigma_gaze: ln s_c and ln s_g at the beginning; 0 and 0 weigh
        the terms by 1 and 1/2.
      log_scale, shift: of the map inside the sigmoid, at the beginning.
      The others: see `Supervised`. `attention` and `levels` have no choice here: the attention is
        that of the map above, of the highest logit.

    Source: Zhu, Salcudean and Rohling 2022 (arXiv:2202.07107) and their code, from which we
    differ. There the label passes through the sigmoid before it picks a map, which makes it 0 for
    all: only the first class ever meets the gaze, and no map is scaled. There ln s_c begins at 7
    and ln s_g at -23 (ResNet-50) or -16 (EfficientNetV2-S): weights of 8e-7 and 5e19, under which
    thousands of Adam's steps follow the gaze alone, and, where the gradient is clipped, the labels
    have no say at all; ours begin near where sigmas of ordinary losses settle. There shift stays 0;
    gaze covers little of an image, so that a map that fits it is dark in most cells, and without a
    shift its mean would speak against the very label. There b is in the logit and not in the map,
    and a map is a mean over channels and not a sum.
    """

    log_sigma_classification: float = 0.0
    log_sigma_gaze: float = 0.0
    log_scale: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Refuses a head without a kernel, and another attention than the class activation."""
        super().__post_init__()
        if not isinstance(self.head, Classifier):
            raise InputError(
                f"GG-CAM takes its maps from the kernel of a Classifier; the head is a "
                f"{type(self.head).__name__}."
            )
        if self.attention != "grad_cam" or tuple(self.levels) != (-1,):
            raise InputError(
                f"method.attention='{self.attention}' and method.levels={tuple(self.levels)}: "
                "GG-CAM's attention is its class activation map on the last level; leave them at "
                "'grad_cam' and (-1,)."
            )

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone`, `head` and `balance`."""
        self._check_features(batch)
        params, state = super().init(rng, batch)
        balance = {
            "log_sigma_classification": self.log_sigma_classification,
            "log_sigma_gaze": self.log_sigma_gaze,
            "log_scale": self.log_scale,
            "shift": self.shift,
        }
        balance = {name: jnp.asarray(value, jnp.float32) for name, value in balance.items()}
        return {**params, BALANCE: balance}, state

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; terms: `loss/...` and `weight/...` of `classification` and `gaze`.

        With ``train=False`` the images are as they are, and those of weight 0 do not count.
        """
        seen = self._see(batch, rng, train=train)
        out, state = self._encoder.look(params, state, seen.image, train=train)
        guided = seen.looked_at & (seen.present.sum(axis=1) > 0)
        # Replaced before the sigmoid, not only after: a NaN would come back in the gradient.
        cam = jnp.where(
            guided[:, None, None, None], self.class_maps(params, out["feature_map"]), 0.0
        )
        errors = self._gaze_errors(params, cam, seen)
        classification = self._classification(self._score(params, out), seen)
        gaze = masked_mean(errors, guided, axis_name=self.axis_name)
        balance = params[BALANCE]
        log_sigma = jnp.stack([balance["log_sigma_classification"], balance["log_sigma_gaze"]])
        total = uncertainty_weighted(
            jnp.stack([classification, gaze]),
            log_sigma,
            scale=SCALE,
            form="log1p",
            valid=jnp.stack(
                [gather(rows, self.axis_name).any() for rows in (seen.labelled, guided)]
            ),
        )
        weights = precision_weights(log_sigma, scale=SCALE)
        terms = {
            "loss/classification": classification,
            "loss/gaze": gaze,
            "weight/classification": weights[0],
            "weight/gaze": weights[1],
        }
        return total, (state, terms)

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """See `Method.encode`; the density of the map that gaze guides, of the highest logit."""
        features, cam = self._highest(params, state, batch)
        return features, jax.vmap(to_density)(_as_gaze(params, cam))

    def explain(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h_l w_l"]:
        """See `gazax.methods.base.Classifies`: relu of the map of the highest logit."""
        return jax.nn.relu(self._highest(params, state, batch)[1])

    def class_maps(
        self, params: Params, feature_map: Float[Array, "b h_l w_l d"]
    ) -> Float[Array, "b h_l w_l k"]:
        """M of every class; its mean over the cells is the logits."""
        kernel, bias = params["head"]["kernel"], params["head"]["bias"]
        features = feature_map.astype(jnp.float32)
        cam = jnp.einsum("bhwd,dk->bhwk", features, kernel, precision=Precision.HIGHEST)
        return cam + bias[None, None, None]

    def _highest(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """Features of the undisturbed images, and the map of each one's highest logit."""
        out, _ = self._encoder.look(params, state, to_float(batch["image"]), train=False)
        highest = self._score(params, out).argmax(axis=1)
        cam = self.class_maps(params, out["feature_map"])
        cam = jnp.take_along_axis(cam, highest[:, None, None, None], axis=3)[..., 0]
        return out["features"].astype(jnp.float32), cam

    def _gaze_errors(
        self, params: Params, cam: Float[Array, "b h_l w_l k"], seen: Seen
    ) -> Float[Array, "b"]:
        """Squared error of each image's own maps, mean over its labels; 0 for one without."""
        grid = (cam.shape[1], cam.shape[2])
        gaze = jax.vmap(lambda one: area_pool(one, size=grid))(seen.gaze)
        errors = jnp.square(_as_gaze(params, cam) - gaze[..., None]).mean(axis=(1, 2))
        number = seen.present.sum(axis=1)
        return (errors * seen.present).sum(axis=1) / jnp.where(number > 0, number, 1.0)

    def _check_features(self, batch: Batch) -> None:
        """Refuses a backbone of which a logit is not the mean of a map.

        Only shapes are known where a run begins: a width shows it, and a ViT says what it pools.
        """
        image = jax.ShapeDtypeStruct((1, *batch["image"].shape[1:]), jnp.float32)
        out = jax.eval_shape(self.backbone.init_with_output, jax.random.key(0), image)[0][1]
        width, channels = out["features"].shape[-1], out["feature_map"].shape[-1]
        reason = ""
        if width != channels:
            reason = f"it gives {width} features and a feature map of {channels} channels"
        elif isinstance(self.backbone, ViT) and self.backbone.pool != "avg":
            reason = f"a ViT with pool='{self.backbone.pool}' gives those of its class token"
        if reason:
            raise InputError(
                "GG-CAM needs a backbone whose features are the mean of its feature map, and "
                f"{reason}: take a ResNet, a DenseNet or a ViT with model.pool='avg', or the "
                "method attention_consistency."
            )


def _as_gaze(params: Params, cam: Float[Array, "b *rest"]) -> Float[Array, "b *rest"]:
    """A class activation map in [0, 1], as it is held against the gaze map."""
    balance = params[BALANCE]
    return jax.nn.sigmoid(cam * jnp.exp(balance["log_scale"]) + balance["shift"])
