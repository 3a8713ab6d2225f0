"""Processes that read ahead, killed, or left by a run that was."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.faults.records import prepared
from tests.runs import ROOT

DRIVER = """
import multiprocessing
import os
import pathlib
import sys

from gazax.data.records import Records
from gazax.typing import RunError
from tests.faults.records import batches

if __name__ == "__main__":
    stream = batches(Records(pathlib.Path(sys.argv[1])), num_workers=2)
    next(stream)
    print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
    try:
        while True:
            next(stream)
    except RunError as error:
        print(error, flush=True)
        os._exit(1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["a worker", "the run"])
def test_a_worker_that_is_killed_ends_the_run_and_a_killed_run_its_workers(tmp_path, killed):
    records = prepared(tmp_path)
    (tmp_path / "driver.py").write_text(DRIVER)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(records.directory)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    workers = [int(word) for word in process.stdout.readline().split()]
    assert len(workers) == 2
    if killed == "a worker":
        os.kill(workers[0], signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        assert "one of the 2 processes that read data ahead was lost" in out
        assert "lower config.data.num_workers" in out
    else:
        process.kill()
        process.wait()
    for _ in range(300):
        if not any(map(is_alive, workers)):
            return
        time.sleep(0.1)
    raise AssertionError("a worker goes on without its run")


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
