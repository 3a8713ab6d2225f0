"""Slow float64 twins of the losses against another network's output: one row at a time."""

import math

import numpy as np

from tests.reference.losses import cosine


def cosine_regression(prediction, target, positives=None):
    prediction, target = np.asarray(prediction, float), np.asarray(target, float)
    losses = np.zeros(len(prediction))
    for i, row in enumerate(prediction):
        values = []
        for k, other in enumerate(target):
            if k == i or (positives is not None and positives[i][k] > 0):
                values.append(2 - 2 * cosine(row, other))
        losses[i] = np.mean(values)
    return losses


def info_nce_keys(query, keys, temperature, index=None, positives=None):
    query, keys = np.asarray(query, float), np.asarray(keys, float)
    index = list(range(len(query))) if index is None else list(index)
    losses = np.zeros(len(query))
    for i, row in enumerate(query):
        total, chosen = 0.0, []
        for k, key in enumerate(keys):
            is_positive = k == i or (positives is not None and positives[i][k] > 0)
            if not is_positive and index[k] == index[i]:
                continue
            similarity = cosine(row, key) / temperature
            total += math.exp(similarity)
            if is_positive:
                chosen.append(similarity)
        losses[i] = np.mean([math.log(total) - similarity for similarity in chosen])
    return losses


def info_nce_queue(z, z_pos, queue, temperature, positives, negatives):
    """With some keys of the queue absent: what is left is a queue of its own, for each row."""
    losses = np.zeros(len(z))
    for i in range(len(z)):
        own = cosine(z[i], z_pos[i]) / temperature
        total, chosen = math.exp(own), [own]
        for k, key in enumerate(queue):
            similarity = cosine(z[i], key) / temperature
            if positives[i][k] > 0:
                chosen.append(similarity)
            if positives[i][k] > 0 or negatives[i][k] > 0:
                total += math.exp(similarity)
        losses[i] = np.mean([math.log(total) - similarity for similarity in chosen])
    return losses
