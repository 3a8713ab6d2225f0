"""What stands on a backbone to and from `modeling_gazax`: heads, decoders, the attention module.

A table is made for the module and serves both ways.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.export.tables import (
    AS_IS,
    CONV,
    DENSE,
    KERNEL,
    LINEAR,
    NORM,
    Row,
    Rows,
    fill,
    flatten,
    move_back,
    to_torch,
    without_counters,
)
from gazax.export.unet import BIASED
from gazax.models.decoders import UNetDecoder
from gazax.models.heads import AttentionModule, Projector

CLASSIFIER: Rows = (
    ("params/kernel", "weight", DENSE),
    ("params/bias", "bias", AS_IS),
)
"""Of `gazax.models.heads.Classifier`."""
AFFINE: Rows = NORM[:2]
"""Of a norm without statistics, for `fill`."""
STATISTICS: Rows = NORM[2:]
"""Of a norm without scale and bias."""
LINEAR_DECODER: Rows = fill(BIASED, "linear", "linear")
BALANCE: Rows = tuple(
    (f"params/{name}", name, AS_IS)
    for name in ("log_sigma_classification", "log_sigma_gaze", "log_scale", "shift")
)
"""Of what GG-CAM learns besides."""


def layers(count: int) -> list[Row]:
    """Of a `FusionClassifier`, or of another row of that many linear layers."""
    return [row for i in range(count) for row in fill(LINEAR, f"layers_{i}", f"layers.{i}")]


def projector(module: Projector) -> list[Row]:
    """Of a `Projector`."""
    rows: list[Row] = []
    for i in range(module.num_layers):
        last = i == module.num_layers - 1
        if module.norm == "none" or (module.norm == "hidden" and last):
            rows += fill(LINEAR, f"layers_{i}", f"layers.{i}")
            continue
        rows.append((f"params/layers_{i}/kernel", f"layers.{i}.weight", DENSE))
        # the last norm has neither scale nor bias
        rows += fill(STATISTICS if last else NORM, f"norms_{i}", f"norms.{i}")
    return rows


def attention_module(levels: int) -> list[Row]:
    """Of an `AttentionModule` on that many levels."""
    rows = []
    for i in range(levels):
        rows += fill(BIASED, f"level_{i}_hidden", f"levels.{i}.hidden")
        rows.append((f"params/level_{i}_out/kernel", f"levels.{i}.out.weight", CONV))
    return rows


def unet_decoder(decoder: UNetDecoder) -> list[Row]:
    """Of a `UNetDecoder`."""
    rows = fill(BIASED, "logits", "logits")
    for stage in range(len(decoder.widths)):
        key = f"stages.{stage}"
        rows += fill(BIASED, f"skip_{stage}", f"{key}.skip")
        for i in range(2):
            rows += fill(KERNEL, f"conv_{stage}_{i}", f"{key}.conv{i + 1}")
            rows += fill(AFFINE, f"norm_{stage}_{i}", f"{key}.norm{i + 1}")
    return rows


def to_gazax(
    params: Mapping[str, Any], stats: Mapping[str, Any], table: Rows, name: str
) -> dict[str, np.ndarray]:
    """Parameters as the state dict of the module of `modeling_gazax`.

    Args:
      params, stats: the module's "params" and "batch_stats"; the second is empty for most.
      table: the module's.
      name: for messages.

    Raises:
      InputError: a parameter or statistic is missing or has no place in the table.
    """
    return to_torch(flatten(params, stats), table, name)


def from_gazax(
    state_dict: Mapping[str, Any], table: Rows, name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The "params" and "batch_stats" of that state dict.

    Raises:
      InputError: a key is missing or has no place in the table.
    """
    found = without_counters(state_dict)
    variables = move_back("gazax's state dict", name, found, table)
    return variables["params"], variables.get("batch_stats", {})


def layer_widths(params: Mapping[str, Any], count: int) -> list[int]:
    """Features, what lies between, and the output of `layers`."""
    kernels = [params[f"layers_{i}"]["kernel"] for i in range(count)]
    return [kernels[0].shape[0], *(kernel.shape[1] for kernel in kernels)]


def projector_settings(module: Projector, params: Mapping[str, Any]) -> dict[str, Any]:
    """What `modeling_gazax.Projector` is made with."""
    return {"widths": layer_widths(params, module.num_layers), "norm": module.norm}


def attention_settings(
    module: AttentionModule, params: Mapping[str, Any], levels: int
) -> dict[str, Any]:
    """What `modeling_gazax.AttentionModule` is made with."""
    channels = [params[f"level_{i}_hidden"]["kernel"].shape[2] for i in range(levels)]
    return {"channels": channels, "hidden_dim": module.hidden_dim}
