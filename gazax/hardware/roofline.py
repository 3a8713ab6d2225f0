"""How long a step takes at least, if its chips do nothing but what is counted, at their peaks.

    compute        FLOPs / (peak FLOP/s)
    memory         bytes read and written / (memory's bytes/s)
    communication  over one ring of all n chips that take part, both directions at once (W bytes/s,
                   one link's two directions): of V bytes, an all-reduce 2 (n-1)/n V/W, an
                   all-gather or a reduce-scatter (n-1)/n V/W, an all-to-all n/4 V/W, a permute to a
                   neighbour 2 V/W

The three are taken to overlap, so that the longest of them is the bound. Latency is left out, and
so is that a torus can use its second axis too, which halves communication at best.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gazax.hardware.chips import Chip
from gazax.hardware.collectives import Collective


class Roofline(NamedTuple):
    """Seconds of one step on one device, side by side."""

    compute: float
    memory: float
    communication: float

    @property
    def bound(self) -> str:
        """'compute', 'memory' or 'communication': whichever takes longest."""
        return max(self._fields, key=lambda side: getattr(self, side))

    @property
    def step(self) -> float:
        """The longest of them."""
        return max(self)


def roofline(
    chip: Chip,
    *,
    flops: float,
    moved: float,
    collectives: Iterable[Collective],
) -> Roofline:
    """Of one chip's share of a step.

    Args:
      chip: it.
      flops, moved: multiplications and additions; bytes to and from memory.
      collectives: that it takes part in.
    """
    seconds = (ring_seconds(one, link_speed=chip.link_speed) for one in collectives)
    return Roofline(
        compute=flops / chip.flops,
        memory=moved / chip.hbm_speed,
        communication=sum(seconds),
    )


def ring_seconds(collective: Collective, *, link_speed: float) -> float:
    """Of one collective, by the model above."""
    n = collective.devices
    share = {
        "all-reduce": 2 * (n - 1) / n,
        "all-gather": (n - 1) / n,
        "reduce-scatter": (n - 1) / n,
        "all-to-all": n / 4,
        "collective-permute": 2.0,
    }[collective.kind]
    return share * collective.size / link_speed
