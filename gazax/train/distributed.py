"""Several processes, on one host or on many, as one run: how they find each other, and part.

Each process is started with the same command. On Cloud TPU, Slurm, Kubernetes and Open MPI JAX
knows how many there are and where the first one listens; elsewhere flags say it. They meet before
any device is touched, and from then on a process that ends tells the others why: none of them
would come out of the next collective operation alone.

What bounds the wait for a process that does not come or is no more:

    it never turns up             ``--initialization_timeout``, 300 s by default
    it ends with an error         `NOTICE_S` + `GRACE_S`, then the others end with its exit code
    it is killed, or its host     `HEARTBEAT_S`, then JAX ends the others; on CPU at once, where
    is gone                       the connection breaks
"""

import contextlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

# Not public, and the only way to ask without meeting: `jax.distributed.initialize` also meets
# where there is one process. A test holds the names that are used.
from jax._src.clusters import ClusterEnv, K8sCluster

from gazax.config import ending_of
from gazax.train import agreement
from gazax.typing import InputError, RunError

DEFAULT_PORTS = (
    "JAX's own is 8482 on Cloud TPU (8476 in older versions), 55527 on Kubernetes, and one from "
    "61440 to 65535, made of the job's number, under Slurm and Open MPI"
)
HEARTBEAT_S = 100
"""Without a sign of a process for so long JAX takes it for dead."""
NOTICE_S = 1.0
"""How often a process looks whether another one has ended."""
GRACE_S = 3.0
"""What the others are given to end by themselves: often all of them have met the same error."""
PARTING_S = 15
"""How long one that ends waits for the others to have heard it."""


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
            f"{', '.join(missing)} is missing: give --coordinator_address=HOST:PORT, "
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


@contextlib.contextmanager
def joined(meeting: Meeting | None, *, timeout: int) -> Iterator[None]:
    """Context in which the processes are one run; all of them leave it, or none.

    Inside, what another process than the first prints is dropped; its errors are not. An error
    inside ends this process and then the others, see the module.

    Args:
      meeting: of `find`; None does nothing.
      timeout: s, to wait for the others.

    Raises:
      InputError: process 0 cannot listen on its port.
    """
    if meeting is None:
        yield
        return
    _meet(meeting, timeout)
    if meeting.process:
        _drop_output()
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(meeting, ended), daemon=True)
    watch.start()
    try:
        yield
        agreement.barrier("all are done")  # JAX gives them 5 minutes from the first that ends
    except BaseException as error:
        ended.set()
        _leave(meeting, *_ending(error))
    ended.set()
    watch.join()


def _meet(meeting: Meeting, timeout: int) -> None:
    if meeting.process == 0:
        _check_free(meeting)
    if jax.config.jax_cpu_collectives_implementation is None:  # pyrefly: ignore[missing-attribute]
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX ends the process with a stack trace of its own when the time is up, so it is given more.
    late = threading.Timer(timeout, _give_up, args=(meeting, timeout))
    late.daemon = True
    late.start()
    jax.distributed.initialize(
        f"{meeting.host}:{meeting.port}",
        meeting.processes,
        meeting.process,
        # [] is all of them, and None what JAX thinks of the cluster
        local_device_ids=[] if meeting.sees_all_devices and not _chosen_devices() else None,
        initialization_timeout=timeout + 60,
        heartbeat_timeout_seconds=HEARTBEAT_S,
    )
    late.cancel()


def _chosen_devices() -> bool:
    return "JAX_LOCAL_DEVICE_IDS" in os.environ


def _check_free(meeting: Meeting) -> None:
    """JAX would wait for ever at a port of somebody else."""
    try:
        with socket.create_server(("", meeting.port)):
            pass
    except OSError as error:
        raise InputError(
            f"process 0 cannot listen on port {meeting.port} ({error.strerror or error}); give "
            f"all processes another one that is free: --coordinator_port=PORT. {DEFAULT_PORTS}."
        ) from None


def _give_up(meeting: Meeting, timeout: int) -> None:
    print(f"error: {_missing(meeting, timeout)}", file=sys.stderr, flush=True)
    os._exit(1)


def _missing(meeting: Meeting, timeout: int) -> str:
    """What to say when the time is up."""
    where = f"{meeting.host}:{meeting.port}"
    who = f"process {meeting.process} of {meeting.processes} ({meeting.found_by})"
    reached = meeting.process == 0 or _answers(meeting)
    if reached:
        what = (
            f"{who} waited {timeout} s at {where} and not all of the others came. Check that the "
            "same command runs on every host, that each of them"
        )
    else:
        what = f"{who} could not reach process 0 at {where} in {timeout} s. Check that it"
    return (
        f"{what} {'can reach' if reached else 'was started, that this host knows'} "
        f"'{meeting.host}', and that no firewall is between them and port {meeting.port}. "
        f"--coordinator_port=PORT takes another ({DEFAULT_PORTS}); --initialization_timeout="
        "SECONDS waits longer."
    )


def _answers(meeting: Meeting) -> bool:
    try:
        with socket.create_connection((meeting.host, meeting.port), timeout=2):
            return True
    except OSError:
        return False


def _drop_output() -> None:
    """Of libraries too, below Python."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _ending(error: BaseException) -> tuple[int, str]:
    """Exit code and line of an error; a traceback is printed where it is nobody's mistake."""
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        return code, f"it ended with exit code {code}"
    if ending := ending_of(error):
        message, code = ending
        return code, message
    if "Gloo" in str(error):
        return 1, (
            "the connection to another process broke: it was killed, or its host is gone. The "
            f"same command on all hosts goes on from the last checkpoint. ({error})"
        )
    traceback.print_exception(error)
    return 1, f"{type(error).__name__}: {error}"


def _leave(meeting: Meeting, code: int, why: str) -> None:
    """Ends this process when the others know, without waiting for what they will not do."""
    if code not in (0, 75):
        print(f"error: {why}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    with contextlib.suppress(Exception):  # the coordinator may be gone
        agreement.tell(_LEAVING, {"process": meeting.process, "code": code, "why": why})
    _part(meeting, code)


_LEAVING = "leaving"


def _part(meeting: Meeting, code: int) -> None:
    with contextlib.suppress(Exception):  # some never come: they are gone
        agreement.wait_for_all("parting", seconds=PARTING_S)
    if meeting.process == 0:
        time.sleep(1)  # the others hear through it that they may go
    sys.stderr.flush()
    os._exit(code)


def _watch(meeting: Meeting, ended: threading.Event) -> None:
    """Ends this process when another one has ended."""
    while not ended.wait(NOTICE_S):
        try:
            found: Any = agreement.told(_LEAVING)
        except RunError:  # JAX will say it
            return
        if found is None or ended.wait(GRACE_S):
            continue
        if found["code"] not in (0, 75):
            print(
                f"error: process {found['process']} ended: {found['why']}",
                file=sys.stderr,
                flush=True,
            )
        _part(meeting, found["code"])
