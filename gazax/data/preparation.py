"""Raw images and gaze to records of one size, block by block, and the summary of all of them.

A data set is cut into blocks of images of one split, in their order. Each block is made as a whole
or not at all, by whoever comes first; when all are there, their tables become those of the data
set. So memory does not grow with the number of images, what was finished before an interruption is
kept, and several processes can share the work.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from gazax.data import examples
from gazax.data.cache import file_digest, find_or_make
from gazax.data.decode import Pixels, task
from gazax.data.examples import Example
from gazax.data.pixels.images import DecodeError
from gazax.data.pool import Pool
from gazax.data.pseudonyms import Pseudonyms
from gazax.data.raw import IMAGES, NO_IMAGE, RawDataset, RawImage
from gazax.data.splits import SPLITS
from gazax.data.summary import summarize
from gazax.typing import InputError, Size

VERSION = "2.0.0"
"""Of what a record holds and how it is made; part of the fingerprint."""
SUMMARY = "preparation.json"
EXAMPLES = "examples.csv"
TABLE_DIGEST = "examples_sha256"
"""Of the table's bytes, in the summary; ids are in it, so that the content's hash is another."""
FAILED = "failed.json"
BLOCK_IMAGES = 8192
BLOCK_BYTES = 2**28
"""A block is held in memory while it is written."""


@dataclass(frozen=True)
class Block:
    """Images that are written together."""

    number: int
    split: str
    images: tuple[RawImage, ...]

    @property
    def name(self) -> str:
        """Its folder; in the order of the records.

        It tells which images are in it: parts that were made when other images were there, as while
        a download went on, are not taken for those of today.
        """
        ids = "\0".join(image.image_id for image in self.images)
        digest = hashlib.sha256(ids.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return f"{self.number:05d}-{digest}-{self.split}"


def cut(raw: RawDataset, size: Size) -> list[Block]:
    """The blocks of a data set; the same whoever makes them."""
    planes = -(-len(raw.label_names) // 8) if raw.has_masks else 0
    length = max(1, min(BLOCK_IMAGES, BLOCK_BYTES // (size[0] * size[1] * (1 + planes))))
    blocks: list[Block] = []
    for split in SPLITS:
        images = [image for image in raw.images if image.split == split]
        for start in range(0, len(images), length):
            blocks.append(Block(len(blocks), split, tuple(images[start : start + length])))
    return blocks


def make_blocks(
    raw: RawDataset,
    blocks: list[Block],
    folder: Path,
    *,
    size: Size,
    names: Pseudonyms,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Makes the blocks that are not there yet.

    Args:
      raw: the checked tables; its faults grow by the images that do not decode.
      blocks: those of `cut` that are wanted here.
      folder: where they go, each into a folder of its own.
      size: (h, w) of the prepared images, px.
      names: what ids become.
      workers: processes that decode; None is one a core.
      progress: show a progress bar on a terminal.

    Raises:
      InputError: too many images are faulty, or a mask has a value that no label stands for.
    """
    disable = None if progress else True  # None: where nobody watches, as in a log file
    paths = [image.path for block in blocks for image in block.images]
    bar = tqdm(total=len(paths), desc="preparing", unit=" images", disable=disable)
    with bar, Pool(paths, workers) as pool:
        for block in blocks:
            before = bar.n

            def make(directory: Path, block: Block = block) -> None:
                _write_block(raw, block, directory, size=size, names=names, pool=pool, bar=bar)

            find_or_make(folder / block.name, make)
            bar.update(before + len(block.images) - bar.n)


def _write_block(
    raw: RawDataset,
    block: Block,
    directory: Path,
    *,
    size: Size,
    names: Pseudonyms,
    pool: Pool,
    bar: tqdm,
) -> None:
    from gazax.data import builder  # only here: it takes a while to import

    rows: list[Example] = []
    failed: list[dict] = []

    def records() -> Iterator[dict]:
        results = pool.results([task(raw, image, size) for image in block.images])
        for image, result in zip(block.images, results, strict=True):
            bar.update()
            if isinstance(result, DecodeError):
                raw.faults.add(IMAGES, "does not decode", str(result))
                raw.faults.check(IMAGES, _total(raw), "images")
                failed.append(
                    {
                        "image_id": names.of("image", image.image_id),
                        "fixations": len(image.gaze),
                        "message": str(result) if names.salt is None else "",
                    }
                )
                continue
            assert isinstance(result, Pixels)
            record = examples.record(image, result, names)
            rows.append(examples.describe(image, result, record, names))
            yield record

    builder.write(
        directory,
        block.split,
        records(),
        builder.features(size, len(raw.label_names), masks=raw.has_masks),
    )
    examples.write(directory / EXAMPLES, rows)
    (directory / FAILED).write_text(json.dumps(failed), encoding="utf-8")


def join(
    raw: RawDataset, blocks: list[Block], folder: Path, *, facts: dict, names: Pseudonyms
) -> None:
    """Writes the table of examples and the summary of a data set whose blocks are all there.

    Args:
      raw: the checked tables.
      blocks: all of `cut`.
      folder: that of the blocks; `EXAMPLES` and `SUMMARY` are written into it.
      facts: what the summary should say first (data set, arguments, fingerprint, version).
      names: what ids became.

    Raises:
      InputError: too many images are faulty, or a split lost all of its images.
    """
    rows: list[Example] = []
    failed: list[dict] = []
    for block in blocks:
        rows += examples.read(folder / block.name / EXAMPLES)
        failed += json.loads((folder / block.name / FAILED).read_text(encoding="utf-8"))
    for split in sorted({block.split for block in blocks} - {row.split for row in rows}):
        raise InputError(f"no image of the split {split} can be used; see the faults above")
    bad = raw.faults.count(IMAGES) - raw.faults.count(IMAGES, "does not decode") + len(failed)
    if bad > raw.faults.max_bad_fraction * _total(raw):
        raise InputError(
            f"{bad} of {_total(raw)} images are faulty, more than max_bad_fraction allows "
            f"({raw.faults.max_bad_fraction}); mend them or raise it"
        )
    header = (facts["version"], raw.label_names, raw.reader_weights)
    contents = hashlib.sha256(repr(header).encode())
    for row in rows:
        contents.update(bytes.fromhex(row.digest))
    examples.write(folder / EXAMPLES, rows)
    summary = (
        facts
        | {"content_hash": contents.hexdigest()[:16], "blocks": [block.name for block in blocks]}
        | {TABLE_DIGEST: file_digest(folder / EXAMPLES)}
        | summarize(raw, rows, failed, names)
    )
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")


def _total(raw: RawDataset) -> int:
    """Images that the tables speak of, whether their files are there or not."""
    return len(raw.images) + raw.faults.count(IMAGES, NO_IMAGE)
