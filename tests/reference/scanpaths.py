"""Slow float64 twins of how gaze is compared: loops, written from the formulas."""

import math

import numpy as np


def area_pool(map, size):
    """Mean over the area of each cell; pixels are split."""
    height, width = map.shape
    pooled = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            for y in range(i * height // size[0], -(-(i + 1) * height // size[0])):
                for x in range(j * width // size[1], -(-(j + 1) * width // size[1])):
                    rows = min((i + 1) * height / size[0], y + 1) - max(i * height / size[0], y)
                    columns = min((j + 1) * width / size[1], x + 1) - max(j * width / size[1], x)
                    pooled[i, j] += max(rows, 0) * max(columns, 0) * map[y, x]
    return pooled * size[0] * size[1] / (height * width)


def moments(gaze_map):
    """Raw and central moments, as the books have them."""
    map = area_pool(np.asarray(gaze_map, np.float64), (32, 32))

    def raw(p, q):
        return sum(i**p * j**q * map[i, j] for i in range(32) for j in range(32))

    if raw(0, 0) == 0:
        return np.zeros(2)
    y, x = raw(1, 0) / raw(0, 0), raw(0, 1) / raw(0, 0)

    def eta(p, q):
        cells = [(i - y) ** p * (j - x) ** q * map[i, j] for i in range(32) for j in range(32)]
        return sum(cells) / raw(0, 0) ** (1 + (p + q) / 2)

    return np.array([raw(0, 0), eta(2, 0) + eta(0, 2)])


def relative_difference(x, y):
    return 0.0 if x == y else abs(x - y) / max(x, y)


def warp(cost):
    """Every path through the table, one after the other: (least sum, its cells)."""

    def paths(i, j):
        if (i, j) == (0, 0):
            yield [(0, 0)]
            return
        for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)):
            if a >= 0 and b >= 0:
                for path in paths(a, b):
                    yield [*path, (i, j)]

    every = [(sum(cost[c] for c in path), path) for path in paths(*np.subtract(cost.shape, 1))]
    return min(every, key=lambda found: found[0])


def tima(a, b):
    if not len(a) or not len(b):
        return 0.0
    cost = np.array(
        [
            [
                0.7 * relative_difference(x[0], y[0]) + 0.3 * relative_difference(x[1], y[1])
                for y in b
            ]
            for x in a
        ]
    )
    total, path = warp(cost)
    return 1 - total / len(path)


def multimatch(a, b, diagonal):
    """Along every shortest path's cells: medians of the five differences."""
    cost = np.array([[math.dist(u[2:4], v[2:4]) for v in b] for u in a])
    _, path = warp(cost)
    rows = []
    for i, j in path:
        u, v = a[i], b[j]
        turn = abs(math.atan2(u[3], u[2]) - math.atan2(v[3], v[2]))
        rows.append(
            [
                cost[i, j] / (2 * diagonal),
                min(turn, 2 * math.pi - turn) / math.pi,
                abs(math.hypot(*u[2:4]) - math.hypot(*v[2:4])) / diagonal,
                math.dist(u[:2], v[:2]) / diagonal,
                relative_difference(u[4], v[4]),
            ]
        )
    return 1 - np.median(rows, axis=0)
