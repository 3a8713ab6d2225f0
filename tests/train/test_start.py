"""The random weights of a start, however they were compiled."""

import jax
import numpy as np
import pytest

from gazax.train import sharding
from gazax.train.start import make_start
from tests.batches import spec_of, tiny_batch
from tests.train import toys

LEVEL = "xla_backend_optimization_level"


@pytest.fixture
def start(tx):
    spec = spec_of(tiny_batch(8, size=toys.SIZE))
    return lambda: make_start(toys.Toy(), tx, spec, mesh=sharding.make_mesh(), seed=0)


def test_they_do_not_hang_on_how_far_their_program_was_optimised(start, monkeypatch):
    asked, full = [], []
    jit = jax.jit

    def spying(*args, compiler_options=None, **kwargs):
        asked.append(compiler_options)
        return jit(*args, compiler_options=full[0] if full else compiler_options, **kwargs)

    monkeypatch.setattr(jax, "jit", spying)
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")  # has its way
    start()
    monkeypatch.setenv("XLA_FLAGS", "")
    by_itself = start().fresh()
    assert asked == [None, {LEVEL: 1}]
    asked.clear()
    full.append({LEVEL: 3})  # XLA's own
    jax.tree.map(np.testing.assert_array_equal, by_itself.params, start().fresh().params)
