"""A folder that is there whole or not at all."""

import pytest

from gazax.export.folder import new_folder
from gazax.typing import InputError


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


def test_what_a_kill_left_is_taken_away(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").touch()
    with new_folder(tmp_path / "out") as beside:
        assert list(beside.iterdir()) == []


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
