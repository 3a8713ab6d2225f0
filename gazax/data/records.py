"""Prepared records on disk, and what is known about them without opening one."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gazax.config import choose
from gazax.data.preparation import EXAMPLES, SUMMARY
from gazax.data.splits import SPLITS
from gazax.typing import InputError, Size


@dataclass(frozen=True)
class Records:
    """One prepared data set; made by `gazax.data.prepare`."""

    directory: Path

    @cached_property
    def summary(self) -> dict:
        """What ``preparation.json`` says."""
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

    @property
    def one_hot(self) -> bool:
        """Whether the labels are the classes of one question, exactly one present in each image."""
        return self.summary["one_hot"]

    @property
    def reader_ids(self) -> tuple[str, ...]:
        """What ``fixations.reader`` of a record counts in."""
        return tuple(self.summary["reader_ids"])

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """Image id by `index`."""
        return tuple(row["image_id"] for row in self._examples)

    @cached_property
    def patient_ids(self) -> tuple[str, ...]:
        """Patient id by `index`."""
        return tuple(row["patient_id"] for row in self._examples)

    @cached_property
    def num_fixations(self) -> tuple[int, ...]:
        """Fixations of all readers by `index`."""
        return tuple(int(row["fixations"]) for row in self._examples)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """The readers with fixations, as positions in `reader_ids`, by `index`."""
        return tuple(
            tuple(map(int, row["readers"].split(";"))) if row["readers"] else ()
            for row in self._examples
        )

    def indices(self, split: str) -> range:
        """`index` of the records of a split, in their order."""
        before = SPLITS[: SPLITS.index(_known(split))]
        start = sum(map(self.num_examples, before))
        return range(start, start + self.num_examples(split))

    def num_examples(self, split: str) -> int:
        """Images in ``train``, ``validation`` or ``test``; 0 where the data has no such split."""
        return self.summary["splits"][_known(split)]["images"]

    def source(self, split: str) -> "Source":
        """Random access to the records of a split.

        Raises:
          InputError: the split is empty.
        """
        if not self.num_examples(split):
            filled = [name for name in SPLITS if self.num_examples(name)]
            raise InputError(
                f"the data set in {self.directory} has no images in the split {split!r}, only in "
                f"{', '.join(filled)}; mend the column 'split' of labels.csv"
            )
        return Source(self, split)

    @cached_property
    def _examples(self) -> list[dict[str, str]]:
        with (self.directory / EXAMPLES).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


class Source(Sequence):
    """The records of one split, by position, as dicts of arrays (`gazax.data.builder.features`)."""

    def __init__(self, records: Records, split: str):
        from gazax.data import builder  # only here: it takes a while to import

        self.records = records
        self.split = split
        self._data = builder.open_split(records.directory, split)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._data)

    def __getitem__(self, position):
        """One record; negative positions count from the end, as in a list."""
        return self._data[range(len(self))[position]]

    def __repr__(self) -> str:
        """Names the records by their contents, the same wherever they lie."""
        return f"Source({self.records.content_hash}, {self.split})"


def _known(split: str) -> str:
    return choose("split", split, SPLITS)
