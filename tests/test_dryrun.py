"""The command, as a person runs it."""

import importlib.util
import json

import pytest

from tests.runs import CONFIG, call

LIBTPU = importlib.util.find_spec("libtpu")


def dryrun(env, *flags, config=CONFIG, code=0):
    return call(env, "-m", "gazax.dryrun", f"--config={config}", *flags, code=code)


def test_a_step_is_compiled_for_devices_that_are_not_there(env, tmp_path):
    cache = tmp_path / "cache"
    done = dryrun(
        {**env, "GAZAX_DATA": str(cache)}, "--topology=cpu:2", f"--json={tmp_path}/found.json"
    )
    assert "nothing was run and nothing measured" in done.stdout
    assert not cache.exists()  # no data was made
    found = json.loads((tmp_path / "found.json").read_text())
    (stage,) = found["stages"]
    assert (found["topology"], found["chips"], found["measured"]) == ("cpu:2", 2, False)
    assert (stage["batch"], stage["steps"], stage["fits"]) == (16, 30, True)
    assert f"{stage['parameters']:,}" in done.stdout
    # Every parameter's gradient is summed over the two devices, in float32.
    assert stage["collectives"]["all-reduce"]["bytes"] >= 4 * stage["trained"]
    assert stage["step_s"] is None  # of a CPU no peaks are known


@pytest.mark.parametrize(
    ("flags", "config", "message"),
    [
        ((), CONFIG, "--topology=KIND:SHAPE is needed"),
        (("--topology=v5x:2x2",), CONFIG, "did you mean 'v5"),
        (("--topology=cpu:2", "--batch=2", "--find_batch"), CONFIG, "leave one out"),
        (("--topology=cpu:2",), "configs/ablations/terms.py", "sweep"),
    ],
)
def test_a_mistake_ends_in_one_line(env, flags, config, message):
    failed = dryrun(env, *flags, config=config, code=2)
    assert failed.stderr.count("error:") == 1
    assert message in failed.stderr


@pytest.mark.slow
@pytest.mark.skipif(LIBTPU is None, reason="NOT TESTED: the TPU compiler; pip install 'gazax[tpu]'")
@pytest.mark.parametrize("topology", ["v5e:1x1", "v5e:2x2", "v6e:2x2", "v5p:2x2x1"])
def test_a_step_is_compiled_for_a_tpu(env, tmp_path, topology):
    dryrun(env, f"--topology={topology}", f"--json={tmp_path}/found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    (stage,) = found["stages"]
    assert stage["fits"]
    assert stage["step_s"] == max(
        stage[f"{side}_s"] for side in ("compute", "memory", "communication")
    )
    assert bool(stage["collectives"]) == (found["chips"] > 1)


@pytest.mark.slow
@pytest.mark.skipif(LIBTPU is None, reason="NOT TESTED: the TPU compiler; pip install 'gazax[tpu]'")
def test_what_does_not_fit_is_said_and_is_no_crash(env, tmp_path):
    done = dryrun(
        {**env, "JAX_EXEC_TIME_OPTIMIZATION_EFFORT": "-1"},
        "--topology=v5e:1x1",
        "--batch=262144",
        f"--json={tmp_path}/found.json",
        code=1,
    )
    assert "DOES NOT FIT" in done.stdout
    (stage,) = json.loads((tmp_path / "found.json").read_text())["stages"]
    assert stage["needs"] > stage["limit"] > 2**33
