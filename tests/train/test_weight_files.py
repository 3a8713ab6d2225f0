"""Files of weights as arrays: what is read, and what is refused with its name."""

import collections
import json
import os
import re
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save

from gazax.train.weight_files import read_pickle, read_safetensors
from gazax.typing import InputError

PATH = epath.Path("net.safetensors")
ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(0.5, np.float16),
    "c": np.array([3, -1], np.int64),
}


def test_arrays_come_back_bit_for_bit():
    found = read_safetensors(PATH, save(ARRAYS))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def serialized(dtype, content):
    entry = {"dtype": dtype, "shape": [2], "data_offsets": [0, len(content)]}
    header = json.dumps({"w": entry}).encode()
    return len(header).to_bytes(8, "little") + header + content


def test_bfloat16_becomes_float32():
    content = serialized("BF16", np.array([1.5, -2.0], jnp.bfloat16).tobytes())
    found = read_safetensors(PATH, content)["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1.5, -2.0])


def test_an_unknown_dtype_is_named():
    content = serialized("F8_E4M3", b"\x00\x01")
    with pytest.raises(InputError, match=r"net\.safetensors': 'w' is of the dtype F8_E4M3"):
        read_safetensors(PATH, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (save(ARRAYS)[:-1], r"net\.safetensors' .*; it is cut short within 'b', 41 of 42 bytes"),
        (save(ARRAYS)[:-40], r"; it is cut short within 'c', 2 of 42 bytes"),
        (save(ARRAYS)[:30], r"net\.safetensors' cannot be read as safetensors: .*\w\.$"),
        (b"", r"net\.safetensors' cannot be read as safetensors"),
        (b"\x00" * 5, r"net\.safetensors' cannot be read as safetensors"),
    ],
)
def test_a_file_that_is_cut_short_is_named_with_where_it_ends(content, message):
    with pytest.raises(InputError, match=message):
        read_safetensors(PATH, content)


def pickled(tmp_path, value):
    import torch

    torch.save(value, tmp_path / "net.pth")
    return epath.Path(tmp_path / "net.pth"), (tmp_path / "net.pth").read_bytes()


@pytest.mark.torch
@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
def test_a_state_dict_is_read_with_what_is_passed_over(tmp_path, inside):
    torch = pytest.importorskip("torch")
    tensors = collections.OrderedDict(
        a=torch.nn.Parameter(torch.arange(3.0)),
        b=torch.tensor([1.5], dtype=torch.bfloat16),
        n=torch.tensor(4),
        note="none",
    )
    value = tensors if inside is None else {inside: tensors, "epoch": 3}
    found, passed_over = read_pickle(*pickled(tmp_path, value))
    assert found.keys() == {"a", "b", "n"}
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    np.testing.assert_array_equal(found["b"], np.float32([1.5]))
    assert (found["b"].dtype, found["n"].dtype) == (np.float32, np.int64)
    assert passed_over == (("note",) if inside is None else ("epoch", "note"))


class Program:
    """What a pickle can do to who reads it."""

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.torch
def test_a_program_in_a_pickle_is_refused_and_not_run(tmp_path):
    pytest.importorskip("torch")
    program = Program()
    program.folder = str(tmp_path / "run")
    with pytest.raises(InputError, match=r"net\.pth': torch\.load\(weights_only=True\) refuses it"):
        read_pickle(*pickled(tmp_path, {"state_dict": program}))
    assert not (tmp_path / "run").exists()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("value", "keep", "message"),
    [
        ({"epoch": 3}, None, "holds no state dict, nor one under state_dict or model"),
        ([1, 2], None, "holds no state dict"),
        ({"epoch": 3}, 100, "refuses it, because it is damaged"),
        ({"epoch": 3}, 0, "refuses it, because it is damaged"),
    ],
)
def test_a_pickle_without_tensors_or_cut_short_is_named(tmp_path, value, keep, message):
    pytest.importorskip("torch")
    path, content = pickled(tmp_path, value)
    with pytest.raises(InputError, match=rf"net\.pth'.* {message}"):
        read_pickle(path, content[:keep])


@pytest.mark.torch
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda torch: torch.eye(2).to_sparse(), "sparse_coo torch.float32"),
        (lambda torch: torch.ones(2).to(torch.float8_e4m3fn), "strided torch.float8_e4m3fn"),
        (lambda torch: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8), "quantized"),
        (lambda torch: torch.empty(2, device="meta"), "torch.float32 on meta"),
    ],
)
def test_a_tensor_that_is_no_plain_array_is_named(tmp_path, make, kind):
    torch = pytest.importorskip("torch")
    value = {"a": torch.ones(1), "b.weight": make(torch)}
    with pytest.raises(InputError, match=rf"'b\.weight' is no plain array \(.*{re.escape(kind)}"):
        read_pickle(*pickled(tmp_path, value))


@pytest.mark.torch
def test_an_older_torch_or_none_is_refused(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(InputError, match=r"torch 2\.10 or later, and 2\.9\.1\+cpu is installed"):
        read_pickle(epath.Path("net.pth"), b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="not installed: pip install 'gazax"):
        read_pickle(epath.Path("net.pth"), b"")
