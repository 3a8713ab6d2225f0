"""A number that is none."""

import jax
import numpy as np
import pytest
from etils import epath

from gazax.typing import RunError
from tests.train import toys


def poisoned(taken):
    """Labels of the fifth batch are infinite."""
    for step, batch in enumerate(toys.stream(taken), taken // 8):
        if step == 4:
            batch = {**batch, "label": np.full_like(batch["label"], np.inf)}
        yield batch


def test_a_number_that_is_none_ends_the_run_and_is_in_no_checkpoint(tmp_path):
    whole = toys.train(toys.Toy(), epath.Path(tmp_path) / "whole", steps=6)
    folder = epath.Path(tmp_path) / "parts"
    with pytest.raises(RunError, match=r"diverged at step 5 .*\n.*checkpoints/4.*\n.*image_0"):
        toys.train(toys.Toy(), folder, steps=6, batches=poisoned)
    parts = toys.train(toys.Toy(), folder, steps=6)
    jax.tree.map(np.testing.assert_array_equal, whole.state, parts.state)
