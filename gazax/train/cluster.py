"""Who is in a run of several processes, and where they meet: told by a cluster, or by flags.

On Cloud TPU, Slurm, Kubernetes and Open MPI JAX knows how many there are and where the first one
listens; elsewhere flags say it.
"""

import os
from typing import NamedTuple

# Not public, and the only way to ask without meeting: `jax.distributed.initialize` also meets
# where there is one process. A test holds the names that are used.
from jax._src.clusters import ClusterEnv, K8sCluster

from gazax.typing import InputError

DEFAULT_PORTS = (
    "JAX's own is 8482 on Cloud TPU (8476 in older versions), 55527 on Kubernetes, and one from "
    "61440 to 65535, made of the job's number, under Slurm and Open MPI"
)


class Meeting(NamedTuple):
    """Where several processes meet, and which of them this one is."""

    host: str
    port: int
    processes: int
    process: int
    found_by: str
    """Flags, or JAX's name of the cluster."""
    sees_all_devices: bool
    """Of its host; otherwise JAX gives the processes of a host one each."""


def find(
    *,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    coordinator_port: int | None = None,
    initialization_timeout: int = 300,
) -> Meeting | None:
    """Where this process meets the others; None where it is alone.

    Args:
      coordinator_address: HOST or HOST:PORT of process 0.
      num_processes, process_id: with it, all three or none; ``num_processes=1`` alone is alone.
      coordinator_port: in the place of the cluster's own.
      initialization_timeout: s, for a cluster to know the coordinator's name.

    Raises:
      InputError: the flags are incomplete or contradict each other, or a cluster that is there
        does not say who is in it.
    """
    given = {
        "coordinator_address": coordinator_address,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    if num_processes == 1 and process_id in (None, 0):
        return None
    if all(value is None for value in given.values()):
        return _detect(coordinator_port, initialization_timeout)
    if missing := [f"--{name}" for name, value in given.items() if value is None]:
        raise InputError(
            f"without {' and '.join(missing)}: give --coordinator_address=HOST:PORT, "
            "--num_processes=N and --process_id=I together, or none of them on Cloud TPU, Slurm, "
            "Kubernetes and Open MPI."
        )
    assert coordinator_address is not None
    assert num_processes is not None
    assert process_id is not None
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"--process_id={process_id} with --num_processes={num_processes}: processes are "
            f"counted from 0 to {num_processes - 1}."
        )
    host, port = _host_and_port(coordinator_address, coordinator_port)
    return Meeting(host, port, num_processes, process_id, "flags", sees_all_devices=True)


def _host_and_port(address: str, port: int | None) -> tuple[str, int]:
    host, colon, text = address.rpartition(":")
    if not colon:
        host, text = address, ""
    if text and not text.isdigit():
        raise InputError(f"--coordinator_address={address}: '{text}' is no port; write HOST:PORT.")
    if text and port is not None and int(text) != port:
        raise InputError(
            f"--coordinator_address={address} and --coordinator_port={port} name two ports; give "
            "one of them."
        )
    if not text and port is None:
        raise InputError(
            f"--coordinator_address={address} has no port; write {address}:PORT, a port that is "
            "free there and open to the others."
        )
    return host, int(text) if text else port or 0


def _detect(port: int | None, timeout: int) -> Meeting | None:
    try:
        env = _cluster()
        if env is None:
            return None
        processes, process = env.get_process_count(), env.get_process_id()
        if processes == 1:
            return None
        address = env.get_coordinator_address(timeout, str(port) if port else None)
    except Exception as error:  # a cluster of whatever kind, half there
        raise InputError(
            f"this looks like a cluster, and JAX cannot tell who is in it ({error}). Mend that, "
            "or give --coordinator_address=HOST:PORT, --num_processes=N and --process_id=I; "
            "--num_processes=1 trains in this process alone."
        ) from error
    host, _, found = address.rpartition(":")
    return Meeting(host, int(found), processes, process, _name(env), _alone_on_its_node())


def _cluster() -> type[ClusterEnv] | None:
    """The first that JAX would take."""
    index = os.environ.get("JOB_COMPLETION_INDEX")
    for env in ClusterEnv._cluster_types:
        # Without an index it is some pod and no indexed Job, which JAX would take for an error.
        if env.opt_in_only_method or (env is K8sCluster and index is None):
            continue
        if env.is_env_present():
            return env
    if "KUBERNETES_SERVICE_HOST" in os.environ and int(index or 0) > 0:
        raise RuntimeError(
            f"this is pod {index} of an indexed Job, and the package kubernetes is not installed: "
            "pip install kubernetes"
        )
    return None


def _name(env: type[ClusterEnv]) -> str:
    return "kubernetes" if env is K8sCluster else env.name


def _alone_on_its_node() -> bool:
    """Whether one task was started a node, under Slurm or Open MPI: all its devices are for it.

    JAX would give it the first one of them alone.
    """
    if "OMPI_COMM_WORLD_LOCAL_SIZE" in os.environ:
        return os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"] == "1"
    nodes = os.environ.get("SLURM_STEP_NUM_NODES")
    return nodes is not None and nodes == os.environ.get("SLURM_NTASKS")


def refuse_others(command: str) -> None:
    """For a command of one process: refuses all but the first that a cluster starts.

    Raises:
      InputError: this is another one.
    """
    try:
        env = _cluster()
        process = env.get_process_id() if env else 0
    except Exception:  # it asks for nothing of the cluster
        return
    if process > 0:
        raise InputError(
            f"{command} runs in one process, and this is one more, number {process} of those that "
            f"{_name(env) if env else ''} started: start it once, on one host."
        )
