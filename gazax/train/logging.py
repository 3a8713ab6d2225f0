"""What a run says while it goes: a progress line, metrics.jsonl, TensorBoard events."""

import json
import math
import sys
import time
from collections.abc import Collection, Iterable, Mapping

from absl import logging
from etils import epath

from gazax.train.files import is_object_store, naming, write_text

LOWEST = "-"
"""In front of a value's name where the lowest is best, not the highest."""


class Metrics:
    """`metrics.jsonl` and TensorBoard events, one call a step that is logged.

    On resume, lines behind the restored step are dropped: the steps will be done again. On a
    bucket, which has no appending, lines wait for the next `save`; those that a kill takes are such
    steps.

    Args:
      workdir: of the run.
      start: the restored step, 0 at the beginning.
      write: whether there is anything on disk; another process only remembers.
    """

    def __init__(self, workdir: epath.Path, *, start: int, write: bool = True) -> None:
        self._path = workdir / "metrics.jsonl"
        before = read_metrics(workdir) if start else []
        self._lines = [line for line in before if line["step"] <= start]
        self._file = self._events = None
        self._whole = False
        if not write:
            return
        write_text(self._path, "".join(_dumps(line) for line in self._lines))
        self._whole = is_object_store(workdir)
        self._file = None if self._whole else self._path.open("a")
        self._events = _Events(workdir / "tensorboard", start=start)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a line; on a disk it is there when this returns."""
        line = {"step": step, **values}
        self._lines.append(line)
        if self._events is None:
            return
        if self._file is not None:
            with naming(self._path):
                self._file.write(_dumps(line))
                self._file.flush()
        self._events.write(step, values)

    def save(self) -> None:
        """Writes what waits: lines where they cannot be appended one by one, and events."""
        if self._whole:
            write_text(self._path, "".join(_dumps(line) for line in self._lines))
        if self._events is not None:
            self._events.save()

    def best(self, name: str, *, among: Collection[int] | None = None) -> tuple[int, float] | None:
        """See `best_of`."""
        return best_of(self._lines, name, among=among)

    def has(self, name: str) -> bool:
        """Whether any line has a value of that name, step 0 included; see `best_of`."""
        return any(name.removeprefix(LOWEST) in line for line in self._lines)

    def since_best(self, name: str) -> int:
        """How many values of ``name`` were logged after its best, none of them better."""
        best = self.best(name)
        begin = best[0] if best else 0
        name = name.removeprefix(LOWEST)
        return sum(name in line and line["step"] > begin for line in self._lines)

    def close(self) -> None:
        """Ends both files."""
        self.save()
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()


class _Events:
    """TensorBoard's file of one start of a run.

    Not `tensorboardX.SummaryWriter`, whose own thread ends with a write that fails and leaves the
    run waiting for it for ever.

    Args:
      folder: made if it does not exist.
      start: TensorBoard forgets what earlier files have of later steps.
    """

    def __init__(self, folder: epath.Path, *, start: int) -> None:
        # They import torch where there is one, which takes two seconds of every command.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore
        from tensorboardX.record_writer import directory_check
        from tensorboardX.summary import scalar

        self._folder, self._event, self._scalar = folder, Event, scalar
        with naming(folder):
            directory_check(str(folder))
            self._writer = EventsWriter(str(folder / "events"))
            again = Event(
                step=start + 1,
                wall_time=time.time(),
                session_log=SessionLog(status=SessionLog.START),
            )
            self._writer.write_event(again)
        self.save()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """On disk with the next `save`, or when some have come together."""
        now = time.time()
        with naming(self._folder):
            for name, value in values.items():
                summary = self._scalar(name, value)
                self._writer.write_event(self._event(step=step, wall_time=now, summary=summary))

    def save(self) -> None:
        """Writes what waits."""
        with naming(self._folder):
            self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        with naming(self._folder):
            self._writer.close()


def read_metrics(workdir: epath.Path) -> list[dict[str, float]]:
    """The lines of a run's `metrics.jsonl`; a line cut by a kill or damaged is left out."""
    path = workdir / "metrics.jsonl"
    lines = []
    for text in path.read_bytes().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
            if not isinstance(line, dict) or not _is_number(line.get("step")):
                raise ValueError("no numbers of a step")
            lines.append(line)
        except (ValueError, RecursionError):
            logging.warning("a line of %s is damaged and left out", path)
    return lines


def best_of(
    lines: Iterable[Mapping[str, float]], name: str, *, among: Collection[int] | None = None
) -> tuple[int, float] | None:
    """(step, value) of the first highest value of ``name`` after step 0, or None.

    Args:
      lines: of a `metrics.jsonl`.
      name: of a logged value; behind a minus sign it is the lowest that is best, as of a loss.
      among: only these steps, where given.
    """
    sign = -1 if name.startswith(LOWEST) else 1
    name = name.removeprefix(LOWEST)
    found = [
        (sign * line[name], -line["step"])
        for line in lines
        if line["step"] > 0 and _is_number(line.get(name))
        if among is None or line["step"] in among
    ]
    if not found:
        return None
    value, step = max(found)
    return -int(step), sign * value


def _dumps(line: Mapping[str, float]) -> str:
    plain = {k: v if _is_number(v) else None for k, v in line.items()}
    return json.dumps(plain) + "\n"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


class Progress:
    """The line a person watches: step, losses, speed, share of time waiting, time left.

    On a terminal the line is rewritten in place; elsewhere each is printed below the last.
    """

    step_at_peak: float | None = None
    """Seconds that a step would take if its devices did nothing but its products, at their
    published peak; None where that is not known."""

    def __init__(self, *, steps: int, batch_size: int) -> None:
        self._steps = steps
        self._batch_size = batch_size
        self._in_place = sys.stdout.isatty()
        self._open = False
        self.restart(0)

    def restart(self, step: int) -> None:
        """Starts the clock again, with every step up to this one at its end."""
        self._since = time.perf_counter()
        self._begin = step
        self._waited = 0.0

    def waited(self, seconds: float) -> None:
        """Counts time that a step waited for its batch."""
        self._waited += seconds

    def speed(self, step: int) -> dict[str, float]:
        """Of the steps behind the last restart up to this one, which has just come to its end.

        Returns:
          `images_per_s`; `step_s`, seconds a step; `input_wait_share` of them; and, where the
          devices' peak is known, `mfu`, model FLOP utilisation: the step at the peak over `step_s`.
          Nothing without any step, as of the first of a run, which compiles.
        """
        done = step - self._begin
        if not done:
            return {}
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        of_one = elapsed / done
        speed = {
            "images_per_s": done * self._batch_size / elapsed,
            "step_s": of_one,
            "input_wait_share": self._waited / elapsed,
        }
        return speed if self.step_at_peak is None else {**speed, "mfu": self.step_at_peak / of_one}

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Prints the line of a step."""
        losses = "  ".join(
            f"{name.rpartition('/')[2]} {value:.4f}"
            for name, value in values.items()
            if name == "loss" or name.startswith("loss/")
        )
        text = f"step {step}/{self._steps}  {losses}"
        if "step_s" in values:
            left = (self._steps - step) * values["step_s"]
            used = f"MFU {values['mfu']:.1%}  " if "mfu" in values else ""
            text += (
                f"  {values['images_per_s']:.0f} images/s  "
                f"{1000 * values['step_s']:.0f} ms/step  {used}"
                f"input wait {values['input_wait_share']:.0%}  left {_clock(left)}"
            )
        if self._in_place:
            print(f"\r\033[K{text}", end="", flush=True)
            self._open = True
        else:
            print(text, flush=True)

    def say_evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Prints held-out numbers; those under one heading stand together."""
        groups: dict[str, list[str]] = {}
        for name, value in values.items():
            heading, _, metric = name.rpartition("/")
            groups.setdefault(heading, []).append(f"{metric} {value:.3f}")
        shown = "  ".join(f"{heading}: {' '.join(of)}" for heading, of in groups.items())
        self.say(f"step {step}/{self._steps}  {shown}")

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        print(f"\n{text}" if self._open else text, flush=True)
        self._open = False


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
