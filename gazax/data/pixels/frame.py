"""Where a stored image lies in the prepared one: one transform for pixels and for coordinates."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gazax.typing import InputError, Size


def parse_size(text: str | int) -> Size:
    """'224' -> (224, 224); '640x512' -> (640, 512): height x width, px."""
    parts = str(text).lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"size {text!r} is neither a number of pixels (224) nor H x W (640x512)")
    return int(parts[0]), int(parts[-1])


@dataclass(frozen=True)
class Frame:
    """A stored image within the prepared one: aspect kept, padded with zeros.

        x' = scale_x x + offset_x,    y' = scale_y y + offset_y

    Without a canvas the image is centred and as large as fits; its sides are rounded to whole px of
    the frame, so that the two scales differ by less than half a px over the image. With a canvas it
    is centred in the canvas, cropped where it is larger, and the canvas is scaled to the frame, the
    same for every image.

    Args:
      stored: (h, w) of the stored image, px.
      size: (h, w) of the prepared image, px.
      canvas: (h, w) px of stored images, of the frame's aspect; None for none.

    Raises:
      InputError: the canvas has another aspect than the frame.
    """

    stored: Size
    size: Size
    canvas: Size | None = None

    def __post_init__(self):
        if self.canvas and self.canvas[0] * self.size[1] != self.canvas[1] * self.size[0]:
            height, width = self.canvas
            raise InputError(
                f"the size {self.size[0]}x{self.size[1]} has another aspect than the frame of "
                f"{height} x {width} px that images are centred in; choose one such as "
                f"{height // 5}x{width // 5}"
            )

    @property
    def scale(self) -> tuple[float, float]:
        """Of x and y."""
        if self.canvas:
            return self.size[1] / self.canvas[1], self.size[0] / self.canvas[0]
        left, top, right, bottom = self._fitted()
        return (right - left) / self.stored[1], (bottom - top) / self.stored[0]

    @property
    def offset(self) -> tuple[float, float]:
        """Of x and y, px of the frame."""
        if self.canvas:
            (x, y), (left, top) = self.scale, self._margins()
            return x * left, y * top
        left, top, _, _ = self._fitted()
        return left, top

    @property
    def content(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax of the image's pixels, px of the frame."""
        (left, top), (x, y) = self.offset, self.scale
        right, bottom = left + x * self.stored[1], top + y * self.stored[0]
        height, width = self.size
        return max(left, 0), max(top, 0), min(right, width), min(bottom, height)

    def points(self, xy: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        """Moves x, y (, x, y) from px of the stored image to px of the frame; NaN stays NaN."""
        repeat = xy.shape[1] // 2
        return xy * np.tile(self.scale, repeat) + np.tile(self.offset, repeat)

    def lengths(self, xy: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        """Scales widths and standard deviations in x and y."""
        return xy * np.tile(self.scale, xy.shape[1] // 2)

    def pixels(
        self, image: UInt8[np.ndarray, "h w"], *, labels: bool = False
    ) -> UInt8[np.ndarray, "hh ww"]:
        """The image resized into the frame, padded with zeros.

        Resampling is an antialiased triangle filter; a label map takes the nearest pixel's value.
        """
        resample = Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR
        if self.canvas:
            image = self._on_canvas(image)
        if image.shape == self.size:
            return image
        if self.canvas:
            return np.asarray(Image.fromarray(image).resize(self.size[::-1], resample))
        left, top, right, bottom = self._fitted()
        fitted = np.zeros(self.size, np.uint8)
        fitted[top:bottom, left:right] = np.asarray(
            Image.fromarray(image).resize((right - left, bottom - top), resample)
        )
        return fitted

    def _fitted(self) -> tuple[int, int, int, int]:
        """xmin, ymin, xmax, ymax without a canvas, whole px."""
        scale = min(self.size[0] / self.stored[0], self.size[1] / self.stored[1])
        height, width = (
            max(1, min(limit, round(n * scale)))
            for n, limit in zip(self.stored, self.size, strict=True)
        )
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        return left, top, left + width, top + height

    def _margins(self) -> tuple[int, int]:
        """Px of the canvas to the left of and above the image; below 0 where it is cropped."""
        assert self.canvas
        return int((self.canvas[1] - self.stored[1]) / 2), int(
            (self.canvas[0] - self.stored[0]) / 2
        )

    def _on_canvas(self, image: np.ndarray) -> np.ndarray:
        assert self.canvas
        left, top = self._margins()
        canvas = np.zeros(self.canvas, np.uint8)
        shown = image[max(-top, 0) :, max(-left, 0) :][
            : self.canvas[0] - max(top, 0), : self.canvas[1] - max(left, 0)
        ]
        top, left = max(top, 0), max(left, 0)
        canvas[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        return canvas
