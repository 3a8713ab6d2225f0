"""Slow float64 twins of the losses of several tasks, one task at a time."""

import math


def uncertainty_weighted(losses, log_sigma, scale, form="log1p", valid=None):
    total = 0.0
    for t, (loss, log_s, c) in enumerate(zip(losses, log_sigma, scale, strict=True)):
        if valid is None or valid[t]:
            s = math.exp(log_s)
            total += c * loss / s**2 + (math.log1p(s) if form == "log1p" else math.log(s))
    return total


def grad_norm_loss(weights, gradient_norms, losses, initial_losses, alpha, valid=None):
    """The value, and its gradient with respect to the weights."""
    number = len(weights)
    tasks = [t for t in range(number) if valid is None or valid[t]]
    rates = {t: losses[t] / initial_losses[t] if initial_losses[t] > 0 else 1.0 for t in tasks}
    mean_rate = sum(rates.values()) / max(len(tasks), 1)
    norms = {t: weights[t] * gradient_norms[t] for t in tasks}
    mean_norm = sum(norms.values()) / max(len(tasks), 1)
    value, gradient = 0.0, [0.0] * number
    for t in tasks:
        relative = rates[t] / mean_rate if mean_rate > 0 else 1.0
        beyond = norms[t] - mean_norm * relative**alpha
        value += abs(beyond)
        gradient[t] = math.copysign(gradient_norms[t], beyond) if beyond else 0.0
    return value, gradient
