"""Slow twin of `gazax.ops.boxes`: a loop over boxes and pixels."""

import numpy as np


def box_masks(box, box_label, size, num_labels):
    mask = np.zeros((*size, num_labels))
    for (xmin, ymin, xmax, ymax), label in zip(box, box_label, strict=True):
        for i in range(size[0]):
            for j in range(size[1]):
                inside = xmin <= j + 0.5 < xmax and ymin <= i + 0.5 < ymax
                if inside and 0 <= label < num_labels:
                    mask[i, j, label] = 1
    return mask
