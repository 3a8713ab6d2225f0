"""Time and memory of an export, by its size: the peak above what the program takes without weights.

python -m pytest tests/benchmarks/test_export.py -n0 -m slow -s
"""

import json
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from tests.experiment.trained import make_config, make_workdir
from tests.runs import ROOT

MODELS = {
    "ViT-B/16": ("timm", dict(name="vit", variant="B/16", stem="patch")),
    "DenseNet-201": ("torchvision", dict(name="densenet", depth=201)),
}
TIMES = {"written": 3, "verified": 5}
"""Memory of an export at most, over that of the weights."""

# In a process of its own, whose largest memory is that of the export. Modules and the backend of
# jax are there before; so is what any first read of a checkpoint starts, and the trace of the
# model, which grows with its layers and not with its weights.
MEASURE = """
import json, pathlib, sys, time
from etils import epath
from gazax import config as config_lib
from gazax.experiment.method import build_method
from gazax.experiment.export import Export
import gazax.data.phantom, jax
small, large, layout, out, verify = sys.argv[1:]
if verify:
    from tests.models.conftest import import_torchvision
    import_torchvision()

def write(folder, layout, out):
    folder = epath.Path(folder)
    config = config_lib.of_run(str(folder))
    export = Export(config, folder, which="last", layout=layout, part="backbone")
    export.write(pathlib.Path(out), verify=bool(verify))

write(small, "timm", out + "-small")
config = config_lib.of_run(large)
method = build_method(config)
jax.eval_shape(method.init, jax.random.key(0), config_lib.batch_spec(config))


def memory(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
before, start = memory("VmRSS"), time.perf_counter()
write(large, layout, out)
found = {"bytes": memory("VmHWM") - before, "seconds": time.perf_counter() - start}
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("name", "how"),
    [("ViT-B/16", "written"), ("ViT-B/16", "verified"), ("DenseNet-201", "written")],
)
def test_an_export_takes_little_more_than_the_weights(env, tmp_path, name, how):
    layout, model = MODELS[name]
    verify = "yes" if how == "verified" else ""
    config = make_config(size=(224, 224))
    config.model = ConfigDict({**model, "dtype": "float32", "remat": False})
    make_workdir(tmp_path / "large", config)
    make_workdir(tmp_path / "small", make_config())
    folders = [str(tmp_path / name) for name in ("small", "large")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *folders, layout, str(tmp_path / "out"), verify],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    weights = (tmp_path / "out" / "model.safetensors").stat().st_size
    times = found["bytes"] / weights
    print(
        f"\n{name}: {weights / 2**20:.0f} MiB of weights {how} in {found['seconds']:.1f} s; "
        f"peak {found['bytes'] / 2**20:.0f} MiB more, {times:.2f} times the weights"
    )
    assert times <= TIMES[how]
