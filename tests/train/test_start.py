"""The random weights of a start, however they were compiled."""

import jax
import numpy as np
import pytest

from gazax.train import sharding
from gazax.train.start import make_start
from tests.batches import spec_of, tiny_batch
from tests.train import toys


@pytest.fixture
def start(tx):
    spec = spec_of(tiny_batch(8, size=toys.SIZE))
    return lambda: make_start(toys.Toy(), tx, spec, mesh=sharding.make_mesh(), seed=0)


def test_they_do_not_hang_on_how_far_their_program_was_optimised(start, monkeypatch):
    asked = []
    jit = jax.jit

    def spying(*args, compiler_options=None, **kwargs):
        asked.append(compiler_options)
        return jit(*args, compiler_options=compiler_options, **kwargs)

    monkeypatch.setattr(jax, "jit", spying)
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")  # has its way
    as_flagged = start().fresh()
    monkeypatch.setenv("XLA_FLAGS", "")
    by_itself = start().fresh()
    assert asked == [None, {"xla_backend_optimization_level": 1}]
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7),
        by_itself.params,
        as_flagged.params,
    )
