"""Images with heat maps and fixations over them: layers that the browser lays on each other.

The image is in the page once, whatever lies over it; a map is a PNG that is transparent where it
is low; fixations are circles that stay sharp at any size.
"""

import base64
import io
from html import escape

import matplotlib
import numpy as np
from PIL import Image

SIDE = 160
"""Least longest side of a map, px: smaller ones are interpolated before they get their colours."""

READER_COLOURS = ("#4cc9f0", "#9ef01a", "#ff70a6", "#ffffff", "#ffb000", "#b8a6ff")
_HEAT = matplotlib.colormaps["inferno"]


def grey(image: np.ndarray) -> str:
    """The image [h, w] uint8 alone, as the address of a PNG."""
    return _address(Image.fromarray(image))


def heat(one: np.ndarray, *, content: np.ndarray) -> str:
    """A map, to lie over its image, as the address of a PNG.

    Args:
      one: [h, w] on any scale; what is shown goes from its lowest to its highest value.
      content: [h, w] bool, real pixels; the map is not shown on padding.
    """
    height, width = one.shape
    shown = Image.fromarray(scaled(one, content))
    scale = max(1.0, SIDE / max(height, width))
    if scale > 1:
        size = round(width * scale), round(height * scale)
        shown = shown.resize(size, Image.Resampling.BICUBIC)
    return _address(Image.fromarray(_coloured(np.clip(np.asarray(shown), 0, 1))))


def scaled(one: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The map in [0, 1], from its lowest to its highest value on the content; constant: zeros."""
    inside = one[content]
    low, high = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
    if not high > low:
        return np.zeros(one.shape, np.float32)
    return np.where(content, (one - low) / (high - low), 0).astype(np.float32)


def scale() -> str:
    """Colours from low to high over grey, as a background for a legend."""
    ends = np.linspace(0, 1, 12, dtype=np.float32)
    colours = ("#" + bytes(colour).hex() for colour in _coloured(ends))
    return f"linear-gradient(90deg, {', '.join(colours)}), #8c8c8c"


def circles(xy: np.ndarray, colour: str, *, size: tuple[int, int]) -> str:
    """Fixations, to lie over their image.

    Args:
      xy: [f, 2] px of the image; those outside are not shown.
      colour: of all of them.
      size: (h, w) of the image.
    """
    height, width = size
    radius = max(height, width) / 80
    inside = (xy >= 0).all(axis=1) & (xy < (width, height)).all(axis=1)
    drawn = "".join(f'<circle cx="{x:.4g}" cy="{y:.4g}" r="{radius:.3g}"/>' for x, y in xy[inside])
    return (
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" fill="{colour}" stroke="#000" '
        f'stroke-width="{radius / 3:.3g}">{drawn}</svg>'
    )


def stack(layers_html: str, *, size: tuple[int, int], image: str = "") -> str:
    """Layers over the image of the block that they are in.

    Args:
      layers_html: from below to above.
      size: (h, w) of the image.
      image: the address of another image to lie over; see `over`.
    """
    style = f"aspect-ratio:{size[1]}/{size[0]};{over(image) if image else ''}"
    return f'<div class="stack" style="{style}">{layers_html}</div>'


def layer(address: str, alt: str) -> str:
    """An image or a map as a layer of a stack."""
    return f'<img src="{address}" alt="{escape(alt)}">'


def over(image: str) -> str:
    """The style of a block whose stacks lie over this image."""
    return f"--image:url({image})"


def _coloured(shown: np.ndarray) -> np.ndarray:
    """[..., 4] uint8 of values in [0, 1]: transparent to a third where they are highest."""
    colours = np.array(_HEAT(shown))
    colours[..., 3] = 0.68 * shown**0.7
    return np.rint(colours * 255).astype(np.uint8)


def _address(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
