"""The command that writes weights for torch: what it writes and prints, and what it refuses."""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.experiment.trained import STEP, make_config, make_staged, make_workdir
from tests.runs import call

WITH_TORCH = (
    "import runpy; from tests.models.conftest import import_torchvision; import_torchvision(); "
    "runpy.run_module('gazax.export_torch', run_name='__main__')"
)
"""The command, also where a torchvision stands beside another torch than it was made for."""


def export(env, *flags, code=0, start=("-m", "gazax.export_torch")):
    return call(env, *start, *flags, code=code)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A pretraining and a classifier in one workdir."""
    folder = tmp_path_factory.mktemp("runs") / "staged"
    return make_staged(
        folder, pretrain=make_config("configs/gazat_vit.py:smoke"), classify=make_config()
    )


@pytest.mark.torch
def test_the_last_stage_is_written_verified_and_said(env, staged, tmp_path):
    pytest.importorskip("torch")
    out, numbers = tmp_path / "new" / "out", tmp_path / "numbers.json"
    flags = ("--layout=timm", "--part=full", f"--out={out}", f"--json={numbers}")
    done = export(env, f"--workdir={staged}", *flags, start=("-c", WITH_TORCH))
    assert f"{out}/: vit_tiny_patch16_224 of timm, 3 labels, step {STEP}" in done.stdout
    assert "verified: 18 tensors differ from torch's by at most" in done.stdout
    assert json.loads(numbers.read_text()) == json.loads((out / "parity.json").read_text())


def test_one_checkpoint_of_another_stage_is_written_unverified(env, staged, tmp_path):
    checkpoint = staged / "pretrain" / "checkpoints" / str(STEP)
    flags = ("--layout=timm", "--noverify", f"--out={tmp_path / 'out'}")
    done = export(env, f"--workdir={checkpoint}", *flags)
    assert "no classifier, step 7\nleft out: projector\nnot verified" in done.stdout
    before = (tmp_path / "out" / "config.json").read_bytes()
    done = export(env, f"--workdir={checkpoint}", *flags, code=2)
    assert f"--out='{tmp_path / 'out'}' is there already" in done.stderr
    assert (tmp_path / "out" / "config.json").read_bytes() == before


def test_a_checkpoint_is_found_from_where_one_stands(env, staged, tmp_path):
    flags = ("--layout=timm", "--noverify")
    checkpoints = staged / "pretrain" / "checkpoints"
    here = f"import os; os.chdir({str(checkpoints)!r}); {WITH_TORCH}"
    export(env, f"--workdir={STEP}", f"--out={tmp_path / 'a'}", *flags, start=("-c", here))
    assert (tmp_path / "a" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--workdir=no_such_folder",), "no_such_folder' does not exist: give the folder of a run"),
        (("--out=",), "--workdir=DIR, --layout=timm, torchvision or gazax, and --out=DIR are"),
        (("--layout=onnx",), "value should be one of <timm|torchvision|gazax>"),
        (("--stage=clasify",), "--stage='clasify' is unknown (did you mean 'classify'?)"),
    ],
)
def test_a_mistake_ends_in_one_line(env, staged, tmp_path, flags, message):
    given = {"workdir": staged, "layout": "timm", "out": tmp_path / "out"}
    given |= dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    done = export(env, *(f"--{key}={value}" for key, value in given.items()), code=2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def site_of(folder, *packages):
    """A folder of links to these packages and to what they require, and to nothing else."""
    waiting, seen = list(packages), set()
    while waiting:
        name = re.split(r"[^\w.-]", waiting.pop(), maxsplit=1)[0].lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        waiting += [one for one in found.requires or () if "extra ==" not in one]
        for file in found.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(pathlib.Path(found.locate_file(top)).resolve())
    return folder


LOCAL_DIR = """
import timm
local = timm.create_model("local-dir:.", pretrained=True).eval()
with torch.inference_mode():
    assert torch.equal(local(image), output)
"""
"""timm's own loading of the folder, after the card's snippet."""
BLOCKED = "import sys\nsys.modules.update(dict.fromkeys(('jax', 'jaxlib', 'flax', 'gazax')))\n"


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("layout", ["timm", "torchvision", "gazax"])
def test_a_receiver_without_jax_runs_the_cards_snippet(env, staged, tmp_path, layout):
    """Torch, timm, torchvision and safetensors alone can be imported; the snippet is the card's."""
    out, workdir = tmp_path / "out", staged
    if layout == "torchvision":  # which has no ViT
        config = make_config("configs/eval/linear_probe.py:model=resnet,smoke")
        config.model.depth = 18
        workdir = make_workdir(tmp_path / "run", config)
    flags = (f"--layout={layout}", "--part=full", f"--out={out}")
    export(env, f"--workdir={workdir}", *flags, start=("-c", WITH_TORCH))
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40), np.uint8)
    Image.fromarray(pixels).save(out / "radiograph.png")
    text = (out / "README.md").read_text()
    snippet = text.split("```python\n")[1].split("```")[0]
    (tmp_path / "site").mkdir()
    site = site_of(tmp_path / "site", "torch", "timm", "torchvision", "safetensors", "pillow")
    assert not (site / "jax").exists()
    assert not (site / "gazax").exists()
    mend = ""
    if layout != "gazax":  # what `import_torchvision` does, where the two do not fit
        mend = (
            "import torch\n"
            "try:\n    import torchvision\n"
            "except RuntimeError:\n"
            "    library = torch.library.Library('torchvision', 'DEF')\n"
            "    library.define('nms(Tensor x) -> Tensor')\n"
            "    library.define('qnms(Tensor x) -> Tensor')\n"
        )
    paths = f"sys.path[:0] = [{str(site)!r}, {str(out)!r}]\n"
    more = LOCAL_DIR if layout == "timm" else ""
    (tmp_path / "run.py").write_text(f"{BLOCKED}{paths}{mend}{snippet}{more}")
    done = subprocess.run(
        [sys.executable, "-I", "-S", tmp_path / "run.py"],
        cwd=out,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    expected = "'logits': torch.Size([1, 3])" if layout == "gazax" else "torch.Size([1, 3])"
    assert expected in done.stdout


def test_what_else_is_asked_for_lies_beside(env, staged, tmp_path):
    flags = ("--layout=gazax", "--part=full", "--noverify", "--also=stablehlo")
    export(env, f"--workdir={staged}", *flags, f"--out={tmp_path / 'out'}")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.stablehlo", "stablehlo.json", "stablehlo.safetensors"} <= names
    wrong = ("--layout=timm", "--noverify", "--also=onxx", f"--out={tmp_path / 'other'}")
    done = export(env, f"--workdir={staged}", *wrong, code=2)
    assert "did you mean 'onnx'" in done.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.torch
@pytest.mark.slow
def test_an_onnx_file_is_compared_with_onnxruntime(env, staged, tmp_path):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    flags = ("--layout=timm", "--part=full", "--also=onnx", f"--out={out}")
    export(env, f"--workdir={staged}", *flags, start=("-c", WITH_TORCH))
    found = json.loads((out / "parity.json").read_text())["onnx"]
    assert found["passed"]
    assert (out / "model.onnx").exists()
