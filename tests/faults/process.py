"""A command that runs until it is killed, and what it has said and done by then."""

import contextlib
import multiprocessing.process
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests import zygote
from tests.runs import ROOT


class Process:
    """``python -m module *flags``.

    Args:
      module, flags: of the command.
      env: its environment.
      log: a folder; what it says goes into two files there, and is read from them.
      whole: from the start of the interpreter, with processes of its own that are killed with it;
        else forked from one that has imported the libraries.
    """

    def __init__(
        self,
        module: str,
        flags: Sequence[str],
        env: Mapping[str, str],
        log: pathlib.Path,
        *,
        whole: bool = False,
    ) -> None:
        self._out, self._err = log / "out", log / "err"
        self._out.write_bytes(b"")
        self._process: subprocess.Popen | multiprocessing.process.BaseProcess
        if whole:
            with self._out.open("wb") as out, self._err.open("wb") as err:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", module, *flags],
                    cwd=ROOT,
                    env={**env, "PYTHONUNBUFFERED": "1"},
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
        else:
            self._process = zygote.start(
                module, flags, cwd=ROOT, env=env, out=self._out, err=self._err
            )

    @property
    def said(self) -> str:
        """On stdout, until now."""
        return self._out.read_text()

    @property
    def complained(self) -> str:
        """On stderr, until now."""
        return self._err.read_text() if self._err.exists() else ""

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return self._process.exitcode

    def kill(self, *, group: bool = False) -> None:
        """SIGKILL to it, or to all that it has started as well, as a machine's end is."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self._process.pid or 0, signal.SIGKILL)
            else:
                self._process.kill()
        self.wait(60)

    def wait(self, timeout: float) -> int:
        """The exit code; what does not end is killed, and an error."""
        if isinstance(self._process, subprocess.Popen):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        else:
            self._process.join(timeout)
        if self.code is None:
            self._process.kill()
            raise TimeoutError(f"it did not end in {timeout} s\n{self.said}\n{self.complained}")
        return self.code
