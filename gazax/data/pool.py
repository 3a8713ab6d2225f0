"""Decoding many images: in order, a few ahead, in processes that a bad file may take down."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from joblib.externals.loky import ProcessPoolExecutor

from gazax.data.decode import Pixels, Task, decode
from gazax.data.pixels.images import DecodeError

SMALL = 200
"""Images below which starting processes costs more than they save; threads do for these, but for
DICOM, whose decoders a damaged file can take down."""
SECONDS = 120
"""For one file; none that is sound takes a hundredth of it."""

Result = Pixels | DecodeError


class Pool:
    """Workers for `decode`; a context manager.

    A file that ends its process (a decoder's fault, or memory) or does not end in `SECONDS` becomes
    a `DecodeError`, and decoding goes on with new processes.

    Args:
      paths: of all images there will be.
      workers: processes; None is one a core.
    """

    def __init__(self, paths: Sequence[Path], workers: int | None = None):
        dicom = any(path.suffix.lower() == ".dcm" for path in paths)
        self._processes = dicom or len(paths) >= SMALL
        self._workers = workers or os.cpu_count() or 1
        self._executor: ThreadPoolExecutor | ProcessPoolExecutor | None = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error) -> None:
        self._close()

    def results(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """What `decode` gives for each task, in their order.

        Raises:
          InputError: what `decode` raises.
        """
        waiting: deque[tuple[Task, Future[Result]]] = deque()
        for task in tasks:
            waiting.append((task, self._submit(task)))
            if len(waiting) > 4 * self._workers:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(self, waiting: deque[tuple[Task, Future[Result]]]) -> Result:
        task, future = waiting.popleft()
        try:
            return future.result(SECONDS if self._processes else None)
        except (BrokenProcessPool, TimeoutError):
            self._close()
            # whose fault it was is not known when a process ends: each is tried by itself
            result = self._alone(task)
            again = [(task, self._submit(task)) for task, _ in waiting]
            waiting.clear()
            waiting.extend(again)
            return result

    def _alone(self, task: Task) -> Result:
        name = f"{task.path.parent.name}/{task.path.name}"
        with _processes(1) as executor:
            try:
                return executor.submit(decode, task).result(SECONDS)
            except BrokenProcessPool:
                return DecodeError(f"{name} ends the process that decodes it; it is damaged")
            except TimeoutError:
                return DecodeError(f"{name} does not decode in {SECONDS} s")
            finally:
                executor.shutdown(kill_workers=True)

    def _submit(self, task: Task) -> "Future[Result]":
        if self._executor is None:
            if self._processes:
                self._executor = _processes(self._workers)
            else:
                self._executor = ThreadPoolExecutor(self._workers)
        return self._executor.submit(decode, task)

    def _close(self) -> None:
        if isinstance(self._executor, ThreadPoolExecutor):
            self._executor.shutdown(cancel_futures=True)
        elif isinstance(self._executor, ProcessPoolExecutor):
            self._executor.shutdown(kill_workers=True)
        self._executor = None


def _processes(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, timeout=300, env={"JAX_PLATFORMS": "cpu"})
