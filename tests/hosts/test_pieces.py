"""Two processes, the smallest of runs: the loop, its checkpoints, an evaluation, agreements."""

import json
import sys

import jax
import numpy as np
import pytest
from etils import epath
from jax.sharding import AxisType, Mesh

from gazax.train.checkpoint import find_damage
from gazax.train.source import load_source
from tests.hosts import tiny
from tests.hosts.processes import together
from tests.runs import lines
from tests.train.toys import flat


def one_device():
    devices = np.array(jax.devices()[:1]).reshape(1, 1)
    return Mesh(devices, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


@pytest.mark.parametrize("name", ["toy", pytest.param("gazat", marks=pytest.mark.slow)])
def test_two_processes_are_one_run(env, tmp_path, name):
    """Rounding alone differs: the rows of a batch are added up in another order.

    A float32 rounding is 2^-24, and four steps of a few thousand sums each follow one another.
    """
    alone, several = tmp_path / "alone", tmp_path / "several"
    alone.mkdir()
    several.mkdir()
    outcome, seen = tiny.train(name, alone, one_device())
    state = outcome.state
    words = [sys.executable, "-m", "tests.hosts.tiny", name, str(several)]
    first, second = together(words, 2, env)
    assert "done" in first.stdout
    assert "step 4/4" in first.stdout
    assert not second.stdout
    for line, expected in zip(lines(several), lines(alone), strict=True):
        assert line.keys() == expected.keys()
        for key in ("loss", "grad_norm", "evaluated"):
            if key in line:
                np.testing.assert_allclose(line[key], expected[key], rtol=1e-5, err_msg=key)
    saved = load_source(epath.Path(several) / "checkpoints" / "4")
    expected = {"params": state.params, "state": state.method_state}
    found = {"params": saved.params, "state": saved.state}
    for key, array in flat(expected).items():
        np.testing.assert_allclose(flat(found)[key], array, rtol=1e-5, atol=1e-6, err_msg=key)
    for i in (0, 1):  # 10 images in batches of 4: each once, in their order, in both
        here = json.loads((several / f"seen_{i}.json").read_text())
        assert here["index"] == seen["index"] == [*range(4), *range(4, 8), *range(8, 10)]
        np.testing.assert_allclose(here["mean"], seen["mean"], rtol=1e-6)
        assert here["stopped"] == [True, 3]  # SIGTERM to the second, in its second step
    assert find_damage(epath.Path(several) / "stopped" / "checkpoints" / "3") is None
    assert {path.name for path in several.iterdir()} == {
        *("checkpoints", "metrics.jsonl", "tensorboard", "shared", "own_0", "own_1", "stopped"),
        *("seen_0.json", "seen_1.json"),
    }
