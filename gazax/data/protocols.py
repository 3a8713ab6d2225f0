"""Which images a run learns from, chooses by and reports: two protocols.

- ``strict``: the splits of the records, by patient; test images choose nothing.
- ``paper``: as cooperative learning was published. Of all images, whatever split they were in,
  some are drawn at random to be tested (100 of 1,083), the others train, and the images tested are
  also those that the step is chosen by. One patient's images may then stand on both sides, and
  what is reported has been selected for: such numbers are for comparison with the published ones,
  and every table of them says so (`gazax.eval.report.caveats`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gazax.config import choose
from gazax.data.examples import Example
from gazax.data.records import Records, known_split
from gazax.data.splits import SPLITS
from gazax.data.summary import count_images

PROTOCOLS = {
    "strict": "",
    "paper": "images drawn at random, chosen on the test images themselves",
}
"""Protocol -> what has to be said of its numbers."""
TESTED, OF = 100, 1083
"""The paper's test images, and all of its images."""


def under_protocol(records: Records, protocol: str, *, seed: int = 0) -> Records:
    """The records, split as the protocol says.

    Args:
      records: of `gazax.data.prepare`.
      protocol: one of `PROTOCOLS`.
      seed: of the drawing of 'paper'; it is not that of a run, so that runs of other seeds are
        tested on the same images.

    Returns:
      For 'strict' the records themselves. For 'paper' the same images under another
      `content_hash`, numbered anew: `index` counts through the training images, then through those
      that are validation and test in one. Both stand in the order of the records.

    Raises:
      InputError: there is no such protocol.

    Source: 983 and 100 images are the paper's text; its published code draws other numbers, class
    by class, and reports on the images that it chooses by.
    """
    choose("config.data.protocol", protocol, PROTOCOLS)
    if protocol == "strict":
        return records
    return PaperRecords(records.directory, prepared=records, seed=seed)


@dataclass(frozen=True)
class PaperRecords(Records):
    """Records under the protocol 'paper'; made by `under_protocol`."""

    prepared: Records
    seed: int

    @property
    def protocol(self) -> str:
        """See `Records.protocol`."""
        return "paper"

    @cached_property
    def summary(self) -> dict:
        """What ``preparation.json`` says, with the hash and the counts of the splits drawn."""
        found = self.prepared.summary
        drawn = f"{found['content_hash']} {self.protocol} {self.seed}"
        rows = {split: [self.examples[i] for i in self.indices(split)] for split in SPLITS}
        return found | {
            "content_hash": hashlib.sha256(drawn.encode()).hexdigest()[:16],
            "protocol": self.protocol,
            "splits": {
                split: count_images(of_split, found["label_names"])
                for split, of_split in rows.items()
            },
        }

    @cached_property
    def examples(self) -> list[Example]:
        """The rows of ``examples.csv``, by `index`; images to be tested have the split 'test'."""
        train, test = self._drawn
        return [
            self.prepared.examples[place]._replace(split=split)
            for split, places in (("train", train), ("test", test))
            for place in places
        ]

    def indices(self, split: str) -> range:
        """`index` of the records of a split; those of validation and of test are the same."""
        train, test = map(len, self._drawn)
        return range(train) if known_split(split) == "train" else range(train, train + test)

    def num_examples(self, split: str) -> int:
        """Images in ``train``, ``validation`` or ``test``."""
        return len(self.indices(split))

    def blocks(self, split: str) -> list[str]:
        """Those of all prepared splits."""
        return self.summary["blocks"]

    def places(self, split: str) -> Sequence[int]:
        """See `Records.places`."""
        train, test = self._drawn
        return train if known_split(split) == "train" else test

    @cached_property
    def _drawn(self) -> tuple[Sequence[int], Sequence[int]]:
        """Places among the prepared records: of training, and of test."""
        number = self.prepared.summary["images"]
        # Raw Philox words, since numpy keeps those the same for ever.
        words = np.random.Philox(np.random.SeedSequence(self.seed)).random_raw(number)
        order = np.argsort(words, kind="stable")
        tested = max(1, round(number * TESTED / OF))
        return sorted(order[tested:].tolist()), sorted(order[:tested].tolist())
