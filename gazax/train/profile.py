"""A trace of what the devices did in a few steps."""

import tempfile
from collections.abc import Callable, Sequence
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
      say: is told where the trace lies, or that no step of the window was taken.
    """

    def __init__(
        self, workdir: epath.Path, window: Sequence[int], *, say: Callable[[str], None]
    ) -> None:
        self._folder = workdir / "profile" / "plugins" / "profile"
        self._window = tuple(window)
        self._say = say
        self._begun: int | None = None

    def before(self, step: int) -> None:
        """Begins with the window, or where a run is taken up in the middle of it."""
        if self._window and self._begun is None and self._window[0] <= step <= self._window[1]:
            self._held = tempfile.TemporaryDirectory()  # the profiler writes to disks only
            jax.profiler.start_trace(self._held.name)
            self._begun = step

    def after(self, step: int, terms: Any) -> bool:
        """Ends with the window; returns whether it has ended now, which takes its time.

        Args:
          step: that was taken.
          terms: of it; waited for, so that the step is in the trace to its end.
        """
        if self._begun is None or step < self._window[1]:
            return False
        jax.block_until_ready(terms)
        self._save(step)
        return True

    def close(self, step: int) -> None:
        """Ends a window that the run does not reach the end of."""
        if self._begun is not None:
            self._save(step)
        elif self._window:
            first, last = self._window
            self._say(f"no step from {first} to {last} was taken now: nothing is traced")

    def _save(self, last: int) -> None:
        jax.profiler.stop_trace()
        target = self._folder / f"steps_{self._begun}_{last}"
        target.mkdir(parents=True, exist_ok=True)
        with self._held:
            for path in below(epath.Path(self._held.name)):
                with whole(target / path.name) as file:
                    file.write(path.read_bytes())
        self._window, self._begun = (), None
        self._say(f"trace: {target}")
