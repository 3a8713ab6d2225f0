"""One run a workdir: a lock that ends with its process, also where files cannot be locked.

On a disk it is the system's lock on ``.lock``, which ends with the process, SIGKILL or not; NFS
carries it between hosts. A bucket, and a file system that has no locks, gets an object
``lock.json`` instead, which its process renews every `BEAT_S`. Whoever finds one looks at it for
`STALE_S`: if it is renewed meanwhile the run is alive, if not it is dead and its lock is taken
over. No clock is compared with another host's. Two that find a dead one in the same moment both
write, and the one whose object stays has it; one that was asleep for longer than `STALE_S`, and
lost it, ends itself at the next beat.
"""

import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from typing import IO, Any

from etils import epath

from gazax.train.files import is_object_store, write_text
from gazax.typing import InputError

BEAT_S = 20.0
STALE_S = 90.0
SETTLE_S = 2.0
"""For two that write in the same moment."""

_HELD: list["IO[str] | LockObject"] = []
"""For as long as the process lives, or until `release`."""


def lock(workdir: epath.Path) -> None:
    """Keeps other runs out of the workdir until this process ends.

    Raises:
      InputError: another process trains there.
    """
    if not is_object_store(workdir):
        file = open(workdir / ".lock", "w")  # noqa: SIM115  it stays open on purpose
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _HELD.append(file)
            return
        except BlockingIOError:
            raise _taken(workdir, "") from None
        except OSError:
            file.close()  # a file system without locks
    _HELD.append(LockObject(workdir, beat=BEAT_S, stale=STALE_S, settle=SETTLE_S))


def release() -> None:
    """Gives up every lock of this process."""
    while _HELD:
        held = _HELD.pop()
        held.close()


class LockObject:
    """The lock of a workdir where files cannot be locked; made where it is free or dead.

    Args:
      workdir: it exists.
      beat, stale, settle: s, see the module.

    Raises:
      InputError: another process holds it.
    """

    def __init__(
        self,
        workdir: epath.Path,
        *,
        beat: float,
        stale: float,
        settle: float,
    ) -> None:
        self._path = workdir / "lock.json"
        self._workdir = workdir
        self._beat, self._stale = beat, stale
        self._me = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid()}
        self._beats = 0
        self._watch(stale, every=min(1.0, beat / 4))
        self._write()
        time.sleep(settle)
        if not self.is_mine():
            raise _taken(workdir, self._read())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def is_mine(self) -> bool:
        """Whether the object is still this one's."""
        return self._me["id"] in self._read()

    def close(self) -> None:
        """Gives it up."""
        self._ended.set()
        self._thread.join()
        if self.is_mine():
            self._path.unlink(missing_ok=True)

    def _watch(self, stale: float, *, every: float) -> None:
        """Returns when nobody holds it."""
        found = self._read()
        if found:
            print(
                f"{self._path} is there{_holder(found)}: looking for up to {stale:.0f} s whether "
                "that run is alive",
                file=sys.stderr,
                flush=True,
            )
        end = time.monotonic() + stale
        while found and time.monotonic() < end:
            time.sleep(every)
            now = self._read()
            if now and now != found:
                raise _taken(self._workdir, now)
            found = now

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(self._beat):
            try:
                if not self.is_mine():
                    self._lose(f"it is another's now{_holder(self._read())}")
                    return
                self._write()
                renewed = time.monotonic()
            # A network that is away for a moment; libraries of clouds have errors of their own.
            except Exception as error:
                if time.monotonic() - renewed > self._stale:
                    self._lose(f"it could not be renewed for {self._stale:.0f} s ({error})")

    def _lose(self, why: str) -> None:
        """Two that write one workdir would ruin it: nothing is saved."""
        print(f"error: the lock {self._path} is lost: {why}. This run ends.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)

    def _write(self) -> None:
        self._beats += 1
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write_text(self._path, json.dumps({**self._me, "beat": self._beats, "time": now}))

    def _read(self) -> str:
        """Its text; '' where there is none."""
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return ""


def _holder(text: str) -> str:
    try:
        found: dict[str, Any] = json.loads(text)
        return f" (host {found['host']}, process {found['pid']}, last seen {found['time']})"
    except (ValueError, KeyError, TypeError):
        return ""


def _taken(workdir: epath.Path, text: str) -> InputError:
    return InputError(
        f"another process{_holder(text)} trains in workdir '{workdir}'; wait for it, stop it, or "
        "give another --workdir."
    )
