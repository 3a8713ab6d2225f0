"""`gazax.models.gaze_gnn` to and from `modeling_gazax`, by one table.

What differs is the order of axes, and that a convolution and the norm behind it are one module
there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.export.tables import NORM, Row, fill, flatten, from_torch, to_torch, without_counters
from gazax.export.unet import BIASED
from gazax.models.gaze_gnn import GazeGNN

_MODEL = "GazeGNN"
_POSITION = (2, 0, 1)  # h w c -> c h w


def to_gazax(
    model: GazeGNN, params: Mapping[str, Any], stats: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The variables of a GazeGNN without a head as the state dict of that of `modeling_gazax`.

    Args, Returns and Raises: see `gazax.export.unet.to_gazax`.
    """
    return to_torch(flatten(params, stats), _rows(model), _MODEL)


def from_gazax(
    model: GazeGNN, state_dict: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The "params" and "batch_stats" collections of that state dict.

    Raises:
      InputError: a key is missing, has no place, or has another number of axes.
    """
    return from_torch(without_counters(state_dict), _rows(model), _MODEL, "gazax")


def _rows(model: GazeGNN) -> list[Row]:
    rows: list[Row] = [("params/position", "position", _POSITION)]
    rows += fill(NORM, "gaze_norm", "gaze_norm")
    for i in range(3):
        rows += _conv_norm(f"stem/conv{i + 1}", f"stem/norm{i + 1}", f"stem.{i}")
    for stage, blocks in enumerate(model.blocks):
        if stage > 0:
            path = f"downsample{stage}"
            rows += _conv_norm(f"{path}/conv", f"{path}/norm", f"downsample.{stage}")
        for i in range(blocks):
            path, key = f"stage{stage + 1}_block{i + 1}", f"stages.{stage}.{i}"
            for part in ("grapher", "ffn"):
                for n in (1, 2):
                    here = f"{path}/{part}/"
                    rows += _conv_norm(f"{here}fc{n}", f"{here}norm{n}", f"{key}.{part}.fc{n}")
            rows += fill(BIASED, f"{path}/grapher/graph", f"{key}.grapher.graph")
            rows += fill(NORM, f"{path}/grapher/graph_norm", f"{key}.grapher.graph_norm")
    return rows + _conv_norm("hidden", "hidden_norm", "hidden")


def _conv_norm(conv: str, norm: str, key: str) -> list[Row]:
    return fill(BIASED, conv, f"{key}.conv") + fill(NORM, norm, f"{key}.norm")
