import json

import numpy as np
import pytest

from gazax.page.runs import image_groups, load_runs
from gazax.typing import InputError
from tests.page.workdirs import make_workdir


def load(folders):
    return load_runs([str(folder) for folder in folders])


def test_runs_are_called_by_the_shortest_names_that_tell_them_apart(tmp_path):
    folders = [make_workdir(tmp_path / name, gallery=0) for name in ("a/run", "b/run", "b/other")]
    assert [run.name for run in load(folders[1:])] == ["run", "other"]
    assert [run.name for run in load(folders)] == ["a/run", "b/run", "b/other"]


def test_stages_are_runs_of_their_own(tmp_path):
    make_workdir(tmp_path / "whole" / "pretrain", gallery=0)
    make_workdir(tmp_path / "whole" / "finetune", gallery=0)
    config = {"config": {"stages": ["pretrain", "finetune"]}, "data_fingerprint": ""}
    (tmp_path / "whole" / "config.json").write_text(json.dumps(config))
    assert [run.name for run in load_runs([str(tmp_path / "whole")])] == ["pretrain", "finetune"]


def test_cases_come_in_the_order_of_their_numbers(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=11)
    (run,) = load_runs([str(folder)])
    expected = [f"set0_image{place:03}" for place in range(11)]
    assert [case.image_id for case in run.cases()] == expected


def test_runs_of_the_same_images_belong_together(tmp_path):
    folders = [make_workdir(tmp_path / f"run{i}", data=i % 2, gallery=0) for i in range(3)]
    assert image_groups([run.record for run in load(folders)]) == [0, 1, 0]


def test_runs_of_other_labels_do_not_belong_together(tmp_path):
    runs = load([make_workdir(tmp_path / f"run{i}", gallery=0) for i in range(2)])
    runs[1].record.label[0] = np.nan
    assert image_groups([run.record for run in runs]) == [0, 1]


def test_no_workdir_is_refused():
    with pytest.raises(InputError, match="no workdir is given"):
        load_runs([])


def not_there(folder):
    return folder / "nowhere"


def not_evaluated(folder):
    (folder / "evaluation").rename(folder / "moved")
    return folder


def no_numbers(folder):
    (folder / "evaluation" / "numbers.json").unlink()
    return folder


def cut_numbers(folder):
    (folder / "evaluation" / "numbers.json").write_text('{"suites": {')
    return folder


def old_numbers(folder):
    (folder / "evaluation" / "numbers.json").write_text('{"images": 3, "step": 2, "suites": {}}')
    return folder


def change_numbers(**changes):
    def spoil(folder):
        path = folder / "evaluation" / "numbers.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    return spoil


def folder_of_numbers(folder):
    (folder / "evaluation" / "numbers.json").unlink()
    (folder / "evaluation" / "numbers.json").mkdir()
    return folder


def no_workdir(folder):
    (folder / "config.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (not_there, "there is no such folder"),
        (not_evaluated, "has not been evaluated; run python -m gazax.evaluate --workdir="),
        (no_numbers, "no evaluation/numbers.json"),
        (cut_numbers, "numbers.json' is damaged"),
        (old_numbers, "numbers.json' has no patients, phantom_numbers"),
        (folder_of_numbers, "numbers.json' is damaged"),
        (change_numbers(suites=[]), "damaged .suites is no block.*evaluate"),
        (change_numbers(suites={"probe": {}}), "damaged .suite 'probe' has no numbers"),
        (change_numbers(suites={"a": {"numbers": {"x/y": [1, 2]}}}), "x/y of 'a' is no number"),
        (change_numbers(suites={"a": {"numbers": {"x/y": "1"}}}), "x/y of 'a' is no number"),
        (no_workdir, "no config.json: it is not a workdir"),
    ],
)
def test_a_workdir_without_what_it_takes_is_refused(tmp_path, spoil, message):
    folder = spoil(make_workdir(tmp_path / "run", gallery=0))
    with pytest.raises(InputError, match=message):
        load_runs([str(folder)])


def test_a_workdir_given_twice_is_refused(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=0)
    with pytest.raises(InputError, match="given twice"):
        load_runs([str(folder), f"{folder.parent}/../{tmp_path.name}/run"])


def part(path):
    np.savez(path, image=np.zeros((2, 2)))


def no_map(path):
    case = dict(np.load(path))
    np.savez(path, **{name: one for name, one in case.items() if name != "attention"})


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def changed(path):
    found = bytearray(path.read_bytes())
    for place in range(40, len(found), 97):
        found[place] ^= 0xFF
    path.write_bytes(found)


@pytest.mark.parametrize("spoil", [part, no_map, cut, changed])
def test_a_damaged_case_is_refused(tmp_path, spoil):
    folder = make_workdir(tmp_path / "run", gallery=1)
    spoil(folder / "evaluation" / "gallery" / "0.npz")
    (run,) = load_runs([str(folder)])
    with pytest.raises(InputError, match="0.npz' is damaged"):
        run.cases()
