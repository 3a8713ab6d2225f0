"""A few images of a split with all that a page shows of them: gaze, maps and prediction."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath
from jax.sharding import Mesh

from gazax.eval.encode import OfBatch, Split, look, render_readers
from gazax.eval.overlays import batches_with
from gazax.train.files import children, whole


def save_gallery(
    folder: epath.Path,
    split: Split,
    *,
    maps: Mapping[str, OfBatch],
    probabilities: np.ndarray,
    label_names: Sequence[str],
    image_ids: Sequence[str],
    reader_names: Sequence[Sequence[str]],
    count: int,
    mesh: Mesh,
) -> None:
    """One ``<number>.npz`` for each of some images of a split, see `choose`.

    Each holds image [h, w] uint8, content [h, w] bool, gaze [h, w] (the map of all readers), reader
    names [r] and maps [r, h, w], xy [f, 2] px, reader [f] (row of the names), each of the maps
    [h, w] under its name, probability [k], label [k], label_names [k], image_id. Without gaze there
    is no reader, r = 0 and f = 0, and gaze is zeros.

    Args:
      folder: taken over whole: what a former evaluation left there goes.
      split: whose images.
      maps: ``attention``, ``saliency``, ``mask``, ``marked`` -> from a batch on the devices to maps
        [b, h, w].
      probabilities: [n, k] in the split's order; k can be 0.
      label_names: of the columns.
      image_ids: by `index`.
      reader_names: by `index`, the names of an image's readers in the order of their slots.
      count: images; 0 = none, and no folder.
      mesh: the devices.
    """
    if children(folder):
        folder.rmtree()
    chosen = choose(split, count)
    if not len(chosen):
        return
    folder.mkdir(exist_ok=True)
    rows = {int(split.index[row]): (number, row) for number, row in enumerate(chosen)}
    functions = (functools.partial(render_readers, mesh=mesh), *maps.values())
    batches = batches_with(rows, split, mesh=mesh)
    for batch, looks, ((own, _), *found) in look(batches, *functions, mesh=mesh):
        for place, seen in enumerate(looks):
            if seen.index not in rows:
                continue
            number, row = rows[seen.index]
            slots = seen.readers
            names = reader_names[seen.index]
            with whole(folder / f"{number}.npz") as file:
                np.savez_compressed(
                    file,
                    allow_pickle=False,
                    image=np.asarray(batch["image"])[place, ..., 0],
                    content=seen.content,
                    gaze=seen.gaze,
                    reader_names=np.array([names[slot] for slot in slots], dtype=str),
                    reader_gaze=own[place][slots],
                    xy=seen.xy,
                    reader=np.searchsorted(slots, seen.reader),
                    **{name: one[place] for name, one in zip(maps, found, strict=True)},
                    probability=probabilities[row],
                    label=split.label[row],
                    label_names=np.array(label_names, dtype=str),
                    image_id=np.array(image_ids[seen.index]),
                )


def choose(split: Split, count: int) -> np.ndarray:
    """Rows of a split to show: every class in turn, each with its images with gaze first.

    An image is of the class of its first label that is present; those without any are one more.

    Args:
      split: the first images of it, so that runs on the same images show the same.
      count: rows, if there are so many.

    Returns:
      [count] places in the split. Of nine images of three classes, three each.
    """
    labelled = np.nan_to_num(split.label) > 0
    none = ~labelled.any(axis=1)
    of_class = np.column_stack([labelled, none]).argmax(axis=1)
    turn = np.zeros(len(of_class), int)  # how many of the image's class come before it
    gaze_first = np.argsort(~split.has_gaze, kind="stable")
    for one in np.unique(of_class):
        rows = gaze_first[of_class[gaze_first] == one]
        turn[rows] = np.arange(len(rows))
    return np.lexsort((of_class, turn, ~split.has_gaze))[:count]
