"""What readers marked in an image: unions of boxes and of ellipses' boxes."""

import numpy as np
from jaxtyping import Float, Int


def corners(extremes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """xmin, ymin, xmax, ymax from two opposite corners in either order."""
    first, second = extremes[:, :2], extremes[:, 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)


def merge_boxes(
    box: Float[np.ndarray, "n 4"], label: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "m 4"], Int[np.ndarray, "m"]]:
    """Boxes of one label that overlap become the box around them, until none overlap.

    Boxes overlap when they share an area; a common edge is none. The box around two can overlap a
    third that neither of them did: it is then merged as well.

    Args:
      box: xmin, ymin, xmax, ymax, px.
      label: only boxes of the same label are merged.

    Returns:
      Boxes and labels in order of label, then of the first box that went into each.

    Source: ours.
    """
    merged: list[np.ndarray] = []
    labels: list[int] = []
    for value in np.unique(label).tolist():
        found: list[tuple[int, np.ndarray]] = []
        for rank, new in enumerate(box[label == value]):
            first = rank
            while near := [item for item in found if _overlap(item[1], new)]:
                found = [item for item in found if not _overlap(item[1], new)]
                around = np.stack([new, *(other for _, other in near)])
                new = np.concatenate([around[:, :2].min(0), around[:, 2:].max(0)])
                first = min(first, *(number for number, _ in near))
            found.append((first, new))
        merged += [new for _, new in sorted(found, key=lambda item: item[0])]
        labels += [value] * len(found)
    return np.array(merged, np.float64).reshape(-1, 4), np.array(labels, np.int32)


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all())
