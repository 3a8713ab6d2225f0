"""Several processes on this machine that are one run, and what each of them said."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from tests.runs import ROOT, command


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    stdout: str
    stderr: str


class Group:
    """Processes that were told of each other by flags.

    Args:
      words: of the command, without the flags that say which process it is.
      count: processes.
      env: of each.
      devices: simulated, of each.
      start: which of them come; None is all.
      own: more flags, by process.
    """

    def __init__(self, words, count, env, *, devices=1, start=None, own=None):
        self._files = []
        self.processes = []
        self.port = port = free_port()
        for i in range(count) if start is None else start:
            flags = [
                f"--coordinator_address=127.0.0.1:{port}",
                f"--num_processes={count}",
                f"--process_id={i}",
            ]
            # Into files: a pipe that nobody empties would stop a process.
            files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
            self._files.append(files)
            self.processes.append(
                subprocess.Popen(
                    [*words, *flags, *(own or {}).get(i, ())],
                    cwd=ROOT,
                    env={**env, "JAX_NUM_CPU_DEVICES": str(devices)},
                    stdout=files[0],
                    stderr=files[1],
                    text=True,
                )
            )

    def said(self, i):
        """What a process has printed until now."""
        return os.pread(self._files[i][0].fileno(), 1 << 20, 0).decode()

    def wait_until(self, i, text, timeout=1500):
        """Returns when a process has printed a text."""
        end = time.monotonic() + timeout
        while text not in self.said(i):
            assert time.monotonic() < end, f"no '{text}':\n{self.said(i)}"
            assert self.processes[i].poll() is None, self.ended()
            time.sleep(0.02)

    def ended(self, timeout=1500):
        """How each of them ended; those that do not are killed."""
        end = time.monotonic() + timeout
        try:
            for process in self.processes:
                process.wait(max(0, end - time.monotonic()))
        finally:
            for process in self.processes:
                process.kill()
                process.wait()
        found = []
        for process, files in zip(self.processes, self._files, strict=True):
            for file in files:
                file.seek(0)
            found.append(Ended(process.returncode, *(file.read() for file in files)))
            for file in files:
                file.close()
        return found


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def together(words, count, env, *, devices=1, code=0):
    """Runs them to their end, which has this exit code in all of them."""
    ended = Group(words, count, env, devices=devices).ended()
    for i, one in enumerate(ended):
        assert one.code == code, f"process {i}: exit {one.code}\n{one.stdout}\n{one.stderr}"
        assert "Traceback" not in one.stderr, one.stderr
    return ended


def recorded(workdir, seen, *flags, config):
    """The words of ``gazax.main`` that also leaves in ``seen`` what every process has read."""
    main = command(workdir, *flags, config=config)
    return [sys.executable, "-m", "tests.hosts.recording", str(seen), *main[3:]]
