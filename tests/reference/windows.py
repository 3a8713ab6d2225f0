"""Slow float64 twins of `gazax.ops` for windows and views: loops, one draw after the other."""

import math

import numpy as np


def mass(map, window):
    """Sum of a map within a window; a pixel that is cut counts with its share of area."""
    xmin, ymin, xmax, ymax = window
    total = 0.0
    for i in range(map.shape[0]):
        for j in range(map.shape[1]):
            tall = min(i + 1, ymax) - max(i, ymin)
            wide = min(j + 1, xmax) - max(j, xmin)
            total += map[i, j] * max(tall, 0) * max(wide, 0)
    return total


def rectangle(window, size):
    """1 on the pixels whose centre lies in the window."""
    xmin, ymin, xmax, ymax = window
    cut = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            cut[i, j] = xmin <= j + 0.5 < xmax and ymin <= i + 0.5 < ymax
    return cut


def draw_until(candidates, accept):
    """The first candidate that is accepted, drawn one after the other; the last one if none is."""
    draws = iter(candidates)
    chosen = next(draws)
    while not accept(chosen):
        redrawn = next(draws, None)
        if redrawn is None:
            break
        chosen = redrawn
    return chosen


def show_window(map, content, window, angle, mirrored):
    """Each pixel asks where it comes from; bilinear, the nearest real pixel at the border."""
    xmin, ymin, xmax, ymax = content
    out, mask = np.zeros(map.shape), np.zeros(map.shape)
    real_x = [j for j in range(map.shape[1]) if xmin <= j + 0.5 < xmax]
    real_y = [i for i in range(map.shape[0]) if ymin <= i + 0.5 < ymax]
    for i in real_y:
        for j in real_x:
            dx, dy = j + 0.5 - (xmin + xmax) / 2, i + 0.5 - (ymin + ymax) / 2
            dx = -dx if mirrored else dx
            turned_x = math.cos(angle) * dx - math.sin(angle) * dy
            turned_y = math.sin(angle) * dx + math.cos(angle) * dy
            x = (window[0] + window[2]) / 2 + turned_x * (window[2] - window[0]) / (xmax - xmin)
            y = (window[1] + window[3]) / 2 + turned_y * (window[3] - window[1]) / (ymax - ymin)
            if not (xmin <= x < xmax and ymin <= y < ymax):
                continue
            mask[i, j] = 1
            column = min(max(x - 0.5, real_x[0]), real_x[-1])
            row = min(max(y - 0.5, real_y[0]), real_y[-1])
            left, top = int(column), int(row)
            right, bottom = min(left + 1, real_x[-1]), min(top + 1, real_y[-1])
            u, v = column - left, row - top
            out[i, j] = (1 - v) * ((1 - u) * map[top, left] + u * map[top, right]) + v * (
                (1 - u) * map[bottom, left] + u * map[bottom, right]
            )
    return out, mask


def content_blur(map, mask, sigma):
    """Mean of the content under a Gaussian; padding as it is."""
    out = map.copy()
    for i, j in np.argwhere(mask > 0):
        total = weights = 0.0
        for k, n in np.argwhere(mask > 0):
            weight = math.exp(-((i - k) ** 2 + (j - n) ** 2) / (2 * sigma**2))
            total += weight * map[k, n]
            weights += weight
        out[i, j] = total / weights
    return out


def focus_drop(image, saliency, mask, sigma, floor):
    blurred = content_blur(saliency, mask, sigma)
    highest = blurred[mask > 0].max()
    out = image.copy()
    for i, j in np.argwhere(mask > 0):
        out[i, j] *= min(blurred[i, j] / (highest + 0.01) + floor, 1)
    return out


def jitter(image, mask, brightness, contrast, brightness_first):
    """Brightness and contrast of the content in the given order, clipped after each."""
    out = image.copy()
    for step in (0, 1):
        content = out[mask > 0]
        if (step == 0) == brightness_first:
            changed = content * brightness
        else:
            changed = content.mean() + contrast * (content - content.mean())
        out[mask > 0] = np.clip(changed, 0, 1)
    return out
