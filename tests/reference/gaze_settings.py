"""Slow twin of `gazax.data.change_gaze` on the own gaze of one image: one fixation at a time."""

import numpy as np

from tests.reference import gaze


def gaze_map(
    record,
    size,
    *,
    weights,
    kept=None,
    part="all",
    count=False,
    sigma=None,
    sigma_fraction=1 / 28,
    window=True,
    normalize_readers=True,
):
    """The map of a record's fixations under some settings, reader by reader.

    `weights` by reader; `kept` readers; `sigma` 'fraction' or None.
    """
    fixations, content = record["fixations"], record["content"]
    longer = max(content[2] - content[0], content[3] - content[1])
    maps, used = [], []
    for reader in sorted(set(fixations["reader"].tolist())):
        own = [f for f, r in enumerate(fixations["reader"]) if r == reader]
        if (kept is not None and reader not in kept) or weights[reader] == 0:
            continue
        total = sum(float(fixations["duration"][f]) for f in own)
        heat, clock = np.zeros(size), 0.0
        for f in own:
            lasts = float(fixations["duration"][f])
            low, high = {"all": (0, total), "early": (0, total / 2), "late": (total / 2, total)}[
                part
            ]
            inside = max(0.0, min(high, clock + lasts) - max(low, clock))
            clock += lasts
            spread = fixations["sigma"][f]
            if sigma == "fraction" or np.isnan(spread).any():
                spread = np.full(2, sigma_fraction * longer)
            seen = fixations["window"][f]
            if not window or np.isnan(seen).any():
                seen = content
            weight = inside / lasts if count else inside
            heat += gaze.render_gaze(fixations["xy"][f : f + 1], [weight], [spread], size, [seen])
        maps.append(heat)
        used.append(weights[reader])
    if not maps:
        return np.zeros(size)
    if normalize_readers:
        maps = [gaze.minmax(heat) for heat in maps]
    return gaze.minmax(sum(w * m for w, m in zip(used, maps, strict=True)) / sum(used))
