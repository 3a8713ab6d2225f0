"""I-DT and I-VT on paths short enough to follow by hand; one sample every 0.1 s unless said."""

import numpy as np
import pytest

from gazax.data.sources.fixations import detect_by_dispersion, detect_by_velocity

NAN = (np.nan, np.nan)


def times(count):
    return np.arange(count) / 10


def disperse(points, t=None, **kwargs):
    settings = dict(dispersion_px=3.0, min_duration_s=0.15, max_gap_s=0.2) | kwargs
    points = np.array(points, float).reshape(-1, 2)
    return detect_by_dispersion(times(len(points)) if t is None else t, points, **settings)


def velocity(points, t=None, **kwargs):
    settings = dict(velocity_px_s=30.0, min_duration_s=0.15, max_gap_s=0.2) | kwargs
    points = np.array(points, float).reshape(-1, 2)
    return detect_by_velocity(times(len(points)) if t is None else t, points, **settings)


def test_dispersion_splits_two_places():
    # x spans 2 over the first three samples (t 0 to .2), then jumps to 10 (t .3 to .6)
    xy, duration = disperse([(0, 0), (1, 0), (2, 0), (10, 5), (10, 5), (10, 6), (10, 4)])
    np.testing.assert_allclose(xy, [(1, 0), (10, 5)])
    np.testing.assert_allclose(duration, [0.2, 0.3])


def test_dispersion_adds_the_extents_of_both_axes():
    # x spans 2 and y spans 2: together 4 > 3, although neither exceeds it; in pairs they fit
    xy, _ = disperse([(0, 0), (2, 0), (2, 2), (0, 2)], min_duration_s=0.15)
    assert len(xy) == 0
    xy, duration = disperse(
        [(0, 0), (2, 0), (2, 2), (0, 2)], min_duration_s=0.15, dispersion_px=4.0
    )
    np.testing.assert_allclose(xy, [(1, 1)])
    np.testing.assert_allclose(duration, [0.3])


def test_dispersion_at_the_threshold_still_fits():
    xy, _ = disperse([(0, 0), (1, 0), (3, 0)])
    np.testing.assert_allclose(xy, [(4 / 3, 0)])


def test_dispersion_gives_up_the_first_sample_of_a_window_that_does_not_fit():
    # the saccade's samples 0, 20, 40 are given up one by one
    xy, duration = disperse([(0, 0), (20, 0), (40, 0), (60, 0), (61, 0), (62, 0)])
    np.testing.assert_allclose(xy, [(61, 0)])
    np.testing.assert_allclose(duration, [0.2])


def test_velocity_splits_at_the_fast_step():
    # steps of 1 px in .1 s = 10 px/s are slow, the step of 8 px = 80 px/s is fast; threshold 30
    xy, duration = velocity([(0, 0), (1, 0), (2, 0), (10, 0), (10, 1), (10, 2), (10, 3)])
    np.testing.assert_allclose(xy, [(1, 0), (10, 1.5)])
    np.testing.assert_allclose(duration, [0.2, 0.3])


def test_velocity_follows_a_slow_drift_where_dispersion_does_not():
    drift = [(2 * i, 0) for i in range(6)]  # 20 px/s, 10 px in all
    assert len(velocity(drift)[0]) == 1
    assert len(disperse(drift)[0]) == 0


def test_velocity_at_the_threshold_is_fast():
    points = [(0, 0), (0, 0), (0, 0), (4, 0), (4, 0), (4, 0)]
    xy, _ = velocity(points, t=np.arange(6) / 8, velocity_px_s=32.0)  # 4 px in 1/8 s
    np.testing.assert_allclose(xy, [(0, 0), (4, 0)])


def test_velocity_depends_on_the_time_between_samples():
    points = [(0, 0), (4, 0), (8, 0)]
    assert len(velocity(points)[0]) == 0  # 40 px/s
    assert len(velocity(points, t=times(3) * 2)[0]) == 1  # 20 px/s


@pytest.mark.parametrize("detect", [disperse, velocity])
class TestBoth:
    def test_a_blink_ends_a_fixation(self, detect):
        xy, duration = detect([(0, 0), (0, 0), (0, 0), NAN, (0, 0), (0, 0), (0, 0)])
        np.testing.assert_allclose(xy, [(0, 0), (0, 0)])
        np.testing.assert_allclose(duration, [0.2, 0.2])

    def test_half_a_position_is_a_blink(self, detect):
        xy, _ = detect([(0, 0), (0, 0), (0, 0), (0, np.nan), (0, 0), (0, 0), (0, 0)])
        assert len(xy) == 2

    def test_a_gap_in_time_ends_a_fixation(self, detect):
        t = np.array([0, 0.1, 0.2, 0.5, 0.6, 0.7])
        _, duration = detect([(0, 0)] * 6, t=t)
        np.testing.assert_allclose(duration, [0.2, 0.2])
        _, duration = detect([(0, 0)] * 6, t=t, max_gap_s=0.35)
        np.testing.assert_allclose(duration, [0.7])

    def test_durations_and_gaps_are_compared_as_decimals(self, detect):
        # in binary .3 - .2 is below .1 and .4 - .3 above it
        assert 0.3 - 0.2 < 0.1 < 0.4 - 0.3
        t = np.array([0.2, 0.3])
        assert len(detect([(0, 0)] * 2, t=t, min_duration_s=0.1, max_gap_s=0.1)[0]) == 1
        t = np.array([0.3, 0.4])
        assert len(detect([(0, 0)] * 2, t=t, min_duration_s=0.1, max_gap_s=0.1)[0]) == 1

    def test_a_short_stay_is_no_fixation(self, detect):
        xy, _ = detect([(0, 0), (0, 0), (50, 0), (50, 0), (50, 0), (0, 0)])
        np.testing.assert_allclose(xy, [(50, 0)])

    def test_no_samples_and_blinks_only_give_no_fixations(self, detect):
        for points in ([], [NAN, NAN]):
            xy, duration = detect(points)
            assert xy.shape == (0, 2)
            assert duration.shape == (0,)

    def test_moving_and_scaling_everything_moves_the_fixations(self, detect, samples_path):
        points, scale = samples_path, 4.0
        unit = "dispersion_px" if detect is disperse else "velocity_px_s"
        threshold = {disperse: 3.0, velocity: 30.0}[detect]
        xy, duration = detect(points, **{unit: threshold})
        moved, same = detect(points * scale + 7, **{unit: threshold * scale})
        assert len(xy) > 2
        np.testing.assert_allclose(moved, xy * scale + 7)
        np.testing.assert_allclose(same, duration)


@pytest.fixture
def samples_path():
    """Five places, eight samples each, with jitter well under a pixel."""
    rng = np.random.Generator(np.random.PCG64(1))
    places = np.repeat(rng.integers(0, 100, (5, 2)), 8, axis=0)
    return places + rng.uniform(-0.4, 0.4, places.shape)
