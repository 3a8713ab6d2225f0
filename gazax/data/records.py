"""Prepared records on disk, and what is known about them without opening one."""

import bisect
import contextlib
import errno
import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gazax.config import choose
from gazax.data import examples
from gazax.data.cache import file_digest
from gazax.data.examples import Example
from gazax.data.preparation import EXAMPLES, SUMMARY, TABLE_DIGEST
from gazax.data.splits import SPLITS
from gazax.typing import InputError, RunError, Size


@dataclass(frozen=True)
class Records:
    """One prepared data set; made by `gazax.data.prepare`."""

    directory: Path

    @property
    def protocol(self) -> str:
        """How the images were split, see `gazax.data.protocols`; here by patient, as prepared."""
        return "strict"

    @cached_property
    def summary(self) -> dict:
        """What ``preparation.json`` says."""
        with reading(self.directory, SUMMARY):
            return json.loads((self.directory / SUMMARY).read_text(encoding="utf-8"))

    @property
    def fingerprint(self) -> str:
        """Of the source's files and the arguments of the preparation; part of the folder's name."""
        return self.summary["fingerprint"]

    @property
    def content_hash(self) -> str:
        """Of the records themselves: the same wherever and from whatever copy they were made."""
        return self.summary["content_hash"]

    @property
    def size(self) -> Size:
        """(height, width) of the images, px."""
        height, width = self.summary["size"]
        return height, width

    @property
    def label_names(self) -> tuple[str, ...]:
        """Columns of `label`."""
        return tuple(self.summary["label_names"])

    def exclusive(self, labels: Collection[str]) -> bool:
        """Whether labels are the classes of one question, exactly one present in each image."""
        return any(set(labels) == set(group) for group in self.summary["exclusive"])

    @property
    def reader_ids(self) -> tuple[str, ...]:
        """What ``fixations.reader`` of a record counts in."""
        return tuple(self.summary["reader_ids"])

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """Image id by `index`; a pseudonym, unless ids were kept."""
        return tuple(row.image_id for row in self.examples)

    @cached_property
    def patient_ids(self) -> tuple[str, ...]:
        """Patient id by `index`; a pseudonym, unless ids were kept."""
        return tuple(row.patient_id for row in self.examples)

    @cached_property
    def num_fixations(self) -> tuple[int, ...]:
        """Fixations of all readers by `index`."""
        return tuple(row.fixations for row in self.examples)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """The readers with fixations, as positions in `reader_ids`, by `index`."""
        return tuple(row.readers for row in self.examples)

    @cached_property
    def examples(self) -> list[Example]:
        """The rows of ``examples.csv``, by `index`."""
        path = self.directory / EXAMPLES
        written = self.summary.get(TABLE_DIGEST)  # older records do not say it
        with reading(self.directory, EXAMPLES):
            if written and file_digest(path) != written:
                raise ValueError("it does not have the bytes that were written")
            return examples.read(path)

    def indices(self, split: str) -> range:
        """`index` of the records of a split, in their order."""
        before = SPLITS[: SPLITS.index(known_split(split))]
        start = sum(map(self.num_examples, before))
        return range(start, start + self.num_examples(split))

    def num_examples(self, split: str) -> int:
        """Images in ``train``, ``validation`` or ``test``; 0 where the data has no such split."""
        return self.summary["splits"][known_split(split)]["images"]

    def blocks(self, split: str) -> list[str]:
        """Folders under `directory` that the records of a split stand in."""
        return [name for name in self.summary["blocks"] if name.endswith(f"-{split}")]

    def places(self, split: str) -> Sequence[int]:
        """Where the records of a split stand, counted through its `blocks`."""
        return range(self.num_examples(split))

    def source(self, split: str) -> "Source":
        """Random access to the records of a split.

        Raises:
          InputError: the split is empty.
        """
        if not self.num_examples(split):
            filled = [name for name in SPLITS if self.num_examples(name)]
            raise InputError(
                f"the data set in {self.directory} has no images in the split {split!r}, only in "
                f"{', '.join(filled)}; mend the splits of its source"
            )
        return Source(self, split)


class Source(Sequence):
    """The records of one split, by position, as dicts of arrays (`gazax.data.builder.features`).

    Each has its `index` in the data set besides.
    """

    def __init__(self, records: Records, split: str):
        from gazax.data import builder  # only here: it takes a while to import

        self.records = records
        self.split = split
        self._names = records.blocks(split)
        self._blocks = []
        for name in self._names:
            with reading(records.directory, name):
                of_split = name.rpartition("-")[2]
                self._blocks.append(builder.open_block(records.directory / name, of_split))
        self._starts = [0, *itertools.accumulate(map(len, self._blocks))]
        self._places = records.places(split)
        if max(self._places) >= self._starts[-1]:
            with reading(records.directory, ", ".join(self._names)):
                raise ValueError(f"there are {self._starts[-1]} of them, too few")
        self._indices = records.indices(split)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._places)

    def __getitem__(self, position):
        """One record; negative positions count from the end, as in a list."""
        position = range(len(self))[position]
        place = self._places[position]
        block = bisect.bisect_right(self._starts, place) - 1
        with reading(self.records.directory, self._names[block]):
            record = self._blocks[block][place - self._starts[block]]
        return record | {"index": self._indices[position]}

    def __repr__(self) -> str:
        """Names the records by their contents, the same wherever they lie."""
        return f"Source({self.records.content_hash}, {self.split})"


@contextlib.contextmanager
def reading(directory: Path, name: str) -> Iterator[None]:
    """Says of records that cannot be read, whatever the libraries raise, which they are.

    Args:
      directory: of the data set.
      name: of what is read in it.

    Raises:
      RunError: in the place of any other error than the system's, of a disk or of memory.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise  # of a disk, which says nothing of what is on it
        raise RunError(
            f"records in '{directory / name}' cannot be read: {error or type(error).__name__}. "
            f"They are damaged or gone: remove '{directory}'; the same command makes them again "
            "and goes on."
        ) from error


def known_split(split: str) -> str:
    """The split, or an `InputError` where there is none of this name."""
    return choose("split", split, SPLITS)
