"""Files of weights as arrays by name: safetensors, and torch's own format where that is allowed."""

import importlib
import io
import json
import pickle
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from etils import epath
from safetensors import SafetensorError, deserialize

from gazax.typing import InputError

PICKLES = (".pth", ".pt", ".bin")
"""Endings of files in torch's own format."""
TORCH = (2, 10)
"""The first version of torch whose `weights_only` is relied on."""

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_INSIDE = ("state_dict", "model")
"""Under which training scripts keep the state dict, beside their optimizer's."""


def read_safetensors(path: epath.Path, content: bytes) -> dict[str, np.ndarray]:
    """Arrays by name; bfloat16, which numpy lacks, as float32.

    Args:
      path: for messages.
      content: of the file.

    Raises:
      InputError: it is cut short (the message names the array that it ends in), is something else,
        or holds a dtype that is unknown here.
    """
    try:
        found = deserialize(content)
    except SafetensorError as error:
        raise InputError(
            f"init_from '{path}' cannot be read as safetensors: {error}{_where_it_ends(content)}."
        ) from None
    arrays = {}
    for name, tensor in found:
        if tensor["dtype"] not in _DTYPES:
            raise InputError(
                f"init_from '{path}': '{name}' is of the dtype {tensor['dtype']}; read are "
                f"{', '.join(_DTYPES)}: save it as float32."
            )
        array = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        arrays[name] = array.astype(np.float32) if tensor["dtype"] == "BF16" else array
    return arrays


def read_pickle(path: epath.Path, content: bytes) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Arrays of a file in torch's format by name, and the entries that were passed over.

    Read by ``torch.load(weights_only=True)``, whose unpickler makes tensors and plain containers,
    and calls nothing else that a file names. The state dict is the file's, or what it has under
    `state_dict` or `model`.

    Args:
      path: for messages.
      content: of the file.

    Raises:
      InputError: torch is missing or older than 2.10, refuses the file, or finds no tensors in it;
        or one is sparse, quantized, without numbers, or of a dtype that numpy lacks.
    """
    torch = _import_torch(path)
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError) as error:
        reason = str(error).splitlines()
        raise InputError(
            f"init_from '{path}': torch.load(weights_only=True) refuses it, because it is damaged "
            f"or holds more than tensors ({reason[0] if reason else type(error).__name__}). Where "
            "you trust it and its packages are installed, write its state dict as .safetensors."
        ) from None
    passed_over: tuple[str, ...] = ()
    if isinstance(found, Mapping):
        for name in _INSIDE:
            if isinstance(found.get(name), Mapping):
                passed_over = tuple(str(key) for key in found if key != name)
                found = found[name]
                break
    tensors = {
        str(key): value
        for key, value in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise InputError(
            f"init_from '{path}' holds no state dict, nor one under {' or '.join(_INSIDE)}."
        )
    passed_over += tuple(str(key) for key in found if str(key) not in tensors)
    arrays = {key: _as_numpy(torch, path, key, value) for key, value in tensors.items()}
    return arrays, passed_over


def _as_numpy(torch: Any, path: epath.Path, key: str, tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    try:
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except (TypeError, RuntimeError) as error:
        kind = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise InputError(
            f"init_from '{path}': '{key}' is no plain array ({kind} {tensor.dtype} on "
            f"{tensor.device}; {str(error).splitlines()[0]}): save it dense and as float32."
        ) from None


def _import_torch(path: epath.Path) -> Any:
    what = f"init_from '{path}' is read by torch {'.'.join(map(str, TORCH))} or later"
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise InputError(f"{what}, which is not installed: pip install 'gazax[torch]'.") from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < TORCH:
        raise InputError(f"{what}, and {torch.__version__} is installed.")
    return torch


def _where_it_ends(content: bytes) -> str:
    """Which array a file that is cut short ends in, as far as its header is whole; or ''."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        ends = {
            name: entry["data_offsets"][1]
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    there = len(content) - 8 - length
    if not ends or there >= max(ends.values()):
        return ""
    first = min((end, name) for name, end in ends.items() if end > there)[1]
    return (
        f"; it is cut short within '{first}', {there} of {max(ends.values())} bytes of its arrays "
        "are there: fetch it again"
    )
