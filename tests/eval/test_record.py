"""What an evaluation leaves comes back as it was, or says in a line what is wrong with it."""

import dataclasses

import numpy as np
import pytest
from etils import epath

from gazax.eval.record import FILE, KINDS, PLAIN, Record
from gazax.typing import InputError


def make_record(n=6, **changes):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, (n, 2)).astype(np.float32)
    label[0, 1] = np.nan
    plain = dict(
        index=np.arange(n) + 100,
        image_id=np.array([f"imäge/{i}" for i in range(n)]),
        patient=np.array([f"p{i // 2}" for i in range(n)]),
        label=label,
        label_names=np.array(["normal", "heart failure"]),
        features=rng.normal(size=(n, 4)).astype(np.float32),
        embedding=np.zeros((n, 0), np.float32),
        values={"attention/cc": np.full((1, n), np.nan), "a@b/c": rng.normal(size=(5, n))},
        scores={"probe": rng.normal(size=(1, n, 2)), "anomaly_knn": rng.normal(size=(1, n, 1))},
        targets={"anomaly_knn": np.ones((n, 1))},
    )
    return Record(**plain | changes)


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path)


@pytest.mark.parametrize("kinds", [{}, {kind: {} for kind in KINDS}])
def test_what_is_saved_is_loaded(folder, kinds):
    saved = make_record(**kinds)
    saved.save(folder)
    assert [path.name for path in folder.iterdir()] == [FILE]
    loaded = Record.load(folder)
    for name in PLAIN:
        one, other = getattr(saved, name), getattr(loaded, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other)
    for kind in KINDS:
        one, other = getattr(saved, kind), getattr(loaded, kind)
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_scores_are_held_against_the_label_unless_there_is_a_target():
    record = make_record()
    assert record.target("probe") is record.label
    assert record.target("anomaly_knn") is record.targets["anomaly_knn"]


def test_a_missing_file_is_named_with_the_command_that_makes_it(folder):
    with pytest.raises(InputError, match="gazax.evaluate --workdir=DIR") as error:
        Record.load(folder)
    assert f"'{folder}' has no {FILE}" in str(error.value)


def damaged(folder):
    """The message for the file as it is; None where it can be read after all."""
    try:
        Record.load(folder)
    except InputError as error:
        return str(error)
    return None


def test_a_file_that_is_cut_off_is_damaged(folder):
    make_record().save(folder)
    whole = (folder / FILE).read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (folder / FILE).write_bytes(whole[:length])
        assert f"'{folder / FILE}' is damaged" in damaged(folder), length
        assert "evaluate its run again" in damaged(folder)


def test_changed_bytes_are_damage_and_nothing_else(folder):
    """Wherever they are: in a compressed array, in a header or in the directory of the archive."""
    make_record().save(folder)
    whole = (folder / FILE).read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(300):
        changed = np.frombuffer(whole, np.uint8).copy()
        begin = rng.integers(len(whole))
        changed[begin : begin + 4] ^= rng.integers(1, 256, dtype=np.uint8)
        (folder / FILE).write_bytes(changed.tobytes())
        messages.append(damaged(folder))
    found = [message for message in messages if message]
    assert len(found) > 150  # the others are where nobody looks, in dates and such
    assert all("is damaged" in message for message in found)


@pytest.mark.parametrize(
    "write",
    [
        lambda file: np.savez(file, index=np.arange(3)),  # parts are missing
        lambda file: np.savez(file, **dict.fromkeys(PLAIN, np.zeros(1)), other=np.zeros(1)),
        lambda file: np.savez(  # values of other images
            file, **dict.fromkeys(PLAIN, np.zeros(3)), **{"values/x/cc": np.zeros((1, 5))}
        ),
        lambda file: np.savez(  # no numbers
            file, **dict.fromkeys(PLAIN, np.zeros(3)), **{"values/x/cc": np.full((1, 3), "a")}
        ),
        lambda file: np.save(file, np.zeros(3)),  # an array, no archive
        lambda file: file.write(b"<html>"),
    ],
    ids=["parts", "more", "others", "words", "array", "text"],
)
def test_another_kind_of_file_is_damaged(folder, write):
    with (folder / FILE).open("wb") as file:
        write(file)
    assert "is damaged" in damaged(folder)


def test_objects_are_not_read(folder):
    """They would run what the file says."""
    arrays = {name: getattr(make_record(), name) for name in PLAIN}
    with (folder / FILE).open("wb") as file:
        np.savez(file, **arrays | {"patient": np.array([{}], dtype=object)})
    assert "is damaged" in damaged(folder)


def test_an_interrupted_save_leaves_the_file_as_it_was(folder, monkeypatch):
    first = make_record()
    first.save(folder)

    def killed(file, **arrays):
        file.write(b"PK half of a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", killed)
    with pytest.raises(KeyboardInterrupt):
        dataclasses.replace(first, index=np.arange(6)).save(folder)
    monkeypatch.undo()
    np.testing.assert_array_equal(Record.load(folder).index, first.index)
    dataclasses.replace(first, index=np.arange(6)).save(folder)
    assert Record.load(folder).index[0] == 0
    assert [path.name for path in folder.iterdir()] == [FILE]
