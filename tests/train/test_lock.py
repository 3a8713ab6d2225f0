import json
import time

import pytest
from etils import epath

from gazax.train.lock import LockObject, lock, release
from gazax.typing import InputError

QUICK = dict(beat=0.1, stale=0.5, settle=0.05)


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path)


def test_a_second_process_is_kept_out(folder):
    """The lock belongs to the open file, so that a second one stands for a second process."""
    lock(folder)
    with pytest.raises(InputError, match="another process trains"):
        lock(folder)
    release()
    lock(folder)
    release()


def test_an_object_keeps_others_out_while_it_is_renewed(folder):
    held = LockObject(folder, **QUICK)
    with pytest.raises(InputError, match=r"another process \(host .*, process \d+, last seen 2"):
        LockObject(folder, **QUICK)
    held.close()
    assert not list(folder.iterdir())
    LockObject(folder, **QUICK).close()


def test_the_object_of_a_dead_run_is_taken_over(folder, capsys):
    """Whatever its time says: clocks of two hosts differ."""
    (folder / "lock.json").write_text(json.dumps({"id": "a", "time": "2999-01-01T00:00:00Z"}))
    began = time.monotonic()
    held = LockObject(folder, **QUICK)
    assert time.monotonic() - began >= QUICK["stale"]
    assert "looking for up to" in capsys.readouterr().err
    assert held.is_mine()
    held.close()


def test_of_two_that_write_in_the_same_moment_one_stays(folder, monkeypatch):
    write = LockObject._write

    def and_then_another(self):
        write(self)
        (folder / "lock.json").write_text(json.dumps({"id": "another"}))

    monkeypatch.setattr(LockObject, "_write", and_then_another)
    with pytest.raises(InputError, match="another process trains"):
        LockObject(folder, **QUICK)
    assert json.loads((folder / "lock.json").read_text())["id"] == "another"


def test_one_that_lost_it_ends(folder, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr("gazax.train.lock.os._exit", codes.append)
    held = LockObject(folder, **QUICK)
    (folder / "lock.json").write_text(json.dumps({"id": "another"}))
    held._thread.join(5)
    assert codes == [1]
    assert "is lost: it is another's now" in capsys.readouterr().err
    held.close()
    assert (folder / "lock.json").exists()  # it is not ours to remove


def test_a_bucket_is_locked_by_an_object(bucket, monkeypatch):
    for name, seconds in QUICK.items():
        monkeypatch.setattr(f"gazax.train.lock.{name.upper()}_S", seconds)
    lock(bucket)
    assert (bucket / "lock.json").exists()
    with pytest.raises(InputError, match="another process"):
        lock(bucket)
    release()
    assert not (bucket / "lock.json").exists()


def test_no_error_of_a_network_ends_the_renewing(bucket, monkeypatch):
    """Libraries of clouds have errors of their own, which are no OSError."""
    held = LockObject(bucket, **QUICK)
    write, failures = held._write, iter(range(2))

    def flaky():
        if next(failures, None) is not None:
            raise Exception("502")
        write()

    monkeypatch.setattr(held, "_write", flaky)
    time.sleep(5 * QUICK["beat"])
    before = held._read()
    time.sleep(3 * QUICK["beat"])
    assert held._read() != before
    held.close()
