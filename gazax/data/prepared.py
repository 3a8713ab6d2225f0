"""From the name of a data set to its records: found where they were made before, or made."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazax.config import choose
from gazax.data.cache import cache_folder, fingerprint, local_folder, locked
from gazax.data.datasets import DATASETS, Dataset, Phantom
from gazax.data.decode import wrong_size
from gazax.data.pixels.images import DecodeError, image_size
from gazax.data.preparation import EXAMPLES, SUMMARY, VERSION, Block, cut, join, make_blocks
from gazax.data.pseudonyms import Pseudonyms, read_salt
from gazax.data.raw import IMAGES, NO_IMAGE, RawDataset, RawImage
from gazax.data.records import Records
from gazax.data.sources.files import is_inside
from gazax.data.sources.tables import Faults
from gazax.typing import InputError, Size

PathLike = str | os.PathLike
SHOWN = 20
"""Images that a check names."""


def prepare(
    name: str,
    *,
    root: PathLike | None = None,
    size: Size,
    cache: PathLike | None = None,
    max_bad_fraction: float = 0.01,
    keep_ids: bool = False,
    workers: int | None = None,
    again: bool = False,
    progress: bool = True,
    **arguments: Any,
) -> Records:
    """Makes records of a data set, or finds them where they were made before.

    Args:
      name: a key of `DATASETS`.
      root: the source; it is never written to. The phantom has none.
      size: (height, width) that images are fitted into, px; their aspect is kept.
      cache: folder for prepared data; default $GAZAX_DATA, else the user's cache folder.
      max_bad_fraction: the part of the rows of any file, or of the images, that may be faulty and
        is then left out and counted.
      keep_ids: write the ids of images, patients and readers as they are, instead of pseudonyms
        and numbers (`gazax.data.pseudonyms`). The phantom's are always kept.
      workers: processes that decode; None is one a core.
      again: remove records that are there and make them anew: after images that failed were
        mended, of which, in a large data set, the fingerprint does not know.
      progress: show a progress bar on a terminal.
      **arguments: the data set's own: those of its reader, such as `read_gaze_folder`, for
        ``phantom`` those of `gazax.data.phantom.write_gaze_folder` (`image_size` is its `size`).

    Raises:
      InputError: the source is missing or faulty; the message names file, row and mend.
    """
    order = _order(name, root, size, cache, max_bad_fraction, keep_ids, arguments)
    if again:
        for folder in (order.folder, order.working):
            shutil.rmtree(folder, ignore_errors=True)
    if not order.folder.is_dir():
        with locked(order.working):  # any number of processes may ask at once
            if not order.folder.is_dir():
                order.make(shard=(0, 1), workers=workers, progress=progress)
    return Records(order.folder)


def prepare_shard(
    name: str,
    *,
    shard: tuple[int, int],
    root: PathLike | None = None,
    size: Size,
    cache: PathLike | None = None,
    max_bad_fraction: float = 0.01,
    keep_ids: bool = False,
    workers: int | None = None,
    progress: bool = True,
    **arguments: Any,
) -> Records | None:
    """Makes part i of n of the records; whoever makes the last block joins them.

    Parts may be made at the same time, by any number of processes that see the cache; a block that
    was finished is not made again.

    Args:
      shard: i and n, 0 <= i < n.
      others: as for `prepare`.

    Returns:
      The records; None where blocks of other parts are still missing.

    Raises:
      InputError: as `prepare`; or i is not below n.
    """
    if not 0 <= shard[0] < shard[1]:
        raise InputError(
            f"shard {shard[0]}/{shard[1]}: parts are counted from 0/{shard[1]} to "
            f"{shard[1] - 1}/{shard[1]}"
        )
    order = _order(name, root, size, cache, max_bad_fraction, keep_ids, arguments)
    if not order.folder.is_dir():
        order.make(shard=shard, workers=workers, progress=progress)
    return Records(order.folder) if order.folder.is_dir() else None


def check(name: str, *, root: PathLike | None = None, **arguments: Any) -> tuple[list[str], dict]:
    """Walks a source without making anything.

    Returns:
      What is missing or faulty, a line each; and counts: images, patients, images without gaze,
      images whose file is absent or empty.

    Raises:
      InputError: no such folder; or a table is so faulty that it cannot be read.
    """
    dataset = choose("data set", name, DATASETS)
    if isinstance(dataset, Phantom):
        raise InputError("the phantom is made, not read: there is nothing to check")
    folder, files = dataset.find(_path(root), arguments)
    if files.missing:
        return list(files.missing), {}
    faults = Faults(max_bad_fraction=1.0)
    raw = dataset.load(folder, folder, faults, arguments)
    lines = []
    for file, found in faults.report().items():
        lines += found["first"]
        if found["count"] > len(found["first"]):
            lines.append(f"{file}: {found['count']} faults in all")
    absent = [remark for image in raw.images if (remark := _remark(image, raw))]
    lines += absent[:SHOWN]
    if len(absent) > SHOWN:
        lines.append(f"... {len(absent)} such images in all")
    return lines, {
        "images": len(raw.images),
        "patients": len({image.patient_id for image in raw.images}),
        "images_without_gaze": sum(not len(image.gaze) for image in raw.images),
        "images_faulty": len(absent) + faults.count(IMAGES, NO_IMAGE),
    }


def _remark(image: RawImage, raw: RawDataset) -> str:
    """What is wrong with a file as far as its header tells; '' for nothing."""
    try:
        if not is_inside(image.path, raw.roots):
            return f"{image.path} is a link that leads out of the source"
        if not image.path.stat().st_size:
            return f"{image.path} is empty"
        if image.size and (found := image_size(image.path)) != image.size:
            return f"{image.path} {wrong_size(found, image.size)}"
    except (OSError, DecodeError) as error:
        return f"{image.path}: {error}"
    return ""


@dataclass(frozen=True)
class _Order:
    """What is to be prepared, and where it goes."""

    dataset: Dataset | Phantom
    source: Path | None
    arguments: dict[str, Any]
    facts: dict[str, Any]
    size: Size
    max_bad_fraction: float
    names: Pseudonyms
    folder: Path

    @property
    def working(self) -> Path:
        """Where blocks lie until all of them are there."""
        return self.folder.with_name(f"{self.folder.name}.blocks")

    def make(self, *, shard: tuple[int, int], workers: int | None, progress: bool) -> None:
        """Makes a share of the blocks, and the whole of them when they are all there."""
        faults = Faults(self.max_bad_fraction)
        cache = self.folder.parent
        raw = self.dataset.load(self.source, cache, faults, self.arguments, progress)
        blocks = cut(raw, self.size)
        working = self.working
        make_blocks(
            raw,
            blocks[shard[0] :: shard[1]],
            working,
            size=self.size,
            names=self.names,
            workers=workers,
            progress=progress,
        )
        with locked(self.folder):
            if not self.folder.is_dir() and _all_there(blocks, working):
                join(raw, blocks, working, facts=self.facts, names=self.names)
                _remove_all_but(working, {EXAMPLES, SUMMARY, *(block.name for block in blocks)})
                working.rename(self.folder)
        _tell(raw, self.names)


def _order(
    name: str,
    root: PathLike | None,
    size: Size,
    cache: PathLike | None,
    max_bad_fraction: float,
    keep_ids: bool,
    arguments: dict[str, Any],
) -> _Order:
    dataset = choose("data set", name, DATASETS)
    folder, source = cache_folder(cache), _path(root)
    facts = {
        "dataset": name,
        "version": VERSION,
        "size": list(size),
        "max_bad_fraction": max_bad_fraction,
    }
    if source is not None and folder.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"the cache {folder} lies within the source {source}, which is never written to; set "
            "GAZAX_DATA to another folder"
        )
    identity = dataset.identify(source, arguments)
    keep = keep_ids or isinstance(dataset, Phantom)
    names = Pseudonyms(None if keep else read_salt(folder))
    key = fingerprint(facts | identity | {"ids": names.check})
    known = {"arguments": identity["arguments"], "fingerprint": key}
    return _Order(
        dataset=dataset,
        source=source,
        arguments=arguments,
        facts=facts | known,
        size=size,
        max_bad_fraction=max_bad_fraction,
        names=names,
        folder=folder / f"{name}-{size[0]}x{size[1]}-{key}",
    )


def _path(root: PathLike | None) -> Path | None:
    return None if root is None else local_folder("config.data.root", root)


def _all_there(blocks: list[Block], working: Path) -> bool:
    return all((working / block.name).is_dir() for block in blocks)


def _remove_all_but(working: Path, wanted: set[str]) -> None:
    """Locks, and blocks of other images than those of today."""
    for left in working.iterdir():
        if left.name not in wanted:
            left.unlink() if left.is_file() else shutil.rmtree(left)


def _tell(raw: RawDataset, names: Pseudonyms) -> None:
    """Names what was left out to whoever prepares at a terminal; a log gets counts and reasons."""
    for file, found in raw.faults.report().items():
        if names.salt is None or sys.stderr.isatty():
            for line in found["first"]:
                print(line, file=sys.stderr)
        reasons = ", ".join(f"{count} {reason}" for reason, count in found["reasons"].items())
        print(f"{file}: {found['count']} left out in all ({reasons})", file=sys.stderr)
