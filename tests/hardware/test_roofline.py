"""Seconds by hand."""

import pytest

from gazax.hardware.chips import CHIPS, Chip
from gazax.hardware.collectives import Collective
from gazax.hardware.roofline import ring_seconds, roofline

CHIP = Chip(hbm=10, flops=100.0, hbm_speed=10.0, link_speed=4.0, source="")


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("all-reduce", 2 * 3 / 4 * 16 / 4),  # every byte goes round twice, less the own quarter
        ("all-gather", 3 / 4 * 16 / 4),
        ("reduce-scatter", 3 / 4 * 16 / 4),
        ("all-to-all", 4 / 4 * 16 / 4),  # n/4 hops on average, over both directions
        ("collective-permute", 2 * 16 / 4),  # to a neighbour, in one direction
    ],
)
def test_a_ring_of_four_moves_sixteen_bytes(kind, seconds):
    assert ring_seconds(Collective(kind, 4, 16), link_speed=4.0) == pytest.approx(seconds)


def test_the_longest_side_bounds_a_step():
    reduce = Collective("all-reduce", 2, 8)  # 2 * 1/2 * 8 / 4 = 2 s
    found = roofline(CHIP, flops=100.0, moved=15.0, collectives=[reduce, reduce])
    assert found == (1.0, 1.5, 4.0)
    assert (found.step, found.bound) == (4.0, "communication")
    alone = roofline(CHIP, flops=200.0, moved=15.0, collectives=[])
    assert alone == (2.0, 1.5, 0.0)
    assert (alone.step, alone.bound) == (2.0, "compute")
    assert roofline(CHIP, flops=0.0, moved=15.0, collectives=[]).bound == "memory"


def test_a_chip_can_work_longer_on_a_byte_than_its_memory_takes_to_bring_it():
    """The published figures are of one order: a slip by a thousand would show."""
    for chip in CHIPS.values():
        assert 100 < chip.flops / chip.hbm_speed < 1000
        assert 5 < chip.hbm_speed / chip.link_speed < 20
        assert 2**33 < chip.hbm < 2**37
