import fsspec
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

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


class Bucket(MemoryFileSystem):
    """Objects by their whole names, as a bucket has them: no folders, no appending."""

    def mkdir(self, path, create_parents=True, **kwargs):
        pass

    def makedirs(self, path, exist_ok=False):
        pass

    def _open(self, path, mode="rb", **kwargs):
        assert "a" not in mode, "a bucket has no appending"
        return super()._open(path, mode, **kwargs)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder of a bucket, as epath reaches one, in memory; nothing may be made on the disk."""
    monkeypatch.chdir(tmp_path)
    fsspec.register_implementation("az", Bucket, clobber=True)
    path = epath.Path("az://bucket/run")
    yield path
    Bucket.store.clear()
    assert not list(tmp_path.iterdir())
