"""The training steps of gazax beside the same steps in PyTorch, in turn, in one process.

    python -m tests.benchmarks.compare_torch
    python -m tests.benchmarks.compare_torch --cases=resnet50 --dtypes=float32,bfloat16
    python -m tests.benchmarks.compare_torch --variants=eager,channels_last,compile --json=FILE

A line is a ratio: gazax's median time of a step over PyTorch's. Both begin with the same weights
and see the same batch; before anything is timed, the loss and the norm of its gradient are
compared, with the same draws of the views. On one core the time is that of the processor, which
other programs on that core do not lengthen as much, on several it is that of the clock. Of a
transformer 'channels_last' is the same as 'eager'. 'compile' takes minutes a case.

FIGURES
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch

from gazax import config as config_lib
from gazax.experiment.method import build_method
from gazax.train import loop, optim, sharding
from gazax.train.step import make_step
from tests.batches import spec_of, tiny_batch
from tests.benchmarks.torch_steps import TorchStep
from tests.benchmarks.torch_views import Draws, gazax_draws, to_tensors, torch_draws

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
VARIANTS = ("eager", "channels_last", "compile")
TOLERANCES = {
    "float32": {"loss": 1e-3, "grad_norm": 1e-2},
    "bfloat16": {"loss": 5e-2, "grad_norm": 5e-1},
}
"""Relative. A gradient hangs on what rounding decides, such as which relu switches; and where
values of a max-pool's window are equal, as in a cut-out, gazax shares it and PyTorch gives it
to the first.
"""
SEED = 0


@dataclasses.dataclass(frozen=True)
class Case:
    """A training step.

    Attributes:
      config: below ``configs/``, with its argument.
      model: what of the config's `model` is another.
      method: what of the config's `method` is another.
      batch: images; of two views, half of what the network sees.
      size: side of the image, px.
    """

    config: str
    model: dict[str, Any]
    method: dict[str, Any]
    batch: int
    size: int = 224


_S16 = dict(width=384, num_heads=6)
CASES = {
    "vit_s": Case("gazat_vit.py:data=reflacx", _S16, {}, batch=4),
    # Grad-CAM, the config's own, is a gradient, which in float32 hangs on every relu that rounding
    # switches: 4e-3 of the loss
    "resnet50": Case("gazat_resnet.py:data=reflacx", {}, dict(attention="energy"), batch=4),
    "densenet201": Case(
        "cooperative/stage1_classify.py:data=egd_cxr",
        dict(remat=False),
        dict(task="multiclass", balance_classes=False),
        batch=4,
    ),
    "stage2": Case(
        "cooperative/stage2_saliency.py:data=egd_cxr", dict(remat=False), {}, batch=2, size=128
    ),
}


class Pair:
    """The step of a case in gazax, and what PyTorch's are made of."""

    def __init__(self, case: Case, dtype: str) -> None:
        config = config_lib.load(f"{CONFIGS}/{case.config}")
        config.model.update(case.model, dtype=dtype)
        config.method.update(case.method)
        config.data.labels = ("a", "b", "c")
        if "guide" in config:
            config.guide.update(dtype=dtype, remat=False)
            config.freeze = ("densenet/.*",)
        self.dtype, self.views = dtype, config.views
        self.method = build_method(config)
        self.optim = dict(weight_decay=config.optim.weight_decay, clip_norm=config.optim.clip_norm)
        self.learning_rate = config.optim.learning_rate
        self.batch = tiny_batch(
            case.batch,
            size=case.size,
            fixations=config.data.max_fixations,
            readers=config.data.max_readers,
        )
        self.batch["label"] = np.eye(3, dtype=np.float32)[np.arange(case.batch) % 3]
        schedule = optim.constant_schedule(
            learning_rate=self.learning_rate, warmup_steps=0, total_steps=1000
        )
        tx = optim.adamw(schedule, **self.optim)
        mesh = sharding.make_mesh()
        state = loop.make_start(self.method, tx, spec_of(self.batch), mesh=mesh, seed=SEED).fresh()
        self.params, self.state = jax.device_get((state.params, state.method_state))
        self._step = make_step(self.method, tx, schedule, mesh=mesh, parallel="jit", seed=SEED)
        self._holder = [state]

    def gazax(self) -> dict[str, float]:
        """A step; its loss and the norm of the gradient."""
        self._holder[0], terms = self._step(self._holder[0], self.batch)
        jax.block_until_ready(self._holder[0])
        return {name: float(terms[name]) for name in ("loss", "grad_norm")}

    def torch(self, variant: str) -> TorchStep:
        """PyTorch's step from the same weights; draws its own views where it is given none."""
        make_draws = None
        if "strong" in self.views:
            make_draws = functools.partial(
                torch_draws, *self.batch["image"].shape[:3], *self._strengths
            )
        return TorchStep(
            self.method,
            self.params,
            self.state,
            variant=variant,
            dtype=self.dtype,
            learning_rate=self.learning_rate,
            make_draws=make_draws,
            **self.optim,
        )

    def draws(self, step: int) -> Draws | None:
        """Those of gazax's views in that step, counted from 0."""
        if "strong" not in self.views:
            return None
        key = jax.random.fold_in(jax.random.key(SEED), step)
        return gazax_draws(key, self.batch, *self._strengths)

    @property
    def _strengths(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.views.standard.to_dict(), self.views.strong.to_dict()


def compare(case: Case, dtype: str, variants: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds of a step, by gazax and by each variant of PyTorch.

    Raises:
      SystemExit: a variant's first step is not gazax's.
    """
    pair = Pair(case, dtype)
    batch, draws = to_tensors(pair.batch), pair.draws(0)
    expected, seconds = clocked(pair.gazax)
    found: dict[str, Any] = {"first_call": {"gazax": seconds}, "off": {}, "seconds": {}}
    steps: dict[str, Callable[[], Any]] = {"gazax": pair.gazax}
    for variant in variants:
        step = pair.torch(variant)
        try:
            first, seconds = clocked(functools.partial(step, batch, draws))
        except torch._dynamo.exc.BackendCompilerFailed as error:
            print(f"{variant}: not timed, it does not run here: {str(error).splitlines()[0]}")
            continue
        found["first_call"][variant] = seconds
        found["off"][variant] = difference(first, expected)
        off = found["off"][variant]
        if not all(off[term] <= most for term, most in TOLERANCES[dtype].items()):
            sys.exit(f"{variant}: the first step gave {first}, gazax's {expected}: not the same")
        steps[variant] = functools.partial(step, batch)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            _, seconds = clocked(step)
            if turn:  # the first is to warm up
                times[name].append(seconds)
    found["seconds"] = {name: statistics.median(each) for name, each in times.items()}
    return found


def difference(found: dict[str, float], expected: dict[str, float]) -> dict[str, float]:
    """Relative, name by name."""
    return {name: abs(found[name] / expected[name] - 1) for name in expected}


def clocked(run: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and the seconds that it took."""
    clock = time.process_time if cores() == 1 else time.perf_counter
    start = clock()
    found = run()
    return found, clock() - start


def cores() -> int:
    """That this process may use; XLA and PyTorch take as many threads."""
    return len(os.sched_getaffinity(0))


def some_of(known: Sequence[str], text: str) -> list[str]:
    """The names in a text, joined by commas."""
    names = text.split(",")
    if unknown := set(names) - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: none of {', '.join(known)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, known, default, what in (
        ("cases", [*CASES], [*CASES], "steps"),
        ("dtypes", [*TOLERANCES], ["float32"], "dtypes"),
        ("variants", [*VARIANTS], ["eager", "channels_last"], "ways to run PyTorch"),
    ):
        parser.add_argument(
            f"--{name}",
            type=functools.partial(some_of, known),
            default=default,
            help=f"{what}, joined by commas: {', '.join(known)}",
        )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=0, help="images; 0 = each case's own")
    parser.add_argument("--json", default="", help="file for the same numbers")
    args = parser.parse_args()
    torch.set_num_threads(cores())
    print(f"threads of each: {cores()}; jax {jax.__version__}, torch {torch.__version__}")
    results = []
    for name in args.cases:
        for dtype in args.dtypes:
            case = CASES[name]
            if args.batch:
                case = dataclasses.replace(case, batch=args.batch)
            found = compare(case, dtype, args.variants, args.rounds)
            first = found["first_call"]["gazax"]
            print(f"{name} {dtype} gazax's first step, with compilation: {first:.0f} s", flush=True)
            ours = found["seconds"]["gazax"]
            found["ratio"] = {one: ours / found["seconds"][one] for one in found["off"]}
            for variant, ratio in found["ratio"].items():
                theirs, off = found["seconds"][variant], found["off"][variant]
                print(
                    f"{name} {dtype} batch {case.batch} gazax/torch {variant} {ratio:.2f} "
                    f"({1e3 * ours:.0f} / {1e3 * theirs:.0f} ms; loss off by {off['loss']:.0e}, "
                    f"gradient's norm {off['grad_norm']:.0e})",
                    flush=True,
                )
            results.append(
                {"case": name, "dtype": dtype, "batch": case.batch, "threads": cores(), **found}
            )
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
