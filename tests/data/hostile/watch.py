"""What is opened while something is read, by the audit hook of Python itself."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Watch:
    """Notes whatever is opened outside some folders while it is on; there is one a process."""

    WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod")

    def __init__(self):
        self.read: tuple[str, ...] | None = None
        self.write: tuple[str, ...] = ()
        self.found: list[str] = []
        self.alone = True
        """No other processes are talked to, which is done in pickles."""
        here = Path(__file__).resolve().parents[3]
        self.own = tuple(
            str(path)
            for path in (sys.prefix, sys.base_prefix, here / "gazax", "/proc", "/sys", "/dev/null")
        )
        self.own += tuple(str(Path(path)) for path in sys.path if path and Path(path) != here)
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple) -> None:
        if self.read is None:
            return
        if event == "pickle.find_class" and self.alone:
            self.found.append(f"unpickles {args}")
        elif event in ("os.listdir", "os.scandir"):
            self._check(args[0], "reads", (*self.read, *self.write, *self.own))
        elif event == "open":
            path, mode, flags = args
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            writes |= bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            may = self.write if writes else (*self.read, *self.write, *self.own)
            self._check(path, "writes" if writes else "reads", may)
        elif event in self.WRITES:
            for path in args[:2] if event in ("os.rename", "os.link", "os.symlink") else args[:1]:
                self._check(path, "writes", self.write)

    def _check(self, path: Any, does: str, may: tuple[str, ...]) -> None:
        if isinstance(path, int) or path is None:
            return
        real = os.path.realpath(os.fsdecode(path))
        if not any(real == folder or real.startswith(folder + os.sep) for folder in may):
            self.found.append(f"{does} {real}")

    def __call__(self, read: Path, write: Path, action: Callable[[], Any]) -> Any:
        """The result of an action that may read one folder and write another."""
        self.found.clear()
        scratch = os.path.realpath(tempfile.gettempdir())  # of the libraries, while they write
        self.read = (str(read.resolve()),)
        self.write = (str(write.resolve()), *((scratch,) if scratch != "/tmp" else ()))
        try:
            return action()
        finally:
            self.read = None
