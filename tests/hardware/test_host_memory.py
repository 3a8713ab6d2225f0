"""What a thread frees is there for the next, and the system clears no page twice."""

import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys, threading
from gazax.hardware.host_memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def fill():  # 64 MB, written and freed
    b"x" * (64 << 20)

def rounds(count):
    for _ in range(count):
        thread = threading.Thread(target=fill)
        thread.start()
        thread.join()

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
rounds(1)
before = faults()
rounds(8)
print(kept, faults() - before)
"""
A_ROUND = (64 << 20) // 4096
"""Pages, where the system's are not larger."""


def pages(mode: str) -> tuple[str, int]:
    """What was returned, and pages that eight rounds took of the system."""
    program = [sys.executable, "-c", ROUNDS, mode]
    kept, taken = subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()
    return kept, int(taken)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT TESTED: no glibc here")
def test_freed_memory_is_taken_again():
    kept, taken = pages("keep")
    assert kept == "True"
    assert taken < A_ROUND / 4


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT TESTED: no glibc here")
def test_without_it_every_round_is_cleared_anew():
    """The reason for it, which another C library or kernel may take away."""
    kept, taken = pages("leave")
    assert kept == "None"
    assert taken > A_ROUND


def test_another_c_library_is_left_alone(monkeypatch):
    from gazax.hardware import host_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(host_memory.ctypes, "CDLL", None)  # would raise
    assert host_memory.keep_freed_memory() is False
