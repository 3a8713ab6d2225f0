"""Which record stands at which place of the stream, for ever: pools, and whose turn it is."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from gazax.data.records import Source
from gazax.typing import InputError

Turn = Callable[[int], tuple[int, int]]
"""From a place to the pool whose turn it is, and how many turns that pool has had before."""


class Stream:
    """Records by place: pools of them, each in epochs without end, take turns by a rule.

    A pool's epochs have orders of their own, and what stands at a place follows from it alone.

    Instead of grain's shuffle, whose cost per example grows as 65,536 over the size of a small data
    set (2 ms at 17 images, several times the rest of the pipeline).

    Args:
      source: records.
      seed: of the orders.
      pools: positions in the source.
      turn: the rule; a function of a module, or a partial of one, since workers need to pickle it.
    """

    def __init__(self, source: Source, seed: int, pools: Sequence[np.ndarray], turn: Turn):
        self.source = source
        self.seed = seed
        self.pools = pools
        self.turn = turn

    def __len__(self) -> int:
        """As many as `place`, an int32, can count."""
        return 2**31

    def __getitem__(self, index: int) -> dict:
        """The record at a place."""
        number, count = self.turn(index)
        pool = self.pools[number]
        epoch, position = divmod(count, len(pool))
        own = (1 + number,) if len(self.pools) > 1 else ()
        return self.source[pool[order(len(pool), self.seed, epoch, *own)[position]]]

    def __repr__(self) -> str:
        """Names it by what it is made of."""
        sizes = [len(pool) for pool in self.pools]
        return f"Stream({self.source}, seed={self.seed}, pools={sizes})"


def shuffled(source: Source, seed: int) -> Stream:
    """All records, epoch after epoch."""
    return Stream(source, seed, [np.arange(len(source))], _alone)


def mixed(source: Source, seed: int, *, has_gaze: np.ndarray, rate: float) -> Stream:
    """The records with gaze and those without, mixed at a fixed rate.

    Place p is one with gaze where floor((p + 1) rate) > floor(p rate): any n places in a row have
    floor(n rate) or ceil(n rate) of them.

    Raises:
      InputError: the rate takes some of a kind that is not there.
    """
    pools = np.flatnonzero(has_gaze), np.flatnonzero(~has_gaze)
    for pool, what, share in zip(pools, ("with", "without"), (rate, 1 - rate), strict=True):
        if share > 0 and not len(pool):
            raise InputError(
                f"config.data.gaze_rate is {rate:g} and no training image is {what} gaze; set "
                "it to 0 to take the images as they come"
            )
    return Stream(source, seed, pools, functools.partial(_at_rate, rate=rate))


def balanced(source: Source, seed: int, *, labels: Sequence[str]) -> Stream:
    """The classes in turn: any K places in a row have one image of each of K classes.

    Place p is the (p // K)-th image of class p mod K. An image with an unknown label among the
    classes is not taken; one of a rare class comes as often as its class has to.

    Args:
      source: records; their table of examples tells the labels, no record is opened.
      seed: of the orders.
      labels: the columns that are the classes; () = all.

    Raises:
      InputError: the labels are not the classes of one question, or a class has no image.
    """
    records = source.records
    names = tuple(labels) or records.label_names
    if not records.exclusive(names):
        raise InputError(
            "config.data.balanced takes classes in turn, and the labels "
            f"({', '.join(names) or 'none'}) are not the classes of one question, one an image; "
            "choose those with config.data.labels or set config.data.balanced=False"
        )
    columns = [records.label_names.index(name) for name in names]
    rows = [records.examples[index].labels for index in records.indices(source.split)]
    # A character a label: 1, 0, or - for unknown.
    table = np.array([[row[column] for column in columns] for row in rows])
    known = (table != "-").all(axis=1)
    pools = [np.flatnonzero(known & (table[:, k] == "1")) for k in range(len(names))]
    for name, pool in zip(names, pools, strict=True):
        if not len(pool):
            raise InputError(
                f"config.data.balanced takes classes in turn, and no {source.split} image is known "
                f"to be {name!r}; mend the labels or the splits of the source, or set "
                "config.data.balanced=False"
            )
    return Stream(source, seed, pools, functools.partial(_in_turn, number=len(pools)))


def _alone(place: int) -> tuple[int, int]:
    return 0, place


def _at_rate(place: int, *, rate: float) -> tuple[int, int]:
    before = math.floor(place * rate)
    if math.floor((place + 1) * rate) > before:
        return 0, before
    return 1, place - before


def _in_turn(place: int, *, number: int) -> tuple[int, int]:
    return place % number, place // number


@functools.lru_cache(maxsize=32)  # two epochs of as many classes as exclude each other anywhere
def order(length: int, seed: int, epoch: int, *pool: int) -> np.ndarray:
    """The order of one epoch; raw Philox words, since numpy keeps those the same for ever."""
    words = np.random.Philox(np.random.SeedSequence([seed, epoch, *pool])).random_raw(length)
    return np.argsort(words, kind="stable")
