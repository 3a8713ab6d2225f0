"""Pictures of single images: radiograph, gaze map, attention before and after."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from etils import epath

from gazax.eval.encode import Split

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def save_overlays(
    folder: epath.Path,
    split: Split,
    pictures: Mapping[str, np.ndarray],
    *,
    image_ids: Sequence[str],
    count: int,
) -> None:
    """Pictures of the first images of a split that have gaze, or else of the first ones.

    Args:
      folder: made if it does not exist; one ``<image_id>.png`` each.
      split: whose images and gaze.
      pictures: maps [n, h, w] of the split by title, behind the gaze map.
      image_ids: by `index`.
      count: pictures.
    """
    folder.mkdir(exist_ok=True)
    rows = sorted(range(len(split.index)), key=lambda row: not split.has_gaze[row])[:count]
    wanted = {int(split.index[row]): row for row in rows}
    for batch in split.batches():
        for index, image in zip(np.asarray(batch["index"]), batch["image"], strict=True):
            row = wanted.pop(int(index), None)
            if row is None:
                continue
            save_overlay(
                folder / f"{image_ids[index][:100]}.png",  # names of files end at 255 bytes
                image=np.asarray(image)[..., 0],
                maps={
                    "gaze map": split.gaze[row],
                    **{name: maps[row] for name, maps in pictures.items()},
                },
                xy=split.xy[row],
                title=image_ids[index],
            )


def save_overlay(
    path: epath.Path,
    *,
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    xy: np.ndarray,
    title: str,
) -> None:
    """One row of panels: the image, then each map over it, each map on its own scale.

    Args:
      path: of the PNG; written beside and renamed.
      image: [h, w] uint8.
      maps: [h, w] by title, any scale; a constant map is said to be empty.
      xy: [f, 2] fixations, px, drawn on the first panel.
      title: above the row.
    """
    height, width = image.shape
    figure, axes = plt.subplots(
        1,
        len(maps) + 1,
        figsize=(3.0 * (len(maps) + 1) * max(width / height, 0.6), 3.4),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=9, parse_math=False)
    for axis in axes[0]:
        # Pixel (i, j) covers [j, j + 1) x [i, i + 1).
        axis.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
        axis.set_axis_off()
    axes[0, 0].set_title("image and fixations", fontsize=9)
    axes[0, 0].scatter(xy[:, 0], xy[:, 1], s=5, c="#ffb000", linewidths=0)
    axes[0, 0].set_xlim(0, width)
    axes[0, 0].set_ylim(height, 0)
    for axis, (name, one) in zip(axes[0, 1:], maps.items(), strict=True):
        low, high = float(one.min()), float(one.max())
        if high > low:
            heat = (one - low) / (high - low)
            axis.imshow(heat, cmap="inferno", alpha=0.25 + 0.5 * heat, extent=(0, width, height, 0))
            axis.set_title(name, fontsize=9)
        else:
            axis.set_title(f"{name}: empty", fontsize=9)
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("wb") as file:
        figure.savefig(file, format="png", dpi=110)
    plt.close(figure)
    beside.replace(path)
