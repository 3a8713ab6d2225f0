"""One image of a source to pixels and masks at the prepared size, in whichever process."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from gazax.data.pixels import images
from gazax.data.pixels.frame import Frame
from gazax.data.raw import RawDataset, RawImage, RawMasks
from gazax.data.sources.files import is_inside
from gazax.typing import InputError, Size

EVERY_LABEL = 255
"""A label map's value for every label that the image has."""


class Task(NamedTuple):
    """What is needed to decode one image."""

    path: Path
    stored_size: Size | None
    """What the data set says of the file."""
    masks: RawMasks | None
    present: Bool[np.ndarray, "k"]
    """Which labels the image has."""
    size: Size
    canvas: Size | None
    display: str
    roots: tuple[Path, ...]


class Pixels(NamedTuple):
    """The decoded part of one image."""

    image: UInt8[np.ndarray, "h w"]
    mask: UInt8[np.ndarray, "h w bytes"] | None
    """Label by label, packed into bits."""
    frame: Frame


def task(raw: RawDataset, image: RawImage, size: Size) -> Task:
    """How an image of a data set is decoded."""
    masks = image.masks if raw.has_masks else None
    present = image.label == 1
    return Task(image.path, image.size, masks, present, size, raw.canvas, raw.display, raw.roots)


def decode(task: Task) -> Pixels | images.DecodeError:
    """The fitted image and its masks.

    Returns:
      A fault of a file is returned, not raised, since it is counted in the order of the images; its
      message begins with the file.

    Raises:
      InputError: a mask has a value that no label stands for, or a decoder is missing.
    """
    try:
        pixels = _read(
            task.path, task.roots, lambda path: images.read_image(path, display=task.display)
        )
        if task.stored_size and task.stored_size != pixels.shape:
            raise images.DecodeError(
                f"{_name(task.path)} {wrong_size(pixels.shape, task.stored_size)}"
            )
        frame = Frame(pixels.shape, task.size, task.canvas)
        mask = None if task.masks is None else _packed(task, frame)
    except images.DecodeError as error:
        return error
    return Pixels(frame.pixels(pixels), mask, frame)


def wrong_size(found: Size, stated: Size) -> str:
    """What to say of an image that does not have the size its data set says it has."""
    return (
        f"is {found[0]} x {found[1]} px and its data set says {stated[0]} x {stated[1]}: gaze is "
        "in px of the original images; give those, not resized ones"
    )


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _read(path: Path, roots: tuple[Path, ...], read):
    name = _name(path)
    if not is_inside(path, roots):
        raise images.DecodeError(f"{name} is a link that leads out of the source; it is not read")
    try:
        return read(path)
    except images.DecodeError as error:
        raise images.DecodeError(f"{name} {error}") from None


def _packed(task: Task, frame: Frame) -> UInt8[np.ndarray, "h w bytes"]:
    masks = task.masks
    assert masks is not None
    planes = np.zeros((*frame.size, len(task.present)), bool)
    if masks.label_map:
        stored = _read_plane(masks.label_map, task, frame)
        values = np.unique(stored)
        wrong = values[(values > len(task.present)) & (values != EVERY_LABEL)]
        if wrong.size:
            raise InputError(
                f"masks/{masks.label_map.name} has the value {wrong[0]}; 0 is nothing, 1 to "
                f"{len(task.present)} a label column and {EVERY_LABEL} every present label"
            )
        fitted = frame.pixels(stored, labels=True)[..., None]
        columns = np.arange(1, len(task.present) + 1)
        planes |= (fitted == columns) | ((fitted == EVERY_LABEL) & task.present)
    for label, path in masks.planes:
        stored = _read_plane(path, task, frame)
        planes[..., label] |= frame.pixels((stored > 0).astype(np.uint8), labels=True) > 0
    for extremes, label in zip(frame.points(masks.ellipses), masks.ellipse_label, strict=True):
        planes[..., label] |= draw_ellipse(extremes, frame.size)
    return np.packbits(planes, axis=-1)


def _read_plane(path: Path, task: Task, frame: Frame) -> np.ndarray:
    plane = _read(path, task.roots, images.read_mask)
    if plane.shape != frame.stored:
        raise images.DecodeError(
            f"{_name(path)} is {plane.shape[0]} x {plane.shape[1]} and its image "
            f"{frame.stored[0]} x {frame.stored[1]} pixels; make them the same"
        )
    return plane


def draw_ellipse(extremes: Float[np.ndarray, "4"], size: Size) -> Bool[np.ndarray, "h w"]:
    """The pixels whose centre lies in an ellipse with axes along x and y.

    Args:
      extremes: xmin, ymin, xmax, ymax, px; an ellipse thinner than a pixel may hold no centre.
      size: (h, w), px.
    """
    centre, radius = (extremes[:2] + extremes[2:]) / 2, (extremes[2:] - extremes[:2]) / 2
    if not (radius > 0).all():
        return np.zeros(size, bool)
    y, x = (
        (np.arange(n) + 0.5 - centre[axis]) / radius[axis]
        for n, axis in zip(size, (1, 0), strict=True)
    )
    return (y**2)[:, None] + x**2 <= 1
