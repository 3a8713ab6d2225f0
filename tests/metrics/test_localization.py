import inspect
import math

import numpy as np
import pytest

from gazax.metrics.localization import energy_inside, pointing_hit
from gazax.typing import InputError
from tests.reference import evaluation as slow

SHAPE = (7, 9)


@pytest.fixture
def saliency_map():
    return np.random.default_rng(0).integers(0, 5, SHAPE).astype(float)  # 4 is there often


@pytest.fixture
def region():
    region = np.zeros(SHAPE, bool)
    region[1:4, 5:8] = True
    return region


def peak_at(row, column):
    one = np.zeros(SHAPE)
    one[row, column] = 2.0
    return one


def test_pointing_by_hand(region):
    assert pointing_hit(peak_at(1, 5), region) == 1
    assert pointing_hit(peak_at(3, 7), region) == 1
    assert pointing_hit(peak_at(0, 5), region) == 0
    assert pointing_hit(peak_at(1, 4), region) == 0


def test_pointing_tolerance_is_the_distance_of_centres(region):
    for (row, column), distance in (((0, 5), 1), ((5, 7), 2), ((0, 4), math.sqrt(2))):
        assert pointing_hit(peak_at(row, column), region, tolerance_px=distance - 1e-6) == 0
        assert pointing_hit(peak_at(row, column), region, tolerance_px=distance + 1e-6) == 1


def test_pointing_of_equal_peaks_is_the_share_that_hits(region):
    assert pointing_hit(peak_at(2, 6) + peak_at(6, 0), region) == 1 / 2
    assert pointing_hit(np.full(SHAPE, 0.3), region) == pytest.approx(region.mean())


def test_energy_by_hand(region):
    one = np.zeros(SHAPE)
    one[2, 6], one[2, 2] = 3, 1
    assert energy_inside(one, region) == pytest.approx(3 / 4)
    assert energy_inside(peak_at(2, 6), region) == 1
    assert energy_inside(peak_at(0, 0), region) == 0


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_energy_of_a_constant_map_is_the_share_of_the_region(region, value):
    assert energy_inside(np.full(SHAPE, value), region) == pytest.approx(region.mean())


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.5])
def test_both_equal_their_slow_twins(saliency_map, region, tolerance):
    shares = []
    for seed in range(10):
        numbers = np.random.default_rng(seed)
        one, where = numbers.permuted(saliency_map), numbers.random(SHAPE) < 0.7
        found = pointing_hit(one, region, tolerance_px=tolerance, where=where)
        assert found == pytest.approx(slow.pointing_hit(one, region, tolerance, where))
        assert energy_inside(one, region, where=where) == pytest.approx(
            slow.energy_inside(one, region, where)
        )
        shares.append(found)
    assert len(set(shares)) > 2


@pytest.mark.parametrize("metric", [pointing_hit, energy_inside])
def test_where_equals_cutting_out(metric, saliency_map, region):
    whole, where = np.full((11, 14), np.nan), np.zeros((11, 14), bool)  # padding may hold anything
    whole[2:9, 3:12], where[2:9, 3:12] = saliency_map, True
    inside = np.ones((11, 14), bool)
    inside[2:9, 3:12] = region  # and the region may reach into it
    assert metric(whole, inside, where=where) == metric(saliency_map, region)


@pytest.mark.parametrize("metric", [pointing_hit, energy_inside])
def test_empty_region_is_nan(metric, saliency_map, region):
    assert math.isnan(metric(saliency_map, np.zeros(SHAPE, bool)))
    assert math.isnan(metric(saliency_map, region, where=~region))


def test_pointing_takes_any_scale_and_energy_none_below_zero(saliency_map, region):
    assert pointing_hit(saliency_map - 9, region) == pointing_hit(saliency_map, region)
    with pytest.raises(InputError, match="down to -9"):
        energy_inside(saliency_map - 9, region)


@pytest.mark.parametrize("metric", [pointing_hit, energy_inside])
def test_wrong_input_is_refused(metric, saliency_map, region):
    plain = inspect.unwrap(metric)  # the session's checker of shapes would answer first
    with pytest.raises(InputError, match=r"region is \(7, 8\)"):
        plain(saliency_map, region[:, 1:])
    with pytest.raises(InputError, match="of float64; give bool"):
        plain(saliency_map, region.astype(float))
    saliency_map[0, 0] = np.inf
    with pytest.raises(InputError, match="1 of the map's 63 pixels"):
        metric(saliency_map, region)


def test_negative_tolerance_is_refused(saliency_map, region):
    with pytest.raises(InputError, match="tolerance_px is -1"):
        pointing_hit(saliency_map, region, tolerance_px=-1)
