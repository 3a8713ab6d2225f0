"""A picture of features: which images lie close together, and whether labels do too."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from etils import epath
from jaxtyping import Float32, Real
from matplotlib.axes import Axes
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from gazax.train.files import whole

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which the colour-blind tell apart; without yellow, too faint on white."""
MARKERS = "os^D"
"""One after the other once the colours are used up."""
UNKNOWN = "#c8c8c8"
MAX_PANELS = 6
NUM_COMPONENTS = 50

_FEWEST = 4
_SMALL = 5000


def tsne(
    features: Real[np.ndarray, "n d"], *, seed: int, perplexity: float = 30.0
) -> Float32[np.ndarray, "n 2"]:
    """A map of points in the plane: neighbours stay neighbours; distances further away mean little.

    Args:
      features: finite, on their own scale.
      seed: the same features and seed give the same map.
      perplexity: about how many neighbours count; at most a third of the other points, to which it
        is lowered.

    Returns:
      Positions around 0. Fewer than 4 points, or points that are all the same, have no
      neighbourhoods to keep: their first two principal components then (0 where there is none).

    Numerics: of the first 50 principal components, starting from the first two. 243 points take
    about a second.
    Source: van der Maaten and Hinton 2008, JMLR 9 (§4.2: the components); scikit-learn's.
    """
    x = np.asarray(features, np.float64)
    if len(x) < 2 or not np.ptp(x, axis=0).any():
        return np.zeros((len(x), 2), np.float32)
    directions, spread, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    components = (directions * spread)[:, :NUM_COMPONENTS]
    components = np.pad(components, ((0, 0), (0, max(0, 2 - components.shape[1]))))
    if len(x) < _FEWEST:
        return components[:, :2].astype(np.float32)
    method = TSNE(perplexity=min(perplexity, (len(x) - 1) / 3), init="pca", random_state=seed)
    # Threads that wait for each other take longer than the work on few points.
    with threadpool_limits(limits=1 if len(x) <= _SMALL else None):
        return method.fit_transform(components).astype(np.float32)


def save_figure(
    path: epath.Path,
    xy: Real[np.ndarray, "n 2"],
    label: Real[np.ndarray, "n k"],
    label_names: Sequence[str],
    *,
    exclusive: bool,
    phantom_numbers: bool = False,
) -> None:
    """A map of images, coloured by label.

    Args:
      path: of the PNG; written beside and renamed.
      xy: the map.
      label: 1, 0 or NaN.
      label_names: of the columns; without any all points are drawn alike.
      exclusive: one panel with a colour a class; otherwise one panel for each of the 6 labels that
        most images have.
      phantom_numbers: say that these are no real images.
    """
    counts = (label == 1).sum(axis=0)
    if exclusive or not label_names:
        panels = [None]
    else:
        panels = [int(k) for k in np.argsort(-counts, kind="stable")[:MAX_PANELS]]
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    size = (6.4, 5.2) if len(panels) == 1 else (3.6 * across, 3.7 * down + 0.4)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    title = f"t-SNE of the features of {len(xy)} images"
    if len(panels) < len(label_names) and not exclusive:
        title += f", by the {len(panels)} most frequent of {len(label_names)} labels"
    if phantom_numbers:
        title += " (phantom: simulated images)"
    figure.suptitle(title, fontsize=10)
    for axis in axes.ravel():
        axis.set_axis_off()
    for axis, column in zip(axes.ravel(), panels, strict=False):
        axis.set_axis_on()
        axis.set(xticks=[], yticks=[])
        # Distances are what a map is read by: the same scale across and up.
        axis.set_aspect("equal", adjustable="datalim")
        if column is None:
            _draw_classes(axis, xy, label, label_names)
        else:
            _draw_label(axis, xy, label[:, column], label_names[column])
    with whole(path) as file:
        figure.savefig(file, format="png", dpi=130)
    plt.close(figure)


def _draw_classes(
    axis: Axes, xy: np.ndarray, label: np.ndarray, label_names: Sequence[str]
) -> None:
    unknown = np.isnan(label).any(axis=1) if label_names else np.ones(len(xy), bool)
    shown = {}
    if unknown.any():
        title = f"unknown ({unknown.sum()})"
        shown[title] = axis.scatter(*xy[unknown].T, s=14, c=UNKNOWN, linewidths=0)
    for column, name in enumerate(label_names):
        chosen = ~unknown & (label[:, column] == 1)
        shown[f"{name} ({chosen.sum()})"] = axis.scatter(
            *xy[chosen].T,
            s=16,
            c=COLOURS[column % len(COLOURS)],
            marker=MARKERS[column // len(COLOURS) % len(MARKERS)],
            alpha=0.8,
            linewidths=0,
        )
    legend = axis.legend(
        shown.values(),
        [str(row) for row in range(len(shown))],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize=8,
        frameon=False,
    )
    # Set afterwards: a legend leaves out names that begin with an underscore.
    for text, title in zip(legend.get_texts(), shown, strict=True):
        text.set(text=title, parse_math=False)


def _draw_label(axis: Axes, xy: np.ndarray, label: np.ndarray, name: str) -> None:
    """Present over absent over unknown, so that what is rare is seen."""
    for chosen, colour, size, word in (
        (np.isnan(label), UNKNOWN, 8, "unknown"),
        (label == 0, COLOURS[5], 8, "absent"),
        (label == 1, COLOURS[1], 14, "present"),
    ):
        if chosen.any():
            axis.scatter(
                *xy[chosen].T, s=size, c=colour, linewidths=0, label=f"{word} ({chosen.sum()})"
            )
    axis.set_title(name, fontsize=9, parse_math=False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=7, frameon=False)
