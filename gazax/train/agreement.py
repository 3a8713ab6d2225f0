"""What the processes of a run agree on beside their arrays: small values, files, turns.

Through JAX's coordination service and not through devices: a wait may be long, as for the data to
be prepared, and is broken by a signal. All processes make the same calls in the same order.

A run of one process agrees with itself: every function here then does nothing but its work.
"""

import itertools
import json
import pathlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

# Not public; orbax and others take it from here too.
from jax._src import distributed

from gazax.typing import InputError, RunError

T = TypeVar("T")
_PREFIX = "gazax"
_SLICE_MS = 1000
"""A signal is heard between two slices of a wait."""
_turn = itertools.count()
_ERRORS: dict[str, type[Exception]] = {"InputError": InputError, "RunError": RunError}


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return jax.process_index() == 0


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` gives in the first process; it is called there alone.

    Args:
      make: its value is of json's types.

    Raises:
      InputError, RunError: those of ``make``, in every process.
    """
    if jax.process_count() == 1:
        return make()
    key = f"from_first/{next(_turn)}"
    if not is_first():
        found = _hear(key)
        if "error" in found:
            raise _ERRORS[found["error"]](found["message"])
        return found["value"]
    try:
        value = make()
    except (InputError, RunError) as error:
        tell(key, {"error": type(error).__name__, "message": str(error)})
        raise
    tell(key, {"value": value})
    return value


def barrier(what: str) -> None:
    """Returns when every process has called it."""
    if jax.process_count() == 1:
        return
    key = f"barrier/{next(_turn)}/{what}"
    tell(f"{key}/{jax.process_index()}", True)
    if is_first():
        for process in range(jax.process_count()):
            _hear(f"{key}/{process}")
        tell(f"{key}/all", True)
    _hear(f"{key}/all")


def check_same(facts: Mapping[str, Any]) -> None:
    """Refuses processes that would not train the same run.

    Args:
      facts: by a name for people; json types.

    Raises:
      InputError: in a process where some differ from the first one's.
    """
    if jax.process_count() == 1:
        return
    here = json.loads(json.dumps(dict(facts), default=list))
    there = from_first(lambda: here)
    if differing := [name for name in here if here[name] != there.get(name)]:
        name = differing[0]
        raise InputError(
            f"process {jax.process_index()} differs from process 0 in {', '.join(differing)}: "
            f"{name} is {here[name]} here and {there.get(name)} there. Give all hosts the same "
            "command, data and version of gazax."
        )


def in_turn(folder: pathlib.Path, make: Callable[[], T]) -> T:
    """What ``make`` finds or makes in a folder: by the first process, then by those that share it.

    A process that does not see what the first one writes there, as on another host with its own
    disk, makes its own at the same time; ``make`` keeps those of one host apart.

    Args:
      folder: made if it does not exist.
      make: uses no collective operation.
    """
    if jax.process_count() == 1:
        return make()
    shares, key = _shares(folder), f"in_turn/{next(_turn)}"
    if is_first():
        value = make()
        tell(key, True)
        return value
    if shares:
        _hear(key)
    return make()


def _shares(folder: pathlib.Path) -> bool:
    """Whether this process sees the first one's folder."""

    def mark() -> str:
        path = folder / f".shared-{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError:  # whoever writes there will say it better
            return ""
        return path.name

    name = from_first(mark)
    shares = bool(name) and (folder / name).exists()
    barrier("looked at the folder")
    if is_first() and name:
        (folder / name).unlink(missing_ok=True)
    return shares


def tell(key: str, value: Any) -> None:
    """Lets all processes know; the first value of a key stays."""
    try:
        _client().key_value_set(f"{_PREFIX}/{key}", json.dumps(value))
    except jax.errors.JaxRuntimeError as error:
        if "ALREADY_EXISTS" not in str(error):
            raise RunError(_gone(error)) from error


def told(key: str) -> Any:
    """What `tell` let know, or None."""
    try:
        return json.loads(_client().key_value_try_get(f"{_PREFIX}/{key}"))
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return None
        raise RunError(_gone(error)) from error


def wait_for_all(what: str, *, seconds: int) -> None:
    """A barrier with an end: raises what JAX does when not all have come."""
    _client().wait_at_barrier(f"{_PREFIX}/{what}", seconds * 1000)


def _hear(key: str) -> Any:
    """What `tell` lets know, when it does."""
    while True:
        try:
            return json.loads(_client().blocking_key_value_get(f"{_PREFIX}/{key}", _SLICE_MS))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise RunError(_gone(error)) from error


def _client() -> Any:
    return distributed.global_state.client


def _gone(error: Exception) -> str:
    return (
        f"process 0 cannot be reached any more ({error}). The same command on all hosts goes on "
        "from the last checkpoint."
    )
