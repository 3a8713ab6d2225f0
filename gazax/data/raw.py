"""What the reader of a data set hands to the preparation: tables in memory, pixels in files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from gazax.data.tables import Faults

IMAGES = "images/"
"""What faults of images are counted under."""


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
    mask_path: Path | None = None


@dataclass(frozen=True)
class RawDataset:
    """A data set whose tables have been read and checked."""

    label_names: tuple[str, ...]
    reader_ids: tuple[str, ...]
    reader_weights: tuple[float, ...]
    images: tuple[RawImage, ...]
    has_masks: bool
    faults: Faults
    fixation_table: str | None = None
    """The file, if any, whose faulty rows are fixations that were dropped."""
    rows_left_out: int = 0
    """Fixations that were left out with their image, before its pixels were looked at."""
    notes: dict = field(default_factory=dict)
    """What the summary should say beyond the counts, ready for json."""
