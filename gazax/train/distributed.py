"""Several processes, on one host or on many, as one run: how they meet, and how they part.

They meet before any device is touched, and from then on a process that ends tells the others why:
none of them would come out of the next collective operation alone.

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
from concurrent import futures
from typing import Any

import jax

from gazax.config import ending_of
from gazax.train import agreement
from gazax.train.cluster import DEFAULT_PORTS, Meeting
from gazax.typing import InputError, RunError

HEARTBEAT_S = 100
"""Without a sign of a process for so long JAX takes it for dead."""
NOTICE_S = 1.0
"""How often a process looks whether another one has ended."""
GRACE_S = 3.0
"""What the others are given to end by themselves: often all of them have met the same error."""
PARTING_S = 15
"""How long one that ends waits for the others to have heard it."""


@contextlib.contextmanager
def joined(meeting: Meeting | None, *, timeout: int) -> Iterator[None]:
    """Context in which the processes are one run; all of them leave it, or none.

    Inside, what another process than the first prints is dropped; its errors are not. An error
    inside ends this process and then the others, see the module.

    Args:
      meeting: of `cluster.find`; None does nothing.
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
    # It would take SIGTERM for itself; `Preemption` hears it, and the loop agrees on the step.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX ends the process with a stack trace of its own when the time is up, so it is given more.
    late = threading.Timer(timeout, _give_up, args=(meeting, timeout))
    late.daemon = True
    late.start()
    sees_all = meeting.sees_all_devices and "JAX_LOCAL_DEVICE_IDS" not in os.environ
    # Beside this thread, which alone hears signals, and would not inside of JAX.
    met = futures.ThreadPoolExecutor(1).submit(
        jax.distributed.initialize,
        f"{meeting.host}:{meeting.port}",
        meeting.processes,
        meeting.process,
        local_device_ids=[] if sees_all else None,  # all of them, or what JAX thinks of the cluster
        initialization_timeout=timeout + 60,
        heartbeat_timeout_seconds=HEARTBEAT_S,
    )
    try:
        met.result()
    except SystemExit as stopped:  # by a signal; an ordinary exit would wait for JAX
        os._exit(stopped.code if isinstance(stopped.code, int) else 1)
    late.cancel()


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
            "same command runs on every host, no two with the same --process_id, that each of them"
        )
    else:
        what = f"{who} could not reach process 0 at {where} in {timeout} s. Check that it"
    return (
        f"{what} {'can reach' if reached else 'was started, that this host knows'} "
        f"'{meeting.host}', and that no firewall is between them and port {meeting.port}. "
        f"--coordinator_port=PORT takes another ({DEFAULT_PORTS}); --initialization_timeout="
        "SECONDS waits longer."
        + ("" if meeting.found_by == "flags" else " --num_processes=1 trains here alone.")
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
