"""A method that compiles in a moment, over a backbone with batch statistics or a tiny ViT."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gazax.losses.parallel import masked_mean
from gazax.methods.backbone import Backbone
from gazax.models import build
from gazax.models.layers import BatchNorm
from gazax.ops.image import to_float
from gazax.train import loop, optim, sharding
from gazax.train.preemption import Preemption
from tests.batches import tiny_batch

SIZE = 8


class Normed(nn.Module):
    """Two layers, each with its statistics."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, *, train=False):
        x = image
        for i in (1, 2):
            x = nn.Dense(4, use_bias=False, name=f"fc{i}")(x)
            x = jnp.tanh(BatchNorm(self.axis_name, name=f"bn{i}")(x, train=train))
        features = x.mean(axis=(1, 2))
        return features, {"features": features}


def tiny_vit(*, depth=2, patch_size=4):
    return build("vit", width=16, depth=depth, num_heads=2, patch_size=patch_size)


@dataclasses.dataclass(frozen=True)
class Toy:
    """Squared distance of a linear head from the labels."""

    backbone: nn.Module = dataclasses.field(default_factory=Normed)
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None
    head: str = "head"

    def init(self, rng, batch):
        rng_backbone, rng_head = jax.random.split(rng)
        backbone, state, out = self.encoder.init(rng_backbone, to_float(batch["image"]))
        width = out["features"].shape[-1]
        head = {"kernel": jax.random.normal(rng_head, (width, 3)), "bias": jnp.zeros(3)}
        return backbone | {self.head: head}, state

    def loss(self, params, state, batch, rng, *, step, train):
        out, state = self.encoder.look(params, state, to_float(batch["image"]), train=train)
        head = params[self.head]
        predicted = out["features"] @ head["kernel"] + head["bias"][None]
        errors = ((predicted - batch["label"]) ** 2).mean(axis=1)
        loss = masked_mean(errors, None, axis_name=self.axis_name)
        return loss, (state, {"loss/error": loss})

    @property
    def encoder(self):
        return Backbone(self.backbone, freeze=self.freeze, axis_name=self.axis_name)

    def after_step(self, params, state, *, step):
        return state

    def encode(self, params, state, batch):
        out, _ = self.encoder.look(params, state, to_float(batch["image"]), train=False)
        return out["features"], jnp.full((len(batch["image"]), 1, 1), 1.0)


def batch(seed=0):
    return tiny_batch(8, size=SIZE, fixations=3, seed=seed)


def stream(taken):
    step = taken // 8
    while True:
        yield batch(step)
        step += 1


SPEC = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch())


def schedule(step):
    return 1e-2


TX = optim.adamw(schedule, weight_decay=0.05, clip_norm=1.0)


def start(method, *, tx=TX, fsdp=1, seed=0, initialise=None):
    mesh = sharding.make_mesh(fsdp=fsdp)
    return loop.make_start(method, tx, SPEC, mesh=mesh, seed=seed, initialise=initialise)


def train(
    method,
    folder,
    *,
    steps,
    evaluate=lambda state: {},
    patience=0,
    begin=None,
    monitor=(),
    every=2,
    batches=stream,
):
    with Preemption() as preemption:
        return loop.train(
            method,
            TX,
            schedule,
            start=begin or start(method),
            batches=batches,
            example_ids=tuple(f"image_{i}" for i in range(8)),
            batch_size=8,
            steps=steps,
            seed=0,
            mesh=sharding.make_mesh(),
            parallel="jit",
            workdir=folder,
            cadence=loop.Cadence(
                log_every=1, eval_every=every, checkpoint_every=every, keep=1, patience=patience
            ),
            evaluate=evaluate,
            monitor=monitor,
            preemption=preemption,
        )


def flat(tree: Any) -> dict[str, np.ndarray]:
    """Host arrays by '/'-joined name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf)
        for path, leaf in leaves
    }
