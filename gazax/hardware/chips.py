"""Accelerators by their published figures."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One chip, as its maker describes it: peaks that no program reaches."""

    hbm: int
    """Memory, bytes. The compiler keeps a few hundred MiB of it to itself."""
    flops: float
    """Multiplications and additions in bfloat16, 1/s."""
    hbm_speed: float
    """To and from memory, bytes/s."""
    link_speed: float
    """Of one link to a neighbouring chip, both directions together, bytes/s."""
    source: str


CHIPS = {
    "v4": Chip(
        hbm=32 * 2**30,
        flops=275e12,
        hbm_speed=1200e9,
        link_speed=100e9,
        source="docs.cloud.google.com/tpu/docs/v4; links: arXiv:2304.01433, 50 GB/s each way",
    ),
    "v5e": Chip(
        hbm=16 * 2**30,
        flops=197e12,
        hbm_speed=819e9,
        link_speed=100e9,
        source="docs.cloud.google.com/tpu/docs/v5e; links: 400 GB/s over four ports",
    ),
    "v5p": Chip(
        hbm=95 * 2**30,
        flops=459e12,
        hbm_speed=2765e9,
        link_speed=200e9,
        source="docs.cloud.google.com/tpu/docs/v5p; links: 1200 GB/s over six ports of a 3D torus",
    ),
    "v6e": Chip(
        hbm=32 * 2**30,
        flops=918e12,
        hbm_speed=1638e9,
        link_speed=200e9,
        source="docs.cloud.google.com/tpu/docs/v6e; links: 800 GB/s over four ports",
    ),
}
"""By the name that a topology begins with; read in November 2026."""
