"""The optimizers: AdamW and LARS behind a clipped gradient, schedules, slower early layers."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from gazax.methods.backbone import SCOPE
from gazax.methods.base import Params
from gazax.typing import InputError

NO_DECAY = ("pos_embed", "cls_token")
"""Parameters of two or more axes that are positions, not weights."""


def cosine_schedule(
    *, learning_rate: float, warmup_steps: int, total_steps: int, end_fraction: float = 0.0
) -> optax.Schedule:
    """Linear warm-up over ``warmup_steps``, then half a cosine to its end at the last step.

    lr(s) = peak * (1 / w + (1 - 1 / w) * s / w)                           while s < w
    lr(s) = peak * (end + (1 - end) * (1 + cos(pi * (s - w) / (T - w))) / 2)    after

    Args:
      learning_rate: the peak.
      warmup_steps: w, fewer than total_steps.
      total_steps: T.
      end_fraction: what is left of the peak at T.

    Raises:
      InputError: warm-up does not end before training does.
    """
    if not 0 <= warmup_steps < total_steps:
        raise InputError(
            f"the warm-up of {warmup_steps} steps must end before the {total_steps} steps of the "
            "run do; lower optim.warmup_fraction or train longer."
        )
    return optax.warmup_cosine_decay_schedule(
        # Not from 0: the first step would change nothing.
        init_value=learning_rate / max(warmup_steps, 1),
        peak_value=learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=total_steps,
        end_value=learning_rate * end_fraction,
    )


def constant_schedule(
    *, learning_rate: float, warmup_steps: int, total_steps: int
) -> optax.Schedule:
    """The same learning rate throughout, after a linear warm-up as `cosine_schedule` has it.

    Args:
      learning_rate: the rate.
      warmup_steps: 0 for none; fewer than total_steps.
      total_steps: of the run.

    Raises:
      InputError: warm-up does not end before training does.
    """
    return cosine_schedule(
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        total_steps=total_steps,
        end_fraction=1.0,
    )


SCHEDULES = {"cosine": cosine_schedule, "constant": constant_schedule}


def decay_mask(params: Params) -> Params:
    """True for weight matrices and kernels; biases, norms and positions are not decayed."""

    def decays(path: tuple, leaf: jax.Array) -> bool:
        return leaf.ndim >= 2 and getattr(path[-1], "key", None) not in NO_DECAY

    return jax.tree_util.tree_map_with_path(decays, params)


def layer_scales(
    params: Params, layer_of: Callable[[str], int], num_layers: int, decay: float
) -> Params:
    """How much of the learning rate each parameter gets: ``decay ** (num_layers - 1 - layer)``.

    Args:
      params: by scope; a part of them, such as what is trainable, does as well.
      layer_of: the layer, 0 to num_layers - 1, of a module or parameter that stands directly in
        the backbone. Other scopes (heads) count as the last layer.
      num_layers: of the backbone, its stem and its last norm included.
      decay: from layer to layer, in (0, 1].

    Returns:
      A float for each parameter; 1 for the last layer.

    Source: Bao et al. 2022 (arXiv:2106.08254), as BEiT's code and timm's
    `param_groups_layer_decay` have it.
    """

    def scale(path: tuple, leaf: object) -> float:
        scope, name, *_ = [entry.key for entry in path]
        layer = layer_of(name) if scope == SCOPE else num_layers - 1
        return decay ** (num_layers - 1 - layer)

    return jax.tree_util.tree_map_with_path(scale, params)


def adamw(
    schedule: optax.Schedule,
    *,
    weight_decay: float,
    clip_norm: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    layer_decay: float = 1.0,
    layer_of: Callable[[str], int] | None = None,
    num_layers: int = 0,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019) with decoupled decay on `decay_mask`, after clipping.

    Args:
      schedule: learning rate by step.
      weight_decay: per unit of learning rate, as in PyTorch.
      clip_norm: the global gradient norm is clipped to it; 0 does not clip.
      b1, b2, eps: of Adam.
      layer_decay: factor of the learning rate, and so of the weight decay, from each layer of the
        backbone to the one before it; 1 leaves all equal.
      layer_of, num_layers: see `layer_scales`; needed where layer_decay is below 1.

    Raises:
      InputError: layer_decay is not in (0, 1], or the layers of the model are not known.
    """
    if not 0 < layer_decay <= 1:
        raise InputError(
            f"config.optim.layer_decay is {layer_decay}; it must lie above 0 and not above 1 "
            "(1: every layer learns at the same rate)."
        )
    clip = _clip(clip_norm)
    adam = optax.adamw(schedule, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=decay_mask)
    if layer_decay == 1:
        return optax.chain(clip, adam)
    if layer_of is None:
        raise InputError(
            f"config.optim.layer_decay is {layer_decay}, and the model's layers have no numbers; "
            "take 1."
        )

    def slow(updates: Any, params: Any) -> Any:
        scales = layer_scales(updates, layer_of, num_layers, layer_decay)
        return jax.tree.map(lambda update, scale: update * scale, updates, scales)

    return optax.chain(clip, adam, optax.stateless(slow))


def lars(
    schedule: optax.Schedule,
    *,
    weight_decay: float,
    clip_norm: float,
    momentum: float = 0.9,
    trust_coefficient: float = 0.001,
) -> optax.GradientTransformation:
    """LARS: momentum with a rate for each weight matrix in proportion to its norm, after clipping.

    For a parameter w that `decay_mask` names, with gradient g and learning rate lr::

        u = g + weight_decay * w
        m <- momentum * m + lr * trust_coefficient * |w| / |u| * u
        w <- w - m

    Others (biases, norms, positions) are neither decayed nor adapted: m <- momentum * m + lr * g.

    Args:
      schedule: learning rate by step. Rates are far above those of AdamW: BYOL takes 0.2 and
        MoCo v3 0.3 for each 256 images of a batch (1000 epochs of a ResNet-50).
      weight_decay: added to the gradient, so that |u| sees it; 1.5e-6 in both.
      clip_norm: the global gradient norm is clipped to it; 0 does not clip, as in the papers.
      momentum: of the updates.
      trust_coefficient: share of a matrix's norm that an update has at a learning rate of 1.

    Numerics: a matrix of zeros, or one without gradient and decay, has a ratio of 1.

    Source: You et al. 2017 (arXiv:1708.03888), algorithm 1. What is left out: Grill et al. 2020
    (arXiv:2006.07733), §3.3, and MoCo v3's code; theirs take positions for weights, and multiply
    by the learning rate after the momentum, which is the same while the rate is.
    """
    return optax.chain(
        _clip(clip_norm),
        optax.lars(
            schedule,
            weight_decay=weight_decay,
            weight_decay_mask=decay_mask,
            trust_coefficient=trust_coefficient,
            trust_ratio_mask=decay_mask,
            momentum=momentum,
        ),
    )


def _clip(norm: float) -> optax.GradientTransformation:
    """The gradient clipped to a global norm; 0 does not clip."""
    return optax.clip_by_global_norm(norm) if norm > 0 else optax.identity()
