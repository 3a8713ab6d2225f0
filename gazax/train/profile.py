"""A trace of what the devices did in a few steps."""

import tempfile
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from gazax.train.files import below, whole


class Profile:
    """Traces a window of steps and writes it for TensorBoard's profile page, XProf and Perfetto.

    Args:
      workdir: the trace goes to `profile/plugins/profile/steps_<first>_<last>/` in it.
      window: the first and the last step, from 1; () traces nothing. The first step of a run
        compiles, and is traced like any other.
      write: whether this process does; one of several traces its own devices.
    """

    def __init__(self, workdir: epath.Path, window: Sequence[int], *, write: bool = True) -> None:
        self._folder = workdir / "profile" / "plugins" / "profile"
        self._window = tuple(window) if write else ()
        self._begun: int | None = None

    def before(self, step: int) -> None:
        """Begins with the window, or where a run is taken up in the middle of it."""
        if self._window and self._begun is None and self._window[0] <= step <= self._window[1]:
            self._held = tempfile.TemporaryDirectory()  # the profiler writes to disks only
            jax.profiler.start_trace(self._held.name)
            self._begun = step

    def after(self, step: int, terms: Any) -> epath.Path | None:
        """Ends with the window; returns where the trace lies, once.

        Args:
          step: that was taken.
          terms: of it; waited for, so that the step is in the trace to its end.
        """
        if self._begun is None or step < self._window[1]:
            return None
        jax.block_until_ready(terms)
        return self._save(step)

    def close(self, step: int) -> epath.Path | None:
        """Ends a window that the run does not reach the end of; as `after`."""
        return None if self._begun is None else self._save(step)

    def _save(self, last: int) -> epath.Path:
        jax.profiler.stop_trace()
        target = self._folder / f"steps_{self._begun}_{last}"
        target.mkdir(parents=True, exist_ok=True)
        with self._held:
            for path in below(epath.Path(self._held.name)):
                with whole(target / path.name) as file:
                    file.write(path.read_bytes())
        self._window, self._begun = (), None
        return target
