"""The frozen part of a run's model, computed once for all of its images."""

import functools
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.data import cache_folder, frozen_features
from gazax.data.frozen_features import FrozenFeatures
from gazax.data.splits import SPLITS
from gazax.eval.encode import walk
from gazax.methods.base import Method, Params, Precomputes, State
from gazax.methods.views import is_undisturbed
from gazax.train import agreement, freeze
from gazax.train.sharding import local_mesh, replicated, to_host
from gazax.typing import Batch, InputError

if TYPE_CHECKING:
    from gazax.experiment.run import Run

VERSION = 1
"""Of what is computed; a change of a model or of a method's `precompute` raises it."""


def describe_frozen(
    config: ConfigDict, method: Method, params: Params, state: State, *, pretrained: bool
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what a training batch carries as `cached`.

    Args:
      config, method: of the run.
      params, state: arrays or shapes.
      pretrained: whether the run begins with weights.

    Raises:
      InputError: nothing of the method is frozen that could be computed once, the run begins with
        no weights, or the images are disturbed in training.
    """
    key = "config.train.cache_frozen=True"
    if not isinstance(method, Precomputes) or not method.freeze or not pretrained:
        raise InputError(
            f"{key} keeps what frozen, pretrained parts of a model make of the images: it is for "
            "the methods saliency and fusion with config.freeze and config.init_from; take False."
        )
    if not is_undisturbed(config.views.standard.to_dict()):
        raise InputError(
            f"{key} is for images as they are, and config.views.standard disturbs them; take "
            "False, or crop=(1.0,1.0) and 0 for the rest."
        )
    found = jax.eval_shape(method.precompute, params, state, config_lib.batch_spec(config))
    if not found:
        raise InputError(f"{key}: nothing of this model is the same in every step; take False.")
    return found


def compute_frozen(run: "Run") -> FrozenFeatures:
    """Found beside the records, or computed and kept there, for the weights at step 0.

    Raises:
      InputError: see `describe_frozen`.
    """
    config, method = run.config, run.method
    # What is frozen is the same at every step; each host computes it by itself, or finds it.
    mesh = local_mesh()
    params, state = jax.device_put(to_host(run.first), replicated(mesh))
    describe_frozen(config, method, params, state, pretrained=run.source is not None)
    assert isinstance(method, Precomputes)
    _, frozen = freeze.split(params, method.freeze)
    precompute = jax.jit(method.precompute, out_shardings=replicated(mesh))

    def computed() -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        print("computing what the frozen parts give, once", flush=True)

        def of_batch(batch: Batch) -> dict[str, jax.Array]:
            return precompute(params, state, batch)

        for name in SPLITS:
            for batch, (found,) in walk(run.read(name, mesh=mesh), of_batch, mesh=mesh):
                yield np.asarray(batch["index"]), found

    settings, digest = config.to_dict(), _digest(frozen, state)
    make = functools.partial(
        frozen_features.make,
        {
            "version": VERSION,
            "weights": digest,
            "records": run.records.content_hash,
            "method": config.method.name,
            "freeze": list(config.freeze),
            "model": settings["model"],
            "guide": settings["guide"],
            "views": {key: settings["views"][key] for key in ("mean", "std")},
            "backend": jax.default_backend(),
        },
        computed(),
        images=len(run.records.image_ids),
        cache=config.data.cache or None,
    )
    return agreement.in_turn(cache_folder(config.data.cache or None), make)


def _digest(frozen: Params, state: State) -> str:
    """Of the frozen parameters and of all statistics, by their names and their bytes."""
    digest = hashlib.sha256()
    for path, leaf in sorted(flatten_dict({"params": frozen, "state": state}, sep="/").items()):
        array = np.asarray(leaf)
        digest.update(f"{path} {array.dtype} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
