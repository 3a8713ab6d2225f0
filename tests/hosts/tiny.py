"""A training run of seconds, alone or as one of several processes, for tests of the pieces.

python -m tests.hosts.tiny METHOD FOLDER <flags that say which process it is>
"""

import json
import pathlib
import signal
import sys

import jax
import numpy as np
import optax
import pytest
from absl import flags
from etils import epath

from gazax import main as command
from gazax.eval.encode import walk
from gazax.train import agreement, cluster, distributed, loop, sharding
from gazax.train.preemption import Preemption
from gazax.typing import InputError
from tests.batches import spec_of, tiny_batch
from tests.eval.splits import batches as evaluation_batches
from tests.methods.test_gazat import make
from tests.train.toys import Toy

METHODS = {"gazat": make, "toy": Toy}
BATCH, STEPS, IMAGES = 8, 4, 10


def whole_batch(step):
    """The global batch that follows a count of steps."""
    batch = tiny_batch(BATCH, seed=step)
    batch["place"] = np.arange(BATCH, dtype=np.int32) + step * BATCH
    return batch


def part_of(batch, mesh):
    """A process's rows, as `gazax.data.pipeline` gives them."""
    share = sharding.share(mesh)
    rows = slice(share["process_index"], None, share["process_count"])
    return jax.tree.map(lambda x: x[rows], batch)


def train(name, folder, mesh, *, stop_at=None):
    """Trains, and keeps what an evaluation of 10 images in batches of 4 saw.

    The last process gets a SIGTERM in the step ``stop_at``.
    """
    method = METHODS[name]()
    # Not Adam, which would blow up the rounding of gradients that are zero, see `test_runs`.
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-2, momentum=0.9))
    seen = {}

    def stream(taken):
        step = taken // BATCH
        while True:
            yield part_of(whole_batch(step), mesh)
            step += 1
            if step == stop_at and jax.process_index() == jax.process_count() - 1:
                signal.raise_signal(signal.SIGTERM)

    def evaluate(state):
        parts = (part_of(batch, mesh) for batch in evaluation_batches(IMAGES))
        average = jax.jit(
            lambda batch: batch["image"].mean(axis=(1, 2, 3)),
            out_shardings=sharding.replicated(mesh),
        )
        seen.update(index=[], mean=[])
        for batch, (mean,) in walk(parts, average, mesh=mesh):
            seen["index"] += batch["index"].tolist()
            seen["mean"] += mean.tolist()
        return {"evaluated": float(len(seen["index"]))}

    with Preemption() as preemption:
        outcome = loop.train(
            method,
            tx,
            lambda step: 1e-2,
            start=loop.make_start(method, tx, spec_of(whole_batch(0)), mesh=mesh, seed=0),
            batches=stream,
            example_ids=[f"image_{i}" for i in range(BATCH)],
            batch_size=BATCH,
            steps=STEPS,
            seed=0,
            mesh=mesh,
            parallel="jit",
            workdir=epath.Path(folder),
            cadence=loop.Cadence(log_every=1, eval_every=4, checkpoint_every=4, keep=1),
            evaluate=evaluate,
            monitor=(),
            preemption=preemption,
        )
    return outcome, seen


def check_agreement(folder):
    """One process's error is everyone's; a folder is made once where it is shared."""
    with pytest.raises(InputError, match="process 0 says no"):
        agreement.from_first(refuse)
    if agreement.is_first():
        agreement.check_same({"data": 0})
    else:
        with pytest.raises(InputError, match="data is 1 here and 0 there"):
            agreement.check_same({"data": 1})
    own = folder / f"own_{jax.process_index()}"
    for cache in (folder / "shared", own):
        made = agreement.in_turn(cache, lambda cache=cache: make_once(cache))
        assert made == (cache == own or agreement.is_first()), cache
        assert not list(cache.glob(".shared*"))


def refuse():
    raise InputError(f"process {jax.process_index()} says no")


def make_once(folder):
    folder.mkdir(exist_ok=True)
    made = not (folder / "it").exists()
    (folder / "it").touch()
    return made


def main():
    name, folder, *rest = sys.argv[1:]
    flags.FLAGS(["tiny", *rest])
    meeting = cluster.find(
        coordinator_address=command.COORDINATOR_ADDRESS.value,
        num_processes=command.NUM_PROCESSES.value,
        process_id=command.PROCESS_ID.value,
    )
    with distributed.joined(meeting, timeout=60):
        path = pathlib.Path(folder)
        check_agreement(path)
        mesh = sharding.make_mesh()
        _, seen = train(name, folder, mesh)
        stopped, _ = train(name, path / "stopped", mesh, stop_at=1)
        seen["stopped"] = [stopped.interrupted, stopped.step]
        (path / f"seen_{jax.process_index()}.json").write_text(json.dumps(seen))
        print("done")


if __name__ == "__main__":
    main()
