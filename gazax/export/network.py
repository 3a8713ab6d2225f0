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
import numpy as np
from jaxtyping import Float, UInt8

from gazax.export import inside
from gazax.export.folder import load_strictly, save_weights
from gazax.export.full import full_state
from gazax.export.looked_at import looked_at
from gazax.export.parity import Look, Seen
from gazax.methods.backbone import SCOPE
from gazax.methods.base import Classifies, Method, PredictsSaliency
from gazax.methods.dual_encoder import GUIDE, UNET
from gazax.methods.fusion import CLASSIFIER, Fusion
from gazax.methods.gg_cam import GGCAM
from gazax.methods.scoped import Scoped
from gazax.methods.segmentation import Segmentation
from gazax.methods.supervised import Supervised
from gazax.methods.views import own_gaze
from gazax.models.densenet import DenseNet
from gazax.models.inception_resnet_v2 import InceptionResNetV2
from gazax.models.resnet import ResNet
from gazax.ops.image import to_float
from gazax.typing import Batch, Size

MODULES = "modeling_gazax.py"
LICENCE = "modeling_gazax.LICENSE"
"""Of the modules: with its text beside them whoever receives them may pass them on."""
ANY_SIZE = (ResNet, DenseNet, InceptionResNetV2)
"""Backbones that take images of any size."""


@dataclasses.dataclass(frozen=True)
class WholeModel:
    """A method's model with all that stands on its backbone.

    Attributes:
      method: its models are float32.
      params, state: of all of its scopes.
      spec: shapes of a batch, as the method takes it.
    """

    method: Method
    params: Mapping[str, Any]
    state: Mapping[str, Any]
    spec: Batch

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
        """Writes `model.safetensors`, the modules that load it, and the licence of these."""
        save_weights(folder / "model.safetensors", self._made[2], form="pt")
        for name in (MODULES, LICENCE):
            shutil.copyfile(pathlib.Path(__file__).with_name(name), folder / name)

    def look(self, folder: pathlib.Path) -> Look:
        """What gives the outputs of both models, torch's made of a written folder.

        Raises:
          RunError: the network refuses the weights.
        """
        net = self.torch_network(folder)
        watched = {
            scope: inside.watch(net.get_submodule(scope), model)
            for scope, model in self._encoders.items()
        }
        run = jax.jit(self._run, static_argnames="density")

        def both(images: np.ndarray) -> tuple[Seen, Seen]:
            batch = looked_at(images, self.spec)
            found = self._theirs(net, batch)
            for scope, made in watched.items():
                found |= self._by_scope(scope, made())
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
        inner, out = self._inside(params, state, batch)
        seen |= inner
        if isinstance(method, GGCAM):
            seen["class_maps"] = method.class_maps(params, out["feature_map"])
        logits = _logits(method, params, features, out, batch["image"])
        # behind a softmax a fault of all logits alike would not be seen
        seen |= {"logits": logits} if logits is not None else {}
        behind = features
        for scope, name in (("projector", "projection"), ("predictor", "prediction")):
            if scope in params:
                model: Any = vars(method)[scope]
                behind, _ = Scoped(model, scope).apply(params, state, behind, train=False)
                seen[name] = behind
        return seen

    @property
    def _encoders(self) -> dict[str, Any]:
        """Backbones by scope, one before another that takes what it gives."""
        method: Any = self.method
        guide = {GUIDE: method.guide} if GUIDE in self.params else {}
        return {**guide, UNET if UNET in self.params else SCOPE: method.backbone}

    def _inside(
        self, params: Any, state: Any, batch: Batch
    ) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        """What the backbones make on their way, and what the last of them gives out.

        Names begin with the scope where there are two.
        """
        method: Any = self.method
        image = (to_float(batch["image"]) - method.mean) / method.std
        inputs = [own_gaze(batch)] if self.takes_gaze else []
        seen, out = {}, {}
        for scope, model in self._encoders.items():
            variables = {"params": params[scope], "batch_stats": state.get(scope, {})}
            made, out = inside.ours(model, variables, image, *inputs)
            inputs = [out["tapped"]] if "tapped" in out else []
            seen |= self._by_scope(scope, made)
        return seen, out

    def _by_scope(self, scope: str, made: Mapping[str, Any]) -> dict[str, Any]:
        prefix = f"{scope}." if len(self._encoders) > 1 else ""
        return {f"{prefix}{name}": value for name, value in made.items()}

    def _theirs(self, net: Any, batch: Batch) -> dict[str, np.ndarray]:
        import torch

        inputs = [torch.from_numpy(np.moveaxis(np.asarray(batch["image"]), 3, 1) / np.float32(255))]
        if self.takes_gaze:
            inputs.append(torch.from_numpy(np.array(own_gaze(batch), np.float32)))
        with torch.inference_mode():
            out = net(*inputs)
        names = (
            *("features", "attention_density", "logits", "probabilities", "class_maps"),
            *("projection", "prediction"),
        )
        seen = {name: inside.channels_last(out[name].numpy()) for name in names if name in out}
        if "log_density" in out:
            seen["density"] = out["log_density"].exp().numpy()
        return seen


def _logits(
    method: Method, params: Any, features: jax.Array, out: Mapping[str, Any], image: jax.Array
) -> Any:
    """Of the classes, from what the backbone gives out of the images; None where there are none."""
    if isinstance(method, Segmentation):
        size = image.shape[1:3]
        return method.decoder.apply({"params": params["head"]}, out, size=size)
    if isinstance(method, Fusion):
        return method.classifier.apply({"params": params[CLASSIFIER]}, features, None)
    if "head" in params:
        return vars(method)["head"].apply({"params": params["head"]}, features)
    return out.get("logits")


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
