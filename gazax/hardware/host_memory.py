"""How the C library keeps the memory that a computation on the CPU gives back."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform

# mallopt's numbers, glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1
"""Bytes, the most that mallopt takes: what lies free at the end is not given back below it."""


def keep_freed_memory() -> bool:
    """Has glibc keep freed memory for the next step, in place of returning it to the system.

    XLA:CPU takes the temporary arrays of a program anew at each call, hundreds of MB, of `malloc`.
    As glibc is set, the system takes all of it back at the end of the step and clears every page
    again for the next. Here large blocks come from the heap as small ones do, that heap never
    shrinks, and all threads have the one, for those of the other threads hold 64 MB only. For the
    whole process, and only of use before JAX has its devices: threads that have a heap keep it.

    Returns:
      Whether that was asked for. Not where the C library is another (macOS, musl), where
      JAX_PLATFORMS or what is installed promises an accelerator, whose host has other work, or
      where the environment has settings of its own (MALLOC_*, GLIBC_TUNABLES, LD_PRELOAD).

    Numerics: none change. What was the most in use is held to the end.

    2026-11-23, one core of an AMD EPYC beside other programs, `gazat_vit.py:study` for 60 steps,
    start and evaluation included: 7,654,350 pages and 110 s of the core as glibc is set, 591,328
    and 65 s with it; at most 2,022 MB in both; the same metrics to the bit. With four simulated
    devices a part of the pages is still taken anew. Several cores were not measured.
    """
    if platform.libc_ver()[0] != "glibc" or _has_settings() or not _computes_on_cpu():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, _NEVER)]
    return taken == [1, 1, 1]


def _has_settings() -> bool:
    names = ("GLIBC_TUNABLES", "LD_PRELOAD")
    return any(name in names or name.startswith("MALLOC_") for name in os.environ)


def _computes_on_cpu() -> bool:
    """As far as it can be told without asking JAX, which would start its threads."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None
