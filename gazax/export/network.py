"""A whole method as a network of `modeling_gazax`, written with it and compared with it."""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gazax.export.folder import load_strictly, save_weights
from gazax.export.full import full_state
from gazax.export.parity import Look, Seen
from gazax.methods.base import Classifies, Method, PredictsSaliency
from gazax.methods.scoped import Scoped
from gazax.methods.segmentation import Segmentation
from gazax.methods.supervised import Supervised
from gazax.methods.views import own_gaze
from gazax.models.densenet import DenseNet
from gazax.models.inception_resnet_v2 import InceptionResNetV2
from gazax.models.resnet import ResNet
from gazax.typing import Batch, Size

MODULES = "modeling_gazax.py"
ANY_SIZE = (ResNet, DenseNet, InceptionResNetV2)
"""Backbones that take images of any size."""
_FIXATIONS = 3


@dataclasses.dataclass(frozen=True)
class WholeModel:
    """A method's model with all that stands on its backbone.

    Attributes:
      method: its models are float32.
      params, state: of all of its scopes.
      empty: a batch of two images of zeros, as the method takes it.
    """

    method: Method
    params: Mapping[str, Any]
    state: Mapping[str, Any]
    empty: Batch

    @property
    def packages(self) -> tuple[str, ...]:
        """What a receiver needs, and verification."""
        return ("torch",)

    @property
    def fixed_size(self) -> bool:
        """Whether images are of one size only, or of multiples of something."""
        return not isinstance(self.method.backbone, ANY_SIZE)

    @property
    def takes_gaze(self) -> bool:
        """Whether the network sees gaze beside the image."""
        return isinstance(self.method, Supervised) and self.method.gaze_input

    @property
    def left_out(self) -> tuple[str, ...]:
        """Scopes on which nothing depends that the network gives out."""
        kept = {key.partition(".")[0] for key in self._made[2]}
        return tuple(sorted({*self.params, *self.state} - kept))

    def config(self, size: Size) -> dict[str, Any]:
        """Its part of `config.json`: the class of `modeling_gazax` and what it is made with."""
        name, arguments, _ = self._made
        return {"architecture": name, "model_args": arguments, "takes_gaze": self.takes_gaze}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What is done to grey values in [0, 1] outside of the model: nothing."""
        return {"channels": 1, "mean": [0.0], "std": [1.0]}

    def write(self, folder: pathlib.Path) -> None:
        """Writes `model.safetensors` and the modules that load it."""
        save_weights(folder / "model.safetensors", self._made[2], form="pt")
        shutil.copyfile(pathlib.Path(__file__).with_name(MODULES), folder / MODULES)

    def look(self, folder: pathlib.Path) -> Look:
        """What gives the outputs of both models, torch's made of a written folder.

        Raises:
          RunError: the network refuses the weights.
        """
        net = self.torch_network(folder)
        run = jax.jit(self._run, static_argnames="density")

        def both(images: np.ndarray) -> tuple[Seen, Seen]:
            batch = self._batch(images)
            found = self._theirs(net, batch)
            # a gradient's map is none of the network's: then it is not computed here either
            density = "attention_density" in found
            ours = run(self.params, self.state, batch, density=density)
            return found, jax.device_get(ours)

        return both

    def torch_network(self, folder: pathlib.Path) -> Any:
        """The network with a written folder's weights, from the modules that lie in it.

        Raises:
          RunError: it refuses the weights.
        """
        return _load(folder)

    def as_torch(self, grey: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "1 h w"]:
        """An image as the network takes it."""
        return grey[None] / np.float32(255)

    @functools.cached_property
    def _made(self) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
        return full_state(self.method, self.params, self.state)

    def _run(self, params: Any, state: Any, batch: Batch, *, density: bool) -> dict[str, jax.Array]:
        method = self.method
        features, attention = method.encode(params, state, batch)
        seen = {"features": features} | ({"attention_density": attention} if density else {})
        if isinstance(method, Classifies | Segmentation):
            seen["probabilities"] = method.predict(params, state, batch)
        if isinstance(method, PredictsSaliency):
            seen["density"] = method.saliency(params, state, batch)
        if "head" in params:  # behind a softmax a fault of all logits alike would not be seen
            head: Any = vars(method)["head"]
            seen["logits"] = head.apply({"params": params["head"]}, features)
        behind = features
        for scope, name in (("projector", "projection"), ("predictor", "prediction")):
            if scope in params:
                model: Any = vars(method)[scope]
                behind, _ = Scoped(model, scope).apply(params, state, behind, train=False)
                seen[name] = behind
        return seen

    def _theirs(self, net: Any, batch: Batch) -> Seen:
        import torch

        inputs = [torch.from_numpy(np.moveaxis(np.asarray(batch["image"]), 3, 1) / np.float32(255))]
        if self.takes_gaze:
            inputs.append(torch.from_numpy(np.array(own_gaze(batch), np.float32)))
        with torch.inference_mode():
            out = net(*inputs)
        names = ("features", "attention_density", "probabilities", "projection", "prediction")
        seen = {name: out[name].numpy() for name in names if name in out}
        if isinstance(self.method, Segmentation):
            seen["probabilities"] = np.moveaxis(seen["probabilities"], 1, -1)
        if "head" in self.params:
            seen["logits"] = out["logits"].numpy()
        if "log_density" in out:
            seen["density"] = out["log_density"].exp().numpy()
        return seen

    def _batch(self, images: np.ndarray) -> Batch:
        """The images, each with a few fixations: what a model for gaze sees."""
        count, height, width = images.shape
        fixations = {name: np.array(value) for name, value in self.empty["fixations"].items()}
        shown = slice(min(_FIXATIONS, fixations["reader"].shape[1]))
        fixations["reader"][:] = -1
        fixations["reader"][:, shown] = 0
        places = np.linspace(0.2, 0.7, _FIXATIONS)[shown, None] * (width, height)
        fixations["xy"][:, shown] = places[None]
        fixations["duration"][:] = 1
        fixations["sigma"][:] = height / 10
        fixations["window"][:] = (0, 0, width, height)
        content = np.tile(np.array([0, 0, width, height], np.float32), (count, 1))
        weights = np.ones_like(self.empty["reader_weight"])
        batch = {
            **self.empty,
            "image": images[..., None],
            "fixations": fixations,
            "reader_weight": weights,
            "content": content,
            "weight": np.ones(count, np.float32),
        }
        return jax.tree.map(jnp.asarray, batch)


def _load(folder: pathlib.Path) -> Any:
    """The network with the folder's weights, from the modules that lie in it."""

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("modeling_gazax", folder / MODULES)
    assert spec is not None
    assert spec.loader is not None
    modules = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(modules)
    net = vars(modules)[config["architecture"]](**config["model_args"])
    return load_strictly(net, folder, config["architecture"])
