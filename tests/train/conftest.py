import numpy as np
import pytest

from gazax.train import optim
from tests.batches import spec_of, tiny_batch
from tests.methods.test_gazat import make
from tests.models.conftest import timm  # noqa: F401


@pytest.fixture(scope="session")
def method():
    return make()


@pytest.fixture(scope="session")
def schedule():
    return optim.cosine_schedule(learning_rate=1e-2, warmup_steps=2, total_steps=12)


@pytest.fixture(scope="session")
def tx(schedule):
    return optim.adamw(schedule, weight_decay=0.05, clip_norm=1.0)


@pytest.fixture(scope="session")
def spec():
    return spec_of(tiny_batch(8))


@pytest.fixture(scope="session")
def stream():
    """An endless stream from a count of examples already taken."""

    def batches(taken: int):
        step = taken // 8
        while True:
            batch = tiny_batch(8, seed=step)
            batch["place"] = np.arange(8, dtype=np.int32) + step * 8
            yield batch
            step += 1

    return batches
