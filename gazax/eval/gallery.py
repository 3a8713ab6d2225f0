"""A few images of a split with all that a page shows of them: gaze, maps and prediction."""

import functools
import shutil
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath
from jax.sharding import Mesh

from gazax.eval.encode import OfBatch, Split, look, render_readers
from gazax.eval.overlays import batches_with
from gazax.train.files import whole


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
    """One ``<number>.npz`` for each of the first images of a split, those with gaze before others.

    Each holds image [h, w] uint8, content [h, w] bool, gaze [h, w] (the map of all readers), reader
    names [r] and maps [r, h, w], xy [f, 2] px, reader [f] (row of the names), each of the maps
    [h, w] under its name, probability [k], label [k], label_names [k], image_id. Without gaze there
    is no reader, r = 0 and f = 0, and gaze is zeros.

    Args:
      folder: taken over whole: what a former evaluation left there goes.
      split: whose images.
      maps: ``attention``, ``saliency`` or both -> from a batch on the devices to maps [b, h, w].
      probabilities: [n, k] in the split's order; k can be 0.
      label_names: of the columns.
      image_ids: by `index`.
      reader_names: by `index`, the names of an image's readers in the order of their slots.
      count: images; 0 = none, and no folder.
      mesh: the devices.
    """
    if folder.exists():
        shutil.rmtree(folder)
    chosen = np.argsort(~split.has_gaze, kind="stable")[:count]
    if not len(chosen):
        return
    folder.mkdir()
    rows = {int(split.index[row]): (number, row) for number, row in enumerate(chosen)}
    functions = (functools.partial(render_readers, mesh=mesh), *maps.values())
    batches = batches_with(rows, split.batches())
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
