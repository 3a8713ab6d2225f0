"""The largest batch that fits, by trying."""

from collections.abc import Callable
from typing import NamedTuple

RESOLUTION = 16
"""Where it ends: the answer is known to within one part in so many, since a trial takes minutes."""


class Largest(NamedTuple):
    """Images a chip."""

    fits: int
    """0: not even one."""
    too_large: int
    """The smallest that was tried and does not fit."""


def find_largest(fits: Callable[[int], bool], *, start: int) -> Largest:
    """Doubles or halves until one fits and one does not, then bisects between them.

    Args:
      fits: whether so many images a chip do; what does not fit does not fit twice as large.
      start: what to try first, 1 or more.
    """
    if fits(start):
        low, high = start, 2 * start
        while fits(high):
            low, high = high, 2 * high
    else:
        low, high = start // 2, start
        while low and not fits(low):
            low, high = low // 2, low
    if not low:
        return Largest(0, high)
    while high - low > max(1, low // RESOLUTION):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return Largest(low, high)
