"""A split of the data, where people looked in it, and what a method makes of it, batch by batch.

Maps are made on the devices, looked at on the host and dropped: what is held at a time is two
batches of them, however many images a split has. What is kept of an image is its features, its
labels and its scores.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gazax.methods.base import Method, Params, State
from gazax.ops.gaze import gaze_maps
from gazax.ops.image import content_mask
from gazax.train.sharding import batch_sharding, place_batch, replicated
from gazax.typing import Batch, Size

OfBatch = Callable[[Batch], Any]
"""From a batch on the devices to arrays [b, ...], a tree of them."""


@dataclasses.dataclass(frozen=True)
class Split:
    """What does not change while the model does, without any map of a single image."""

    batches: Callable[[], Iterable[Batch]]
    """Every example once, in the order of `index`; padding has weight 0."""
    index: np.ndarray
    """[n] places in the data set, as every other row here is ordered."""
    label: np.ndarray
    """[n, k]"""
    patient: np.ndarray
    """[n] patient ids, the groups of every bootstrap."""
    has_gaze: np.ndarray
    """[n] bool, where the gaze map is not zero; False if it was not asked for."""
    mean_gaze_map: np.ndarray
    """[h, w] float64, the mean gaze map of the images that have gaze; zeros if none has.

    Of training images it is the best map that knows nothing of the image at hand: a model whose
    attention does not beat it has learned where people look in general.
    """


@dataclasses.dataclass(frozen=True)
class Look:
    """How people looked at one image; it lives no longer than its batch."""

    index: int
    """Place in the data set."""
    content: np.ndarray
    """[h, w] bool, the pixels that are no padding."""
    gaze: np.ndarray
    """[h, w] gaze map; zeros where nobody looked."""
    xy: np.ndarray
    """[f, 2] the fixations of all readers that have a weight, px."""
    reader: np.ndarray
    """[f] their readers, as slots of the batch."""

    @property
    def has_gaze(self) -> bool:
        """Whether the gaze map is not zero."""
        return bool(self.gaze.max() > 0)

    @property
    def readers(self) -> list[int]:
        """Slots of the readers who looked, in their order."""
        return np.unique(self.reader).tolist()

    def of_reader(self, slot: int, gaze: np.ndarray) -> "Look":
        """The same image as one of the readers looked at it, with this gaze map."""
        own = self.reader == slot
        return dataclasses.replace(self, gaze=gaze, xy=self.xy[own], reader=self.reader[own])


def load_split(
    batches: Callable[[], Iterable[Batch]],
    *,
    patient_ids: np.ndarray,
    mesh: Mesh,
    gaze: bool = True,
) -> Split:
    """Reads a split once.

    Args:
      batches: of the split; see `Split.batches`.
      patient_ids: by `index`.
      mesh: the devices that render.
      gaze: whether to render it, for `has_gaze` and `mean_gaze_map`.
    """
    rows: dict[str, list[np.ndarray]] = {"index": [], "label": [], "has_gaze": []}
    total: Any = 0.0
    functions = [functools.partial(render, mesh=mesh)] if gaze else []
    size: Size = (0, 0)
    for batch, found in walk(batches(), *functions, mesh=mesh):
        index, size = np.asarray(batch["index"]), _size(batch)
        looked = np.zeros(len(index), bool)
        for row, one in enumerate(found[0] if gaze else ()):
            looked[row] = one.max() > 0
            if looked[row]:
                total = total + one.astype(np.float64)
        rows["index"].append(index)
        rows["label"].append(np.asarray(batch["label"]))
        rows["has_gaze"].append(looked)
    joined = {name: np.concatenate(parts) for name, parts in rows.items()}
    index = joined["index"].astype(np.int64)
    count = max(int(joined["has_gaze"].sum()), 1)
    return Split(
        batches=batches,
        index=index,
        label=joined["label"],
        patient=np.asarray(patient_ids)[index],
        has_gaze=joined["has_gaze"],
        mean_gaze_map=np.zeros(size) + total / count,
    )


def walk(
    batches: Iterable[Batch], *functions: OfBatch, mesh: Mesh
) -> Iterator[tuple[Batch, tuple[Any, ...]]]:
    """Each batch and what functions of it give, both on the host and without padding.

    The devices work on the next batch while the caller does on this one. Of several processes each
    gets the whole batch and all that was found, in the order of a single one.

    Args:
      batches: this process's part of them, see `evaluation_batches`; padding has weight 0.
      functions: what is wanted of each batch; compiled, so that a call returns before it is done,
        and the same on all devices.
      mesh: the devices.
    """
    several = mesh.is_multi_process

    def start(batch: Batch) -> tuple[Any, tuple[Any, ...]]:
        if not functions and not several:
            return batch, ()
        placed = place_batch(batch, batch_sharding(mesh))
        found = tuple(function(placed) for function in functions)
        if not several:
            return batch, found
        # What is cached of the images was read for the functions, and is large.
        placed = {name: part for name, part in placed.items() if name != "cached"}
        return _everywhere(placed, mesh=mesh), found

    def finish(batch: Any, found: tuple[Any, ...]) -> tuple[Batch, tuple[Any, ...]]:
        real = np.asarray(batch["weight"]) > 0
        rows: Any = slice(None) if real.all() else real  # a mask would copy every image
        if several:  # the processes' parts stand one behind the other
            order = np.argsort(np.asarray(batch["place"]), kind="stable")
            rows = order[real[order]]
        return jax.tree.map(lambda part: np.asarray(part)[rows], (batch, found))

    begun = None
    for batch in batches:
        before, begun = begun, start(batch)
        if before is not None:
            yield finish(*before)
    if begun is not None:
        yield finish(*begun)


def look(
    batches: Iterable[Batch], *functions: OfBatch, mesh: Mesh
) -> Iterator[tuple[Batch, list[Look], tuple[Any, ...]]]:
    """`walk`, with how people looked at each image of the batch."""
    first = (functools.partial(render, mesh=mesh), functools.partial(content_masks, mesh=mesh))
    for batch, (gaze, content, *found) in walk(batches, *first, *functions, mesh=mesh):
        looks = [
            Look(index=int(index), content=content[row], gaze=gaze[row], xy=xy, reader=reader)
            for row, (index, (xy, reader)) in enumerate(
                zip(np.asarray(batch["index"]), fixations(batch), strict=True)
            )
        ]
        yield batch, looks, tuple(found)


def fixations(batch: Batch) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """xy [f, 2] and reader [f] of each image of a host batch: what is in its gaze map."""
    for points, reader, weight in zip(
        np.asarray(batch["fixations"]["xy"]),
        np.asarray(batch["fixations"]["reader"]),
        np.asarray(batch["reader_weight"]),
        strict=True,
    ):
        # A reader without weight is not in the gaze map either; -1 is padding.
        counts = (reader >= 0) & (weight[reader] > 0)
        yield points[counts], reader[counts]


@functools.partial(jax.jit, static_argnames="mesh")
def _everywhere(tree: Any, *, mesh: Mesh) -> Any:
    return jax.lax.with_sharding_constraint(tree, replicated(mesh))


@functools.partial(jax.jit, static_argnames="mesh")
def render(batch: Batch, *, mesh: Mesh) -> jax.Array:
    """[b, h, w]: gaze maps, as in training."""
    maps = gaze_maps(batch["fixations"], batch["reader_weight"], size=_size(batch))
    return jax.lax.with_sharding_constraint(maps, replicated(mesh))


@functools.partial(jax.jit, static_argnames="mesh")
def render_readers(batch: Batch, *, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """[b, r, h, w] twice: each reader's own gaze map, and that of all the others.

    Zeros where a slot is empty, and for the others of a reader who looked alone.
    """
    weight = jnp.asarray(batch["reader_weight"])

    def without(dropped: jax.Array) -> jax.Array:
        """The gaze maps in which some slots do not count."""
        weights = jnp.where(dropped[None, :], 0.0, weight)
        return gaze_maps(batch["fixations"], weights, size=_size(batch))

    own = jnp.eye(weight.shape[1], dtype=bool)
    maps = tuple(jnp.moveaxis(jax.lax.map(without, dropped), 0, 1) for dropped in (~own, own))
    return jax.lax.with_sharding_constraint(maps, replicated(mesh))


@functools.partial(jax.jit, static_argnames="mesh")
def content_masks(batch: Batch, *, mesh: Mesh) -> jax.Array:
    """[b, h, w] bool: the pixels that are no padding."""
    masks = jax.vmap(functools.partial(content_mask, size=_size(batch)))(batch["content"])
    return jax.lax.with_sharding_constraint(masks > 0, replicated(mesh))


class Encoder:
    """What a method makes of images: features, and its attention at their size.

    One compiled program for all weights and both: in bfloat16 another program would give slightly
    other features, and a probe fitted to those of one is not for those of the other.

    Args:
      method: what encodes.
      mesh: the devices.
    """

    def __init__(self, method: Method, *, mesh: Mesh) -> None:
        self._mesh = mesh

        @functools.partial(jax.jit, out_shardings=replicated(mesh))
        def encode(params: Params, state: State, batch: Batch) -> tuple[jax.Array, jax.Array]:
            features, attention = method.encode(params, state, batch)
            shape = (attention.shape[0], *_size(batch))
            return features, jax.image.resize(attention, shape, "bilinear")

        self._encode = encode

    def both(self, params: Params, state: State) -> OfBatch:
        """Of a batch on the devices: features [b, d] and attention [b, h, w].

        The attention is not negative: its grid, bilinearly enlarged to the image.
        """
        return functools.partial(self._encode, params, state)

    def attention(self, params: Params, state: State) -> OfBatch:
        """Of a batch on the devices: attention [b, h, w]."""
        return lambda batch: self._encode(params, state, batch)[1]

    def features(self, params: Params, state: State, batches: Iterable[Batch]) -> np.ndarray:
        """[n, d] of all images; their attention stays on the devices and is dropped there."""

        def of_batch(batch: Batch) -> jax.Array:
            return self._encode(params, state, batch)[0]

        return np.concatenate([found for _, (found,) in walk(batches, of_batch, mesh=self._mesh)])


def _size(batch: Batch) -> Size:
    _, height, width, _ = batch["image"].shape
    return height, width
