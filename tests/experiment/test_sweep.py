"""A sweep runs each different config once, goes on after a crash, and its folder is its state."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from etils import epath
from ml_collections import ConfigDict

from gazax.experiment.sweep_plan import make_plan
from gazax.train.preemption import EXIT_RESUMABLE, Preemption
from gazax.typing import InputError
from tests.experiment.sweeps import SPEC, FakeRuns, config
from tests.runs import ROOT

TWO = {"own": ("data.gaze=own",), "shuffled": ("data.gaze=shuffled",)}


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def runs(tmp_path):
    return FakeRuns(tmp_path)


def sweep_of(runs, tmp_path, variants=TWO, **settings):
    plan = make_plan(config(variants, **settings))
    return plan, runs.sweep(plan, epath.Path(tmp_path) / "out")


def run(sweep, plan, names=None):
    sweep.lock()
    return sweep.run(plan.chosen(names or [one.name for one in plan.variants]), Preemption())


def test_runs_are_variants_times_seeds_the_first_seed_of_all_first():
    plan = make_plan(config(TWO, seeds=(3, 1)))
    assert [one.uses for one in plan.runs] == [
        (("own", 3),),
        (("shuffled", 3),),
        (("own", 1),),
        (("shuffled", 1),),
    ]
    assert plan.runs[0].overrides == ("seed=3", "data.gaze=own")
    assert len({one.key for one in plan.runs}) == 4


def test_equal_configs_share_a_run_however_they_are_written():
    alpha = dict(config=SPEC, overrides=("method.alpha=3", "data.gaze=own"))
    plan = make_plan(
        config({"a": ("method.alpha=3.0",), "b": alpha, "c": ("method.alpha=4",)}, seeds=(0,))
    )
    assert [one.uses for one in plan.runs] == [(("a", 0), ("b", 0)), (("c", 0),)]
    assert plan.chosen(["b"]) == plan.runs[:1]


def test_keys_depend_on_the_config_alone():
    first = make_plan(config({"a": ("method.alpha=3",)}, seeds=(0,)))
    renamed = make_plan(config({"z": (), "b": ("method.alpha=3",)}, seeds=(0,)))
    assert renamed.runs[1].key == first.runs[0].key


def test_a_key_stays_what_it_was():
    """A new key of a config goes into `GAINED`, or finished sweeps are trained again."""
    study = dict(
        config="configs/gazat_vit.py:study",
        overrides=("data.gaze=own", "data.source.contrast=1.0"),
    )
    (one,) = make_plan(config({"own": study}, seeds=(0,))).runs
    assert one.key == "8b2b64a68ef9"
    other = study | {"overrides": (*study["overrides"], "method.look_first=0.5")}
    assert make_plan(config({"own": other}, seeds=(0,))).runs[0].key != one.key


def test_stages_all_get_the_seed_and_the_last_is_evaluated():
    staged = dict(config="configs/gazat_transfer.py:smoke", overrides=())
    (one,) = make_plan(config({"a": staged}, seeds=(2,))).runs
    assert one.overrides == ("stages.pretrain.seed=2", "stages.finetune.seed=2")
    assert one.evaluated == "finetune"


TABLE = dict(
    title="t", systems=(("own", "Own"),), metrics=(("probe/accuracy", "Accuracy"),), notes=("n",)
)
ASKED = dict(variant="own", reference="shuffled", metrics=("probe/accuracy",))


def test_tables_and_contrasts_are_read():
    plan = make_plan(config(TWO, tables={"t": TABLE}, contrasts={"why": ASKED}))
    (table,), (contrast,) = plan.tables, plan.contrasts
    assert table.systems == {"own": "Own"}
    assert table.notes == ("n",)
    assert (contrast.question, contrast.metrics) == ("why", ("probe/accuracy",))


@pytest.mark.parametrize(
    ("variants", "settings", "message"),
    [
        ({"a": ("data.gaz=own",)}, {}, "variant 'a': config key 'data.gaz' does not.*'data.gaze'"),
        ({"a": ("method.alpha=much",)}, {}, "variant 'a': .*method.alpha=much"),
        ({"a": ("data.size=32",)}, {"metrics": ()}, "config.metrics is"),
        ({"a": ("data.size=x,y",)}, {}, "expected int separated by commas"),
        ({"a": ("method.alpha",)}, {}, "the override 'method.alpha' has no value"),
        ({"a": ("method.alpha=1", "method.alpha=2")}, {}, "overridden twice"),
        ({"a": ("method.alpha=-1",)}, {}, "variant 'a': config.method.alpha is -1.0"),
        ({"a": ("data.gaze=shufled",)}, {}, "did you mean 'shuffled'"),
        ({"a": ("seed=3",)}, {}, "config.seed is the sweep's"),
        ({"a": dict(config=SPEC, overides=())}, {}, "did you mean 'overrides'"),
        ({"a": dict(config=SPEC, overrides="data.gaze=own")}, {}, "write a tuple"),
        ({"a": dict(overrides=())}, {}, "config.variants.a.config is None"),
        ({"a": dict(config="configs/gazat_vi.py")}, {}, "did you mean 'configs/gazat_vit.py'"),
        ({"a": dict(config=SPEC, reference="b")}, {}, "config.variants.a.reference='b'"),
        (TWO, {"reference": "ownn"}, "config.reference='ownn' is unknown .did you mean 'own'"),
        (TWO, {"seeds": (1, 1)}, "config.seeds has 1 twice"),
        (TWO, {"metrics": ("accuracy",)}, "write row/column"),
        (TWO, {"suites": "representation"}, "config.suites is 'representation'"),
        (TWO, {"suites": ("alignmet",)}, "did you mean 'alignment'"),
        (TWO, {"split": "train"}, "config.split='train' is unknown"),
        ({"a,b": ()}, {}, "a name has letters"),
        ({"a": dict(config=SPEC, suites=("alignmet",))}, {}, "config.variants.a.suites='alignmet'"),
        ({"a": dict(config=SPEC, suites=())}, {}, "nothing would be compared"),
        ({"a": dict(config=SPEC, suites="alignment")}, {}, "suites is 'alignment'; write a tuple"),
        ({"a": dict(config=SPEC, overrides=(3,))}, {}, "overrides has 3, which is no text"),
        (
            {"a": dict(config=SPEC, suites=()), "b": dict(config=SPEC, reference="a")},
            {},
            "reference='a' is a variant without suites",
        ),
        (TWO, {"tables": "x"}, "config.tables: 'config.tables' is 'x'; it must be a ConfigDict"),
        (TWO, {"tables": {"t": {"titel": "x"}}}, "config.tables.t='titel' .*did you mean 'title'"),
        (TWO, {"tables": {"t": {"title": "x"}}}, "config.tables.t has no 'systems'"),
        (TWO, {"tables": {"t": TABLE | {"systems": "own"}}}, "systems is 'own'; write a tuple of"),
        (TWO, {"tables": {"t": TABLE | {"systems": (("on", "On"),)}}}, "did you mean 'own'"),
        (TWO, {"tables": {"t": TABLE | {"systems": (("own", 3),)}}}, "systems has 3, which is no"),
        (TWO, {"tables": {"t": TABLE | {"notes": "one"}}}, "notes is 'one'; write a tuple of"),
        (
            TWO,
            {"tables": {"t": TABLE | {"published": (("probe/accuracy", {"own": 0.8}),)}}},
            "published has 0.8, which is no text",
        ),
        (TWO, {"tables": {"t": TABLE | {"published": (("a/b", "0.8"),)}}}, "no numbers by system"),
        (TWO, {"contrasts": {"q": ASKED | {"variant": "on"}}}, "did you mean 'own'"),
        (TWO, {"contrasts": {"q": ASKED | {"reference": "own"}}}, "compares 'own' with itself"),
        (TWO, {"contrasts": {"q": ASKED | {"metrics": ("accuracy",)}}}, "write row/column"),
        (
            {"a": dict(config="configs/cooperative/stage1_classify.py:init_from=stage:b")},
            {},
            "variant 'a': it begins with the run of the variant 'b' .*; before it come none",
        ),
        ({}, {}, "config.variants is empty"),
        ({"a": dict(config=SPEC, reference=1)}, {}, "variants.a.reference is 1; write a text"),
        ({"a": dict(config=SPEC, x="far")}, {}, "variants.a.x is 'far'; write a finite number"),
        (
            {"a": dict(config=SPEC, x=float("nan"))},
            {},
            "a.x is nan; write a finite number",
        ),
        ({"a": dict(config=SPEC, x=True)}, {}, "a.x is True; write a finite number"),
        (TWO, {"seeds": (0, -1)}, "config.seeds has -1; a seed is between 0 and"),
        (TWO, {"seeds": (2**31,)}, "config.seeds has 2147483648; a seed is between 0 and"),
        (TWO, {"reference": 1}, "config.reference is 1; write a text"),
        (TWO, {"split": 3}, "config.split is 3; write a text"),
        (TWO, {"x_label": 3}, "config.x_label is 3; write a text"),
    ],
)
def test_mistakes_are_found_before_anything_is_run(variants, settings, message):
    with pytest.raises(InputError, match=message):
        make_plan(config(variants, **settings))


CLASSIFY = "configs/cooperative/stage1_classify.py:smoke"
FROM = {
    "first": dict(config="configs/cooperative/stage1_triplet.py:smoke", suites=()),
    "begun": dict(config=f"{CLASSIFY},init_from=stage:first"),
    "again": dict(config=f"{CLASSIFY},init_from=stage:first", suites=("downstream",)),
    "fresh": dict(config=CLASSIFY),
}


def test_runs_that_begin_with_anothers_weights_share_it_seed_by_seed():
    plan = make_plan(config(FROM))
    first, begun, fresh = plan.runs[:3]
    assert [one.uses for one in plan.runs[:3]] == [
        (("first", 0),),
        (("begun", 0), ("again", 0)),
        (("fresh", 0),),
    ]
    assert (first.suites, begun.suites) == ((), ("representation", "downstream"))
    assert (first.begins_with, begun.begins_with, fresh.begins_with) == ("", first.key, "")
    assert plan.runs[4].begins_with == plan.runs[3].key != first.key
    assert [one.name for one in plan.compared] == ["begun", "again", "fresh"]
    assert plan.chosen(["begun"]) == (*plan.runs[:2], *plan.runs[3:5])
    # what the first is changes which run it is that begins with it
    changed = {**FROM, "first": {**FROM["first"], "overrides": ("method.margin=2",)}}
    assert make_plan(config(changed)).runs[1].key not in {one.key for one in plan.runs}


def test_a_run_begins_with_the_folder_of_the_other_and_not_before_it(runs, tmp_path, capsys):
    runs.behave({"stage1_triplet": "crash"})
    plan, sweep = sweep_of(runs, tmp_path, FROM, seeds=(0,))
    assert run(sweep, plan) == 1
    assert [call.split()[0] for call in runs.calls] == [
        "gazax.main",
        "gazax.main",
        "gazax.evaluate",
    ]
    assert "not begun" in capsys.readouterr().out
    assert "first, seed 0, with which it begins" in sweep.missing()["begun, seed 0"]
    runs.behave({})
    assert run(sweep, plan) == 0
    folder = f"{tmp_path}/out/runs"
    first, begun, _ = (one.key for one in plan.runs)
    assert runs.calls[-3:] == [
        f"gazax.main --config={FROM['first']['config']} --config.seed=0 "
        f"--workdir={folder}/{first} --num_processes=1",
        f"gazax.main --config={FROM['begun']['config']} --config.seed=0 "
        f"--config.init_from.path={folder}/{first} --workdir={folder}/{begun} "
        "--num_processes=1",
        f"gazax.evaluate --workdir={folder}/{begun} --suite=representation,downstream --split=test",
    ]
    assert {*sweep.results()} == {"begun", "again", "fresh"}
    assert not sweep.missing()


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (3, "config.variants is 3; it must be a ConfigDict"),
        (ConfigDict({"a": 3}), "config.variants.a is 3; it must be a ConfigDict"),
        (ConfigDict({"a": SPEC}), "config.variants.a is 'configs/gazat_vit.py:smoke'; it must be"),
    ],
)
def test_variants_that_are_no_blocks_are_refused(variants, message):
    wrong = ConfigDict({**config(TWO), "variants": variants})
    with pytest.raises(InputError, match=message):
        make_plan(wrong)


def test_a_training_config_is_no_sweep():
    from gazax import config as config_lib

    with pytest.raises(InputError, match="it is no sweep"):
        make_plan(config_lib.load(SPEC))


def test_a_sweep_to_choose_by_measures_validation(runs, tmp_path):
    plan, sweep = sweep_of(runs, tmp_path, TWO, split="validation")
    assert all("--split=validation" in sweep.shell_line(one) for one in plan.runs)
    assert not any(map(sweep.finished, plan.runs))
    assert run(sweep, plan) == 0
    assert all(map(sweep.finished, plan.runs))
    for_test = sweep_of(runs, tmp_path, TWO)[1]
    assert not any(map(for_test.finished, plan.runs))


def test_every_run_is_trained_and_evaluated_once(runs, tmp_path):
    plan, sweep = sweep_of(runs, tmp_path, {**TWO, "again": ("data.gaze=own",)})
    assert run(sweep, plan) == 0
    key = plan.runs[0].key
    assert runs.calls[:2] == [
        f"gazax.main --config={SPEC} --config.seed=0 --config.data.gaze=own "
        f"--workdir={tmp_path}/out/runs/{key} --num_processes=1",
        f"gazax.evaluate --workdir={tmp_path}/out/runs/{key} --suite=representation --split=test",
    ]
    assert len(runs.calls) == 2 * 4
    # Where they are launched from, the line decides: there may be a slice for each.
    assert "--num_processes" not in sweep.shell_line(plan.runs[0])
    results = sweep.results()
    assert {name: sorted(found) for name, found in results.items()} == {
        "own": [0, 1],
        "shuffled": [0, 1],
        "again": [0, 1],
    }
    assert not sweep.missing()
    assert sweep.phantom_numbers()
    state = json.loads((tmp_path / "out" / "sweep.json").read_text())["runs"]
    assert {one["status"] for one in state.values()} == {"finished"}


def test_what_is_finished_is_not_run_again_and_a_changed_plan_adds(runs, tmp_path):
    for seeds, variants, expected in (
        ((0,), TWO, 4),
        ((0,), TWO, 0),
        ((0, 1), {"own": TWO["own"]}, 2),
        ((0,), {"none": ("data.gaze=none",)}, 2),
    ):
        before = len(runs.calls)
        plan, sweep = sweep_of(runs, tmp_path, variants, seeds=seeds)
        assert run(sweep, plan) == 0
        assert len(runs.calls) - before == expected, (seeds, variants)
    # more suites: evaluated again, not trained again
    plan, sweep = sweep_of(runs, tmp_path, seeds=(0,), suites=("representation", "alignment"))
    before = len(runs.calls)
    assert run(sweep, plan) == 0
    assert [call.split()[0] for call in runs.calls[before:]] == ["gazax.evaluate"] * 2


@pytest.mark.parametrize("state", ["{", '{"runs": []}', '{"runs": {"KEY": 3}}'])
def test_a_damaged_state_is_written_anew(runs, tmp_path, state):
    plan, sweep = sweep_of(runs, tmp_path)
    path = tmp_path / "out" / "sweep.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(state.replace("KEY", plan.runs[0].key))
    plan, sweep = sweep_of(runs, tmp_path)
    assert run(sweep, plan) == 0
    assert not sweep.missing()
    assert json.loads(path.read_text())["runs"].keys() == {one.key for one in plan.runs}


def test_values_that_are_damaged_are_measured_again_and_nothing_else(runs, tmp_path):
    plan, sweep = sweep_of(runs, tmp_path)
    assert run(sweep, plan) == 0
    (path, *_) = sorted((tmp_path / "out" / "runs").glob("*/evaluation/examples.npz"))
    path.write_bytes(path.read_bytes()[:-100])
    assert list(sweep.missing().values()) == ["not run"]
    assert sum(map(len, sweep.results().values())) == 3  # the others have their table all the same
    before = len(runs.calls)
    assert run(sweep, plan) == 0
    assert [call.split()[0] for call in runs.calls[before:]] == ["gazax.evaluate"]
    assert not sweep.missing()


def test_only_the_chosen_variants_are_run(runs, tmp_path):
    plan, sweep = sweep_of(runs, tmp_path)
    assert run(sweep, plan, ["shuffled"]) == 0
    assert len(runs.calls) == 4
    assert sweep.missing() == {"own, seed 0": "not run", "own, seed 1": "not run"}
    with pytest.raises(InputError, match="variant='shufled' is unknown"):
        plan.chosen(["shufled"])


def test_a_crash_is_recorded_the_others_go_on_and_it_is_tried_again(runs, tmp_path, capsys):
    runs.behave({"data.gaze=own": "crash"})
    plan, sweep = sweep_of(runs, tmp_path, seeds=(0,))
    assert run(sweep, plan) == 1
    assert len(runs.calls) == 1 + 2  # no evaluation of what was not trained
    printed = capsys.readouterr().out
    assert "failed: gazax.main ended with exit code 1" in printed
    assert "| the loss is a fish" in printed
    log = tmp_path / "out" / "logs" / "own-0.log"
    assert "the loss is a fish" in log.read_text()
    why = f"gazax.main ended with exit code 1, see {log}"
    assert sweep.missing()["own, seed 0"] == why
    state = json.loads((tmp_path / "out" / "sweep.json").read_text())["runs"]
    failure = state[plan.runs[0].key]["failure"]
    assert failure["exit_code"] == 1
    assert failure["last_lines"][-2:] == ["what went before", "the loss is a fish"]
    # another start still knows it
    del sweep
    _, again = sweep_of(runs, tmp_path, seeds=(0,))
    assert again.missing()["own, seed 0"] == why
    runs.behave({})
    assert run(again, plan) == 0
    assert not again.missing()


def test_a_command_that_leaves_no_results_has_failed(runs, tmp_path):
    runs.behave({"gazax.evaluate": "leaves nothing"})
    plan, sweep = sweep_of(runs, tmp_path, seeds=(0,))
    assert run(sweep, plan) == 1
    assert "gazax.evaluate ended with exit code 0 and without" in sweep.missing()["own, seed 0"]


def test_a_preempted_run_stops_the_sweep(runs, tmp_path):
    runs.behave({"data.gaze=shuffled": "preempted"})
    plan, sweep = sweep_of(runs, tmp_path)
    assert run(sweep, plan) == EXIT_RESUMABLE
    assert len(runs.calls) == 3
    assert sweep.missing()["shuffled, seed 0"] == "not run"


def test_two_sweeps_keep_out_of_one_folder(runs, tmp_path):
    plan, sweep = sweep_of(runs, tmp_path)
    sweep.lock()
    with pytest.raises(InputError, match="another sweep is at work"):
        runs.sweep(plan, epath.Path(tmp_path) / "out").lock()


def test_a_workdir_and_a_file_are_no_folder_of_a_sweep(runs, tmp_path):
    plan = make_plan(config(TWO))
    (tmp_path / "config.json").touch()
    with pytest.raises(InputError, match="is the workdir of a run"):
        runs.sweep(plan, epath.Path(tmp_path))
    with pytest.raises(InputError, match="is a file"):
        runs.sweep(plan, epath.Path(tmp_path) / "config.json")


DRIVER = """
import pathlib, sys
from etils import epath
from gazax.train.preemption import Preemption
with Preemption() as preemption:
    from gazax.experiment.sweep_plan import make_plan
    from tests.experiment.sweeps import FakeRuns, config
    from tests.experiment.test_sweep import TWO
    folder = pathlib.Path(sys.argv[1])
    plan = make_plan(config(TWO))
    sweep = FakeRuns(folder).sweep(plan, epath.Path(folder / "out"))
    sweep.lock()
    sys.exit(sweep.run(plan.runs, preemption))
"""


def start_and_wait_for_a_run(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if (tmp_path / "began").exists():
            return process
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("no run began")


def test_sigterm_is_handed_on_and_the_sweep_ends_with_75(runs, tmp_path):
    runs.behave({"data.gaze=shuffled": "saves"})
    process = start_and_wait_for_a_run(tmp_path)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == EXIT_RESUMABLE
    assert "the same command goes on" in out
    runs.behave({})
    plan, sweep = sweep_of(runs, tmp_path)
    assert sweep.missing()["shuffled, seed 0"] == "not run"
    assert run(sweep, plan) == 0
    trained = [call for call in runs.calls if call.startswith("gazax.main")]
    assert len(trained) == 4 + 1


def test_killed_it_goes_on_and_trains_nothing_beside_what_it_left(runs, tmp_path, capsys):
    runs.behave({"data.gaze=shuffled": "waits"})
    process = start_and_wait_for_a_run(tmp_path)
    process.kill()
    process.wait()
    plan, sweep = sweep_of(runs, tmp_path)
    runs.behave({})
    threading.Timer(1.0, (tmp_path / "go").touch).start()
    assert run(sweep, plan) == 0
    assert "the run of a sweep that was killed, still goes on" in capsys.readouterr().out
    # the run that was left behind came to its end and was not begun a second time
    trained = [call for call in runs.calls if call.startswith("gazax.main")]
    assert len(trained) == len(set(trained)) == 4
