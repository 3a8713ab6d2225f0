"""Any part of a checkpoint changed, cut off or gone: found, said, and the last good one taken."""

import random
import shutil

import pytest
from etils import epath

from gazax.train.checkpoint import MANIFEST, Checkpoints, find_damage
from gazax.train.files import below
from tests.train import toys

CASES = 100
START = toys.start(toys.Toy(backbone=toys.tiny_vit()))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of steps 1 and 2."""
    folder = epath.Path(tmp_path_factory.mktemp("run")) / "checkpoints"
    checkpoints = Checkpoints(folder, keep=2)
    for step in (1, 2):
        checkpoints.save(START.fresh(), step=step, examples=step, best_step=None)
    checkpoints.close()
    return folder


def flip(content, at, draw):
    return content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :]


def cut(content, at, draw):
    return content[:at]


def zero(content, at, draw):
    length = draw.randrange(1, 512)
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def lose(content, at, draw):
    length = draw.randrange(1, 512)
    return content[:at] + content[at + length :]


def repeat(content, at, draw):
    return content[:at] + content[at : at + 64] + content[at:]


def damages(folder):
    """(file, what it holds now), file after file and kind after kind, each somewhere else."""
    draw = random.Random(0)
    files = [path for path in below(folder / "2") if path.read_bytes()]
    kinds = (flip, cut, zero, lose, repeat)
    for case in range(CASES):
        path, kind = files[case % len(files)], kinds[case // len(files) % len(kinds)]
        before = path.read_bytes()
        after = before
        while after == before:  # zeros over zeros are no damage
            after = kind(before, draw.randrange(len(before)), draw)
        yield path, before, after


def test_every_one_of_a_hundred_is_found(saved):
    found = []
    for path, before, after in damages(saved):
        path.write_bytes(after)
        found.append(find_damage(saved / "2"))
        path.write_bytes(before)
    assert len(found) == CASES
    assert all(found)
    assert find_damage(saved / "2") is None


def test_a_line_less_in_the_manifest_is_found(saved):
    """What it names no more is not checked."""
    manifest = saved / "2" / MANIFEST
    before = manifest.read_text()
    try:
        for line in before.splitlines(keepends=True):
            manifest.write_text(before.replace(line, ""))
            assert MANIFEST in find_damage(saved / "2")
    finally:
        manifest.write_text(before)


def test_a_file_that_it_does_not_name_is_found_and_a_hidden_one_is_nothing(saved):
    for name, is_damage in (("state/d/extra", True), ("state/.nfs0001", False)):
        path = saved / "2" / name
        path.write_bytes(b"1")
        assert bool(find_damage(saved / "2")) == is_damage
        path.unlink()


@pytest.mark.parametrize("kind", ["changed", "cut off", "gone", "all of it gone"])
def test_the_last_good_one_is_taken_and_the_damage_said(saved, tmp_path, caplog, kind):
    folder = epath.Path(tmp_path) / "checkpoints"
    shutil.copytree(saved, folder)
    path = max(below(folder / "2"), key=lambda one: one.stat().length)
    content = path.read_bytes()
    if kind == "changed":
        path.write_bytes(flip(content, len(content) // 3, random.Random(0)))
    elif kind == "cut off":
        path.write_bytes(content[:-1])
    elif kind == "gone":
        path.unlink()
    else:
        (folder / "2" / MANIFEST).unlink()
    _, examples = Checkpoints(folder, keep=2).restore_latest(START.described)
    assert examples == 1
    said = "was never finished and is removed" if kind == "all of it gone" else "is damaged and set"
    assert said in caplog.text
