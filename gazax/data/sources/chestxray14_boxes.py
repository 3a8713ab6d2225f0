"""The boxes of ChestX-ray14: BBox_List_2017.csv, 984 of them on 880 images.

Its header is ``Image Index,Finding Label,Bbox [x,y,w,h],,,``: the commas within the brackets are
not quoted, so that the box has the four columns ``Bbox [x``, ``y``, ``w`` and ``h]``, and the
columns at the end have no name. "Infiltrate" there is "Infiltration" elsewhere.

x and y are the upper-left corner in px of the released 1024 x 1024 images, fractions of px
included, and are taken as edges. Where an image that has boxes is stored at another size, they are
scaled with it, provided that it is square as the release is: where the boxes lie in one that has
been cropped or padded nobody can tell, and it is refused. Only the headers of images with boxes
are read.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from gazax.config import did_you_mean
from gazax.config.datasets import CHESTXRAY14_LABELS
from gazax.data.pixels.images import DecodeError, image_size
from gazax.data.sources.files import is_inside
from gazax.data.sources.tables import Faults, Table, all_of
from gazax.typing import InputError

BOXES = "BBox_List_2017.csv"
OTHER_NAMES = {"Infiltrate": "Infiltration"}
"""Of labels, in this table."""
RELEASED_SIDE = 1024
"""px of the images that boxes were drawn on."""
Boxes = tuple[Float[np.ndarray, "m 4"], Int[np.ndarray, "m"]]
"""xmin, ymin, xmax, ymax and label columns."""


def read_boxes(
    path: Path, root: Path, known: Collection[str], paths: Mapping[str, Path], faults: Faults
) -> tuple[dict[str, Boxes], dict[str, str | None]]:
    """The boxes of every image that has some, in px of the stored image, and what to note.

    Args:
      path: the table; it need not exist.
      root: the folder of the source; an image that a link leads out of it is not opened.
      known: the images that the table of entries has; boxes of one that is left out go with it.
      paths: those of them that are used.
      faults: where rows that are left out are counted.

    Raises:
      InputError: an unknown label, or an image with boxes that is not square.
    """
    if not path.is_file():
        return {}, {"boxes_from": None}
    corner, size = ("Bbox [x", "y"), ("w", "h]")
    columns = ("Image Index", "Finding Label", *corner, *size)
    table = Table(path, columns, faults=faults, known_only=True, ragged=True)
    ids, names = table.text("Image Index"), table.text("Finding Label")
    label = np.array([_box_label(name, table, i) for i, name in enumerate(names)], np.int32)
    table.leave_out(
        np.array([image_id not in known for image_id in ids], bool),
        "unknown image",
        lambda i: f"there is no row of {ids[i]!r} in the table of entries",
    )
    start = np.stack([table.numbers(column) for column in corner], 1)
    extent = np.stack([table.numbers(column) for column in size], 1)
    end = start + extent
    table.leave_out(  # of numbers large enough, the sum is the larger one, or infinite
        ~all_of(np.isfinite(start) & np.isfinite(end) & (end > start)),
        "no box",
        lambda i: f"the box {start[i]} {extent[i]} (x y, w h) has no area",
    )
    used = {ids[i] for i in np.flatnonzero(table.good).tolist()} & paths.keys()
    scale_of = {image_id: _scale(paths[image_id], root) for image_id in sorted(used)}
    scale = np.array([scale_of.get(image_id, 1.0) for image_id in ids])
    table.leave_out(
        np.isnan(scale),
        "image does not decode",
        lambda i: f"the size of {paths[ids[i]]} cannot be read; fetch it again",
    )
    table.check()
    box = np.concatenate([start, end], 1) * scale[:, None]
    of_image: dict[str, list[int]] = {}
    for i in np.flatnonzero(table.good).tolist():
        if ids[i] in used:
            of_image.setdefault(ids[i], []).append(i)
    boxes = {image_id: (box[mine], label[mine]) for image_id, mine in of_image.items()}
    return boxes, {"boxes_from": path.name}


def _box_label(name: str, table: Table, i: int) -> int:
    name = OTHER_NAMES.get(name, name)
    if name not in CHESTXRAY14_LABELS:
        raise InputError(
            f"{table.where(i)}: label {name!r} is unknown"
            f"{did_you_mean(name, CHESTXRAY14_LABELS)}; known: {', '.join(CHESTXRAY14_LABELS)}"
        )
    return CHESTXRAY14_LABELS.index(name)


def _scale(path: Path, root: Path) -> float:
    """From px of the released image to px of the stored one; NaN where no size can be read."""
    if not is_inside(path, (root,)):
        return np.nan
    try:
        height, width = image_size(path)
    except DecodeError:
        return np.nan
    if height != width:
        raise InputError(
            f"{path} has {height} x {width} px, and its boxes are drawn on the released image of "
            f"{RELEASED_SIDE} x {RELEASED_SIDE}; give the released images, square copies of them "
            f"at another size, or remove {BOXES}"
        )
    return width / RELEASED_SIDE
