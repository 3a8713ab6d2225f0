"""What the reader of a data set hands to the preparation: tables in memory, pixels in files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from gazax.data.sources.tables import Faults
from gazax.typing import Size

IMAGES = "images/"
"""What faults of images are counted under."""
NO_IMAGE = "no image"
"""The reason where a table speaks of an image whose file is not there."""


@dataclass(frozen=True)
class RawGaze:
    """The fixations on one image, reader by reader or mixed, each reader's in order of time."""

    xy: Float[np.ndarray, "f 2"]
    """px of the stored image, x right, y down, origin at its top-left corner."""
    duration: Float[np.ndarray, "f"]
    """Seconds."""
    sigma: Float[np.ndarray, "f 2"]
    """px in x and y; NaN where not given."""
    window: Float[np.ndarray, "f 4"]
    """xmin, ymin, xmax, ymax of what was shown, px; NaN where not given."""
    reader: Int[np.ndarray, "f"]
    """Position in `RawDataset.reader_ids`."""

    def __len__(self) -> int:
        """Number of fixations."""
        return len(self.duration)

    def __getitem__(self, rows) -> "RawGaze":
        """Some of the fixations, by any index that numpy takes."""
        return RawGaze(
            self.xy[rows],
            self.duration[rows],
            self.sigma[rows],
            self.window[rows],
            self.reader[rows],
        )


def _none(columns: int) -> np.ndarray:
    return np.zeros((0, columns))


NO_GAZE = RawGaze(_none(2), _none(1)[:, 0], _none(2), _none(4), np.zeros(0, np.int32))
"""Of an image that nobody looked at."""


@dataclass(frozen=True)
class RawMasks:
    """Where something lies in an image, in any of three forms; their union counts."""

    label_map: Path | None = None
    """An 8-bit picture of the stored image's size: v is the v-th label column, counted from 1, and
    255 every label that is present."""
    planes: tuple[tuple[int, Path], ...] = ()
    """A label column and a picture of the stored image's size; above 0 is inside."""
    ellipses: Float[np.ndarray, "e 4"] = field(default_factory=lambda: _none(4))
    """xmin, ymin, xmax, ymax of ellipses with axes along x and y, px of the stored image."""
    ellipse_label: Int[np.ndarray, "e"] = field(default_factory=lambda: np.zeros(0, np.int32))
    """Column of `RawImage.label`."""


NO_MASKS = RawMasks()


@dataclass(frozen=True)
class RawImage:
    """One image and all that is known of it; coordinates are px of the stored file."""

    image_id: str
    patient_id: str
    split: str
    path: Path
    label: Float[np.ndarray, "k"]
    """1 present, 0 absent, NaN unknown."""
    gaze: RawGaze
    box: Float[np.ndarray, "m 4"]
    """xmin, ymin, xmax, ymax."""
    box_label: Int[np.ndarray, "m"]
    """Column of `label`."""
    masks: RawMasks = NO_MASKS
    size: Size | None = None
    """(h, w) px that the file must have, where the data set says so."""


@dataclass(frozen=True)
class RawDataset:
    """A data set whose tables have been read and checked."""

    label_names: tuple[str, ...]
    reader_ids: tuple[str, ...]
    reader_weights: tuple[float, ...]
    images: tuple[RawImage, ...]
    has_masks: bool
    roots: tuple[Path, ...]
    """The folders of the source; a file that a link leads out of them is not read."""
    faults: Faults
    exclusive: tuple[tuple[str, ...], ...] = ()
    """Groups of labels that are the classes of one question, one of them present in an image."""
    display: str = "standard"
    """How a DICOM file becomes grey levels: a key of `gazax.data.pixels.dicom.DISPLAYS`."""
    canvas: Size | None = None
    """(h, w) px that every stored image is centred in (padded or cropped) before it is scaled, so
    that all have one scale; None: each is scaled as large as fits."""
    fixation_table: str | None = None
    """The file, if any, whose faulty rows are fixations that were dropped."""
    rows_left_out: int = 0
    """Fixations that were left out with their image, before its pixels were looked at."""
    notes: dict = field(default_factory=dict)
    """What the summary should say beyond the counts, ready for json."""
