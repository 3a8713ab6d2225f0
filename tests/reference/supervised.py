"""Slow float64 twins of the supervised losses and of the overlap metrics, entry by entry."""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def binary_cross_entropy(x, t, weight=1.0):
    # -ln sigmoid(x) = ln(1 + exp(-x)), without overflow on either side
    def neg_log_sigmoid(x):
        return math.log1p(math.exp(-abs(x))) + max(-x, 0.0)

    return weight * t * neg_log_sigmoid(x) + (1 - t) * neg_log_sigmoid(-x)


def multiclass(logits, label, label_smoothing=0.0, valid=None, class_weight=None):
    losses = []
    for i, (x, y) in enumerate(zip(np.asarray(logits, float), np.asarray(label), strict=True)):
        if any(math.isnan(one) for one in y) or (valid is not None and not valid[i]):
            losses.append(0.0)
            continue
        log_total = max(x) + math.log(sum(math.exp(one - max(x)) for one in x))
        targets = [(1 - label_smoothing) * one + label_smoothing / len(y) for one in y]
        weight = 1.0
        if class_weight is not None:
            weight = sum(one * of_class for one, of_class in zip(y, class_weight, strict=True))
        terms = (t * (log_total - one) for t, one in zip(targets, x, strict=True))
        losses.append(weight * sum(terms))
    return np.array(losses)


def multilabel(logits, label, positive_weight=None, valid=None):
    losses = []
    for i, (x, y) in enumerate(zip(np.asarray(logits, float), np.asarray(label), strict=True)):
        weights = [1.0] * len(y) if positive_weight is None else list(positive_weight)
        known = [k for k in range(len(y)) if not math.isnan(y[k])]
        if not known or (valid is not None and not valid[i]):
            losses.append(0.0)
            continue
        entropies = [binary_cross_entropy(x[k], y[k], weights[k]) for k in known]
        losses.append(sum(entropies) / len(known))
    return np.array(losses)


def segmentation_loss(logits, mask, where, dice_weight=1.0, bce_weight=1.0, valid=None):
    logits, mask = np.asarray(logits, float), np.asarray(mask, float)
    losses = []
    for i in range(len(logits)):
        entropies, dices = [], []
        if valid is None or valid[i]:
            for k in range(logits.shape[3]):
                if np.isnan(mask[i, :, :, k]).any():
                    continue
                overlap, total = 1.0, 1.0
                for row, column in np.argwhere(np.asarray(where[i]) > 0):
                    x, t = logits[i, row, column, k], mask[i, row, column, k]
                    p = sigmoid(x)
                    entropies.append(binary_cross_entropy(x, t))
                    overlap += 2 * p * t
                    total += p * p + t * t
                dices.append(1 - overlap / total)
        loss = bce_weight * np.mean(entropies) if entropies else 0.0
        losses.append(loss + (dice_weight * np.mean(dices) if dices else 0.0))
    return np.array(losses)


def overlap(mask_true, mask_pred, where=None):
    """(Dice, IoU) of one plane [h, w], pixel by pixel; NaN where both are empty."""
    both = either = in_true = in_pred = 0
    for pixel in np.ndindex(mask_true.shape):
        if where is not None and not where[pixel]:
            continue
        true, pred = bool(mask_true[pixel]), bool(mask_pred[pixel])
        both += true and pred
        either += true or pred
        in_true += true
        in_pred += pred
    if not either:
        return math.nan, math.nan
    return 2 * both / (in_true + in_pred), both / either
