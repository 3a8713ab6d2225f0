"""MoCo v2: a view is told from the keys of earlier batches, by a slowly following copy."""

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array

from gazax.losses import info_nce_queue
from gazax.losses.contrastive import unit_rows
from gazax.losses.parallel import masked_mean
from gazax.methods.base import Params, State
from gazax.methods.queue import QUEUE, arrive, empty_queue, enqueue
from gazax.methods.siamese import PARTNERS, Siamese
from gazax.methods.target_network import (
    TARGET,
    current_target,
    first_target,
    follow_network,
    keep_target,
)
from gazax.methods.views import own_gaze
from gazax.ops.image import to_float
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoCo(Siamese):
    """Momentum contrast with a queue.

    L = mean over images of InfoNCE(z_a, z'_b against the queue), z' the target's, no gradient

    A key of the query's own image, from an earlier epoch, is no negative. Rows that have not been
    filled count for nothing (the published queue begins with random keys): the first step's loss
    is 0, and it rises until the queue is full. The target is given its keys with the statistics of
    the whole batch on all devices, where there are any; the published code shuffles examples
    between devices instead.

    The published backbones have batch normalisation. Without any (a ViT, a projector with none) all
    projections lie in one narrow cone, and a query is told from older keys by their age: the loss
    falls, and the features get worse than random ones. Batch normalisation in the projector mends
    it, as MoCo v3 has it; the configs of a ViT take it.

    Attributes:
      temperature: of the contrast.
      momentum: of the target, at every step.
      queue_size: keys; at least a batch.
      the others: see `Siamese`; partners are keys of the queue (McGIP).

    Source: He et al. 2020 (arXiv:1911.05722), eq. 1 and 2, algorithm 1; Chen et al. 2020
    (arXiv:2003.04297) for the projector of two layers, t = .2 and the views.
    """

    temperature: float
    momentum: float
    queue_size: int

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone` and `projector`; the state holds the `target` and the `queue`."""
        b = batch["image"].shape[0]
        if self.queue_size < b:
            raise InputError(
                f"method.queue_size is {self.queue_size} and train.batch_size {b}: a batch must "
                "find room in the queue; take a larger queue_size or a smaller batch."
            )
        params, state = super().init(rng, batch)
        image = to_float(batch["image"][:2])
        seen, _ = jax.eval_shape(lambda: self.embed(params, state, image, train=False))
        described = jax.eval_shape(lambda: self._describe(batch))
        queue = empty_queue(size=self.queue_size, dim=seen.z.shape[1], described=described)
        target = first_target(params, state, ("backbone", "projector"))
        return params, {**state, TARGET: target, QUEUE: queue}

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; terms: `loss/contrast`, and how far the features spread."""
        view_a, view_b = rearrange(self.views(batch, rng), "(b v) ... -> v b ...", v=2)
        target, of_target = current_target(params, state)
        keys, of_target = self.embed(target, of_target, view_b, train=train)
        key = jax.lax.stop_gradient(unit_rows(keys.z))
        seen, state = self.embed(params, state, view_a, train=train)
        described, queue = self._describe(batch), state[QUEUE]
        index = jnp.asarray(batch["index"])
        filled = queue["index"] >= 0
        same_image = index[:, None] == queue["index"][None]
        partner = None
        if self.partners is not None:
            partner = filled[None] & self.partners.choose(
                jax.random.fold_in(rng, PARTNERS),
                described,
                index,
                queue["described"],
                queue["index"],
            )
        contrast = info_nce_queue(
            seen.z,
            key,
            queue["key"],
            temperature=self.temperature,
            positives=partner,
            negatives=filled[None] & ~same_image,
        )
        total = masked_mean(contrast, None, axis_name=self.axis_name)
        state = keep_target(state, target, of_target)
        state = arrive(state, key, index, batch["place"], described, axis_name=self.axis_name)
        return total, (state, {"loss/contrast": total, **self.watched(seen, partner)})

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """The target follows, the batch's keys join the queue."""
        return enqueue(follow_network(params, state, self.momentum))

    def _describe(self, batch: Batch) -> dict[str, Array]:
        """What is to be known of an image to find its partners; nothing where none are asked."""
        return {} if self.partners is None else self.partners.describe(batch, own_gaze(batch))
