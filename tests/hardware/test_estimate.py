"""A step of round numbers on a slice of round numbers."""

import pytest

from gazax.hardware import table
from gazax.hardware.chips import Chip
from gazax.hardware.collectives import Collective
from gazax.hardware.compiled import Compiled, TooLarge, read_refusal
from gazax.hardware.estimate import Estimate
from gazax.hardware.topology import Slice
from gazax.typing import RunError

CHIP = Chip(hbm=16 * 2**30, flops=100e12, hbm_speed=1000e9, link_speed=100e9, source="a page")
FOUR = Slice("v0:2x2", [None] * 4, 4, CHIP)
COMPILED = Compiled(
    arguments=2**30,
    outputs=2**30,
    aliased=2**29,
    temporaries=3 * 2**30,
    peak=4 * 2**30,
    flops=2e12,  # 20 ms
    moved=10e9,  # 10 ms
    collectives=[Collective("all-reduce", 4, 10**8)] * 2,  # 2 * 2 * 3/4 * 1e8 / 1e11 = 3 ms
)


def estimate(found=COMPILED, where=FOUR, **changed):
    settings = dict(stage="", batch=128, parameters=1000, trained=900, steps=3600, images=640)
    return Estimate(found=found, slice=where, **(settings | changed))


def test_rates_and_costs_follow_from_the_longest_side():
    found = estimate()
    assert found.roofline == pytest.approx((0.020, 0.010, 0.003))
    assert found.images_per_s == pytest.approx(6400)  # 128 / 20 ms
    assert found.epochs_per_hour == pytest.approx(36000)  # 640 images take a tenth of a second
    assert found.chip_hours == pytest.approx(0.08)  # 3600 x 20 ms x 4 chips = 288 s
    assert found.communication_share == pytest.approx(3 / 23)
    assert found.exchanged == {"all-reduce": (2, 2 * 10**8)}


def test_what_only_the_data_knows_is_left_out():
    found = estimate(steps=None, images=None)
    assert (found.epochs_per_hour, found.chip_hours) == (None, None)
    assert found.images_per_s == pytest.approx(6400)


def test_the_table_has_a_column_a_stage_and_the_same_numbers_as_the_file():
    refused = estimate(
        TooLarge(int(16.5 * 2**30), int(15.75 * 2**30), "RESOURCE_EXHAUSTED: ..."), stage="second"
    )
    text = table.as_text([estimate(stage="first"), refused])
    rows = {line[:34].strip(): line[34:].split() for line in text.splitlines()}
    assert rows[""] == ["first", "second"]
    assert rows["bound by"] == ["compute", "-"]
    assert rows["step at least, ms"] == ["20.000", "-"]
    assert "DOES NOT FIT: 16.5 of 15.75" in text
    assert rows["in all"] == ["4.5", "-"]  # 1 + 1 - 1/2 + 3
    assert rows["in use at once"] == ["4", "-"]
    assert rows["FLOP/byte"] == ["200.0", "-"]
    numbers = estimate(stage="first").as_dict()
    assert (numbers["fits"], numbers["bound"], numbers["intensity"]) == (True, "compute", 200.0)
    assert numbers["collectives"] == {"all-reduce": {"count": 2, "bytes": 2 * 10**8}}
    assert refused.as_dict()["needs"] == int(16.5 * 2**30)


def test_of_a_cpu_it_says_counts_and_no_times():
    found = estimate(where=Slice("cpu:4", [None] * 4, 4, None))
    assert found.roofline is found.images_per_s is found.chip_hours is None
    assert "2,000.0" in table.as_text([found])
    assert "no times follow" in table.describe(found.slice)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (36.52G) exceeds available HBM (15.75G).",
            36.52,
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. "
            "Used 16.63G of 15.75G hbm. Exceeded hbm capacity by 900.00M.\nmore",
            16.63,
        ),
    ],
)
def test_a_refusal_says_how_much_is_wanted(message, wanted):
    found = read_refusal(message)
    assert found[:2] == (round(wanted * 2**30), round(15.75 * 2**30))
    assert found.said == message.split("\n")[0]


@pytest.mark.parametrize(
    "message", ["INTERNAL: a bug", "RESOURCE_EXHAUSTED: memory space vmem", "a hbm\nUsed 1G of 2G"]
)
def test_another_failure_is_not_taken_for_a_lack_of_memory(message):
    with pytest.raises(RunError, match="the compiler fails"):
        read_refusal(message)
