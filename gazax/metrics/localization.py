"""Whether a map points to a region: float64, one image and one region at a time.

`where` is true on the pixels that count; a map may hold anything elsewhere, and what of a region
lies elsewhere does not exist. Shapes that do not match and a value that is not finite raise
`InputError`.
"""

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt

from gazax.metrics.maps import Map, Where, density, flatten
from gazax.typing import InputError

Region = Bool[np.ndarray, "h w"]
"""True inside."""


def pointing_hit(
    saliency_map: Map, region: Region, *, tolerance_px: float = 0.0, where: Where | None = None
) -> float:
    """The pointing game: does the map's highest pixel lie in the region?

    Args:
      saliency_map: any scale.
      region: a mask, or the pixels of one or more boxes.
      tolerance_px: how far from the centre of the nearest pixel of the region, in pixels of the
        map, still counts as a hit.
      where: pixels that count.

    Returns:
      1 or 0. If several pixels share the highest value, the share of them that hit, which is what
      one of them drawn at random gets on average: so a constant map gets the region's share of the
      pixels. NaN if the region is empty.

    Raises:
      InputError: as the module says, and for a negative tolerance.

    Source: Zhang et al. 2016, arXiv:1608.00507, whose tolerance is 15 px; the share where several
    pixels are highest is ours.
    """
    values, inside = flatten(saliency_map, where)
    found = _in_region(region, inside)
    if tolerance_px < 0:
        raise InputError(f"tolerance_px is {tolerance_px}; give 0 or more")
    if not found.any():
        return np.nan
    near = np.asarray(distance_transform_edt(~found)) <= tolerance_px
    return float(near[inside][values == values.max()].mean())


def energy_inside(saliency_map: Map, region: Region, *, where: Where | None = None) -> float:
    """The pointing game's energy version: the share of the map's sum that lies in the region.

    Args:
      saliency_map: non-negative, any scale.
      region: a mask, or the pixels of one or more boxes.
      where: pixels that count.

    Returns:
      In [0, 1]; that of a constant map, a map of zeros among them, is the region's share of the
      pixels. NaN if the region is empty.

    Raises:
      InputError: as the module says, and for a negative value.

    Source: Wang et al. 2020, arXiv:1910.01279.
    """
    values, inside = flatten(saliency_map, where)
    found = _in_region(region, inside)
    shares = density(values)
    if not found.any():
        return np.nan
    return min(float(shares[found[inside]].sum()), 1.0)


def _in_region(region: np.ndarray, inside: np.ndarray) -> np.ndarray:
    region = np.asarray(region)
    if region.shape != inside.shape or region.dtype != bool:
        raise InputError(
            f"the region is {region.shape} of {region.dtype}; give bool, {inside.shape} as the map"
        )
    return region & inside
