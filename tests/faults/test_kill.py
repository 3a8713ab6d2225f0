"""SIGKILL in moments that are rare; `python -m tests.faults.kill` has a hundred of all kinds."""

import numpy as np
import pytest

from tests.faults.kill import kill_once, run_to_the_end
from tests.faults.works import Training, runs_differ
from tests.runs import run


class Plain(Training):
    """As the fixture `finished` has it."""

    every = ()
    interval = 10
    logged = 5


def test_killed_at_any_moment_it_ends_bit_identical(env, finished, tmp_path):
    """In a step, in the middle of a checkpoint and before its manifest, then to the end.

    Nothing half-written is left, and the lock of the one that was killed is nobody's.
    """
    work, draw = Plain(tmp_path / "killed", env), np.random.default_rng(0)
    for name in ("a checkpoint's files", "between commit and manifest", "a step"):
        process = work.start()
        moments = {one.name: one for one in work.moments(process, draw)}
        case = kill_once(work, process, moments[name])
        assert case is not None, name
        assert case["steps_lost"] <= 2 * work.interval  # one that was written, and one before it
        assert not (work.folder / "summary.json").exists()
    assert run_to_the_end(work) == ""
    assert runs_differ(work.folder, finished[0]) == []
    assert not [name for name in work.names() if "partial" in name or "tmp" in name]


def test_a_second_run_on_a_workdir_is_refused_and_the_first_goes_on(env, tmp_path):
    work = Plain(tmp_path / "taken", env)
    process = work.start()
    while "step 0/30" not in process.said:
        assert process.code is None, process.complained
    refused = run(env, work.folder, code=2)
    assert "another process trains in workdir" in refused.stderr
    assert process.code is None
    process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_any_number_of_workers_gives_the_same_run(env, finished, tmp_path, number):
    workdir = tmp_path / "workers"
    run(env, workdir, f"--config.data.num_workers={number}")
    assert runs_differ(workdir, finished[0]) == []
