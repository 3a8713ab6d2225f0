"""Whole runs of 2 and 4 processes beside one process with one device.

Rounding alone may differ: the rows of a global batch stand in another order and are added up in
parts, a process each. A float32 rounding is 2^-24, and the losses are sums of some 10^3 terms: the
first `FIRST` steps stay within `LOSS`, where one other draw moves a loss by 10^-2. After that
training blows a rounding up, in one process with four devices as in four processes: Adam divides a
gradient by its own size, so that one which is nothing but rounding, as of the bias of an
attention's keys, moves its parameter by a part of a learning rate in every step; and with batch
statistics, of which every layer's gradients are made, it grows two- or threefold a step. `LATE` and
`WHOLE` bound what is there after ten.
"""

import json
import signal

import numpy as np
import pytest
from etils import epath

from gazax.train.checkpoint import find_damage
from gazax.train.source import load_source
from tests.hosts.processes import Group, recorded, together
from tests.runs import command, lines
from tests.train.toys import flat

pytestmark = pytest.mark.slow

FIRST, LOSS = 4, 1e-5
LATE = {"gazat": 1e-4, "moco": 1e-4, "classify": 5e-3}
"""Of losses, relative."""
WHOLE = {"gazat": 1e-4, "moco": 1e-4, "classify": 1e-3}
"""Of all parameters together, relative to their norm."""
FLAGS = ("--config.train.steps=10", "--config.train.log_every=1")
GAZAT = "configs/gazat_vit.py:smoke"
RUNS = {
    "gazat": GAZAT,
    "moco": "configs/baselines/moco.py:smoke",
    "classify": "configs/cooperative/stage1_classify.py:smoke",  # batch statistics
}


def words(workdir, *flags, config=GAZAT):
    return recorded(workdir, workdir.with_name(f"{workdir.name}_seen"), *flags, config=config)


def read_of(workdir, process=None):
    """Step -> (place, image) of each example that was read, by one process or by all of them."""
    found = {}
    for path in sorted(workdir.with_name(f"{workdir.name}_seen").iterdir()):
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if process in (None, line["process"]):
                pairs = zip(line["place"], line["index"], strict=True)
                found.setdefault(line["step"], []).extend(pairs)
    return {step: sorted(found[step]) for step in sorted(found)}


def final(workdir, step=10):
    saved = load_source(epath.Path(workdir) / "checkpoints" / str(step))
    return flat({"params": saved.params, "state": saved.state})


def compare(workdir, expected, name):
    logged, wanted = lines(workdir), lines(expected)
    assert [line["step"] for line in logged] == [line["step"] for line in wanted]
    furthest = {}
    for line, other in zip(logged, wanted, strict=True):
        assert line.keys() == other.keys()
        bound = LOSS if line["step"] <= FIRST else LATE[name]
        for key in line:
            if key == "loss" or key.startswith(("loss/", "validation/loss")):
                np.testing.assert_allclose(
                    line[key], other[key], rtol=bound, err_msg=f"{key}, step {line['step']}"
                )
                off = abs(line[key] - other[key]) / abs(other[key])
                furthest[key] = max(furthest.get(key, 0), off)
    rate = max(line.get("learning_rate", 0) for line in wanted)
    found, arrays = final(workdir), final(expected)
    assert found.keys() == arrays.keys()
    params = [key for key in arrays if key.startswith("params")]
    off, norm = (
        np.concatenate([one.ravel() for one in of])
        for of in ([found[key] - arrays[key] for key in params], [arrays[key] for key in params])
    )
    whole, worst = np.linalg.norm(off) / np.linalg.norm(norm), np.abs(off).max() / rate
    print(f"losses off by {furthest}; parameters by {whole:.1e}, one by {worst:.1e} rates")
    assert whole < WHOLE[name]
    for key in arrays.keys() - set(params):  # batch statistics, a queue: of their own size
        size = np.abs(arrays[key]).max()
        np.testing.assert_allclose(found[key], arrays[key], atol=5e-3 * size, err_msg=key)


@pytest.fixture(scope="module")
def alone(env, tmp_path_factory):
    """One process with one device, by name of a run."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("alone") / name
            together(words(made[name], *FLAGS, config=RUNS[name]), 1, env)
        return made[name]

    return make


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (4, 1)])
def test_several_processes_train_what_one_does(env, alone, tmp_path, name, processes, devices):
    workdir = tmp_path / "several"
    flags = [*FLAGS]
    if name == "gazat" and devices == 2:
        flags.append("--config.train.fsdp=4")  # over both processes
    ended = together(words(workdir, *flags, config=RUNS[name]), processes, env, devices=devices)
    expected = alone(name)
    assert read_of(workdir) == read_of(expected)
    for process in range(processes):  # it reads its own records and no other's
        places = [place for step in read_of(workdir, process).values() for place, _ in step]
        assert all(place % processes == process for place in places)
    compare(workdir, expected, name)
    assert "step 10/10" in ended[0].stdout
    assert not any(one.stdout for one in ended[1:])
    names = {path.name for path in workdir.iterdir()}
    assert names == {path.name for path in expected.iterdir()}
    assert find_damage(epath.Path(workdir) / "checkpoints" / "10") is None
    numbers, wanted = (
        json.loads((folder / "summary.json").read_text()) for folder in (workdir, expected)
    )
    assert numbers["images"] == wanted["images"]
    assert numbers["numbers"].keys() == wanted["numbers"].keys()


def test_what_four_saved_goes_on_with_one_and_with_two(env, alone, tmp_path):
    """No example is lost and none seen twice: the stream is that of an unbroken run."""
    workdir = tmp_path / "handed_on"
    for processes in (4, 1):
        group = Group(words(workdir, *FLAGS), processes, env)
        group.wait_until(0, "/10  loss")
        group.processes[-1].send_signal(signal.SIGTERM)
        assert {one.code for one in group.ended()} == {75}
    together(words(workdir, *FLAGS), 2, env)
    assert read_of(workdir) == read_of(alone("gazat"))


def test_sigterm_to_one_of_two_saves_both_and_they_go_on(env, alone, tmp_path):
    workdir = tmp_path / "preempted"
    group = Group(words(workdir, *FLAGS), 2, env)
    group.wait_until(0, "step 5/10")
    group.processes[1].send_signal(signal.SIGTERM)
    first, second = group.ended()
    assert (first.code, second.code) == (75, 75), first.stderr + second.stderr
    assert "the same command goes on" in first.stdout
    together(words(workdir, *FLAGS), 2, env)
    compare(workdir, alone("gazat"), "gazat")


def test_sigterm_before_there_is_anything_to_save_ends_both(env, tmp_path):
    group = Group(command(tmp_path / "early", config=GAZAT), 2, env)
    group.wait_until(0, "phantom, 48 images")
    group.processes[0].send_signal(signal.SIGTERM)
    assert [one.code for one in group.ended(120)] == [75, 75]


def test_a_process_that_is_killed_ends_the_other(env, tmp_path):
    group = Group(command(tmp_path / "killed", config=GAZAT), 2, env)
    group.wait_until(0, "step 5/30")
    group.processes[1].send_signal(signal.SIGKILL)
    first, _ = group.ended(150)
    assert first.code == 1
    assert "error: the connection to another process broke" in first.stderr
    assert "Traceback" not in first.stderr
    together(command(tmp_path / "killed", "--config.train.steps=30"), 2, env)


def test_a_second_run_on_the_workdir_is_refused_to_all_of_its_processes(env, tmp_path):
    workdir = tmp_path / "taken"
    words = command(workdir, "--config.train.steps=5000", config=GAZAT)  # it is stopped below
    group = Group(words, 2, env)
    group.wait_until(0, "step 0/5000")
    for processes in (2, 1):
        refused = together(words, processes, env, code=2)
        assert all("another process trains in workdir" in one.stderr for one in refused)
    for process in group.processes:
        process.kill()
    group.ended()


def test_a_mistake_of_one_process_ends_all(env, tmp_path):
    group = Group(command(tmp_path / "differ", config=GAZAT), 2, env, own={1: ["--config.seed=1"]})
    first, second = group.ended(120)
    assert (first.code, second.code) == (2, 2)
    assert "process 1 differs from process 0 in config.seed" in first.stderr + second.stderr


def test_all_stages_of_cooperative_learning(env, tmp_path):
    """Each begins with the weights of the one before; two of them with frozen parts computed."""
    workdir = tmp_path / "stages"
    ended = together(command(workdir, config="configs/cooperative/all.py:smoke"), 2, env)
    assert ended[0].stdout.count("computing what the frozen parts give") == 2
    summary = json.loads((workdir / "summary.json").read_text())
    assert len(summary["stages"]) == 4
