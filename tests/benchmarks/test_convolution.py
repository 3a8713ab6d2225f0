"""A convolution of few cells as one product, beside XLA's own.

    python -m pytest tests/benchmarks/test_convolution.py -n0 --benchmark-enable

2026-11-22, two cores of an AMD EPYC, float32, batch 64, best of three, forward / with gradients:
2x2 cells of 512 channels 6.6 / 20.6 ms as a product, 526 / 1088 ms as XLA's convolution; 3x3 14.5 /
44.0 and 16.3 / 69.6; 4x4 26.3 / 86.9 and 29.4 / 89.0.
"""

import jax
import jax.numpy as jnp
import pytest

from gazax.models import layers


@pytest.mark.parametrize("by_product", [True, False])
@pytest.mark.parametrize("side", [2, 3, 4])
def test_convolution_of_few_cells(benchmark, monkeypatch, side, by_product):
    monkeypatch.setattr(layers, "_FEW_CELLS", 16 if by_product else 0)
    batch, channels = (64, 512) if benchmark.enabled else (2, 8)
    conv = layers.Conv(channels, 3)
    x = jnp.ones((batch, side, side, channels))
    params = conv.init(jax.random.key(0), x)
    grad = jax.jit(jax.grad(lambda p, x: (conv.apply(p, x) ** 2).mean(), argnums=(0, 1)))
    benchmark.pedantic(lambda: jax.block_until_ready(grad(params, x)), rounds=3, warmup_rounds=1)
