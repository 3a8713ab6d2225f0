"""The runs of a sweep are called by what it calls them, and not by the hash of their folder."""

import json

import pytest

from gazax.page.runs import load_runs
from gazax.page.sweep_runs import folder_of
from gazax.typing import InputError
from tests.page.workdirs import make_workdir

RUNS = {
    "aa": (["ours, seed 0"], "finished"),
    "bb": (["ours, seed 1"], "finished"),
    "cc": (["plain, seed 0", "again, seed 0"], "failed"),
    "dd": (["plain, seed 1", "again, seed 1"], "finished"),
    "ee": (["late, seed 0"], "pending"),
}


@pytest.fixture
def sweep(tmp_path):
    runs = {key: {"uses": uses, "status": status} for key, (uses, status) in RUNS.items()}
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": runs}))
    for key in ("aa", "dd"):
        make_workdir(tmp_path / "runs" / key)
    return tmp_path


def test_a_variant_stands_for_its_first_finished_seed(sweep):
    assert folder_of(str(sweep), "ours") == f"{sweep}/runs/aa"
    assert folder_of(str(sweep), "again") == f"{sweep}/runs/dd"
    with pytest.raises(InputError, match="no run of this variant of .* is finished"):
        folder_of(str(sweep), "late")
    with pytest.raises(InputError, match="did you mean 'ours'.*it has again, late, ours, plain"):
        folder_of(str(sweep), "our")
    with pytest.raises(InputError, match="it is no sweep's folder"):
        folder_of(str(sweep / "runs"), "ours")


def test_runs_of_a_sweep_are_called_by_their_variants(sweep):
    folders = [str(sweep / "runs" / key) for key in ("aa", "dd")]
    named = ["ours-0", "plain-1=again-1"]
    assert [run.name for run in load_runs(folders)] == named
    (sweep / "sweep.json").unlink()
    assert [run.name for run in load_runs(folders)] == ["aa", "dd"]


@pytest.mark.parametrize("runs", [[], {"aa": 3}, {"aa": {"status": "x"}}, {"aa": {"uses": "x"}}])
def test_a_damaged_state_is_named(sweep, runs):
    (sweep / "sweep.json").write_text(json.dumps({"runs": runs}))
    with pytest.raises(InputError, match="sweep.json' is damaged; run python -m gazax.sweep"):
        folder_of(str(sweep), "ours")
