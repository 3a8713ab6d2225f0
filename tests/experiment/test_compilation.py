import os

from gazax.experiment.compilation import bound


def write(folder, sizes):
    """Files of these sizes, each used a second after the one before."""
    for second, (name, size) in enumerate(sizes.items()):
        (folder / name).write_bytes(b"0" * size)
        os.utime(folder / name, (second, 0))  # read at that second, written before all


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_what_was_used_longest_ago_goes_first(tmp_path):
    write(tmp_path, {"old": 10, "older_but_used": 10, "new": 10})
    bound(tmp_path, 20)
    assert names(tmp_path) == {"older_but_used", "new"}


def test_no_more_is_removed_than_the_bound_asks(tmp_path):
    write(tmp_path, {"a": 10, "b": 10, "c": 10})
    bound(tmp_path, 30)
    assert names(tmp_path) == {"a", "b", "c"}
    bound(tmp_path, 0)
    assert not names(tmp_path)


def test_what_lies_in_folders_below_counts_too(tmp_path):
    """A GPU's own cache lies in one."""
    below = tmp_path / "autotune"
    below.mkdir()
    write(below, {"old": 10})
    os.utime(below / "old", (0, 0))
    write(tmp_path, {"new": 10})
    bound(tmp_path, 10)
    assert names(tmp_path) == {"autotune", "new"}
    assert not names(below)


def test_a_folder_that_is_not_there_is_left_so(tmp_path):
    bound(tmp_path / "xla", 0)
    assert not (tmp_path / "xla").exists()
