"""A backbone of ours and the library's model that it became, looked into at the same places.

Ours is what `gazax.models` gives out; torch's is read by hooks from the library's own model, which
loads the written folder strictly.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, UInt8

from gazax.export import layouts
from gazax.export.folder import load_strictly, save_weights
from gazax.export.parity import BLOCK, STEM, Look, Seen
from gazax.models.densenet import DenseNet
from gazax.models.inception_resnet_v2 import InceptionResNetV2
from gazax.models.resnet import ResNet
from gazax.models.vit import ViT
from gazax.typing import Size


@dataclasses.dataclass(frozen=True)
class LibraryModel:
    """A backbone that becomes timm's or torchvision's model, with its head or without.

    Attributes:
      model: ours, float32, its `num_classes` those that are exported.
      params, stats: its parameters and batch statistics; {} without any.
      described: what it becomes.
      mean, std: it sees (pixels / 255 - mean) / std.
    """

    model: nn.Module
    params: Mapping[str, Any]
    stats: Mapping[str, Any]
    described: layouts.TorchModel
    mean: float
    std: float

    @property
    def packages(self) -> tuple[str, ...]:
        """What a receiver needs, and verification."""
        return "torch", self.described.library

    @property
    def fixed_size(self) -> bool:
        """Whether images are of one size only."""
        return self.described.fixed_size

    def config(self, size: Size) -> dict[str, Any]:
        """Its part of `config.json`, as `timm.create_model` and timm's local-dir: take it."""
        described = self.described
        return {
            "architecture": described.architecture,
            "num_classes": described.num_classes,
            "num_features": described.num_features,
            "model_args": described.model_args,
            "pretrained_cfg": {
                "input_size": [described.channels, *size],
                "fixed_input_size": described.fixed_size,
                "interpolation": "bilinear",
                "crop_pct": 1.0,
                "crop_mode": "border",  # the whole image, its aspect kept
                "mean": [self.mean] * described.channels,
                "std": [self.std] * described.channels,
                "num_classes": described.num_classes,
                "first_conv": described.first_conv,
                "classifier": described.classifier,
            },
        }

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What is done to grey values in [0, 1] outside of the model."""
        channels = self.described.channels
        return {
            "channels": channels,
            "mean": [self.mean] * channels,
            "std": [self.std] * channels,
        }

    def write(self, folder: pathlib.Path) -> None:
        """Writes `model.safetensors`."""
        save_weights(folder / "model.safetensors", self.tensors(), form="pt")

    def tensors(self) -> dict[str, np.ndarray]:
        """See `layouts.state_dict`."""
        return layouts.state_dict(self.model, self.params, self.stats, self.described)

    def look(self, folder: pathlib.Path) -> Look:
        """What gives the tensors of both models, torch's made of a written folder.

        Raises:
          RunError: the torch model refuses the weights.
        """
        config = _read_config(folder)
        net, probes = self.torch_network(folder), _probes(self.model)
        apply = jax.jit(functools.partial(_ours, self.model, probes.block[1]))
        variables = {"params": self.params, "batch_stats": self.stats}

        def both(images: np.ndarray) -> tuple[Seen, Seen]:
            batch = self._normalized(images)
            found = _theirs(net, self.model, probes, config, np.array(batch))
            return found, jax.device_get(apply(variables, batch))

        return both

    def torch_network(self, folder: pathlib.Path) -> Any:
        """The library's model with a written folder's weights.

        Raises:
          RunError: it refuses the weights.
        """
        return _load(folder, _read_config(folder))

    def as_torch(self, grey: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "c h w"]:
        """An image as the library's model takes it."""
        normalized = (grey[None] / np.float32(255) - self.mean) / self.std
        return np.repeat(normalized.astype(np.float32), self.described.channels, 0)

    def _normalized(self, images: np.ndarray) -> jax.Array:
        grey = jnp.asarray(images[..., None], jnp.float32) / 255
        return (grey - self.mean) / self.std


@dataclasses.dataclass(frozen=True)
class _Probes:
    """Where a torch model is looked into, by names of its modules.

    Attributes:
      stem: its input is the stem's output.
      block: the first block, and our module that it is.
      levels: their outputs are ours `feature_maps`; of a ViT, their inputs.
      last: gives the last map, or the tokens.
    """

    stem: str
    block: tuple[str, str]
    levels: tuple[str, ...]
    last: str


def _probes(model: nn.Module) -> _Probes:
    if isinstance(model, ViT):
        blocks = tuple(f"blocks.{i}" for i in range(model.depth))
        return _Probes("blocks.0", ("blocks.0", "blocks_0"), blocks, "norm")
    if isinstance(model, ResNet):
        levels = tuple(f"layer{i}" for i in range(1, len(model.stage_sizes) + 1))
        return _Probes("maxpool", ("layer1.0", "layer1_0"), levels, levels[-1])
    if isinstance(model, DenseNet):
        levels = tuple(f"features.denseblock{i}" for i in range(1, len(model.blocks) + 1))
        layer = "denseblock1{}denselayer1"
        block = f"features.{layer.format('.')}", layer.format("_")
        return _Probes("features.pool0", block, levels, "features.norm5")
    assert isinstance(model, InceptionResNetV2)
    levels = ("repeat", "repeat_1", "block8", "conv2d_7b")
    return _Probes("maxpool_3a", ("mixed_5b", "mixed_5b"), levels, "conv2d_7b")


def _ours(model: nn.Module, block: str, variables: Mapping[str, Any], image: jax.Array) -> Any:
    (output, out), captured = model.apply(
        variables,
        image,
        train=False,
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: module.name == block,
    )
    inside = captured["intermediates"][block]["__call__"][0]
    inside = inside[0] if isinstance(inside, tuple) else inside  # of a ViT with its attention
    seen = {STEM: out.get("stem", out["feature_maps"][0]), BLOCK: inside}
    seen |= {f"level_{i}": level for i, level in enumerate(out["feature_maps"])}
    if isinstance(model, ViT):
        seen |= {f"attention_{i}": rows for i, rows in enumerate(out["attention"])}
    seen |= {"feature_map": out["feature_map"], "features": out["features"]}
    return seen | ({"logits": output} if model.num_classes else {})


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _load(folder: pathlib.Path, config: Mapping[str, Any]) -> Any:
    """The library's model with the folder's weights, as a receiver makes it."""
    import torch

    name, classes = config["architecture"], config["num_classes"]
    if config["layout"] == "timm":
        import timm

        net = timm.create_model(name, pretrained=False, num_classes=classes, **config["model_args"])
    else:
        from torchvision import models

        net = models.get_model(name, weights=None, **({"num_classes": classes} if classes else {}))
        if not classes:
            setattr(net, config["pretrained_cfg"]["classifier"], torch.nn.Identity())
    return load_strictly(net, folder, f"{config['layout']}'s {name}")


def _theirs(
    net: Any, model: nn.Module, probes: _Probes, config: Mapping[str, Any], batch: np.ndarray
) -> Seen:
    """The same tensors as `_ours`, of the torch model."""
    import torch

    entered, left = {}, {}
    classifier = config["pretrained_cfg"]["classifier"]
    names = {probes.stem, probes.block[0], *probes.levels, probes.last, classifier}
    transformer = isinstance(model, ViT)
    if transformer:
        names |= {f"{block}.attn.qkv" for block in probes.levels}
    handles = []
    for name in names:

        def keep(_: Any, inputs: tuple, output: Any, name: str = name) -> None:
            if torch.is_tensor(inputs[0]):
                entered[name] = inputs[0].numpy().copy()  # an activation in place may follow
            left[name] = output.numpy().copy()

        handles.append(net.get_submodule(name).register_forward_hook(keep))
    channels = config["pretrained_cfg"]["input_size"][0]
    image = torch.from_numpy(batch).permute(0, 3, 1, 2).repeat(1, channels, 1, 1)
    with torch.inference_mode():
        output = net(image).numpy()
    for handle in handles:
        handle.remove()

    seen = {"logits": output} if config["num_classes"] else {}
    seen["features"] = entered[classifier] if config["num_classes"] else output
    if transformer:
        grid = np.floor_divide(batch.shape[1:3], model.patch_size).tolist()

        def patches(tokens: np.ndarray) -> np.ndarray:
            return tokens[:, 1:].reshape(len(tokens), *grid, -1)

        seen |= {STEM: patches(entered[probes.stem]), BLOCK: left[probes.block[0]]}
        for i, name in enumerate(probes.levels):
            seen[f"level_{i}"] = patches(entered[name])
            rows = _class_token_rows(left[f"{name}.attn.qkv"], model.num_heads)
            seen[f"attention_{i}"] = rows[:, 1:].reshape(len(rows), *grid)
        return seen | {"feature_map": patches(left[probes.last])}
    seen |= {STEM: _last(entered[probes.stem]), BLOCK: _last(left[probes.block[0]])}
    seen |= {f"level_{i}": _last(left[name]) for i, name in enumerate(probes.levels)}
    # torchvision's DenseNet has its last relu outside of a module; the others have had theirs
    return seen | {"feature_map": np.maximum(_last(left[probes.last]), 0)}


def _last(array: np.ndarray) -> np.ndarray:
    """Channels last."""
    return np.moveaxis(array, 1, -1)


def _class_token_rows(qkv: np.ndarray, num_heads: int) -> np.ndarray:
    """[b, n] softmax(q k^T / sqrt(head_dim)) of token 0, mean over heads, of [b, n, 3 d]."""
    b, n, _ = qkv.shape
    q, k, _ = np.moveaxis(qkv.reshape(b, n, 3, num_heads, -1), 2, 0)
    logits = np.einsum("bhd,bnhd->bhn", q[:, 0], k) * q.shape[-1] ** -0.5
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (weights / weights.sum(axis=-1, keepdims=True)).mean(axis=1)
