"""What an evaluation leaves behind for each test image, so that runs can be compared later.

A number is either the mean of one value an image (an attention's CC, whether a class was right) or
a statistic of scores and labels (an AUC). Both are kept with an axis of draws: few-shot numbers
have one row a draw of the training images, everything else has one.
"""

import dataclasses
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from etils import epath

from gazax.eval.report import Numbers
from gazax.train.files import whole
from gazax.typing import InputError

FILE = "examples.npz"
KINDS = ("values", "scores", "targets")
DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    RuntimeError,
    TypeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading an archive that is cut off, or whose bytes have changed, can raise."""
PLAIN = ("index", "image_id", "patient", "label", "label_names", "features", "embedding")


@dataclasses.dataclass(frozen=True)
class Part:
    """What one suite has to say about the test split.

    Attributes:
      numbers: ``row/column`` -> (estimate, low, high).
      table: the numbers for people, and what was left out and why; '' = nothing to say.
      values, scores, targets: as in `Record`.
    """

    numbers: Numbers
    table: str
    values: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    scores: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    targets: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A test split as one run sees it; every array has its images in the same order.

    Attributes:
      index: [n] places in the data set.
      image_id, patient: [n] text.
      label: [n, k] 1, 0 or NaN.
      label_names: [k].
      features: [n, d]; d can be 0.
      embedding: [n, 2] t-SNE; [n, 0] where it was not asked for.
      values: ``row/column`` -> [draws, n]; the mean is the number, NaN is left out.
      scores: ``row`` -> [draws, n, c], one column a label (or a target); larger means present.
      targets: ``row`` -> [n, c] what the scores of this row are held against, where that is not
        the label.
    """

    index: np.ndarray
    image_id: np.ndarray
    patient: np.ndarray
    label: np.ndarray
    label_names: np.ndarray
    features: np.ndarray
    embedding: np.ndarray
    values: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    scores: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    targets: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def target(self, row: str) -> np.ndarray:
        """[n, c] what ``scores[row]`` is held against."""
        return self.targets.get(row, self.label)

    def save(self, folder: epath.Path) -> None:
        """Writes `FILE` into the folder, beside and renamed."""
        arrays = {name: getattr(self, name) for name in PLAIN}
        for kind in KINDS:
            arrays |= {f"{kind}/{name}": array for name, array in getattr(self, kind).items()}
        with whole(folder / FILE) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, folder: epath.Path) -> "Record":
        """Reads what `save` wrote.

        Raises:
          InputError: there is none, or it is damaged.
        """
        path = folder / FILE
        if not path.exists():
            raise InputError(
                f"'{folder}' has no {FILE}: evaluate its run first, with "
                "python -m gazax.evaluate --workdir=DIR."
            )
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
                arrays = dict(found)
            plain = {name: arrays.pop(name) for name in PLAIN}
            kinds: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in KINDS}
            for name, array in arrays.items():
                kind, _, rest = name.partition("/")
                kinds[kind][rest] = array
            _check_shapes(plain, kinds)
        except DAMAGE as error:
            raise InputError(f"'{path}' is damaged ({error}); evaluate its run again.") from None
        return cls(
            **plain,
            values=kinds["values"],
            scores=kinds["scores"],
            targets=kinds["targets"],
        )


def _check_shapes(
    plain: Mapping[str, np.ndarray], kinds: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Raises a `ValueError` where something is not of the images of `index`, or no number."""
    n = len(plain["index"])
    rows = {"values": (2, 1), "scores": (3, 1)}  # axes, and that of the images
    for kind, (axes, axis) in rows.items():
        for name, one in kinds[kind].items():
            if one.ndim != axes or one.shape[axis] != n or one.dtype.kind not in "biuf":
                raise ValueError(f"{kind}/{name} has the shape {one.shape}, of {n} images")
    for name in ("image_id", "patient", "label", "features"):
        if len(plain[name]) != n:
            raise ValueError(f"{name} has {len(plain[name])} rows, of {n} images")
