"""Pictures of single images: radiograph, gaze map, attention before and after."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from etils import epath
from jax.sharding import Mesh

from gazax.eval.encode import OfBatch, Split, look
from gazax.train import agreement
from gazax.train.files import whole
from gazax.train.sharding import share
from gazax.typing import Batch

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def save_overlays(
    folder: epath.Path,
    split: Split,
    pictures: Mapping[str, OfBatch],
    *,
    image_ids: Sequence[str],
    count: int,
    mesh: Mesh,
) -> None:
    """Pictures of the first images of a split that have gaze, or else of the first ones.

    Args:
      folder: made if it does not exist; one ``<image_id>.png`` each.
      split: whose images and gaze.
      pictures: by title, what makes maps [b, h, w] of a batch on the devices; they come behind the
        gaze map. Only the batches of the images that are shown are asked for.
      image_ids: by `index`.
      count: pictures.
      mesh: the devices.
    """
    if agreement.is_first():
        folder.mkdir(exist_ok=True)
    rows = sorted(range(len(split.index)), key=lambda row: not split.has_gaze[row])[:count]
    wanted = {int(split.index[row]) for row in rows}
    batches = batches_with(wanted, split, mesh=mesh)
    for batch, looks, found in look(batches, *pictures.values(), mesh=mesh):
        for row, seen in enumerate(looks):
            if seen.index not in wanted or not agreement.is_first():
                continue
            maps = {title: maps[row] for title, maps in zip(pictures, found, strict=True)}
            save_overlay(
                folder / f"{image_ids[seen.index][:100]}.png",  # names of files end at 255 bytes
                image=np.asarray(batch["image"])[row, ..., 0],
                maps={"gaze map": seen.gaze, **maps},
                xy=seen.xy,
                title=image_ids[seen.index],
            )


def batches_with(wanted: Iterable[int], split: Split, *, mesh: Mesh) -> Iterator[Batch]:
    """The batches in which any of the wanted images is, until each has been there.

    The same ones in every process, whichever of them has read the image.

    Args:
      wanted: places in the data set.
      split: whose batches.
      mesh: the devices.
    """
    left = set(np.flatnonzero(np.isin(split.index, list(wanted))).tolist())
    begin = 0
    for batch in split.batches():
        if not left:
            return
        end = begin + len(batch["index"]) * share(mesh)["process_count"]
        here = {row for row in left if begin <= row < end}
        if here:
            yield batch
        left -= here
        begin = end


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
    with whole(path) as file:
        figure.savefig(file, format="png", dpi=110)
    plt.close(figure)
