"""Folders that go whole, also while something writes to them."""

import errno

import pytest
from etils import epath

from gazax.train import files
from gazax.typing import RunError


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """A folder of which the system says so many times that it is not empty, and the pauses made."""
    folder = epath.Path(tmp_path) / "7.orbax-checkpoint-tmp"
    (folder / "state").mkdir(parents=True)
    pauses = []
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    rmtree = type(folder).rmtree

    def with_refusals(count, code=errno.ENOTEMPTY):
        left = [count]

        def refusing(path, *args):
            if left[0]:
                left[0] -= 1
                raise OSError(code, "refused", str(path))
            rmtree(path, *args)

        monkeypatch.setattr(type(folder), "rmtree", refusing)
        return folder, pauses

    return with_refusals


@pytest.mark.parametrize("code", [errno.ENOTEMPTY, errno.ENOENT])
def test_a_folder_that_is_written_to_is_removed_after_the_writer_has_ended(busy, code):
    folder, pauses = busy(2, code)
    files.remove_folder(folder)
    assert not folder.exists()
    assert pauses == [0.1, 0.4]


def test_it_ends_where_the_writer_does_not(busy):
    folder, pauses = busy(5)
    with pytest.raises(RunError, match="something still writes to it"):
        files.remove_folder(folder)
    assert sum(pauses) == 4


def test_one_that_the_writer_has_renamed_is_gone(busy):
    folder, _ = busy(1)
    folder.rename(folder.with_name("7"))
    files.remove_folder(folder)


def test_another_refusal_is_not_waited_for(busy):
    folder, pauses = busy(1, errno.EACCES)
    with pytest.raises(PermissionError):
        files.remove_folder(folder)
    assert not pauses
