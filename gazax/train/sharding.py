"""Where arrays live: the mesh, the batch cut over it, large parameters cut over its fsdp axis."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gazax.typing import InputError

DATA = "data"
FSDP = "fsdp"


def make_mesh(*, fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of every process's devices, ``fsdp`` of them sharing one copy of large parameters.

    Args:
      fsdp: see above.
      devices: of a slice that need not be there; None: those that are.

    Raises:
      InputError: the devices do not divide by ``fsdp``.
    """
    count = jax.device_count() if devices is None else len(devices)
    if fsdp < 1 or count % fsdp:
        raise InputError(
            f"train.fsdp={fsdp} does not divide the {count} devices; "
            f"take one of {', '.join(str(n) for n in range(1, count + 1) if count % n == 0)}."
        )
    # Auto: jax.make_mesh makes explicit axes by default, which shard_map then refuses.
    return jax.make_mesh(
        (count // fsdp, fsdp),
        (DATA, FSDP),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )


def check_divisible(key: str, batch_size: int, mesh: Mesh) -> None:
    """Raises an `InputError` where a global batch cannot be cut evenly over the devices."""
    if batch_size < 1 or batch_size % mesh.size:
        below = batch_size // mesh.size * mesh.size
        near = f"{below} or {below + mesh.size}" if below > 0 else f"{mesh.size}"
        raise InputError(
            f"{key}={batch_size} (global) cannot be cut over {mesh.size} devices; take {near}."
        )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis cut over every device."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_sharding(state: Any, mesh: Mesh, *, min_elements: int = 2**16) -> Any:
    """The sharding of every array of a state: large ones cut along one axis over fsdp.

    The longest axis that the fsdp devices divide is cut; optimizer moments have their
    parameter's shape and so its cut. Arrays of fewer than ``min_elements``, and those that no
    axis of divides, are repeated: gathering them would cost more than holding them.
    """
    shards = mesh.shape[FSDP]

    def of_one(leaf: Any) -> NamedSharding:
        spec: list[str | None] = [None] * len(leaf.shape)
        if shards > 1 and np.prod(leaf.shape, dtype=np.int64) >= min_elements:
            by_length = sorted(range(len(leaf.shape)), key=lambda axis: -leaf.shape[axis])
            for axis in by_length:
                if leaf.shape[axis] % shards == 0:
                    spec[axis] = FSDP
                    break
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(of_one, state)


def place_batch(batch: Any, sharding: NamedSharding) -> Any:
    """A process's part of a global batch, from host memory onto its devices."""
    return jax.tree.map(lambda part: jax.make_array_from_process_local_data(sharding, part), batch)


def local_mesh() -> Mesh:
    """A mesh of this process's devices alone, for what each process computes by itself."""
    devices = np.array(jax.local_devices()).reshape(-1, 1)
    return Mesh(devices, (DATA, FSDP), axis_types=(AxisType.Auto, AxisType.Auto))


def share(mesh: Mesh) -> dict[str, Any]:
    """`process_index` and `process_count` of whom a batch for this mesh is cut over."""
    if not mesh.is_multi_process:
        return {"process_index": 0, "process_count": 1}
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def to_host(tree: Any) -> Any:
    """Whole arrays on the host of every process, wherever their parts are."""

    def of_one(leaf: Any) -> np.ndarray:
        whole = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
        if whole or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(of_one, tree)


class AnyProcess:
    """Whether any process says so, asked at every step and answered a step later.

    The answer is the same everywhere, and comes with the numbers of the step before, which are
    waited for anyway. A run of one process is answered at once.

    Args:
      mesh: of the step.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._asked: jax.Array | None = None
        self._any = jax.jit(jnp.any, out_shardings=replicated(mesh))

    def __call__(self, here: bool) -> bool:
        """Asks, and answers what was asked before."""
        if not self._mesh.is_multi_process:
            return here
        before = self._asked
        mine = np.full(self._mesh.local_mesh.size, here)
        self._asked = self._any(place_batch(mine, batch_sharding(self._mesh)))
        return before is not None and bool(np.asarray(before))
