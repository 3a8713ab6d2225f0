"""Maps laid on the image that they are of, and both side by side in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from gazax.data.pixels.frame import Frame
from gazax.typing import RunError, Size

SIDE = 448
"""Longest side of an image in a picture, px."""
_IN_A_ROW = 5
_NARROWEST = 220
_GAP = 10
_LINE = 24
_HEAT = matplotlib.colormaps["inferno"]
# matplotlib's own, which has the letters of most languages; Pillow's has Latin ones.
_FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


class Panel(NamedTuple):
    """What is laid over the image, beside the image alone."""

    title: str
    map: Float[np.ndarray, "h w"]
    """Over the whole image, on any grid."""
    limits: tuple[float, float] | None = None
    """What is shown as lowest and highest; None: the map's own."""


def lay_on_image(
    found: Float[np.ndarray, "h_l w_l"], frame: Frame, *, size: Size | None = None
) -> Float[np.ndarray, "h w"]:
    """A map over the prepared frame, on the pixels of the stored image.

    Args:
      found: on any grid that covers the frame.
      frame: where the image lies in it.
      size: (h, w) to make instead of the stored image's, px.

    Returns:
      float32, interpolated bilinearly. What lay on padding is left out; pixels of the image that
      the frame cut off get zero.
    """
    height, width = size or frame.stored
    xmin, ymin, xmax, ymax = frame.content
    (scale_x, scale_y), (offset_x, offset_y) = frame.scale, frame.offset
    to_x, to_y = width / (scale_x * frame.stored[1]), height / (scale_y * frame.stored[0])
    left, right = _span((xmin - offset_x) * to_x, (xmax - offset_x) * to_x, width)
    top, bottom = _span((ymin - offset_y) * to_y, (ymax - offset_y) * to_y, height)
    cells_y, cells_x = found.shape[0] / frame.size[0], found.shape[1] / frame.size[1]
    laid = np.zeros((height, width), np.float32)
    inside = Image.fromarray(found.astype(np.float32)).resize(
        (right - left, bottom - top),
        Image.Resampling.BILINEAR,
        box=(xmin * cells_x, ymin * cells_y, xmax * cells_x, ymax * cells_y),
    )
    laid[top:bottom, left:right] = np.asarray(inside)
    return laid


def density_on_image(found: Float[np.ndarray, "h_l w_l"], frame: Frame) -> Float[np.ndarray, "h w"]:
    """`lay_on_image`, made to sum to 1; a map that is zero all over the image becomes uniform.

    Raises:
      RunError: it holds NaN or infinity.
    """
    laid = lay_on_image(found, frame)
    if not np.isfinite(laid).all():
        raise RunError("a predicted map holds NaN or infinity: the weights are not usable.")
    total = laid.sum(dtype=np.float64)
    if not total > 0:
        return np.full(laid.shape, 1 / laid.size, np.float32)
    return (laid / total).astype(np.float32)


def picture(image: UInt8[np.ndarray, "h w"], panels: Sequence[Panel], *, title: str) -> Image.Image:
    """The image alone, then under each map, in rows of five.

    Args:
      image: grey levels, at the size at which it is shown.
      panels: a map that is the same all over is said to be flat.
      title: above all; cut in the middle where it is too long.
    """
    height, width = image.shape
    cell_width = max(width, _NARROWEST) + _GAP
    cell_height = _LINE + height + _GAP
    columns = min(len(panels) + 1, _IN_A_ROW)
    rows = -(-(len(panels) + 1) // columns)
    whole = Image.new(
        "RGB", (columns * cell_width + _GAP, _GAP + _LINE + rows * cell_height), "white"
    )
    draw = ImageDraw.Draw(whole)
    small, plain = (ImageFont.truetype(str(_FONT), points) for points in (13, 15))
    draw.text((_GAP, _GAP), _fitted(title, small, whole.width - 2 * _GAP), "#555555", small)
    grey = np.repeat(image[..., None], 3, axis=-1)
    for place, panel in enumerate([None, *panels]):
        row, column = divmod(place, columns)
        x, y = _GAP + column * cell_width, _GAP + _LINE + row * cell_height
        shown, text = grey, "image"
        if panel is not None:
            heat = _scaled(panel, (height, width))
            text = panel.title if heat is not None else f"{panel.title} (flat)"
            shown = grey if heat is None else _blended(grey, heat)
        draw.text((x, y), _fitted(text, plain, cell_width - _GAP), "black", plain)
        whole.paste(Image.fromarray(shown), (x, y + _LINE))
    return whole


def _span(low: float, high: float, length: int) -> tuple[int, int]:
    """Whole px from low to high, at least one of the length."""
    first = min(max(round(low), 0), length - 1)
    return first, min(max(round(high), first + 1), length)


def _scaled(panel: Panel, size: Size) -> np.ndarray | None:
    """The map in [0, 1] at the picture's size; None where it is flat."""
    found = panel.map.astype(np.float32)
    low, high = panel.limits or (float(found.min()), float(found.max()))
    if not high > low:
        return None
    heat = Image.fromarray((found - low) / (high - low))
    return np.clip(np.asarray(heat.resize(size[::-1], Image.Resampling.BILINEAR)), 0, 1)


def _blended(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The map's colours over the image: nothing of them where it is low, most where it is high."""
    share = (0.68 * heat**0.7)[..., None]
    colours = 255 * np.array(_HEAT(heat))[..., :3]
    return np.rint(share * colours + (1 - share) * grey).astype(np.uint8)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, without its middle where it is longer than the width; on one line."""
    text = " ".join(text.split())
    kept, shown = len(text), text
    while kept > 2 and font.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"
    return shown
