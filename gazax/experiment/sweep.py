"""Runs of a sweep, one after the other, in a folder that is all of its state.

Each run is a process of its own: one that crashes takes nothing with it. What is finished is read
from the runs' folders, so that a sweep can be killed at any moment and go on.
"""

import fcntl
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

from etils import epath

from gazax.data.gaze_settings import PREDICTED
from gazax.eval.record import Record
from gazax.experiment.results import FOLDERS, NUMBERS
from gazax.experiment.speed import step_seconds
from gazax.experiment.sweep_plan import Plan, PlannedRun
from gazax.train.preemption import EXIT_RESUMABLE, Preemption
from gazax.train.workdir import write_json
from gazax.typing import InputError

PROGRAM = (sys.executable, "-m")
LAST_LINES = 12
ALONE = ("--num_processes=1",)
"""In an allocation of several tasks, as a job's script sees it, a run would wait for the others."""


class Sweep:
    """A plan in its folder.

    Args:
      plan: what is to be run.
      out: ``runs/<key>/`` are workdirs, ``logs/`` what the runs printed, ``sweep.json`` how each
        of them stands. Runs of an earlier plan that are not in this one are left alone.
      program: what the words of a command, the module first, are given to.
    """

    def __init__(self, plan: Plan, out: epath.Path, *, program: Sequence[str] = PROGRAM) -> None:
        if out.exists() and not out.is_dir():
            raise InputError(f"--out={out} is a file; give a folder.")
        if (out / "config.json").exists():
            raise InputError(f"--out={out} is the workdir of a run; give another folder.")
        self._plan = plan
        self._out = out
        self._program = tuple(program)
        self._failures = self._read_failures()
        self._locks: list[IO[str]] = []

    def lock(self) -> None:
        """Keeps other sweeps out of the folder, and waits for a run that one of them left behind.

        A sweep that is killed leaves the run at hand to go on. The child holds a lock for that,
        which it inherits, so that nothing is trained by two processes.

        Raises:
          InputError: another sweep is at work in the folder, or it cannot be written.
        """
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            # "a": what is in them, a process id, is another's until the lock is ours.
            self._locks = [open(self._out / name, "a+") for name in (".lock", ".run.lock")]  # noqa: SIM115
        except OSError as error:
            raise InputError(f"--out={self._out} cannot be written: {error}.") from None
        sweep, run = self._locks
        try:
            fcntl.flock(sweep, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another sweep is at work in --out={self._out}; wait for it, stop it, or give "
                "another folder."
            ) from None
        try:
            fcntl.flock(run, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            run.seek(0)
            print(
                f"process {run.read().strip()}, the run of a sweep that was killed, still goes on; "
                "waiting for it",
                flush=True,
            )
            fcntl.flock(run, fcntl.LOCK_EX)

    def run(self, runs: Sequence[PlannedRun], preemption: Preemption) -> int:
        """Trains and evaluates what is not finished, after `lock`.

        Returns:
          0, 1 if a run failed, or `EXIT_RESUMABLE` if one was preempted; those after it are not
          begun then.

        Raises:
          SystemExit: SIGTERM came; the run at hand was given it and has ended.
        """
        (self._out / "logs").mkdir(exist_ok=True)
        self._write_state()
        done = sum(self.finished(one) for one in runs)
        print(f"{self._out}: {len(runs)} runs, {done} of them finished", flush=True)
        for number, one in enumerate(runs, 1):
            if self.finished(one):
                continue
            print(f"[{number}/{len(runs)}] {one.title}: {self._log(one)}", flush=True)
            began = time.monotonic()
            self._failures.pop(one.key, None)
            if not self._can_begin(one):
                print("  not begun: a run that it needs is not trained", flush=True)
                continue
            failure = self._execute(one, preemption)
            if failure and failure["exit_code"] == EXIT_RESUMABLE:
                print("  interrupted and saved; the same command goes on", flush=True)
                return EXIT_RESUMABLE
            if failure:
                self._failures[one.key] = failure
                text = "\n".join(f"  | {line}" for line in failure["last_lines"])
                print(f"  failed: {describe(failure)}\n{text}", flush=True)
            else:
                print(f"  finished after {time.monotonic() - began:.0f} s", flush=True)
            self._write_state()
        return 1 if any(one.key in self._failures for one in runs) else 0

    def finished(self, run: PlannedRun) -> bool:
        """Whether it is trained, and evaluated with every suite that it is to have."""
        return self._trained(run) and self._evaluated(run)

    def shell_line(self, run: PlannedRun) -> str:
        """The run's commands, for a shell anywhere."""
        return " && ".join(shlex.join(["python", "-m", *words]) for words in self._commands(run))

    def results(self) -> dict[str, dict[int, Record]]:
        """Variant -> seed -> record, of every run of the plan that is finished."""
        found: dict[str, dict[int, Record]] = {one.name: {} for one in self._plan.compared}
        for run in self._plan.runs:
            if run.suites and self.finished(run):
                loaded = Record.load(self._evaluation(run))
                for variant, seed in run.uses:
                    if variant in found:
                        found[variant][seed] = loaded
        return found

    def step_seconds(self) -> dict[str, float]:
        """Variant -> median over its seeds of `step_seconds`, of the runs that are finished."""
        found: dict[str, list[float]] = {one.name: [] for one in self._plan.compared}
        for run in self._plan.runs:
            seconds = (
                step_seconds(self._folder(run) / run.evaluated) if self._trained(run) else None
            )
            for variant, _ in run.uses:
                if seconds is not None and variant in found:
                    found[variant].append(seconds)
        return {name: statistics.median(each) for name, each in found.items() if each}

    def phantom_numbers(self) -> bool:
        """Whether any evaluated run was made with simulated images and gaze."""
        return any(numbers["phantom_numbers"] for numbers in self._numbers())

    def protocol(self) -> str:
        """How the images of the evaluated runs were split; 'paper' if those of any were so."""
        found = {numbers.get("protocol", "strict") for numbers in self._numbers()}
        return next((name for name in found if name != "strict"), "strict")

    def _numbers(self) -> Iterator[dict[str, Any]]:
        """What evaluation says of every run that is evaluated."""
        found = (_read(self._evaluation(run) / NUMBERS) for run in self._plan.runs)
        return (numbers for numbers in found if numbers)

    def missing(self) -> dict[str, str]:
        """``variant, seed`` -> why it has no numbers, of every run of the plan that has none."""
        found = {}
        for run in self._plan.runs:
            if not self.finished(run):
                failure = self._failures.get(run.key)
                why = f"{describe(failure)}, see {self._log(run)}" if failure else "not run"
                if not failure and not self._can_begin(run):
                    why = f"not run: {self._lacks(run)}, is not trained"
                found |= {f"{variant}, seed {seed}": why for variant, seed in run.uses}
        return found

    def _execute(self, run: PlannedRun, preemption: Preemption) -> dict[str, Any] | None:
        """Trains and evaluates; returns how it failed, or None."""
        steps = (ALONE, self._trained), ((), self._evaluated)
        for words, (also, done) in zip(self._commands(run), steps, strict=False):
            if done(run):
                continue
            log = self._log(run)
            begin = log.stat().length if log.exists() else 0
            code = self._call([*words, *also], log, preemption)
            if code or not done(run):
                return {
                    "command": words[0],
                    "exit_code": code,
                    "last_lines": _last_lines(log, begin),
                }
        return None

    def _call(self, words: Sequence[str], log: epath.Path, preemption: Preemption) -> int:
        """Runs a command to its end; a SIGTERM meanwhile is handed on to it."""
        run_lock = self._locks[1]
        with open(log, "ab") as file:
            file.write(f"$ {shlex.join(words)}\n".encode())
            file.flush()
            preemption.hold()  # no signal between a process and its name
            child = subprocess.Popen(
                [*self._program, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},  # the log ends where the process does
                pass_fds=(run_lock.fileno(),),
            )
        try:
            run_lock.truncate(0)
            run_lock.write(f"{child.pid}\n")
            run_lock.flush()
            preemption.release()
            return child.wait()
        except BaseException:
            preemption.hold()
            child.terminate()
            child.wait()
            print("  interrupted; the same command goes on", flush=True)
            raise

    def _commands(self, run: PlannedRun) -> list[list[str]]:
        """Of training, and of evaluation where there is one."""
        folder = self._folder(run)
        train = ["gazax.main", f"--config={run.config}"]
        train += [f"--config.{text}" for text in run.overrides]
        if run.begins_with:
            train.append(f"--config.init_from.path={self._runs / run.begins_with}")
        if run.gaze_by:
            train.append(f"--config.data.gaze={PREDICTED}{self._runs / run.gaze_by}")
        train.append(f"--workdir={folder}")
        evaluated = folder / run.evaluated if run.evaluated else folder
        evaluate = ["gazax.evaluate", f"--workdir={evaluated}"]
        evaluate += [f"--suite={','.join(run.suites)}", f"--split={self._plan.split}"]
        return [train, evaluate] if run.suites else [train]

    def _needed(self, run: PlannedRun) -> list[PlannedRun]:
        """The runs that have to be trained before it."""
        return [one for one in self._plan.runs if one.key in run.after]

    def _lacks(self, run: PlannedRun) -> str:
        """What it needs and is not trained, and what for."""
        role = {run.begins_with: "with which it begins", run.gaze_by: "which predicts its gaze"}
        lacking = [one for one in self._needed(run) if not self._trained(one)]
        return " and ".join(f"{one.title}, {role[one.key]}" for one in lacking)

    def _can_begin(self, run: PlannedRun) -> bool:
        return all(map(self._trained, self._needed(run)))

    def _trained(self, run: PlannedRun) -> bool:
        """A run writes its summary last, and the folder's name says of which config."""
        return _read(self._folder(run) / "summary.json") is not None

    def _evaluated(self, run: PlannedRun) -> bool:
        if not run.suites:
            return True
        folder = self._evaluation(run)
        numbers = _read(folder / NUMBERS)
        return (
            numbers is not None
            and {*run.suites} <= numbers.get("suites", {}).keys()
            and _is_whole(folder)
        )

    def _folder(self, run: PlannedRun) -> epath.Path:
        return self._runs / run.key

    @property
    def _runs(self) -> epath.Path:
        return self._out / "runs"

    def _evaluation(self, run: PlannedRun) -> epath.Path:
        return self._folder(run) / run.evaluated / FOLDERS[self._plan.split]

    def _log(self, run: PlannedRun) -> epath.Path:
        variant, seed = run.uses[0]
        return self._out / "logs" / f"{variant}-{seed}.log"

    def _read_failures(self) -> dict[str, dict[str, Any]]:
        """Those of runs that are not run again this time stay known."""
        before = (_read(self._out / "sweep.json") or {}).get("runs")
        known = before if isinstance(before, dict) else {}  # damaged: it is written anew
        states = {run.key: known.get(run.key) for run in self._plan.runs}
        failures = {key: one.get("failure") for key, one in states.items() if isinstance(one, dict)}
        return {
            key: one
            for key, one in failures.items()
            if isinstance(one, dict) and type(one.get("exit_code")) is int and "command" in one
        }

    def _write_state(self) -> None:
        def state(run: PlannedRun) -> dict[str, Any]:
            finished = self.finished(run)
            failure = None if finished else self._failures.get(run.key)
            return {
                "uses": [f"{variant}, seed {seed}" for variant, seed in run.uses],
                "status": "finished" if finished else "failed" if failure else "pending",
                "failure": failure,
                "log": str(self._log(run).relative_to(self._out)),
                "commands": [shlex.join(words) for words in self._commands(run)],
            }

        runs = {run.key: state(run) for run in self._plan.runs}
        write_json(self._out / "sweep.json", {"runs": runs})


def describe(failure: dict[str, Any]) -> str:
    """How a run failed, in a line."""
    code = failure["exit_code"]
    if code == 0:
        return f"{failure['command']} ended with exit code 0 and without its results"
    end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{failure['command']} {end}"


def _is_whole(evaluation: epath.Path) -> bool:
    """Whether its values of every image can be read; those that are damaged are measured again."""
    try:
        Record.load(evaluation)
    except InputError:
        return False
    return True


def _read(path: epath.Path) -> dict[str, Any] | None:
    """None: not there, or damaged, which the run that wrote it will say better."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _last_lines(path: epath.Path, begin: int) -> list[str]:
    """The end of what an attempt printed."""
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(begin, file.tell() - 8192))
        return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
