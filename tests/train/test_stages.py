import json

import pytest
from etils import epath

from gazax.train import stages
from gazax.train.workdir import write_json
from gazax.typing import InputError, RunError


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path) / "whole"


def finish(folder, value):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "summary.json",
        {"numbers": {"auc": [value, 0.0, 1.0]}, "phantom_numbers": value > 0.5, "table": "T"},
    )


def test_each_runs_in_its_folder_in_order_and_the_summary_has_all(folder):
    ran = []

    def run(name, where):
        ran.append((name, where))
        finish(where, 0.1 * len(ran))
        return 0

    assert stages.run_stages(("pretrain", "finetune"), run, folder) == 0
    assert ran == [("pretrain", folder / "pretrain"), ("finetune", folder / "finetune")]
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["stages"]) == ["pretrain", "finetune"]
    assert summary["numbers"] == {
        "pretrain/auc": [0.1, 0.0, 1.0],
        "finetune/auc": [0.2, 0.0, 1.0],
    }
    assert summary["table"] == "pretrain: T\n\nfinetune: T"
    assert not summary["phantom_numbers"]


def test_an_interrupted_stage_ends_it_and_the_next_call_goes_on(folder):
    ran, codes = [], {"b": 75}

    def run(name, where):
        ran.append(name)
        if code := codes.pop(name, 0):
            return code
        finish(where, 0.9)
        return 0

    assert stages.run_stages(("a", "b", "c"), run, folder) == 75
    assert ran == ["a", "b"]
    assert not (folder / "summary.json").exists()
    assert stages.run_stages(("a", "b", "c"), run, folder) == 0
    assert ran == ["a", "b", "a", "b", "c"]
    assert json.loads((folder / "summary.json").read_text())["phantom_numbers"]


def test_a_stage_that_leaves_no_summary_is_an_error(folder):
    with pytest.raises(RunError, match="stage 'a' .* without a summary"):
        stages.run_stages(("a",), lambda name, where: 0, folder)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a"), "two stages are called 'a'"),
        (("a/b",), "'a/b' names a folder"),
        (("",), "'' names a folder"),
        (("..",), "names a folder"),
        (("summary.json",), "names a folder"),
        (("checkpoints",), "has a folder 'checkpoints' already"),
    ],
)
def test_names_are_folders_each_its_own(folder, names, message):
    with pytest.raises(InputError, match=message):
        stages.run_stages(names, lambda name, where: 0, folder)
    assert not folder.exists()


def test_a_stage_reads_what_came_before_it_and_nothing_else(folder):
    before = ("pretrain", "align")
    assert stages.resolve_path("stage:align", folder, before) == folder / "align"
    assert stages.resolve_path("runs/other", folder, before) == "runs/other"
    assert stages.resolve_path("", folder, ()) == ""
    with pytest.raises(InputError, match="'finetune' comes before .* come pretrain, align"):
        stages.resolve_path("stage:finetune", folder, before)
    with pytest.raises(InputError, match="it is the first"):
        stages.resolve_path("stage:pretrain", folder, ())
