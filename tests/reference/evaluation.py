"""Slow twins of the metrics of an evaluation: one threshold, one entry, one sample at a time.

Written from the definitions, in plain Python floats.
"""

import itertools
import math


def counts_at(threshold, scores, labels):
    """Found, missed, falsely called and rightly left: of the entries that are known."""
    found = missed = called = left = 0
    for score, label in zip(scores, labels, strict=True):
        if math.isnan(label):
            continue
        if label == 1:
            found, missed = found + (score >= threshold), missed + (score < threshold)
        else:
            called, left = called + (score >= threshold), left + (score < threshold)
    return found, missed, called, left


def thresholds_of(scores, labels):
    known = {s for s, label in zip(scores, labels, strict=True) if not math.isnan(label)}
    return sorted(known, reverse=True)


def roc_points(scores, labels):
    """(fpr, tpr) at every threshold, the highest first, after (0, 0)."""
    points = [(0.0, 0.0)]
    for threshold in thresholds_of(scores, labels):
        found, missed, called, left = counts_at(threshold, scores, labels)
        points.append((called / (called + left), found / (found + missed)))
    return points


def precision_recall_points(scores, labels):
    """(recall, precision) at every threshold, the highest first, after (0, 1)."""
    points = [(0.0, 1.0)]
    for threshold in thresholds_of(scores, labels):
        found, missed, called, _ = counts_at(threshold, scores, labels)
        points.append((found / (found + missed), found / (found + called)))
    return points


def average_precision(scores, labels):
    points = precision_recall_points(scores, labels)
    steps = itertools.pairwise(points)
    return math.fsum((after[0] - before[0]) * after[1] for before, after in steps)


def expected_calibration_error(said, true, num_bins):
    """Of entries that say a probability and are true (1) or not (0)."""
    bins = [[] for _ in range(num_bins)]
    for probability, label in zip(said, true, strict=True):
        place = 0
        while place < num_bins - 1 and probability > (place + 1) / num_bins:
            place += 1
        bins[place].append((probability, label))
    total = 0.0
    for entries in bins:
        if entries:
            mean = math.fsum(p for p, _ in entries) / len(entries)
            frequency = sum(label for _, label in entries) / len(entries)
            total += len(entries) / len(said) * abs(mean - frequency)
    return total


def pointing_hit(saliency_map, region, tolerance_px, where):
    height, width = len(saliency_map), len(saliency_map[0])
    pixels = [(i, j) for i in range(height) for j in range(width) if where[i][j]]
    highest = max(saliency_map[i][j] for i, j in pixels)
    inside = [(i, j) for i, j in pixels if region[i][j]]
    peaks = [pixel for pixel in pixels if saliency_map[pixel[0]][pixel[1]] == highest]
    hits = [any(math.dist(peak, other) <= tolerance_px for other in inside) for peak in peaks]
    return sum(hits) / len(hits)


def energy_inside(saliency_map, region, where):
    pixels = [
        (float(value), found)
        for row in zip(saliency_map, region, where, strict=True)
        for value, found, counts in zip(*row, strict=True)
        if counts
    ]
    return math.fsum(v for v, found in pixels if found) / math.fsum(v for v, _ in pixels)


def fleiss_kappa(ratings):
    """From lists of ratings, one list an item, at least one rating in each."""
    agreements = []
    for item in ratings:
        pairs = [(a, b) for i, a in enumerate(item) for j, b in enumerate(item) if i != j]
        if pairs:
            agreements.append(sum(a == b for a, b in pairs) / len(pairs))
    observed = math.fsum(agreements) / len(agreements)
    expected = 0.0
    for category in {rating for item in ratings for rating in item}:
        share = math.fsum(item.count(category) / len(item) for item in ratings) / len(ratings)
        expected += share**2
    return (observed - expected) / (1 - expected)


def hierarchical_means(values, groups, num_samples, rng):
    """Means of bootstrap samples, built as lists of what is in them; rng: `random.Random`."""
    num_seeds, num_draws = len(values), len(values[0])
    patients = sorted(set(groups))
    means = []
    for _ in range(num_samples):
        drawn_patients = [rng.choice(patients) for _ in patients]
        rows = [row for p in drawn_patients for row, g in enumerate(groups) if g == p]
        drawn_seeds = [rng.randrange(num_seeds) for _ in range(num_seeds)]
        drawn_draws = [rng.randrange(num_draws) for _ in range(num_draws)]
        found = []
        for seed in drawn_seeds:
            for draw in drawn_draws:
                one = values[seed][draw]
                found += [float(one[row]) for row in rows if not math.isnan(one[row])]
        means.append(math.fsum(found) / len(found))
    return means


def holm(p_values):
    """A comparison is called at a level if it and all of smaller p pass theirs: the least level."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = {}
    for step, i in enumerate(order):
        passed = [(len(order) - j) * p_values[order[j]] for j in range(step + 1)]
        adjusted[i] = min(1.0, max(passed))
    return [adjusted[i] for i in range(len(p_values))]
