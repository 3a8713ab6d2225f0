"""The loop, the same for every method: data, step, log, evaluate, save, stop.

It knows no loss, no model and no evaluation: the command hands it a `Method` and a function.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import optax
from etils import epath
from jax.sharding import Mesh

from gazax.methods.base import Method
from gazax.train import agreement
from gazax.train.checkpoint import Checkpoints
from gazax.train.logging import Metrics, Progress
from gazax.train.preemption import Preemption
from gazax.train.profile import Profile
from gazax.train.sharding import AnyProcess
from gazax.train.start import Start, make_start  # noqa: F401  commands find it here
from gazax.train.state import TrainState
from gazax.train.step import make_step
from gazax.typing import Batch, InputError, RunError, Terms

MUST_BE_FINITE = ("loss", "grad_norm", "param_norm")


@dataclasses.dataclass(frozen=True)
class Cadence:
    """Every how many steps the run logs, evaluates and saves, and how many saves it keeps.

    ``patience`` ends it after that many evaluations in a row without a better monitored value;
    0 never does.
    """

    log_every: int
    eval_every: int
    checkpoint_every: int
    keep: int
    patience: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the loop ended."""

    state: TrainState
    step: int
    best_step: int
    """Of the best monitored value on validation; the last step where nothing is monitored."""
    interrupted: bool
    """Stopped by SIGTERM and saved."""
    stopped_early: bool
    """Ended, and saved, before the last step: the monitored value got no better."""


def train(
    method: Method,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    start: Start,
    batches: Callable[[int], Iterator[Batch]],
    example_ids: Sequence[str],
    batch_size: int,
    steps: int,
    seed: int,
    mesh: Mesh,
    parallel: str,
    workdir: epath.Path,
    cadence: Cadence,
    evaluate: Callable[[TrainState], dict[str, float]],
    monitor: Sequence[str],
    preemption: Preemption,
    profile: Sequence[int] = (),
    peak_flops: float | None = None,
) -> Outcome:
    """Trains to ``steps``, from the last good checkpoint of ``workdir`` where there is one.

    Args:
      method, tx, schedule: what is learned, and how parameters follow the gradient.
      start: the state to begin from.
      batches: the stream of this process's batches, from a count of examples already taken.
      example_ids: by `index`, to name the images of a batch that diverged.
      batch_size: global.
      steps: updates in all.
      seed: of initialisation and of every draw.
      mesh, parallel: see `make_step`.
      workdir: `checkpoints/`, `metrics.jsonl` and events go there.
      cadence: when to log, evaluate and save.
      evaluate: held-out numbers of a state; called at step 0, every `eval_every`, and at the end.
      monitor: names among them; the first that exists chooses the best step: the highest, or,
        behind a minus sign, the lowest.
      preemption: asked after every step; a requested one is saved, and the loop ends, in all
        processes at the same step.
      profile: first and last step of a window to trace, see `Profile`.
      peak_flops: of all devices together, 1/s; where it is given, `mfu` is logged.

    Raises:
      RunError: a loss, a gradient or a parameter is not finite.
      InputError: something is to be watched, or a patience given, and nothing of it is measured.
    """
    checkpoints = Checkpoints(workdir / "checkpoints", keep=cadence.keep)
    restored = checkpoints.restore_latest(start.described)
    state, examples = restored if restored else (start.fresh(), 0)
    begin = int(state.step)
    metrics = Metrics(workdir, start=begin, write=agreement.is_first())
    progress = Progress(steps=steps, batch_size=batch_size)
    trace = Profile(workdir, profile if agreement.is_first() else (), say=progress.say)
    run_step = make_step(method, tx, schedule, mesh=mesh, parallel=parallel, seed=seed)
    if begin:
        progress.say(f"going on from step {begin}")

    def best_step(among: Sequence[int] | None = None) -> int | None:
        found = [best for name in monitor if (best := metrics.best(name, among=among))]
        return found[0][0] if found else None

    def out_of_patience() -> bool:
        """From metrics.jsonl alone, so that a resumed run ends where an unbroken one does."""
        found = [metrics.since_best(name) for name in monitor if metrics.best(name)]
        return 0 < cadence.patience <= next(iter(found), 0)

    def evaluate_now(step: int) -> None:
        began = time.perf_counter()
        found = {name: float(value) for name, value in evaluate(state).items()}
        # What decides when to stop, or what to keep, must be the same to the last bit everywhere.
        values = agreement.from_first(lambda: found)
        metrics.write(step, values | {"evaluation_s": time.perf_counter() - began})
        metrics.save()
        progress.say_evaluation(step, values)

    def settle(step: int, terms: Terms, batch: Batch) -> None:
        """Reads the numbers of a step, while the next one already runs."""
        values = {name: float(value) for name, value in jax.device_get(terms).items()}
        if not all(math.isfinite(values[name]) for name in MUST_BE_FINITE):
            metrics.save()
            trace.close(step)
            raise RunError(_divergence(step, values, batch, example_ids, checkpoints.latest()))
        if step % cadence.log_every == 0 or step == steps:
            values |= progress.speed(step)
            metrics.write(step, values)
            progress.show(step, values)

    if begin == 0:
        evaluate_now(0)
    if (cadence.patience or monitor) and not any(metrics.has(name) for name in monitor):
        raise InputError(
            f"config.train.patience={cadence.patience} and config.eval.monitor="
            f"({', '.join(monitor)}): what is watched must be measured; name a number of "
            "metrics.jsonl, or take patience=0 and an empty monitor."
        )
    preemption.hold()
    anywhere = AnyProcess(mesh)
    stream = batches(examples)
    unread: tuple[int, Terms, Batch] | None = None
    step = begin
    progress.restart(begin)
    stop, ended = False, out_of_patience()
    while step < steps and not (stop or ended):
        step += 1
        began = time.perf_counter()
        batch = next(stream)
        progress.waited(time.perf_counter() - began)
        trace.before(step)
        state, terms = run_step(state, batch)
        if step == begin + 1:  # it compiles: no measure of speed
            jax.block_until_ready(terms)
            if peak_flops and (flops := run_step.flops(state, batch)):
                progress.step_at_peak = flops / peak_flops
            progress.restart(step)
        if trace.after(step, terms):
            progress.restart(step)
        if unread:
            settle(*unread)
        unread = (step, terms, batch)
        stop = anywhere(preemption.requested)
        evaluates = step % cadence.eval_every == 0 or step == steps
        saves = step % cadence.checkpoint_every == 0 or step == steps or stop
        if not (evaluates or saves):
            continue
        settle(*unread)
        unread = None
        if evaluates:
            evaluate_now(step)
            ended = out_of_patience()
            if ended and step < steps:
                progress.say(f"no better for {cadence.patience} evaluations: ends at step {step}")
        if saves or ended or step == best_step():
            metrics.save()
            checkpoints.save(state, step=step, examples=step * batch_size, best_step=best_step())
        progress.restart(step)
    trace.close(step)
    checkpoints.close()
    metrics.close()
    chosen = best_step(among=checkpoints.steps())
    return Outcome(
        state=state,
        step=step,
        best_step=step if chosen is None else chosen,
        interrupted=step < steps and not ended,
        stopped_early=step < steps and ended,
    )


def _divergence(
    step: int,
    values: dict[str, float],
    batch: Batch,
    example_ids: Sequence[str],
    last_good: Any,
) -> str:
    wrong = ", ".join(f"{k}={values[k]}" for k in MUST_BE_FINITE if not math.isfinite(values[k]))
    images = ", ".join(example_ids[i] for i in batch["index"])
    where = f" (this process's of {jax.process_count()})" if jax.process_count() > 1 else ""
    return (
        f"training diverged at step {step} ({wrong}); every step up to {step - 1} was finite.\n"
        f"Last good checkpoint: {last_good or 'none yet'}.\n"
        f"Images of the batch{where}: {images}.\n"
        "A lower optim.learning_rate, a larger optim.warmup_fraction or a smaller optim.clip_norm "
        "is the usual mend; give another --workdir with it."
    )
