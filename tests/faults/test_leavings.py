"""What a command that was killed, or that was not, leaves beside its output."""

import pytest

from gazax.data.cache import find_or_make
from gazax.data.phantom.write import locked_folder, write_gaze_folder
from tests.faults.records import prepared


def test_what_a_killed_preparation_had_started_cannot_spoil_the_next(tmp_path):
    """A process of it that still writes finds its folder gone, and not the new one."""
    folder = tmp_path / "records"
    left = tmp_path / "records.partial" / "pictures"
    left.mkdir(parents=True)
    (left / "1.png").write_text("")

    def make(beside):
        assert not list(beside.iterdir())
        with pytest.raises(FileNotFoundError):
            (left / "2.png").write_text("")

    find_or_make(folder, make)
    assert {path.name for path in tmp_path.iterdir()} == {"records", "records.lock"}


def test_a_phantom_removes_what_a_killed_one_has_left_and_nothing_else(tmp_path):
    left, alive, other = (
        tmp_path / name
        for name in (".out.abcd1234.partial", ".out.efgh5678.partial", ".out.backup")
    )
    for folder in (left, alive, other):
        (folder / "images").mkdir(parents=True)
    with locked_folder(alive):
        write_gaze_folder(tmp_path / "out", count=1, size=32)
    assert {path.name for path in tmp_path.iterdir()} == {"out", alive.name, other.name}


def test_preparing_leaves_nothing_in_the_temporary_folder(tmp_path, monkeypatch):
    """The library that writes records would leave an empty folder of each block."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    prepared(tmp_path)
    assert not list(temporary.iterdir())
