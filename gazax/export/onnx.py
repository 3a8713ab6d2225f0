"""An exported network as one ONNX file, compared with the network by onnxruntime.

    model.onnx      float32; weights, classes and terms are inside, images come in batches of any
                    number and of one size

Inputs, in their order: `image` [batch, c, h, w], as the network takes it, and of a GazeGNN `gaze`
[batch, h, w] in [0, 1]. Outputs are those of `OUTPUTS` that the network gives out, in that order,
then `attention_0`, `attention_1`, ... where it gives a map for each level; the feature maps of all
levels, which are large, stay inside. A network that gives out one tensor has one, `output`.
"""

import importlib
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from gazax.export.parity import LIMIT, judge, relative_difference
from gazax.typing import InputError, RunError

if TYPE_CHECKING:
    from torch import Tensor, nn

FILE = "model.onnx"
OPSET = 18
"""Of the operators; the oldest that torch's exporter writes without a conversion."""
OUTPUTS = (
    "features",
    "feature_map",
    "attention_density",
    "logits",
    "probabilities",
    "class_maps",
    "log_density",
    "projection",
    "prediction",
)
"""See `gazax.export.modeling_gazax`."""
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
_NOISE = 3  # images


def write_onnx(
    network: "nn.Module",
    folder: pathlib.Path,
    *,
    images: Mapping[str, Float[np.ndarray, "c h w"]],
    takes_gaze: bool = False,
    about: Mapping[str, Any],
    opset: int = OPSET,
) -> dict[str, Any]:
    """Writes `model.onnx`, or nothing where onnxruntime makes something else of it.

    Args:
      network: of `gazax.export.modeling_gazax`, timm or torchvision, float32, with its weights.
      folder: is there.
      images: real ones by name, of one size, as the network takes them; it is compared on each of
        them alone and on noise, three together.
      takes_gaze: whether it takes gaze maps beside the images.
      about: what is noted in the file: classes, terms, preprocessing; what is no string, as json.
      opset: version of ONNX's operators.

    Returns:
      As `gazax.export.parity.compare`: `passed`, `max_relative_difference`, `dtype`, `versions`,
      and `compared`, for each image and output its shape, largest absolute difference over largest
      absolute value, and the limit; and `inputs`, `outputs` and `opset`.

    Raises:
      InputError: a package of `PACKAGES` is missing, there is no image, or they are of more sizes
        than one.
      RunError: torch cannot write it, or an output differs by more than `LIMIT`.

    Numerics: a GazeGNN's neighbours change at once where two are equally near, see
    `gazax.models.gaze_gnn`.
    """
    require()
    cases = _cases(images, takes_gaze)
    network = network.eval()
    first = next(reversed(cases.values()))  # noise: a batch of one would be taken for a constant
    names = tuple(_run(network, first))
    size = first["image"].shape[2:]
    content = _checked(
        _model(network, first, names, opset),
        {**about, "inputs": list(first), "outputs": names, "image_size": size},
    )
    found = _compare(network, content, cases, names)
    partial = folder / f".{FILE}.partial"
    try:
        partial.write_bytes(content)
        partial.rename(folder / FILE)
    finally:
        partial.unlink(missing_ok=True)
    return {**found, "inputs": list(first), "outputs": list(names), "opset": opset}


def require() -> None:
    """Imports `PACKAGES`; an `InputError` names the one that cannot be."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"an ONNX file needs {name}, which cannot be imported here ({error}): "
                "pip install 'gazax[torch]', or write none."
            ) from None


def _cases(
    images: Mapping[str, np.ndarray], takes_gaze: bool
) -> dict[str, dict[str, Float[np.ndarray, "b ..."]]]:
    """Inputs by name: each image alone, somewhere looked at, and noise with gaze and without."""
    sizes = {image.shape for image in images.values()}
    if len(sizes) != 1:
        raise InputError(
            "an ONNX file is compared on images, of its one size; those that are given are "
            f"{sorted(sizes) or 'none'}."
        )
    cases = {name: {"image": np.asarray(image, np.float32)[None]} for name, image in images.items()}
    draws = np.random.default_rng(0)
    ((channels, height, width),) = sizes
    noise = draws.uniform(size=(_NOISE, channels, height, width)).astype(np.float32)
    cases["noise"] = {"image": noise}
    if takes_gaze:
        y, x = np.mgrid[:height, :width] / max(height, width)
        spot = np.exp(-((x - 0.4) ** 2 + (y - 0.3) ** 2) / 0.02).astype(np.float32)
        for inputs in cases.values():
            inputs["gaze"] = spot[None]
        gaze = draws.uniform(size=(_NOISE, height, width)).astype(np.float32)
        gaze[-1] = 0
        cases["noise"]["gaze"] = gaze
    return cases


def _named(found: "Mapping[str, Any] | Tensor") -> "dict[str, Tensor]":
    """What becomes an output."""
    if not isinstance(found, Mapping):
        return {"output": found}
    levels = {f"attention_{i}": one for i, one in enumerate(found.get("attention", ()))}
    return {name: found[name] for name in OUTPUTS if name in found} | levels


def _run(network: "nn.Module", inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import torch

    with torch.inference_mode():
        found = _named(network(*(torch.from_numpy(one) for one in inputs.values())))
    return {name: one.numpy() for name, one in found.items()}


def _model(
    network: "nn.Module", inputs: Mapping[str, np.ndarray], names: tuple[str, ...], opset: int
) -> Any:
    """The network as an `onnx.ModelProto`."""
    import torch
    from torch.onnx.errors import OnnxExporterError

    class Named(torch.nn.Module):
        """The network with its outputs in order."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(_named(self.network(*inputs)).values())

    any_number = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    try:
        # The other exporter, of TorchScript, writes the batch that it sees into a transformer.
        program = torch.onnx.export(
            Named().eval(),
            tuple(torch.from_numpy(one) for one in inputs.values()),
            dynamo=True,
            dynamic_shapes=(any_number,),
            input_names=list(inputs),
            output_names=list(names),
            opset_version=opset,
            verbose=False,
        )
    except OnnxExporterError as error:
        raise RunError(f"torch cannot write {type(network).__name__} as ONNX: {error}") from error
    assert program is not None
    return program.model_proto


def _checked(model: Any, about: Mapping[str, Any]) -> bytes:
    """The file with what is said of it, once `onnx.checker` has nothing against it."""
    import onnx

    import gazax

    graph = model.graph
    # torch notes with each of them the lines of code that it is from, by their paths on this disk
    for one in (
        *(graph, *graph.node, *graph.initializer),
        *(*graph.input, *graph.output, *graph.value_info),
    ):
        one.ClearField("metadata_props")
    model.producer_name, model.producer_version = "gazax", gazax.__version__
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()
    }
    onnx.helper.set_model_props(model, texts)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise RunError(f"onnx refuses what torch wrote: {error}. Nothing is written.") from error
    return model.SerializeToString()


def _compare(
    network: "nn.Module",
    content: bytes,
    cases: Mapping[str, Mapping[str, np.ndarray]],
    names: tuple[str, ...],
) -> dict[str, Any]:
    """What onnxruntime makes of each case beside what torch does."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    compared: list[dict[str, Any]] = []
    for case, inputs in cases.items():
        expected = _run(network, inputs)
        found: dict[str, Any] = dict(
            zip(names, session.run(list(names), dict(inputs)), strict=True)
        )
        for name, values in expected.items():
            for row, one in enumerate(values):
                compared.append(
                    {
                        "image": f"{case} {row}" if len(values) > 1 else case,
                        "tensor": name,
                        "shape": list(one.shape),
                        "relative_difference": relative_difference(found[name][row], one),
                        "limit": LIMIT,
                    }
                )
    return judge(compared, "onnxruntime does not compute what torch does", packages=PACKAGES)
