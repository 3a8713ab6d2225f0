import hashlib
import shutil
import subprocess

import jax
import numpy as np
import pytest
from etils import epath

from gazax.train import loop, sharding
from gazax.train.checkpoint import MANIFEST, Checkpoints, find_damage
from gazax.typing import InputError


@pytest.fixture(scope="module")
def saved(tmp_path_factory, method, tx, spec):
    """Checkpoints of steps 10, 20 and 30, the last two kept, and 10 as the best."""
    folder = epath.Path(tmp_path_factory.mktemp("run")) / "checkpoints"
    described, fresh = loop.make_start(method, tx, spec, mesh=sharding.make_mesh(), seed=0)
    checkpoints = Checkpoints(folder, keep=2)
    state = fresh()
    for step in (5, 10, 20, 30):
        state = jax.tree.map(lambda x: x + 1 if x.ndim else x, state)
        checkpoints.save(state, step=step, examples=8 * step, best_step=10)
    checkpoints.close()
    return folder, described, jax.tree.map(np.asarray, state)


@pytest.fixture
def copy(saved, tmp_path):
    folder, described, state = saved
    shutil.copytree(folder, tmp_path / "checkpoints")
    return epath.Path(tmp_path) / "checkpoints", described, state


def test_the_last_are_kept_and_the_best_beside_them(saved):
    folder, _, _ = saved
    checkpoints = Checkpoints(folder, keep=2)
    assert checkpoints.steps() == [10, 20, 30]


def test_what_was_saved_comes_back_bit_for_bit(copy):
    folder, described, state = copy
    restored, examples = Checkpoints(folder, keep=2).restore_latest(described)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, restored), state)
    assert examples == 240


def test_it_comes_back_on_another_mesh(copy, method, tx, spec):
    folder, _, state = copy
    described, _ = loop.make_start(method, tx, spec, mesh=sharding.make_mesh(fsdp=4), seed=0)
    restored, _ = Checkpoints(folder, keep=2).restore_latest(described)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, restored), state)


def test_manifest_is_what_sha256sum_reads(copy):
    folder, _, _ = copy
    check = subprocess.run(
        ["sha256sum", "--quiet", "-c", MANIFEST], cwd=folder / "30", capture_output=True
    )
    assert check.returncode == 0, check.stderr


def test_a_flipped_bit_anywhere_is_named_and_the_last_good_step_used(copy, caplog):
    folder, described, _ = copy
    files = [path for path in (folder / "30").glob("*/*") if path.is_file()]
    files += list((folder / "30/state/ocdbt.process_0/d").iterdir())
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        if not content:
            continue
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 1])
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
        assert path.name in find_damage(folder / "30")
        path.write_bytes(content)
    assert find_damage(folder / "30") is None

    path.write_bytes(b"x" + content[1:])
    _, examples = Checkpoints(folder, keep=2).restore_latest(described)
    assert examples == 160
    assert "checkpoint 30 is damaged" in caplog.text
    assert path.name in caplog.text
    assert (folder.parent / "checkpoints.damaged/30").is_dir()


def test_a_missing_file_is_damage(copy):
    folder, _, _ = copy
    (folder / "30/data/metadata").unlink()
    assert "metadata is missing" in find_damage(folder / "30")


def test_a_folder_without_a_manifest_is_no_checkpoint(copy):
    folder, described, _ = copy
    (folder / "30" / MANIFEST).unlink()
    checkpoints = Checkpoints(folder, keep=2)
    assert checkpoints.steps() == [10, 20]
    assert not (folder / "30").exists()
    assert checkpoints.restore_latest(described)[1] == 160


def test_all_damaged_is_an_error_and_nothing_is_lost(copy):
    folder, described, _ = copy
    for step in (10, 20, 30):
        (folder / str(step) / "state/_METADATA").write_text("")
    with pytest.raises(InputError, match=r"all checkpoints .* damaged \(10, 20, 30\)"):
        Checkpoints(folder, keep=2).restore_latest(described)
    assert len(list((folder.parent / "checkpoints.damaged").iterdir())) == 3


def test_no_checkpoint_is_none(tmp_path, saved):
    _, described, _ = saved
    assert Checkpoints(epath.Path(tmp_path) / "new", keep=2).restore_latest(described) is None


def test_a_bucket_has_no_folder_before_the_first_is_saved(bucket):
    assert Checkpoints(bucket / "checkpoints", keep=1).steps() == []


def test_in_a_bucket_they_are_found_and_damaged_ones_set_aside(bucket):
    for step, digest in ((4, hashlib.sha256(b"1").hexdigest()), (8, "0" * 64)):
        folder = bucket / "checkpoints" / str(step)
        (folder / "state" / "a").write_bytes(b"1")
        (folder / MANIFEST).write_text(f"{digest}  state/a\n")
    checkpoints = Checkpoints(bucket / "checkpoints", keep=1)
    assert checkpoints.steps() == [4, 8]
    assert checkpoints._set_damaged_aside() == [4]
    aside = bucket / "checkpoints.damaged" / "8"
    assert (aside / "state" / "a").read_bytes() == b"1"
    assert find_damage(bucket / "checkpoints" / "4") is None
