"""Splits of random images and gaze, batch by batch, for tests of evaluations."""

import jax
import numpy as np

from tests.batches import tiny_batch


def batches(n=10, *, batch_size=4, seed=0, has_gaze=None, **changes):
    """n examples once, the last batch padded with weight 0.

    ``changes`` replace parts of the batch of all examples, padding included.
    """
    total = -(-n // batch_size) * batch_size
    whole = {**tiny_batch(total, seed=seed, has_gaze=has_gaze), **changes}
    whole["weight"] = (np.arange(total) < n).astype(np.float32)
    for start in range(0, total, batch_size):
        yield jax.tree.map(lambda x, start=start: x[start : start + batch_size], whole)
