"""Gaze for training images that nobody looked at, predicted by the model of another run.

``config.data.gaze='predicted:WORKDIR'``: WORKDIR is of a run whose method predicts saliency, or
one ``checkpoints/<step>`` of it; of a run of several stages it is the last one, and
``WORKDIR/<stage>`` is any. Its best weights predict a map for every training image, at the size
that the model was trained on, and fixations that draw this map stand where an image has no gaze of
people's (`gazax.data.change_gaze`). Validation and test are never predicted.

The model may have been trained on the same training images: it then carries the gaze of some of
them over to the others. What that gives is told by comparison with as much gaze of people's alone,
so that it must have seen no more of it than the run itself: with the same `data.gaze_fraction` and
`seed`, the same images keep their gaze in both. Its step may have been chosen on validation. A
model of the same data under another protocol is refused. Whether one of other data shares patients
with this run's validation or test is not known here: such a one must not be taken.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax import data
from gazax.data import pipeline, predicted_gaze
from gazax.data.gaze_settings import PREDICTED
from gazax.data.mean_gaze import fit_fixations, grid_side
from gazax.data.predicted_gaze import PredictedGaze
from gazax.data.records import Records
from gazax.eval.encode import content_masks, render, walk
from gazax.eval.saliency_prediction import SaliencyMethod, make_saliency
from gazax.experiment import parts
from gazax.experiment.method import build_method
from gazax.train import agreement, init_from, sharding, stages
from gazax.train.checkpoint import MANIFEST
from gazax.train.source import Source, load_source
from gazax.train.workdir import read_config
from gazax.typing import Batch, InputError

VERSION = 1
"""Of what is computed; a change of a model or of how a map becomes fixations raises it."""


@dataclasses.dataclass(frozen=True)
class GazePredictor:
    """A run that predicts where people look, and has not been asked yet."""

    method: SaliencyMethod
    config: ConfigDict
    """Of its run."""
    source: Source
    """Its weights."""


def find_predictor(path: str) -> GazePredictor:
    """The run that ``config.data.gaze='predicted:PATH'`` names.

    Raises:
      InputError: it does not exist, has saved no checkpoint, its checkpoint is damaged, or its
        method predicts no saliency.
    """
    key = f"config.data.gaze='{PREDICTED}{path}'"
    mend = "give the workdir of a run of the method saliency, fusion or mt_unet"
    if path.startswith(stages.PREFIX):
        raise InputError(f"{key}: {stages.PREFIX}NAME is for variants of a sweep; {mend}.")
    folder = epath.Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"{key}: there is no such folder; {mend}.")
    if (folder / "config.json").exists():
        names = list(read_config(folder)["config"].get("stages") or ())
        folder = stages.stage_folder(folder, names[-1]) if names else folder
    try:
        config = config_lib.of_run(str(folder))
        method = build_method(config)
        if not isinstance(method, SaliencyMethod):
            raise InputError(
                f"'{folder}' is of the method '{config.method.name}', which predicts no saliency; "
                f"{mend}."
            )
        if not (folder / MANIFEST).exists() and not any(folder.glob(f"checkpoints/*/{MANIFEST}")):
            raise InputError(f"'{folder}' has no checkpoint yet; let its run go on until it has.")
        return GazePredictor(method, config, load_source(folder))
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def predict_gaze(config: ConfigDict, records: Records, predictor: GazePredictor) -> PredictedGaze:
    """Of the training images: found beside the records, or computed and kept there.

    Each host does it by itself, with its own devices.

    Args:
      config: of the run that is to be trained.
      records: its images.
      predictor: of `find_predictor`.

    Raises:
      InputError: the images cannot be prepared at the size of the model, a weight or a prediction
        is not finite, or there is no room.
    """
    seen = _at_size_of(predictor, config, records)
    side = grid_side(config.data.max_fixations, seen.size)
    settings = predictor.config.to_dict()
    make = partial(
        predicted_gaze.make,
        {
            "version": VERSION,
            "weights": predictor.source.identity,
            "method": settings["method"]["name"],
            "model": settings["model"],
            "guide": settings.get("guide"),
            "views": {key: settings["views"][key] for key in ("mean", "std")},
            "records": seen.content_hash,
            "side": side,
            "backend": jax.default_backend(),
        },
        _computed(config, seen, predictor, mesh=sharding.local_mesh()),
        images=seen.num_examples("train"),
        side=side,
        cache=config.data.cache or None,
    )
    return agreement.in_turn(data.cache_folder(config.data.cache or None), make)


def _at_size_of(predictor: GazePredictor, config: ConfigDict, records: Records) -> Records:
    """The run's images at the size that the model was trained on."""
    there = ConfigDict(config.to_dict())
    there.data.size = tuple(predictor.config.data.size)
    seen = parts.prepare(there)
    ids = [[one.image_ids[i] for i in one.indices("train")] for one in (records, seen)]
    if ids[0] != ids[1]:
        raise InputError(
            f"the training images prepared at {records.size} and at {seen.size} px in "
            f"{records.directory} and {seen.directory} are not the same; remove both folders and "
            "they will be prepared anew."
        )
    return seen


def _computed(
    config: ConfigDict, records: Records, predictor: GazePredictor, *, mesh: Mesh
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Durations [b, n, n], and correlations of drawn and predicted maps, batch after batch."""
    method, name = predictor.method, predictor.source.name
    source, images = records.source("train"), records.num_examples("train")
    print(f"predicting gaze of {images} training images by {name}, once", flush=True)
    spec = config_lib.batch_spec(predictor.config)
    params, state = jax.eval_shape(method.init, jax.random.key(0), spec)
    weights = init_from.initialise(params, state, predictor.source)
    params, state = jax.device_put(weights, sharding.replicated(mesh))
    batches = pipeline.evaluation_batches(
        source,
        batch_size=-(-predictor.config.eval.batch_size // mesh.size) * mesh.size,
        sigma_fraction=config.eval.sigma_fraction,
        **parts.sizes(config) | {"masks": False},
    )
    functions = make_saliency(method, mesh=mesh)(params, state), partial(content_masks, mesh=mesh)
    for batch, (saliency, inside) in walk(batches, *functions, mesh=mesh):
        content = np.asarray(batch["content"])
        maps = []
        for density, where, index in zip(saliency, inside, batch["index"], strict=True):
            if not np.isfinite(density).all():
                raise InputError(
                    f"config.data.gaze: {name} predicts NaN or infinity for the image "
                    f"'{records.image_ids[int(index)]}'; take another run or checkpoint."
                )
            maps.append(_stretched(density, where))
        fixations = [
            fit_fixations(one, config.data.max_fixations, content=rectangle)
            for one, rectangle in zip(maps, content, strict=True)
        ]
        drawn = _draw(fixations, batch, mesh=mesh)
        side = grid_side(config.data.max_fixations, records.size)
        yield (
            np.stack([one["duration"].reshape(side, side) for one in fixations]),
            np.array([_correlation(*one) for one in zip(drawn, maps, inside, strict=True)]),
        )


def _stretched(density: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The density as a gaze map: from 0 to 1 over the content; zeros where it is constant."""
    inside = density[where].astype(np.float64)
    low, high = inside.min(), inside.max()
    stretched = (density.astype(np.float64) - low) / (high - low) if high > low else 0.0
    return np.where(where, stretched, 0.0)


def _draw(fixations: list[dict[str, np.ndarray]], batch: Batch, *, mesh: Mesh) -> np.ndarray:
    """[b, h, w]: the gaze maps that training would draw of them."""
    content = np.asarray(batch["content"])
    stacked: Any = {name: np.stack([one[name] for one in fixations]) for name in fixations[0]}
    stacked["window"] = np.broadcast_to(content[:, None], stacked["window"].shape)
    weight = np.ones((len(content), 1), np.float32)
    drawn: Any = {"image": batch["image"], "fixations": stacked, "reader_weight": weight}
    return np.asarray(render(drawn, mesh=mesh))


def _correlation(drawn: np.ndarray, predicted: np.ndarray, where: np.ndarray) -> float:
    """Pearson's, over the content; NaN where either is constant."""
    one, other = drawn[where].astype(np.float64), predicted[where]
    if not (np.ptp(one) > 0 and np.ptp(other) > 0):
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])
