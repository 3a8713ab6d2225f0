"""Predicted gaze maps of a split, as fixations that draw them, kept beside the records.

A folder is keyed by all that the maps depend on, and whole or not there at all (`cache`)::

    predicted-gaze-<key>/predicted_gaze.json   what they were made of, and how near they are drawn
                         duration.npy          [images, n, n] float32, by position in the split

The fixations of an image stand on a grid on its content (`mean_gaze.grid_fixations`), so that their
durations are all that has to be kept, and fit any size of the image.
"""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.lib import format as npy

from gazax.data.cache import cache_folder, find_or_make, fingerprint, room
from gazax.data.mean_gaze import grid_fixations

FACTS = "predicted_gaze.json"
DURATION = "duration.npy"


class PredictedGaze:
    """Fixations by position in the split, read from disk as they are wanted.

    Args:
      folder: of `make`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._duration = np.load(folder / DURATION, mmap_mode="r", allow_pickle=False)

    def __reduce__(self) -> tuple[type["PredictedGaze"], tuple[Path]]:
        """A worker opens the file again: pickled, the whole of it would be sent."""
        return PredictedGaze, (self._folder,)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._duration)

    @property
    def correlation(self) -> dict[str, float]:
        """Of drawn and predicted maps over the content: `mean`, and `lowest`, the 5th percentile.

        Empty where no image has a map.
        """
        return json.loads((self._folder / FACTS).read_text())["correlation"]

    def __str__(self) -> str:
        """For people."""
        found = self.correlation
        if not found:
            return f"{len(self)} training images, of which none has a map"
        return (
            f"{len(self)} training images; fixations draw its maps with a correlation of "
            f"{found['mean']:.3f} (5 % of them below {found['lowest']:.3f})"
        )

    def fixations(self, position: int, content: Float[np.ndarray, "4"]) -> dict[str, np.ndarray]:
        """The fields of a record's fixations, of one reader 0, in px of the content's frame."""
        return grid_fixations(self._duration[position].astype(np.float64), content)


def make(
    facts: Mapping[str, Any],
    computed: Iterable[tuple[Float[np.ndarray, "b n n"], Float[np.ndarray, "b"]]],
    *,
    images: int,
    side: int,
    cache: str | None = None,
) -> PredictedGaze:
    """The predicted gaze that these facts lead to: found, or computed and kept.

    Args:
      facts: all that it depends on: weights, records, grid; json types.
      computed: durations and the drawn maps' correlations with the predicted ones (NaN where there
        is none, as of a constant map), batch after batch, in the order of the split; asked only
        where nothing is found.
      images: of the split.
      side: n of the grid.
      cache: folder for prepared data; default $GAZAX_DATA, else the user's cache folder.

    Raises:
      InputError: there is no room for it.
    """
    folder = cache_folder(cache) / f"predicted-gaze-{fingerprint(dict(facts))}"

    def fill(beside: Path) -> None:
        # Row after row and not mapped into memory: there a full disk would be a crash.
        def append(content: bytes) -> None:
            with room(folder, "the predicted gaze"), open(beside / DURATION, "ab") as file:
                file.write(content)

        header = io.BytesIO()
        shape = (images, side, side)
        npy.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        append(header.getvalue())
        correlations = []
        for duration, correlation in computed:
            append(np.ascontiguousarray(duration, "<f4").tobytes())
            correlations.append(correlation)
        known = np.concatenate(correlations)
        assert len(known) == images, f"{len(known)} of {images} images were predicted"
        known = known[np.isfinite(known)]
        summary = {}
        if len(known):
            summary = {"mean": float(known.mean()), "lowest": float(np.quantile(known, 0.05))}
        text = json.dumps({**facts, "correlation": summary}, indent=2)
        with room(folder, "the predicted gaze"):
            (beside / FACTS).write_text(text)

    return PredictedGaze(find_or_make(folder, fill))
