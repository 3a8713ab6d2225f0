"""Records that disappear or change, before a run or under it."""

import itertools
import os
import shutil

import pytest

from gazax.data.records import Records
from gazax.typing import RunError
from tests.faults.records import DAMAGES, batches, changed, file_of, prepared


@pytest.fixture
def records(tmp_path):
    return prepared(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_records_that_are_damaged_are_named_with_what_to_do(records, tmp_path, damage):
    DAMAGES[damage](file_of(records))
    with pytest.raises(RunError, match="train' cannot be read.*remove '.*the same command makes"):
        list(itertools.islice(batches(Records(records.directory)), 8))
    shutil.rmtree(records.directory)
    assert prepared(tmp_path).content_hash == records.content_hash


@pytest.mark.parametrize("at", [5, 150, 400])
@pytest.mark.parametrize("name", ["preparation.json", "examples.csv"])
def test_a_table_that_is_cut_off_is_named(records, name, at):
    os.truncate(records.directory / name, at)
    with pytest.raises(RunError, match=f"{name}' cannot be read"):
        Records(records.directory).image_ids  # noqa: B018


def test_a_label_that_changes_in_the_table_is_found(records):
    path = records.directory / "examples.csv"
    first = path.read_text().splitlines()[1].split(",")
    changed = first.copy()
    changed[7] = first[7].translate(str.maketrans("01", "10"))
    path.write_text(path.read_text().replace(",".join(first), ",".join(changed)))
    assert changed != first
    with pytest.raises(RunError, match=r"examples.csv' .* does not have the bytes"):
        Records(records.directory).examples  # noqa: B018


def test_records_that_change_in_mid_run_end_it(records):
    """The file is open by then."""
    stream = batches(records, num_threads=1)
    next(stream)
    changed(file_of(records))
    with pytest.raises(RunError, match="cannot be read"):
        list(itertools.islice(stream, 8))
