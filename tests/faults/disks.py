"""Disks that are full or read-only, real ones where this machine has them made."""

import contextlib
import os
import pathlib
import resource
import subprocess
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def small(folder: pathlib.Path, kilobytes: int) -> Iterator[None]:
    """A disk of its own at a folder; the test is skipped where none can be mounted."""
    folder.mkdir(exist_ok=True)
    done = _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "gazax-faults", folder)
    if done.returncode:
        pytest.skip(f"NOT TESTED: a disk that is really full; {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def enlarge(folder: pathlib.Path) -> None:
    """Makes room on the disk that `small` made."""
    assert _mount("-o", "remount,size=64m", folder).returncode == 0


@contextlib.contextmanager
def no_large_file(length: int) -> Iterator[None]:
    """No file of this process may grow over so many bytes: the system refuses, as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def read_only(folder: pathlib.Path) -> Iterator[None]:
    """A folder in which nothing can be made or changed, not by root either."""
    if os.geteuid():
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(mode)
        return
    done = _mount("--bind", folder, folder)
    if done.returncode:
        pytest.skip(f"NOT TESTED: a read-only folder, as root; {done.stderr.strip()}")
    try:
        assert _mount("-o", "remount,bind,ro", folder).returncode == 0
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*words: object) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))
