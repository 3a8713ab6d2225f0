"""How long a step of a run took, from what the run logged."""

import json

import numpy as np
from etils import epath

METRICS, CONFIG = "metrics.jsonl", "config.json"


def step_seconds(folder: epath.PathLike) -> float | None:
    """Median over the logged stretches of a run, evaluations and saving left out.

    Args:
      folder: a workdir, of one stage.

    Returns:
      Seconds; None where nothing was logged, or only the first step, which compiles and is not
      timed. A rate that was logged is the mean since the last evaluation.
    """
    folder = epath.Path(folder)
    try:
        settings = json.loads((folder / CONFIG).read_text())["config"]
        lines = (folder / METRICS).read_text().splitlines()
    except (FileNotFoundError, ValueError, KeyError):
        return None
    rates = []
    for line in lines:
        try:
            rates.append(json.loads(line)["images_per_s"])
        except (ValueError, KeyError):  # an evaluation's, or one that was cut off
            continue
    rates = [rate for rate in rates if rate]
    return settings["train"]["batch_size"] / float(np.median(rates)) if rates else None
