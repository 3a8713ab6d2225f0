"""Slow float64 twins of the graph operations, entry by entry."""

import math

import numpy as np


def unit(vector):
    norm = math.sqrt(sum(x * x for x in vector))
    return [x / norm if norm > 0 else 0.0 for x in vector]


def nearest_neighbours(nodes, others, k, dilation=1, bias=None):
    found = []
    for i, node in enumerate(np.asarray(nodes, float)):
        distances = []
        for j, other in enumerate(np.asarray(others, float)):
            squares = ((a - b) ** 2 for a, b in zip(unit(node), unit(other), strict=True))
            distances.append((sum(squares) + (0.0 if bias is None else float(bias[i][j])), j))
        order = [j for _, j in sorted(distances)]
        found.append([order[rank * dilation] for rank in range(k)])
    return np.array(found)


def max_relative(nodes, others, neighbours):
    nodes, others = np.asarray(nodes, float), np.asarray(others, float)
    return np.array(
        [
            [max(others[j][c] - nodes[i][c] for j in row) for c in range(nodes.shape[1])]
            for i, row in enumerate(np.asarray(neighbours))
        ]
    )


def likeness(one, other, width):
    """-2/d e . e': the cosines of what lies between two cells, over the frequencies."""
    total = 0.0
    for i in range(width // 4):
        rate = 10_000 ** (-4 * i / width)
        total += sum(math.cos((a - b) * rate) for a, b in zip(one, other, strict=True))
    return -2 * total / width


def relative_position(size, width, reduction, form):
    height, across = size
    cells = [(y, x) for y in range(height) for x in range(across)]
    whole = np.array([[likeness(one, other, width) for other in cells] for one in cells])
    if reduction == 1:
        return whole
    count, r = len(cells) // reduction**2, reduction
    found = np.zeros((len(cells), count))
    for j in range(count):
        if form == "pooled":
            top, left = j // (across // r) * r, j % (across // r) * r
            block = [(top + y) * across + left + x for y in range(r) for x in range(r)]
            found[:, j] = whole[:, block].mean(axis=1)
        elif r % 2:  # the middle of the run is a cell
            found[:, j] = whole[:, j * r * r + r * r // 2]
        else:  # it lies half way between two: the cubic's four weights there
            for offset, weight in enumerate((-3 / 32, 19 / 32, 19 / 32, -3 / 32), start=-2):
                place = min(max(j * r * r + r * r // 2 + offset, 0), len(cells) - 1)
                found[:, j] += weight * whole[:, place]
    return found
