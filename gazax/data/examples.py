"""One prepared image: its record, and its row in the table that tells all of them without opening.

The row holds what the summary counts and what a run asks about an image that it has not read.
"""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gazax.data.decode import Pixels
from gazax.data.pseudonyms import Pseudonyms
from gazax.data.raw import RawImage


class Example(NamedTuple):
    """A row of ``examples.csv``."""

    image_id: str
    patient_id: str
    split: str
    fixations: int
    outside: int
    """Fixations that lie outside the image."""
    readers: tuple[int, ...]
    """Those with fixations, as positions in `RawDataset.reader_ids`."""
    boxes: int
    labels: str
    """A character a label: 1, 0, or - for unknown."""
    height: int
    """Of the stored image, px; with the prepared size it gives the transform of every point."""
    width: int
    digest: str
    """SHA-256 of the record but its ids, 32 hexadecimal digits of it."""


def record(image: RawImage, pixels: Pixels, names: Pseudonyms) -> dict:
    """The record of an image, as `gazax.data.builder.features` has it.

    Boxes are cut to the image; one that lies outside it altogether is left out.
    """
    frame, gaze = pixels.frame, image.gaze
    low, high = np.split(np.array(frame.content), 2)
    box = np.clip(frame.points(image.box), [*low, *low], [*high, *high])
    seen = (box[:, 2:] > box[:, :2]).all(1)
    found = {
        "image": pixels.image[..., None],
        "content": np.array(frame.content, np.float32),
        "fixations": {
            "xy": frame.points(gaze.xy).astype(np.float32),
            "duration": gaze.duration.astype(np.float32),
            "sigma": frame.lengths(gaze.sigma).astype(np.float32),
            "window": frame.points(gaze.window).astype(np.float32),
            "reader": gaze.reader.astype(np.int32),
        },
        "label": image.label.astype(np.float32),
        "box": box[seen].astype(np.float32),
        "box_label": image.box_label[seen].astype(np.int32),
        "stored_size": np.array(frame.stored, np.int32),
        "image_id": names.of("image", image.image_id),
        "patient_id": names.of("patient", image.patient_id),
    }
    return found if pixels.mask is None else found | {"mask": pixels.mask}


def describe(image: RawImage, pixels: Pixels, record: dict, names: Pseudonyms) -> Example:
    """The row of an image."""
    height, width = pixels.frame.stored
    gaze = image.gaze
    outside = ((gaze.xy < 0) | (gaze.xy >= (width, height))).any(1)
    contents = hashlib.sha256()
    _update(contents, record)
    return Example(
        image_id=record["image_id"],
        patient_id=record["patient_id"],
        split=image.split,
        fixations=len(gaze),
        outside=int(outside.sum()),
        readers=tuple(np.unique(gaze.reader).tolist()),
        boxes=len(record["box"]),
        labels="".join("-" if np.isnan(value) else str(int(value)) for value in image.label),
        height=height,
        width=width,
        digest=contents.hexdigest()[:32],
    )


def _update(contents: "hashlib._Hash", record: dict) -> None:
    for name, value in sorted(record.items()):
        if isinstance(value, dict):
            _update(contents, value)
        elif isinstance(value, np.ndarray):  # the others are ids, whose pseudonyms differ
            contents.update(name.encode())
            contents.update(value.tobytes())


def write(path: Path, rows: Sequence[Example]) -> None:
    """Writes a table of examples."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Example._fields)
        for row in rows:
            readers = ";".join(map(str, row.readers))
            writer.writerow((row._asdict() | {"readers": readers}).values())


def read(path: Path) -> list[Example]:
    """Reads what `write` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [_parse(row) for row in csv.DictReader(file)]


def _parse(row: dict[str, str]) -> Example:
    return Example(
        image_id=row["image_id"],
        patient_id=row["patient_id"],
        split=row["split"],
        fixations=int(row["fixations"]),
        outside=int(row["outside"]),
        readers=tuple(map(int, row["readers"].split(";"))) if row["readers"] else (),
        boxes=int(row["boxes"]),
        labels=row["labels"],
        height=int(row["height"]),
        width=int(row["width"]),
        digest=row["digest"],
    )
