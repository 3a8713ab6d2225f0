"""A folder that is there whole or not at all."""

import sys

import numpy as np
import pytest

from gazax.export.folder import new_folder, save_weights
from gazax.typing import InputError, RunError


def test_it_is_called_so_at_the_end_only(tmp_path):
    out = tmp_path / "a" / "out"
    with new_folder(out) as beside:
        (beside / "file").write_text("x")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["file"]
    assert list(out.parent.iterdir()) == [out]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as beside:
        (beside / "file").touch()
    assert (tmp_path / "out" / "file").exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_one_that_failed(tmp_path, error):
    def fail():
        with new_folder(tmp_path / "out") as beside:
            (beside / "file").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_two_that_write_to_one_place_do_not_mix(tmp_path):
    out = tmp_path / "out"

    def late():
        with new_folder(out) as beside, new_folder(out) as other:
            (beside / "slow").touch()
            (other / "quick").touch()
            assert [path.name for path in beside.iterdir()] == ["slow"]

    with pytest.raises(InputError, match="cannot be written: .*not empty"):
        late()
    assert [path.name for path in out.iterdir()] == ["quick"]
    assert list(tmp_path.iterdir()) == [out]


def test_parents_that_were_made_for_it_go_with_it(tmp_path):
    (tmp_path / "mine").mkdir()

    def fail():
        with new_folder(tmp_path / "mine" / "a" / "b" / "out"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on files takes the disk's place")
def test_weights_that_the_disk_does_not_hold_are_named(tmp_path):
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(RunError, match=r"'w\.safetensors' cannot be written: .*too large"):
            save_weights(tmp_path / "w.safetensors", {"a": np.zeros(1000)}, form="np")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        with pytest.raises(InputError, match="is there already"), new_folder(tmp_path / name):
            raise AssertionError("not reached")
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file"}
    with pytest.raises(InputError, match="cannot be made"), new_folder(tmp_path / "file" / "out"):
        raise AssertionError("not reached")
