"""Workdirs with a checkpoint that no data and no training went into."""

import jax
from etils import epath

from gazax import config as config_lib
from gazax.experiment.method import build_method
from gazax.train.checkpoint import Checkpoints
from gazax.train.state import TrainState
from gazax.train.workdir import claim, write_json
from tests.runs import ROOT

LABELS = ("normal", "pneumonia", "heart_failure")
PROBE = "configs/eval/linear_probe.py:smoke"
SEGMENTATION = "configs/eval/finetune_segmentation.py:decoder=linear,smoke"
STEP = 7


def make_config(spec=PROBE, *, size=(32, 32), labels=LABELS, task="multiclass"):
    """The config that a run on such data would leave."""
    config = config_lib.load(str(ROOT / spec))
    config.data.size, config.data.labels = size, labels
    if "task" in config.method:
        config.method.task = task
    return config


def make_workdir(folder, config, *, seed=0):
    """A run of that config with random weights, as its checkpoint of step 7."""
    method = build_method(config)
    spec = config_lib.batch_spec(config)
    batch = jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), spec)
    params, state = jax.jit(method.init)(jax.random.key(seed), batch)
    claim(epath.Path(folder), config.to_dict(), "of no data")
    checkpoints = Checkpoints(epath.Path(folder) / "checkpoints", keep=1)
    saved = TrainState(jax.numpy.int32(STEP), params, state, {})
    checkpoints.save(saved, step=STEP, examples=0, best_step=None)
    checkpoints.close()
    return epath.Path(folder)


def make_staged(folder, **configs):
    """A run of several stages, of which those with a config have begun."""
    for name, config in configs.items():
        if config is not None:
            make_workdir(folder / name, config)
    content = {"config": {"stages": list(configs)}, "data_fingerprint": ""}
    write_json(epath.Path(folder) / "config.json", content)
    return folder
