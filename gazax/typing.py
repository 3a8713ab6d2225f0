"""The words that every part shares: axis letters, array aliases, the batch and the user's error.

Axis letters, used in jaxtyping strings, einsum and einops alike::

    b batch   v view   r reader   f fixation   h w c image   n token   d feature
    k label   q queue   l level   m box

Coordinates: x right, y down, in pixels; the origin is the top-left corner of the top-left pixel,
so pixel (i, j) covers [j, j+1) x [i, i+1) and its centre is (j + .5, i + .5). Sizes are H x W.

Names say how a map is normalised: ``*_map`` lies in [0, 1], ``*_density`` sums to 1, ``*_logits``
are raw, ``log_*`` is a logarithm. ``gaze`` belongs to people, ``attention`` to the inside of a
model, ``saliency`` is predicted gaze.
"""

from typing import NotRequired, TypedDict

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped, UInt8

Key = PRNGKeyArray
Size = tuple[int, int]
"""(height, width)."""
Scalar = Float[Array, ""]
StepCount = Int[Array, ""]
"""Updates done."""
Terms = dict[str, Array]
"""Named scalars that are logged, the total under ``loss``."""


class InputError(ValueError):
    """What a person gave is wrong: the message says where, what was found and what to do.

    Commands print it without a traceback and exit with 2 (`gazax.config.run`).
    """


class RunError(RuntimeError):
    """A run cannot go on, though what was given looked right: the message says what is left.

    Commands print it without a traceback and exit with 1.
    """


class Fixations(TypedDict):
    """Fixations of a batch, in pixels of its images.

    Rows whose ``reader`` is -1 are padding and may hold anything, NaN included.
    """

    xy: Float[Array, "b f 2"]
    """Position, px."""
    duration: Float[Array, "b f"]
    """Seconds."""
    sigma: Float[Array, "b f 2"]
    """Standard deviation of the Gaussian in x and y, px."""
    window: Float[Array, "b f 4"]
    """xmin, ymin, xmax, ymax of what the reader could see, px."""
    reader: Int[Array, "b f"]
    """Slot of the reader within the image, 0 to r - 1; -1 is padding."""


SCANPATH_COLUMNS = {"multimatch": 5, "tima": 2}
"""Measures of similar gaze that compare scanpaths, and the columns of a step of one."""


class Scanpath(TypedDict):
    """Steps of one reader's scanpath on each image, see `gazax.data.scanpaths`."""

    steps: Float[Array, "b s c"]
    """In order of time; rows from `count` on are padding."""
    count: Int[Array, "b"]
    """0 where there is no scanpath."""


class Batch(TypedDict):
    """What a step gets; `gazax.config.batch_spec` knows every shape from the config alone."""

    image: UInt8[Array, "b h w 1"]
    fixations: Fixations
    reader_weight: Float[Array, "b r"]
    """Weight of each reader slot; 0 where nobody looked."""
    label: Float[Array, "b k"]
    """1 present, 0 absent, NaN unknown."""
    box: Float[Array, "b m 4"]
    """xmin, ymin, xmax, ymax, px."""
    box_label: Int[Array, "b m"]
    """Column of `label`; -1 is padding."""
    mask: NotRequired[UInt8[Array, "b h w k"]]
    """1 inside; only where the config asks for masks."""
    content: Float[Array, "b 4"]
    """xmin, ymin, xmax, ymax of the real pixels inside the padding, px."""
    index: Int[Array, "b"]
    """Place in the data set; the host keeps the table from it to `image_id`."""
    place: Int[Array, "b"]
    """Place in the global stream of examples: what an example's random draws are keyed by."""
    weight: Float[Array, "b"]
    """1, or 0 for the padding of an evaluation's last batch."""
    scanpath: NotRequired[Scanpath]
    """Only where the config compares scanpaths."""
    cached: NotRequired[dict[str, Shaped[Array, "b *rest"]]]
    """What frozen parts of a model make of the image, computed once."""


def batch_spec(
    *,
    batch_size: int,
    size: Size,
    num_labels: int,
    max_fixations: int,
    max_readers: int,
    max_boxes: int,
    masks: bool = False,
    scanpath: tuple[int, int] | None = None,
) -> Batch:
    """Shapes and dtypes of a batch, as `jax.ShapeDtypeStruct`.

    Args:
      batch_size: global batch.
      size: (h, w) of the images, px.
      num_labels, max_fixations, max_readers, max_boxes: k, f, r and m.
      masks: whether the batch carries `mask`.
      scanpath: (s, c) of `Scanpath.steps`, where the batch carries one.
    """
    height, width = size
    b, f = batch_size, max_fixations

    def spec(shape: tuple[int, ...], dtype=np.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    batch = dict(
        image=spec((b, height, width, 1), np.uint8),
        fixations=dict(
            xy=spec((b, f, 2)),
            duration=spec((b, f)),
            sigma=spec((b, f, 2)),
            window=spec((b, f, 4)),
            reader=spec((b, f), np.int32),
        ),
        reader_weight=spec((b, max_readers)),
        label=spec((b, num_labels)),
        box=spec((b, max_boxes, 4)),
        box_label=spec((b, max_boxes), np.int32),
        content=spec((b, 4)),
        index=spec((b,), np.int32),
        place=spec((b,), np.int32),
        weight=spec((b,)),
    )
    if masks:
        batch["mask"] = spec((b, height, width, num_labels), np.uint8)
    if scanpath is not None:
        batch["scanpath"] = dict(steps=spec((b, *scanpath)), count=spec((b,), np.int32))
    return batch  # type: ignore[return-value]
