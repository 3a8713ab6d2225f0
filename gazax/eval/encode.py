"""What a method makes of a split, and what people looked at in it."""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gazax.methods.base import Method, Params, State
from gazax.ops.gaze import gaze_maps
from gazax.ops.image import content_mask
from gazax.train.sharding import batch_sharding, place_batch, replicated
from gazax.typing import Batch, Size


@dataclasses.dataclass(frozen=True)
class Split:
    """What does not change while the model does: images of a split and the gaze on them."""

    batches: Callable[[], Iterable[Batch]]
    """Every example once; padding has weight 0."""
    index: np.ndarray
    """[n] places in the data set, as every other row here is ordered."""
    label: np.ndarray
    """[n, k]"""
    patient: np.ndarray
    """[n] patient ids, the groups of every bootstrap."""
    content: np.ndarray
    """[n, h, w] bool, the pixels that are no padding; [n, 0, 0] without maps."""
    gaze: np.ndarray
    """[n, h, w] gaze maps; zeros where nobody looked; [n, 0, 0] without maps."""
    xy: list[np.ndarray]
    """n arrays [f, 2]: the fixations of all readers that have a weight, px."""

    @property
    def has_gaze(self) -> np.ndarray:
        """[n] bool."""
        return self.gaze.max(axis=(1, 2), initial=0.0) > 0


def load_split(
    batches: Callable[[], Iterable[Batch]],
    *,
    patient_ids: np.ndarray,
    mesh: Mesh,
    maps: bool = True,
) -> Split:
    """Reads a split once and renders its gaze.

    Args:
      batches: of the split; see `Split.batches`.
      patient_ids: by `index`.
      mesh: the devices that render.
      maps: whether to keep content and gaze, which take 5 bytes a pixel of every image.
    """
    place = functools.partial(place_batch, sharding=batch_sharding(mesh))

    @functools.partial(jax.jit, out_shardings=replicated(mesh))
    def render(batch: Batch) -> jax.Array:
        _, height, width, _ = batch["image"].shape
        return gaze_maps(batch["fixations"], batch["reader_weight"], size=(height, width))

    size: Size = (0, 0)
    rows: dict[str, list[np.ndarray]] = {"index": [], "label": [], "content": [], "gaze": []}
    xy: list[np.ndarray] = []
    for batch in batches():
        real = batch["weight"] > 0
        _, height, width, _ = batch["image"].shape
        size = (height, width)
        rows["index"].append(np.asarray(batch["index"])[real])
        rows["label"].append(np.asarray(batch["label"])[real])
        if maps:
            rows["gaze"].append(np.asarray(render(place(batch)))[real])
            mask = np.asarray(_content_masks(jnp.asarray(batch["content"]), size))
            rows["content"].append(mask[real] > 0)
        else:
            rows["gaze"].append(np.zeros((real.sum(), 0, 0), np.float32))
            rows["content"].append(np.zeros((real.sum(), 0, 0), bool))
        for points, reader, weight in zip(
            np.asarray(batch["fixations"]["xy"])[real],
            np.asarray(batch["fixations"]["reader"])[real],
            np.asarray(batch["reader_weight"])[real],
            strict=True,
        ):
            # A reader without weight is not in the gaze map either; -1 is padding.
            xy.append(points[(reader >= 0) & (weight[reader] > 0)])
    joined = {
        name: np.concatenate(parts) if parts else np.zeros((0, *size))
        for name, parts in rows.items()
    }
    index = joined["index"].astype(np.int64)
    return Split(
        batches=batches,
        index=index,
        label=joined["label"],
        patient=np.asarray(patient_ids)[index],
        content=joined["content"].astype(bool),
        gaze=joined["gaze"],
        xy=xy,
    )


@functools.partial(jax.jit, static_argnums=1)
def _content_masks(content: jax.Array, size: tuple[int, int]) -> jax.Array:
    return jax.vmap(functools.partial(content_mask, size=size))(content)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What the model makes of a split, in the split's order."""

    features: np.ndarray
    """[n, d]"""
    attention: np.ndarray
    """[n, h, w], not negative: the attention's grid, bilinearly enlarged to the image."""


def make_encoder(
    method: Method, *, mesh: Mesh
) -> Callable[[Params, State, Iterable[Batch]], Encoded]:
    """A function from weights and batches to `Encoded`, compiled once for all calls."""

    @functools.partial(jax.jit, out_shardings=replicated(mesh))
    def encode(params: Params, state: State, batch: Batch) -> tuple[jax.Array, jax.Array]:
        features, attention = method.encode(params, state, batch)
        shape = (attention.shape[0], *batch["image"].shape[1:3])
        return features, jax.image.resize(attention, shape, "bilinear")

    def run(params: Params, state: State, batches: Iterable[Batch]) -> Encoded:
        features, attention = [], []
        for batch in batches:
            real = batch["weight"] > 0
            of_batch = encode(params, state, place_batch(batch, batch_sharding(mesh)))
            features.append(np.asarray(of_batch[0])[real])
            attention.append(np.asarray(of_batch[1])[real])
        return Encoded(np.concatenate(features), np.concatenate(attention))

    return run
