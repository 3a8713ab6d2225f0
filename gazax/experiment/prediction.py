"""A trained run, taken up to be used: its workdir and pictures are all that it needs."""

import collections
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.data.datasets import DATASETS
from gazax.data.decode import Pixels, Task
from gazax.eval.encode import walk
from gazax.experiment.method import build_method
from gazax.methods.base import Classifies, Params, PredictsSaliency, State
from gazax.methods.segmentation import Segmentation
from gazax.train import init_from, sharding
from gazax.train.checkpoint import MANIFEST
from gazax.train.source import load_source
from gazax.typing import Batch, InputError, Size

Found = dict[str, np.ndarray]
"""What is predicted of one image, by kind (`Predictor.kinds`)."""
Key = TypeVar("Key")


class Predictor:
    """The model of a workdir, with its weights on the devices.

    It computes in the run's dtype, but on a CPU, which is faster in float32. Nothing is computed
    twice to save memory (`remat`), as in training.

    Args:
      config: of the run, see `gazax.config.of_run`.
      folder: its workdir, or one ``checkpoints/<step>`` of it.
      which: of the workdir's checkpoints, 'best' or 'last'.
      batch_size: images at a time; made divisible by the devices.
      maps: whether maps are wanted, or probabilities alone.

    Raises:
      InputError: there is no checkpoint, it is damaged or not of this config, or probabilities
        alone are wanted of a model that has none.
    """

    def __init__(
        self, config: ConfigDict, folder: epath.Path, *, which: str, batch_size: int, maps: bool
    ) -> None:
        checkpoints = folder / "checkpoints"
        if checkpoints.is_dir() and not any(checkpoints.glob(f"*/{MANIFEST}")):
            raise InputError(
                f"workdir '{folder}' has no checkpoint yet; let its run go on until it has saved."
            )
        self._config = ConfigDict(config.to_dict())
        self._mesh = sharding.make_mesh()
        self._batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
        self._config.train.batch_size = self._batch_size
        for block in filter(None, (self._config.model, self._config.get("guide"))):
            if jax.default_backend() == "cpu":
                block.dtype = "float32"
            if "remat" in block:
                block.remat = False
        spec = config_lib.batch_spec(self._config)
        # Zeros and not NaN: what is no input of a prediction cannot spoil one either way.
        self._empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), spec)
        self.method = build_method(self._config)
        if config.method.get("gaze_input", False):
            raise InputError(
                f"workdir '{folder}' is of the model '{config.model.name}', which sees gaze beside "
                "the image in use too, and an image alone has none; gazax.evaluate measures it on "
                "its data."
            )
        self.kinds = self._kinds(maps)
        if not self.kinds:
            raise InputError(
                f"workdir '{folder}' is of the method '{config.method.name}', which has no head "
                "for classes: without maps nothing is left to predict. Leave --nomaps out."
            )
        source = load_source(folder, which=which)
        params, state = jax.eval_shape(self.method.init, jax.random.key(0), spec)
        weights = init_from.initialise(params, state, source)
        self._weights = jax.device_put(weights, sharding.replicated(self._mesh))
        self._run = jax.jit(self._predict, out_shardings=sharding.replicated(self._mesh))
        self.facts: dict[str, Any] = {
            "workdir": str(folder),
            "step": int(epath.Path(source.name).name),
            "weights": source.identity,
            "method": config.method.name,
            "trained_on": config.data.name,
            "size": list(config.data.size),
            "labels": list(self.label_names),
            "task": self.task,
            "predicted": list(self.kinds),
        }

    @property
    def label_names(self) -> tuple[str, ...]:
        """Classes of `probability` and planes of `masks`; () where there are none of either."""
        has = {"probability", "masks"} & set(self.kinds)
        return tuple(self._config.data.labels) if has else ()

    @property
    def task(self) -> str | None:
        """'multiclass', where probabilities sum to 1, 'multilabel', where each stands alone."""
        return self.method.task if isinstance(self.method, Classifies) else None

    def task_of(self, path: Path, *, roots: tuple[Path, ...], size: Size | None = None) -> Task:
        """How a file is decoded: as the preparation of the training data does it.

        Args:
          path: the file.
          roots: folders that a link may lead to.
          size: (h, w) of another frame than the model's, without a canvas; for looking at.
        """
        data = self._config.data
        dataset = DATASETS[data.name]
        return Task(
            path=path,
            stored_size=None,
            masks=None,
            present=np.zeros(0, bool),
            size=size or tuple(data.size),
            canvas=dataset.canvas(**data.source.to_dict()) if size is None else None,
            display=dataset.display,
            roots=roots,
        )

    def predictions(self, decoded: Iterable[tuple[Key, Pixels]]) -> Iterator[tuple[Key, Found]]:
        """What is predicted of each image, in their order, two batches in memory at a time.

        An image's prediction does not depend on the others; the last batch is filled up, so that
        one program serves all.

        Args:
          decoded: images in the model's frame, each with what it is known by.
        """
        waiting: collections.deque[list[Key]] = collections.deque()

        def batches() -> Iterator[Batch]:
            images = iter(decoded)
            while group := list(itertools.islice(images, self._batch_size)):
                waiting.append([key for key, _ in group])
                yield self._batch([pixels for _, pixels in group])

        for _, (found,) in walk(
            batches(), lambda batch: self._run(*self._weights, batch), mesh=self._mesh
        ):
            for row, key in enumerate(waiting.popleft()):
                yield key, {kind: values[row] for kind, values in found.items()}

    def _kinds(self, maps: bool) -> tuple[str, ...]:
        method = self.method
        kinds = {
            "probability": isinstance(method, Classifies),
            "saliency": maps and isinstance(method, PredictsSaliency),
            "grad_cam": maps and isinstance(method, Classifies),
            "masks": maps and isinstance(method, Segmentation),
        }
        found = tuple(kind for kind, has in kinds.items() if has)
        return found or (("attention",) if maps else ())

    def _predict(self, params: Params, state: State, batch: Batch) -> dict[str, jax.Array]:
        method, found = self.method, {}
        if isinstance(method, Classifies):
            found["probability"] = method.predict(params, state, batch)
            if "grad_cam" in self.kinds:
                found["grad_cam"] = method.explain(params, state, batch)
        if isinstance(method, PredictsSaliency) and "saliency" in self.kinds:
            found["saliency"] = method.saliency(params, state, batch)
        if isinstance(method, Segmentation):
            found["masks"] = method.predict(params, state, batch)
        if "attention" in self.kinds:
            found["attention"] = method.encode(params, state, batch)[1]
        return {kind: values.astype(np.float32) for kind, values in found.items()}

    def _batch(self, images: list[Pixels]) -> Batch:
        """Images at the first places, and weight 0 at the others.

        `index` is 0 for all: where a method draws from it, an image's draws are always the same.
        """
        rows = len(images)
        image, content, weight = (self._empty[k].copy() for k in ("image", "content", "weight"))
        image[:rows, ..., 0] = np.stack([one.image for one in images])
        content[:rows] = [one.frame.content for one in images]
        weight[:rows] = 1
        return {**self._empty, "image": image, "content": content, "weight": weight}  # type: ignore[return-value]
