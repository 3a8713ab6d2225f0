"""Slow float64 twins of cooperative learning's losses: one triplet, pair or pixel at a time."""

import math

import numpy as np

from tests.reference.losses import cosine


def partners(label, valid=None):
    """For each row the lists of its positives and negatives, None for a row that does not count."""
    label = np.asarray(label, float)
    counts = [
        not np.isnan(row).any() and (valid is None or bool(valid[i])) for i, row in enumerate(label)
    ]
    found = []
    for i in range(len(label)):
        others = [k for k in range(len(label)) if k != i and counts[k]]
        same = [k for k in others if list(label[k]) == list(label[i])]
        different = [k for k in others if k not in same]
        found.append((same, different) if counts[i] else None)
    return found


def triplets(mean, positives, negatives, mining):
    """Pairs (p, n) of an anchor, by its mean distance to everyone."""
    if not positives or not negatives:
        return []
    if mining == "all":
        return [(p, n) for p in positives for n in negatives]
    if mining == "hard":
        return [(max(positives, key=lambda p: mean[p]), min(negatives, key=lambda n: mean[n]))]
    pairs = []
    for p in positives:
        farther = [n for n in negatives if mean[n] > mean[p]]
        if farther:
            pairs.append((p, min(farther, key=lambda n: mean[n])))
        else:
            pairs.append((p, max(negatives, key=lambda n: mean[n])))
    return pairs


def triplet_margin(z, label, margin, mining="all", distance="embedding", valid=None):
    z = np.asarray(z, float)
    losses = np.zeros(len(z))
    for a, found in enumerate(partners(label, valid)):
        if found is None:
            continue

        def between(other, a=a):
            """Distances: one of embeddings, one a row and channel of maps."""
            if distance == "embedding":
                u, v = (x / max(np.linalg.norm(x), 1e-6) for x in (z[a], z[other]))
                return np.array([math.dist(u, v)])
            _, height, _, channels = z.shape
            return np.array(
                [
                    math.hypot(*(z[a, i, :, c] - z[other, i, :, c] + 1e-6))
                    for i in range(height)
                    for c in range(channels)
                ]
            )

        mean = {k: between(k).mean() for k in (*found[0], *found[1])}
        hinges = [
            np.maximum(between(p) - between(n) + margin, 0).mean()
            for p, n in triplets(mean, *found, mining)
        ]
        losses[a] = np.mean(hinges) if hinges else 0.0
    return losses


def sup_con(z, label, temperature, valid=None):
    z = np.asarray(z, float)
    losses = np.zeros(len(z))
    for i, found in enumerate(partners(label, valid)):
        if found is None or not found[0]:
            continue
        positives, negatives = found
        share = {k: math.exp(cosine(z[i], z[k]) / temperature) for k in (*positives, *negatives)}
        losses[i] = -np.mean([math.log(share[p] / sum(share.values())) for p in positives])
    return losses


def saliency_kl(log_density, target_density, valid=None):
    """The loss: sum of t (ln t - ln p) of each example, pixel by pixel."""
    losses = np.zeros(len(log_density))
    for i, (log_p, t) in enumerate(zip(log_density, target_density, strict=True)):
        if valid is None or valid[i]:
            pairs = zip(np.ravel(log_p).tolist(), np.ravel(t).tolist(), strict=True)
            losses[i] = sum(b * (math.log(b) - a) for a, b in pairs if b > 0)
    return losses
