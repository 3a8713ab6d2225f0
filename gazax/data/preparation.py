"""Raw images and gaze to records of one size: decode, fit, move coordinates along, count."""

import csv
import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from gazax.data import images
from gazax.data.raw import IMAGES, RawDataset, RawImage
from gazax.data.splits import SPLITS
from gazax.typing import InputError, Size

VERSION = "1.1.0"
"""Of what a record holds and how it is made; part of the fingerprint."""
SUMMARY = "preparation.json"
EXAMPLES = "examples.csv"
EVERY_LABEL = 255
"""A mask's value for every label that the image has."""


class Pixels(NamedTuple):
    """The decoded part of one image."""

    image: np.ndarray
    mask: np.ndarray | None
    stored_size: Size


def write_records(
    raw: RawDataset, directory: Path, *, size: Size, facts: dict, progress: bool = True
) -> None:
    """Writes the records, the table of ids and the summary of a data set.

    Args:
      raw: the checked tables.
      directory: an empty folder.
      size: (h, w) of the prepared images, px.
      facts: what the summary should say first (data set, arguments, fingerprint, version).
      progress: show a progress bar on a terminal.

    Raises:
      InputError: too many images are faulty, a split lost all of its images, or a mask has a value
        that no label stands for.
    """
    from gazax.data import builder  # only here: it takes a while to import

    by_split = {split: [i for i in raw.images if i.split == split] for split in SPLITS}
    kept: list[tuple[RawImage, Size]] = []
    failed: list[RawImage] = []
    contents = hashlib.sha256(repr((VERSION, raw.label_names, raw.reader_weights)).encode())
    disable = None if progress else True  # None: where nobody watches, as in a log file
    bar = tqdm(total=len(raw.images), desc="preparing", unit=" images", disable=disable)

    def examples(split: str) -> Iterator[dict]:
        before = len(kept)
        decode = lambda image: _decode(image, size, raw)  # noqa: E731
        for image, result in zip(by_split[split], _ahead(decode, by_split[split]), strict=True):
            bar.update()
            if isinstance(result, images.DecodeError):
                failed.append(image)
                raw.faults.add(IMAGES, "does not decode", str(result))
                raw.faults.check(IMAGES, len(raw.images), "images")
                continue
            kept.append((image, result.stored_size))
            example = _example(image, result, size, index=len(kept) - 1)
            _update(contents, example | {"split": split})
            yield example
        if len(kept) == before:
            raise InputError(f"no image of the split {split} can be used; see the faults above")

    with bar:
        builder.write(
            directory,
            {split: lambda split=split: examples(split) for split in SPLITS if by_split[split]},
            builder.features(size, len(raw.label_names), masks=raw.has_masks),
        )
    with (directory / EXAMPLES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "image_id", "patient_id", "split", "fixations", "readers"])
        for index, (image, _) in enumerate(kept):
            ids = [index, image.image_id, image.patient_id, image.split]
            readers = ";".join(map(str, np.unique(image.gaze.reader)))
            writer.writerow([*ids, len(image.gaze), readers])
    hashed = {"content_hash": contents.hexdigest()[:16]}
    summary = facts | hashed | summarize(raw, kept, failed)
    (directory / SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")


def summarize(raw: RawDataset, kept: list[tuple[RawImage, Size]], failed: list[RawImage]) -> dict:
    """Counts of what was kept, what was left out and why, and the largest image of each kind."""
    labels = np.array([image.label for image, _ in kept]).reshape(len(kept), -1)
    weights = np.array(raw.reader_weights)
    splits = {}
    for split in SPLITS:
        rows = np.array([image.split == split for image, _ in kept])
        mine = [image for image, _ in kept if image.split == split]
        splits[split] = {
            "images": len(mine),
            "patients": len({image.patient_id for image in mine}),
            "fixations": sum(len(image.gaze) for image in mine),
            "labels": {
                name: {
                    "present": int((labels[rows, k] == 1).sum()),
                    "absent": int((labels[rows, k] == 0).sum()),
                    "unknown": int(np.isnan(labels[rows, k]).sum()),
                }
                for k, name in enumerate(raw.label_names)
            },
        }
    report = raw.faults.report()
    dropped = Counter(report.get(raw.fixation_table or "", {}).get("reasons", {}))
    dropped["image left out"] += raw.rows_left_out + sum(len(image.gaze) for image in failed)
    sized = [(image, np.array([width, height])) for image, (height, width) in kept]
    return {
        "images": len(kept),
        "images_failed": [image.path.name for image in failed],
        "images_without_gaze": sum(not weights[image.gaze.reader].any() for image, _ in kept),
        "patients": len({image.patient_id for image, _ in kept}),
        "readers": len({r for image, _ in kept for r in np.unique(image.gaze.reader).tolist()}),
        "reader_ids": list(raw.reader_ids),
        "reader_weights": list(raw.reader_weights),
        "label_names": list(raw.label_names),
        # a class of many is one-hot in every row; anything else is a set of independent labels
        "one_hot": len(raw.label_names) > 1
        and bool((np.sort(labels)[:, :-1] == 0).all())
        and bool((labels.sum(1) == 1).all()),
        "masks": raw.has_masks,
        "splits": splits,
        "fixations": {
            "kept": sum(len(image.gaze) for image, _ in kept),
            "outside": int(
                sum(((i.gaze.xy < 0) | (i.gaze.xy >= wh[None])).any(1).sum() for i, wh in sized)
            ),
            "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        },
        "boxes": sum(len(image.box) for image, _ in kept),
        "largest": {
            "fixations": _largest(kept, lambda image: len(image.gaze)),
            "readers": _largest(kept, lambda image: len(np.unique(image.gaze.reader))),
            "boxes": _largest(kept, lambda image: len(image.box)),
        },
        "faults": report,
        **raw.notes,
    }


def _largest(kept: list[tuple[RawImage, Size]], count: Callable[[RawImage], int]) -> dict:
    image = max((image for image, _ in kept), key=count)
    return {"count": count(image), "image_id": image.image_id}


def _decode(image: RawImage, size: Size, raw: RawDataset) -> Pixels | images.DecodeError:
    """The fitted image and mask; a fault is returned, since it is to be counted in order."""
    path = image.path
    try:
        pixels = images.read_image(path)
        mask = np.zeros(size, np.uint8) if raw.has_masks else None
        if image.mask_path:
            path = image.mask_path
            stored = images.read_mask(path)
            if stored.shape != pixels.shape:
                raise images.DecodeError(
                    f"is {stored.shape[0]} x {stored.shape[1]} and its image "
                    f"{pixels.shape[0]} x {pixels.shape[1]} pixels; make them the same"
                )
            mask = images.fit(stored, size, labels=True)
            values = np.unique(stored)
            wrong = values[(values > len(raw.label_names)) & (values != EVERY_LABEL)]
            if wrong.size:
                raise InputError(
                    f"masks/{path.name} has the value {wrong[0]}; 0 is nothing, 1 to "
                    f"{len(raw.label_names)} a label column and {EVERY_LABEL} every present label"
                )
    except images.DecodeError as error:
        return images.DecodeError(f"{path.parent.name}/{path.name} {error}")
    return Pixels(images.fit(pixels, size), mask, pixels.shape)


def _example(image: RawImage, pixels: Pixels, size: Size, *, index: int) -> dict:
    stored, gaze = pixels.stored_size, image.gaze
    example = {
        "image": pixels.image[..., None],
        "content": np.array(images.content_rectangle(stored, size), np.float32),
        "fixations": {
            "xy": images.to_frame(gaze.xy, stored, size).astype(np.float32),
            "duration": gaze.duration.astype(np.float32),
            "sigma": images.to_frame(gaze.sigma, stored, size, lengths=True).astype(np.float32),
            "window": images.to_frame(gaze.window, stored, size).astype(np.float32),
            "reader": gaze.reader.astype(np.int32),
        },
        "label": image.label.astype(np.float32),
        "box": images.to_frame(image.box, stored, size).astype(np.float32),
        "box_label": image.box_label.astype(np.int32),
        "index": index,
        "image_id": image.image_id,
        "patient_id": image.patient_id,
    }
    return example if pixels.mask is None else example | {"mask": pixels.mask}


def _update(contents: "hashlib._Hash", example: dict) -> None:
    for name, value in sorted(example.items()):
        if isinstance(value, dict):
            _update(contents, value)
        else:
            contents.update(name.encode())
            contents.update(
                value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
            )


def _ahead(function: Callable, items: Iterable) -> Iterator:
    """`map` on threads (decoders release the interpreter), in order, a few items ahead."""
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
