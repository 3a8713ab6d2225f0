"""From raw eye-tracker samples to fixations: by dispersion (I-DT) and by velocity (I-VT).

Both take the samples of one reader on one image in order of time. A sample whose position is NaN
(a blink), or a gap in time longer than `max_gap_s`, ends a fixation. A fixation's position is the
mean of its samples and its duration the time from its first sample to its last.

Source: Salvucci and Goldberg 2000, "Identifying fixations and saccades in eye-tracking
protocols". It names thresholds in degrees and leaves their values open; the defaults are ours.
"""

import itertools

import numpy as np
from jaxtyping import Float

DEGREE_FRACTION = 1 / 28
"""One degree of visual angle, as a fraction of the image's longer side (as in REFLACX; ours)."""
DISPERSION_DEG = 1.0
VELOCITY_DEG_S = 30.0
MIN_DURATION_S = 0.1
MAX_GAP_S = 0.1
TOLERANCE_S = 1e-6
"""Times are decimal in a file and binary here: .3 - .2 is to be at least .1."""


def detect_by_dispersion(
    t: Float[np.ndarray, "s"],
    xy: Float[np.ndarray, "s 2"],
    *,
    dispersion_px: float,
    min_duration_s: float = MIN_DURATION_S,
    max_gap_s: float = MAX_GAP_S,
) -> tuple[Float[np.ndarray, "f 2"], Float[np.ndarray, "f"]]:
    """I-DT: the longest runs of samples that stay within `dispersion_px`.

    Dispersion is (max x - min x) + (max y - min y). A window that covers `min_duration_s` grows
    while it stays within the threshold; where it does not fit, its first sample is given up.

    Args:
      t: seconds, increasing.
      xy: px; NaN where the tracker saw no eye.
      dispersion_px: threshold, px, about one degree.
      min_duration_s: shorter runs are no fixations.
      max_gap_s: a longer gap between two samples ends a run.

    Returns:
      Positions in px and durations in s, in order of time. No samples give no fixations.
    """
    fixations = []
    for start, stop in _runs(t, xy, max_gap_s):
        fixations += _disperse(t, xy, start, stop, dispersion_px, min_duration_s)
    return _summarize(t, xy, fixations)


def detect_by_velocity(
    t: Float[np.ndarray, "s"],
    xy: Float[np.ndarray, "s 2"],
    *,
    velocity_px_s: float,
    min_duration_s: float = MIN_DURATION_S,
    max_gap_s: float = MAX_GAP_S,
) -> tuple[Float[np.ndarray, "f 2"], Float[np.ndarray, "f"]]:
    """I-VT: runs of samples that are each reached slower than `velocity_px_s`.

    The velocity of a step is its length over its time. A step that is as fast as the threshold or
    faster parts two fixations: the sample before it ends one, the sample after it begins the next.

    Args:
      t: seconds, increasing.
      xy: px; NaN where the tracker saw no eye.
      velocity_px_s: threshold, px per second, about 30 degrees per second.
      min_duration_s: shorter runs are no fixations.
      max_gap_s: a longer gap between two samples ends a run.

    Returns:
      Positions in px and durations in s, in order of time. No samples give no fixations.
    """
    fixations = []
    for start, stop in _runs(t, xy, max_gap_s):
        step = np.hypot(*np.diff(xy[start:stop], axis=0).T)
        fast = step >= velocity_px_s * np.diff(t[start:stop])
        edges = [start, *(start + 1 + np.flatnonzero(fast)).tolist(), stop]
        for first, end in itertools.pairwise(edges):
            if t[end - 1] - t[first] >= min_duration_s - TOLERANCE_S:
                fixations.append((first, end))
    return _summarize(t, xy, fixations)


def _runs(t: np.ndarray, xy: np.ndarray, max_gap_s: float) -> list[tuple[int, int]]:
    """[start, stop) of every stretch without a blink or a gap."""
    seen = np.isfinite(xy).all(1)
    positions = np.flatnonzero(seen)
    if not len(positions):
        return []
    apart = (np.diff(positions) > 1) | (np.diff(t[positions]) > max_gap_s + TOLERANCE_S)
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(positions, 1 + apart.nonzero()[0])]


def _disperse(
    t: np.ndarray, xy: np.ndarray, start: int, stop: int, dispersion_px: float, min_s: float
) -> list[tuple[int, int]]:
    """[start, stop) of every fixation in one unbroken run of samples."""
    # plain floats: indexing an array costs more than the comparison
    times, points = t[start:stop].tolist(), xy[start:stop].tolist()
    found = []
    first = 0
    while first < len(times):
        end = first
        (x_low, y_low), (x_high, y_high) = points[first], points[first]
        while end < len(times):
            x, y = points[end]
            x_low, x_high = min(x_low, x), max(x_high, x)
            y_low, y_high = min(y_low, y), max(y_high, y)
            if (x_high - x_low) + (y_high - y_low) > dispersion_px:
                break
            end += 1
        if times[end - 1] - times[first] >= min_s - TOLERANCE_S:
            found.append((start + first, start + end))
            first = end
        elif end == len(times):  # what begins later is shorter still
            break
        else:
            first += 1
    return found


def _summarize(
    t: np.ndarray, xy: np.ndarray, fixations: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    centres = [xy[first:end].mean(0) for first, end in fixations]
    durations = [t[end - 1] - t[first] for first, end in fixations]
    return np.array(centres, xy.dtype).reshape(-1, 2), np.array(durations, t.dtype)
