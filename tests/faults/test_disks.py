"""A disk that is full, read-only or too small: loud, and nothing that was saved is lost."""

import contextlib
import errno
import os
import signal
import time

import numpy as np
import pytest
from etils import epath

from gazax.config import ending_of
from gazax.train import logging
from gazax.train.checkpoint import MANIFEST, Checkpoints, find_damage
from gazax.train.logging import Metrics, read_metrics
from gazax.train.workdir import claim, write_json
from gazax.typing import InputError
from tests import runs as command
from tests.faults import disks
from tests.faults.works import runs_differ
from tests.train import toys

STEPS = 6
METHOD = toys.Toy(backbone=toys.tiny_vit())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The last state of an unbroken run."""
    return run(tmp_path_factory.mktemp("whole"))


def run(folder, **given):
    outcome = toys.train(METHOD, epath.Path(folder), steps=STEPS, **given)
    return toys.flat(outcome.state)


def equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def at_step_4(fault, folder):
    """An evaluation, in which the fault begins; checkpoint 2 is whole, and 4 follows it."""
    stack = contextlib.ExitStack()

    def evaluate(state):
        if int(state.step) == 4:
            saved = folder / "checkpoints" / "2" / MANIFEST
            while not saved.exists():
                time.sleep(0.01)
            stack.enter_context(fault)
        return {}

    return stack, evaluate


def settle(folder):
    """Waits for the threads of a save that failed: here their process lives on."""
    before = None
    while (now := sorted(folder.rglob("*"))) != before:
        before = now
        time.sleep(0.5)


def fails(folder, fault, *, names):
    """Runs until the fault ends it, loudly, with exit code 1 and the file; then goes on."""
    stack, evaluate = at_step_4(fault, folder)
    with stack, pytest.raises(Exception, match=names) as failure:
        run(folder, evaluate=evaluate)
    message, code = ending_of(failure.value) or ("", None)
    assert code == 1, failure.value
    assert "Make room, or mend the disk or its rights; the same command goes on" in message
    settle(folder)
    kept = Checkpoints(epath.Path(folder) / "checkpoints", keep=1).steps()
    assert kept == [2]
    return run(folder)


def test_a_checkpoint_that_does_not_fit(tmp_path, whole):
    fault = disks.no_large_file(3000)
    equal(fails(tmp_path, fault, names="a checkpoint in '.*' could not be written"), whole)


def test_a_checkpoints_folder_that_becomes_read_only(tmp_path, whole):
    fault = disks.read_only(tmp_path / "checkpoints")
    equal(fails(tmp_path, fault, names="a checkpoint in '.*' could not be written"), whole)


def test_a_manifest_that_does_not_fit(tmp_path, whole):
    """Orbax has committed, and the checkpoint is none."""

    @contextlib.contextmanager
    def full():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gazax.train.checkpoint.write_text", no_space)
            yield

    equal(fails(tmp_path, full(), names="could not be written"), whole)


def test_a_preempted_run_that_cannot_save_does_not_end_as_saved(tmp_path, whole):
    """Not with 75, on which launchers go on as if nothing were lost."""

    @contextlib.contextmanager
    def full():
        os.kill(os.getpid(), signal.SIGTERM)
        with disks.no_large_file(3000):
            yield

    equal(fails(tmp_path, full(), names="could not be written"), whole)


def test_metrics_that_do_not_fit(tmp_path, whole):
    length = 0

    @contextlib.contextmanager
    def full():
        nonlocal length
        length = (tmp_path / "metrics.jsonl").stat().st_size
        with disks.no_large_file(length + 10):
            yield

    equal(fails(tmp_path, full(), names="metrics.jsonl"), whole)
    assert [line["step"] for line in read_metrics(epath.Path(tmp_path)) if "loss" in line] == [
        *range(1, STEPS + 1)
    ]


@pytest.mark.parametrize("lines", [1, 1000])
def test_events_that_do_not_fit_end_the_run_and_do_not_stop_it(tmp_path, lines):
    """The library's own writer waits for ever once its thread has met a full disk."""

    def write(metrics):
        for step in range(1, lines + 1):
            metrics.write(step, dict.fromkeys("abcdefgh", 1.0))
        metrics.save()

    metrics = Metrics(epath.Path(tmp_path), start=0)
    metrics._file = None  # metrics.jsonl would not fit either
    (events,) = (tmp_path / "tensorboard").iterdir()
    full = disks.no_large_file(events.stat().st_size + 10)
    with full, pytest.raises(OSError, match="tensorboard") as failure:
        write(metrics)
    assert ending_of(failure.value)[1] == 1


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_that_never_gets_to_an_events_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorboardX.event_file_writer.RecordWriter", no_space)
    with pytest.raises(OSError, match="No space left on device: '.*tensorboard'"):
        logging.Metrics(epath.Path(tmp_path), start=0)


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path):
    path = epath.Path(tmp_path) / "summary.json"
    write_json(path, {"old": 1})
    with disks.no_large_file(100), pytest.raises(OSError, match=r"summary\.json"):
        write_json(path, {"new": "x" * 10_000})
    assert path.read_text() == '{\n  "old": 1\n}\n'


def test_a_read_only_workdir_is_refused_at_once(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with disks.read_only(folder), pytest.raises(InputError, match="'.*run' cannot be written"):
        claim(epath.Path(folder), {"seed": 0}, "abc")


SIZES = (128,)


@pytest.mark.parametrize(
    "kilobytes",
    [
        *SIZES,
        *(pytest.param(n, marks=pytest.mark.slow) for n in range(8, 400, 8) if n not in SIZES),
    ],
)
def test_a_disk_of_any_size_is_enough_or_is_said_to_be_full(tmp_path, whole, kilobytes):
    """A real one: whichever write it is that fails. With room, the same command goes on."""
    folder = tmp_path / "disk"
    with disks.small(folder, kilobytes):
        try:
            run(folder)
        except Exception as error:
            message, code = ending_of(error) or (repr(error), None)
            assert code == 1, message
            assert str(folder) in message
            assert "No space left" in message or "RESOURCE_EXHAUSTED" in message, message
        else:
            assert find_damage(epath.Path(folder) / "checkpoints" / str(STEPS)) is None
        settle(folder)
        disks.enlarge(folder)
        equal(run(folder), whole)


@pytest.mark.slow
def test_a_command_on_a_full_disk_fails_in_a_line_and_goes_on(env, finished, tmp_path):
    folder = tmp_path / "disk"
    with disks.small(folder, 900):
        failed = command.run(env, folder / "run", code=1)
        assert failed.stderr.splitlines()[-1].startswith("error: ")
        assert "No space left" in failed.stderr
        assert not (folder / "run" / "summary.json").exists()
        disks.enlarge(folder)
        command.run(env, folder / "run")
        assert runs_differ(folder / "run", finished[0]) == []
