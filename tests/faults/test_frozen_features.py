"""Frozen features: changed, gone, or without room."""

import shutil

import numpy as np
import pytest

from gazax.data import frozen_features
from gazax.typing import InputError, RunError
from tests.faults import disks
from tests.faults.records import changed


def frozen(cache):
    def computed():
        yield np.arange(50), {"guide": np.ones((50, 100), np.float32)}

    return frozen_features.make({}, computed(), images=50, cache=str(cache))


@pytest.mark.parametrize("damage", [changed, lambda path: path.unlink()], ids=["changed", "gone"])
def test_frozen_features_that_are_damaged_are_named_and_computed_again(tmp_path, damage):
    frozen(tmp_path)
    (path,) = tmp_path.glob("frozen-*/guide.npy")
    damage(path)
    with pytest.raises(RunError, match="frozen features in '.*Remove that folder; the same"):
        frozen(tmp_path)
    shutil.rmtree(path.parent)
    assert frozen(tmp_path).attach({"index": np.int32(7)})["cached"]["guide"].sum() == 100


def test_frozen_features_take_their_room_before_they_are_written(tmp_path):
    """Into a file without room that is mapped into memory a write is a crash."""
    with disks.no_large_file(1000), pytest.raises(InputError, match="cannot be written"):
        frozen(tmp_path)
    assert not list(tmp_path.glob("frozen-*/"))
