"""From a record to the arrays of one example: fixed sizes in which nothing is lost."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gazax.config import choose
from gazax.data.records import Source
from gazax.typing import Batch, InputError


class ToArrays:
    """Turns a record into the arrays of one example: every ragged part padded to a fixed size.

    A sigma that is not given becomes `sigma_fraction` of the content's longer side, a window that
    is not given the content itself. Readers are numbered within the image, in the order of
    ``Records.reader_ids``.

    Args:
      source: records; their summary tells beforehand whether everything fits.
      max_fixations, max_readers, max_boxes: f, r and m of the batch.
      sigma_fraction: see above.
      masks: whether to make `mask`.
      labels: the label columns wanted, in this order; () = all. `label`, `box_label` and the
        planes of `mask` count in them, and boxes of other labels are left out.
      reader_weights: weight by position in ``Records.reader_ids``; None = the data set's own.

    Raises:
      InputError: an image has more than fits, masks are asked for and there are none, or a label
        is unknown.
    """

    def __init__(
        self,
        source: Source,
        *,
        max_fixations: int,
        max_readers: int,
        max_boxes: int,
        sigma_fraction: float,
        masks: bool,
        labels: Sequence[str] = (),
        reader_weights: Float[np.ndarray, "n"] | None = None,
    ):
        summary = source.records.summary
        limits = {"fixations": max_fixations, "readers": max_readers, "boxes": max_boxes}
        for what, limit in limits.items():
            largest = summary["largest"][what]
            if largest["count"] > limit:
                raise InputError(
                    f"image {largest['image_id']!r} has {largest['count']} {what} and a batch "
                    f"holds {limit} an image: set config.data.max_{what} to {largest['count']} or "
                    "more (nothing is cut off silently)"
                )
        if masks and not summary["masks"]:
            raise InputError(
                f"masks are asked for and the data set in {source.records.directory} has none; "
                "add a folder masks/ to its source or set config.data.masks=False"
            )
        self.max_fixations = max_fixations
        self.max_readers = max_readers
        self.max_boxes = max_boxes
        self.sigma_fraction = sigma_fraction
        self.masks = masks
        names = source.records.label_names
        self.columns = np.array(
            find_names("config.data.labels", labels, names) if labels else range(len(names)),
            np.int32,
        )
        self.column_of = np.full(len(names), -1, np.int32)
        self.column_of[self.columns] = np.arange(len(self.columns))
        given = summary["reader_weights"] if reader_weights is None else reader_weights
        self.reader_weights = np.array(given, np.float32)

    def __call__(self, record: dict, *, place: int, weight: float) -> Batch:
        """One example, without the batch axis."""
        content = record["content"]
        fixations = record["fixations"]
        sigma, window = fixations["sigma"], fixations["window"]
        longer = max(content[2] - content[0], content[3] - content[1])
        slots, reader = np.unique(fixations["reader"], return_inverse=True)
        box_label = self.column_of[record["box_label"]]
        example = {
            "image": record["image"],
            "fixations": {
                "xy": _pad(fixations["xy"], self.max_fixations),
                "duration": _pad(fixations["duration"], self.max_fixations),
                "sigma": _pad(
                    np.where(np.isnan(sigma), np.float32(self.sigma_fraction * longer), sigma),
                    self.max_fixations,
                ),
                "window": _pad(np.where(np.isnan(window), content, window), self.max_fixations),
                "reader": _pad(reader.astype(np.int32), self.max_fixations, -1),
            },
            "reader_weight": _pad(self.reader_weights[slots], self.max_readers),
            "label": record["label"][self.columns],
            "box": _pad(record["box"][box_label >= 0], self.max_boxes),
            "box_label": _pad(box_label[box_label >= 0], self.max_boxes, -1),
            "content": content,
            "index": np.int32(record["index"]),
            "place": np.int32(place),
            "weight": np.float32(weight),
        }
        if self.masks:
            example["mask"] = np.unpackbits(record["mask"], axis=-1)[..., self.columns]
        return example  # type: ignore[return-value]


def find_names(key: str, wanted: Sequence[str], known: Sequence[str]) -> list[int]:
    """The place of each of the wanted names among the known ones.

    Raises:
      InputError: a name that is unknown or stands there twice; ``key`` says in which setting.
    """
    if not known:
        raise InputError(f"{key} is {tuple(wanted)} and the data has none; set {key}=()")
    if len(set(wanted)) < len(wanted):
        raise InputError(f"{key} is {tuple(wanted)}: a name stands there twice; remove one")
    return [known.index(choose(key, name, known)) for name in wanted]


def _pad(rows: np.ndarray, length: int, value: float = 0) -> np.ndarray:
    padded = np.full((length, *rows.shape[1:]), value, rows.dtype)
    padded[: len(rows)] = rows
    return padded
