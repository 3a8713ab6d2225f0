"""One training step for every method, and the three ways to run it on several devices."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from jax.sharding import Mesh, PartitionSpec

from gazax.config import choose
from gazax.hardware.products import count_flops
from gazax.losses.parallel import value_and_grad
from gazax.methods.base import Method, Params, State
from gazax.train import freeze
from gazax.train.sharding import DATA, FSDP, batch_sharding, place_batch, replicated, state_sharding
from gazax.train.state import TrainState
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms

Gradient = Callable[
    [Params, Params, State, Batch, Key, StepCount],
    tuple[tuple[Scalar, tuple[State, Terms]], Params],
]
"""(trainable, frozen, ...) -> ((loss, (state, terms)), gradient of the trainable part)."""


@dataclasses.dataclass(frozen=True)
class Step:
    """(state, this process's host batch) -> (new state, logged scalars); donates the state."""

    run: Callable[[TrainState, Batch], tuple[TrainState, Terms]]
    """On a batch that lies where ``place`` puts it."""
    place: Callable[[Batch], Batch]

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Terms]:
        """Takes the step."""
        return self.run(state, self.place(batch))

    def flops(self, state: TrainState, batch: Batch) -> float | None:
        """Of one step on all devices, see `count_flops`; None under ``pmap``, which is no program.

        After the first step it costs next to nothing: the program is traced already.
        """
        if not isinstance(self.run, jax.stages.Wrapped):
            return None
        try:
            return count_flops(self.run.trace(state, self.place(batch)).jaxpr)
        except (AttributeError, KeyError, TypeError) as error:  # of another version of JAX
            logging.warning("the FLOPs of a step cannot be counted, so no mfu is logged: %r", error)
            return None


def make_step(
    method: Method,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    mesh: Mesh,
    parallel: str,
    seed: int,
) -> Step:
    """The step of ``method`` under ``tx``; the three ways agree up to float32 rounding.

    Args:
      method: its `axis_name` is set here. What its `freeze` names has no gradient and no optimizer
        state; the norms that are logged are those of the rest.
      schedule: only to log the learning rate.
      parallel: ``jit``: global arrays over the mesh, XLA places the communication, fsdp
        possible. ``shard_map``: each device has its part of the batch, and the mean of the
        loss over the devices is differentiated. ``pmap``: the same, averaging gradients.
      seed: of the run; a step's key is ``fold_in(key(seed), step)``.
    """
    if parallel == "pmap" and mesh.is_multi_process:
        raise InputError(
            f"train.parallel='pmap' is for one process, and these are {jax.process_count()}: take "
            "parallel='jit' or 'shard_map'."
        )
    if parallel == "pmap":  # pmap cannot be traced into a jitted step
        gradient = _gradient_of("pmap", method, mesh)
        jitted_update = jax.jit(_make_update(method, tx, schedule), donate_argnums=(0, 4))
        jitted_keys = jax.jit(functools.partial(_keys, seed))

        def pmapped_step(state: TrainState, batch: Batch) -> tuple[TrainState, Terms]:
            (loss, (method_state, terms)), grads = gradient(
                *freeze.split(state.params, method.freeze),
                state.method_state,
                batch,
                *jitted_keys(state),
            )
            return jitted_update(state, loss, method_state, terms, grads)

        return Step(pmapped_step, place=_cut)
    jitted = jit_step(method, tx, schedule, mesh=mesh, parallel=parallel, seed=seed)
    return Step(jitted, place=functools.partial(place_batch, sharding=batch_sharding(mesh)))


def jit_step(
    method: Method,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    mesh: Mesh,
    parallel: str,
    seed: int,
) -> jax.stages.Wrapped:
    """The step as one program of (state, batch on the mesh's devices), which can be lowered.

    Args:
      parallel: ``jit`` or ``shard_map``; the others as in `make_step`.
    """
    gradient = _gradient_of(parallel, method, mesh)
    update = _make_update(method, tx, schedule)

    def whole(state: TrainState, batch: Batch) -> tuple[TrainState, Terms]:
        trainable, frozen = freeze.split(state.params, method.freeze)
        (loss, (method_state, terms)), grads = gradient(
            trainable, frozen, state.method_state, batch, *_keys(seed, state)
        )
        new, terms = update(state, loss, method_state, terms, grads)
        new = jax.lax.with_sharding_constraint(new, state_sharding(new, mesh))
        return new, jax.lax.with_sharding_constraint(terms, replicated(mesh))

    return jax.jit(whole, donate_argnums=0)


def _gradient_of(parallel: str, method: Method, mesh: Mesh) -> Gradient:
    make_gradient = choose("train.parallel", parallel, GRADIENTS)
    if parallel != "jit" and mesh.shape[FSDP] > 1:
        raise InputError(
            f"train.parallel='{parallel}' repeats every parameter, train.fsdp="
            f"{mesh.shape[FSDP]} cuts them: take parallel='jit' or fsdp=1."
        )
    return make_gradient(method, mesh)


def _keys(seed: int, state: TrainState) -> tuple[Key, StepCount]:
    return jax.random.fold_in(jax.random.key(seed), state.step), state.step


def _make_update(
    method: Method, tx: optax.GradientTransformation, schedule: optax.Schedule
) -> Callable[[TrainState, Scalar, State, Terms, Params], tuple[TrainState, Terms]]:
    """From a state and what the gradient gives to the next state and what is logged."""

    def update(
        state: TrainState, loss: Scalar, method_state: State, terms: Terms, grads: Params
    ) -> tuple[TrainState, Terms]:
        trainable, frozen = freeze.split(state.params, method.freeze)
        updates, opt_state = tx.update(grads, state.opt_state, trainable)
        trainable: Any = optax.apply_updates(trainable, updates)
        params = freeze.merge(trainable, frozen)
        new = TrainState(
            step=state.step + 1,
            params=params,
            method_state=method.after_step(params, method_state, step=state.step),
            opt_state=opt_state,
        )
        terms = {
            "loss": loss,
            **terms,
            "grad_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(updates),
            "param_norm": optax.tree.norm(trainable),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
        }
        return new, terms

    return update


def _by_jit(method: Method, mesh: Mesh) -> Gradient:
    return _gradient(method, "jit", None)


def _by_shard_map(method: Method, mesh: Mesh) -> Gradient:
    whole, part = PartitionSpec(), PartitionSpec(DATA)
    return jax.shard_map(
        _gradient(method, "shard_map", DATA),
        mesh=mesh,
        in_specs=(whole, whole, whole, part, whole, whole),
        out_specs=whole,
    )


def _by_pmap(method: Method, mesh: Mesh) -> Gradient:
    return jax.pmap(
        _gradient(method, "pmap", DATA),
        axis_name=DATA,
        in_axes=(None, None, None, 0, None, None),
        out_axes=None,
    )


def _cut(batch: Batch) -> Batch:
    """A part a device, as pmap takes it."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def _gradient(method: Method, parallel: str, axis_name: str | None) -> Gradient:
    method = dataclasses.replace(method, axis_name=axis_name)

    def loss_fn(
        trainable: Params, frozen: Params, state: State, batch: Batch, rng: Key, step: StepCount
    ) -> Any:
        params = freeze.merge(trainable, frozen)
        loss, (state, terms) = method.loss(params, state, batch, rng, step=step, train=True)
        if axis_name is not None:
            terms = jax.lax.pmean(terms, axis_name)
        return loss, (state, terms)

    return value_and_grad(loss_fn, parallel=parallel, axis_name=axis_name)


GRADIENTS = {"jit": _by_jit, "shard_map": _by_shard_map, "pmap": _by_pmap}
