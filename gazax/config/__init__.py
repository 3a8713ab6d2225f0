"""Configs and commands: argument parsing, what every config shares, and how a command ends.

A config file has ``get_config(arg='')`` and reads ``arg`` with `parse_arg`::

    --config=configs/gazat_vit.py:data=gaze_folder,smoke --config.optim.learning_rate=3e-4

Reading a config costs nothing: no jax array is made and no data is touched.
"""

from gazax.config import ablations, baselines, blocks, cooperative, datasets, siamese
from gazax.config.arguments import (
    batch_spec,
    choose,
    did_you_mean,
    flatten,
    load,
    load_beside,
    of_run,
    parse_arg,
    with_later_keys,
)
from gazax.config.command import JSON, check_json, ending_of, override, run
from gazax.typing import InputError

__all__ = [
    "JSON",
    "InputError",
    "ablations",
    "baselines",
    "batch_spec",
    "blocks",
    "check_json",
    "choose",
    "cooperative",
    "datasets",
    "did_you_mean",
    "ending_of",
    "flatten",
    "load",
    "load_beside",
    "of_run",
    "override",
    "parse_arg",
    "run",
    "siamese",
    "with_later_keys",
]
