"""Clocks that jump by hours, forwards and backwards: nothing of a run follows them."""

import itertools
import json
import time

import jax
import numpy as np
import pytest
from etils import epath

from gazax.train.lock import LockObject
from gazax.train.logging import read_metrics
from gazax.typing import InputError, RunError
from tests.train import toys

TOY = toys.Toy()
BACK = itertools.accumulate(itertools.repeat(-3))
TO_AND_FRO = itertools.cycle((0, 5, -9, 2, -30))


@pytest.fixture
def jump(monkeypatch):
    """Has the wall clock so many hours off, at each look at it others."""
    now, now_ns = time.time, time.time_ns

    def jump(hours):
        monkeypatch.setattr(time, "time", lambda: now() + next(hours) * 3600)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + next(hours) * 3600 * 10**9)

    return jump


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return toys.train(TOY, epath.Path(tmp_path_factory.mktemp("whole")), steps=6).state


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_backwards_a_run_is_the_same_to_the_bit(tmp_path, whole, jump):
    jump(BACK)
    folder = epath.Path(tmp_path)
    toys.train(TOY, folder, steps=4)
    equal(toys.train(TOY, folder, steps=6).state, whole)
    lines = [line for line in read_metrics(folder) if "loss" in line]
    assert len(lines) == 6
    speeds = [line["images_per_s"] for line in lines if "images_per_s" in line]
    assert len(speeds) == 4  # the first step of each of the two starts compiles
    assert min(speeds) > 0


def test_forwards_a_save_may_give_up_and_the_run_goes_on(tmp_path, whole, jump, monkeypatch):
    """Orbax waits by this clock: it says so, and nothing is lost."""
    folder = epath.Path(tmp_path)
    with monkeypatch.context():
        jump(TO_AND_FRO)
        with pytest.raises(RunError, match="clock was set meanwhile; the same command goes on"):
            toys.train(TOY, folder, steps=6)
    monkeypatch.undo()
    equal(toys.train(TOY, folder, steps=6).state, whole)


def test_a_lock_is_neither_lost_nor_taken(tmp_path, jump):
    jump(TO_AND_FRO)
    quick = dict(beat=0.05, stale=0.5, settle=0.02)
    held = LockObject(epath.Path(tmp_path), **quick)
    for _ in range(2):
        with pytest.raises(InputError, match="another process"):
            LockObject(epath.Path(tmp_path), **quick)
    assert held.is_mine()
    held.close()


def test_a_dead_lock_is_taken_over_whatever_its_time(tmp_path, jump):
    jump(TO_AND_FRO)
    (tmp_path / "lock.json").write_text(json.dumps({"id": "a", "time": "2999-01-01T00:00:00Z"}))
    LockObject(epath.Path(tmp_path), beat=0.05, stale=0.2, settle=0.02).close()
    assert not (tmp_path / "lock.json").exists()
