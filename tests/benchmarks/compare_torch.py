"""The training steps of gazax beside the same steps in PyTorch, in turn, in one process.

    python -m tests.benchmarks.compare_torch
    python -m tests.benchmarks.compare_torch --cases=resnet50 --dtypes=float32,bfloat16
    python -m tests.benchmarks.compare_torch --variants=eager,channels_last,compile --json=FILE

A line is a ratio: gazax's median time of a step over PyTorch's. Both begin with the same weights
and see the same batch; before anything is timed, the loss and the norm of its gradient are
compared, with the same draws of the views. On one core the time is that of the processor, which
other programs on that core do not lengthen as much, on several it is that of the clock. Of a
transformer 'channels_last' is the same as 'eager'. 'compile' takes minutes a case.

2026-11-23, two cores of an AMD EPYC (Zen 4, AVX-512), this on one of them beside other programs,
jax 0.10.2, torch 2.13.0, float32, batch as below, three rounds; eager / channels last:

    vit_s  1.11    resnet50  0.96 / 1.06    densenet201  - / 1.15    stage2  1.09 / 1.07

so ViT-S loses a tenth here. With freed memory kept (`gazax.hardware.host_memory`), as it is for
both sides since: vit_s .99, resnet50 .95 / 1.04; the others were not run again. In bfloat16, before
that, vit_s is 1.99; the others were not run in it, nothing on
two cores, and `compile` on small networks only, where it gives the same numbers.

Where a ResNet-50's time goes (its network alone, 1.19 of channels last; shares of XLA's own trace,
4 images): 1x1 convolutions as products 39 %, 3x3 and 7x7 ones 30, moving and transposing for the
gradients of weights 15, relu, residuals and normalisation 11, batch statistics 5. Alone and with
gradients, 3x3 convolutions take 1.1 to 1.2 times PyTorch's time, 1x1 ones .8 to 1. The worst are
max-pool (54 ms of gradient where PyTorch takes 13 in all, for 8 images: 2 % of the step) and AdamW
with clipping of 25 million parameters (200 ms to 28, alone and not in place).

Tried and kept: batch statistics and normalisation with backward passes of their own (the first
norm's gradient 61 to 18 ms; a ResNet-50 alone 1.77 to 1.68 s forward and back, its compilation 11.4
to 9.2 s); in a dense block the statistics of a channel once and not once a layer: densenet201 1.38
to 1.15 (what the first alone did for it was not measured).
Tried and left: 3x3 convolutions of stride 2 as products of patches (gradients in 93 ms for 58 at
56 px, 56 for 58 at 28, 47 for 52 at 14); `lax.reduce_window` for the max-pool (7.6 ms forward for
29, but 213 for 54 with the gradient); sums over rows in two steps, or in a scan over blocks.
Fresh memory costs a step about 17 %, the kernel's time: `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`
took vit_s from 3.9 to 3.2 s alone, and from 3.6 to 5.9 in this program.

First step with compilation, s of one core: vit_s 24, resnet50 49, densenet201 218 (232 with the
first of the two alone), stage2 50; a ViT-B was not compiled. A scan over a ViT's layers was not
tried: the blocks' names are the keys of exports. Making the random weights of a DenseNet-201
compiled for three minutes of the clock, beside other programs.
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
from gazax.hardware.host_memory import keep_freed_memory
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
"""Relative; those of bfloat16 only tell that nothing is grossly different. A gradient hangs on what
rounding decides, such as which relu switches; and where values of a max-pool's window are equal, as
in a cut-out, gazax shares it and PyTorch gives it to the first.
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
    keep_freed_memory()  # as a command does; PyTorch has its tensors of the same malloc
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
