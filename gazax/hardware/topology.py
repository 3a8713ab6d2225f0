"""Slices by name: ``v5e:4x4``, 16 chips of a TPU v5e; ``cpu:8``, eight simulated devices."""

import contextlib
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.experimental import topologies

from gazax.config import did_you_mean
from gazax.hardware.chips import CHIPS, Chip
from gazax.typing import InputError

CPU = "cpu"
_NO_MACHINE = {
    # The compiler is wanted and no machine: no metadata server is asked which one this is, and
    # several processes may compile at once.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # of no consequence, and missed aloud
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


class Slice(NamedTuple):
    """Devices that one program runs on."""

    name: str
    devices: Sequence[jax.Device]
    chips: int
    chip: Chip | None
    """None: a CPU, of which nothing is published here."""


def open_slice(name: str) -> Slice:
    """The devices of a slice that need not be there.

    JAX's own devices become CPUs, so that a TPU of this machine is left to others; call it before
    anything is computed.

    Args:
      name: ``KIND:AxB[xC]`` with a kind of `gazax.hardware.chips`, or ``cpu:N``.

    Raises:
      InputError: no such slice, no compiler for it is installed, or the compiler knows its chips
        only in parts.
    """
    kind, shape = parse(name)
    count = math.prod(shape)
    if kind == CPU:
        return Slice(name, _cpus(name, count), count, None)
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"--topology={name} needs the TPU compiler, which needs no TPU: "
            "pip install 'gazax[tpu]', or take --topology=cpu:N."
        )
    _leave_devices_alone()
    for key, value in _NO_MACHINE.items():
        os.environ.setdefault(key, value)
    # By itself libtpu thinks of hosts of several chips, and refuses a slice of fewer.
    bounds = {"chips_per_host_bounds": (1, 1, 1)} if count == 1 else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **bounds)
    except Exception as error:  # whatever the plugin raises: it is about the name
        said = str(error).strip().splitlines()[0]
        raise InputError(
            f"--topology={name}: the TPU compiler knows no such slice ({said}); take a shape that "
            "can be rented, such as v5e:2x2, v5e:16x16, v6e:4x4 or v5p:2x2x2."
        ) from None
    if len(found.devices) != count:  # of a v4, two cores
        raise InputError(
            f"--topology={name}: the compiler parts each chip in {len(found.devices) // count} "
            "cores, which JAX, where there is such a chip, runs as one device: what would be "
            "compiled here is not what runs there. Take v5e, v5p or v6e."
        )
    return Slice(name, found.devices, count, CHIPS[kind])


def parse(name: str) -> tuple[str, tuple[int, ...]]:
    """``v5e:4x4`` -> ('v5e', (4, 4)).

    Raises:
      InputError: an unknown kind, no shape, or a side of 0.
    """
    kind, _, shape = name.partition(":")
    if kind not in (CPU, *CHIPS):
        raise InputError(
            f"--topology={name}: '{kind}' is unknown{did_you_mean(kind, (CPU, *CHIPS))}; "
            f"known: {', '.join((CPU, *CHIPS))}."
        )
    sides = r"[1-9]\d*" if kind == CPU else r"[1-9]\d*(x[1-9]\d*){1,2}"
    if not re.fullmatch(sides, shape):
        such = (
            "cpu:8" if kind == CPU else f"{kind}:2x2x1" if kind in ("v4", "v5p") else f"{kind}:2x2"
        )
        raise InputError(f"--topology={name}: write {such}, for instance.")
    return kind, tuple(int(side) for side in shape.split("x"))


def _cpus(name: str, count: int) -> Sequence[jax.Device]:
    _leave_devices_alone()
    with contextlib.suppress(RuntimeError):  # JAX has its devices already, as in a test
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices(CPU)
    if len(devices) < count:
        raise InputError(
            f"--topology={name}: JAX has its {len(devices)} simulated devices already; take at "
            f"most cpu:{len(devices)} in this process."
        )
    return devices[:count]


def _leave_devices_alone() -> None:
    jax.config.update("jax_platforms", CPU)
