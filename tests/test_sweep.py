"""The sweep's command: what it prints, writes and refuses. Its runs are made beforehand."""

import csv
import json

import pytest
from etils import epath

from gazax import config as config_lib
from gazax.experiment.sweep_plan import make_plan
from gazax.train.preemption import Preemption
from gazax.typing import InputError
from tests.experiment.sweeps import SPEC, FakeRuns
from tests.experiment.sweeps import config as sweep_config
from tests.runs import ROOT, call

FILE = f'''
from ml_collections import ConfigDict

def get_config(arg=""):
    config = ConfigDict()
    config.reference = "shuffled"
    config.seeds = (0, 1)
    config.suites = ("representation",)
    config.metrics = ("probe/accuracy", "probe/auc_macro")
    config.variants = ConfigDict(sort_keys=False)
    for name, override in (
        ("own", "data.gaze=own"), ("shuffled", "data.gaze=shuffled"), ("far", "init_from.path=far")
    ):
        config.variants[name] = ConfigDict(dict(config="{SPEC}", overrides=(override,)))
    return config
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a sweep whose first two variants are finished."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "sweep.py").write_text(FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        plan = make_plan(config_lib.load(str(folder / "sweep.py")))
        sweep = FakeRuns(folder).sweep(plan, epath.Path(folder) / "out")
        sweep.lock()
        assert sweep.run(plan.chosen(["own", "shuffled"]), Preemption()) == 0
    return folder


def command(env, folder, *flags, code=0):
    words = [f"--config={folder / 'sweep.py'}", f"--out={folder / 'out'}", *flags]
    return call(env, "-m", "gazax.sweep", *words, code=code)


def test_print_prints_what_is_left_a_line_a_run_and_does_nothing(env, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    printed = command(env, folder, "--print")
    lines = printed.stdout.splitlines()
    assert len(lines) == 2
    flags = "--config.seed=1 --config.init_from.path=far --workdir="
    assert lines[1].startswith(f"python -m gazax.main --config={SPEC} {flags}")
    assert " && python -m gazax.evaluate --workdir=" in lines[1]
    assert "4 more are finished" in printed.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_it_ends_with_a_table_and_says_which_run_failed(env, folder):
    """A real run that fails at once: the weights that it begins with are not there."""
    done = command(env, folder, "--config.seeds=0", f"--json={folder / 'out.json'}", code=1)
    assert "far, seed 0: gazax.main ended with exit code 2, see" in done.stdout
    assert "| error: " in done.stdout
    out = folder / "out"
    text = (out / "table.txt").read_text()
    assert text in done.stdout
    for part in (
        "phantom numbers",
        "12 images of 12 patients; seeds 0",
        "cores: python -m gazax.sweep --config=",
        "One seed: intervals",
        "missing, and not in the numbers above",
        "far, seed 0",
    ):
        assert part in text
    table = json.loads((out / "table.json").read_text())
    assert table == json.loads((folder / "out.json").read_text())
    assert table["variants"].keys() == {"own", "shuffled"}
    assert table["variants"]["own"]["probe/auc_macro"]["reference"] == "shuffled"
    assert table["missing"].keys() == {"far, seed 0"}
    assert table["phantom_numbers"] is True
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert len(rows) == 4
    assert (out / "figure.png").exists()
    assert (out / "figure.svg").exists()


def test_chosen_variants_that_are_finished_are_a_success(env, folder):
    done = command(env, folder, "--variants=own,shuffled")
    assert "4 runs, 4 of them finished" in done.stdout
    assert "2 seeds: the part of an interval" in done.stdout


def test_a_mistake_ends_in_a_line(env, folder):
    failed = command(env, folder, "--variants=owm", code=2)
    assert failed.stderr.count("error:") == 1
    assert "did you mean 'own'" in failed.stderr


SALIENCY = "configs/baselines/unet_s.py:smoke"
TENTH = "data.gaze_fraction=0.1"
BY = "data.gaze=predicted:stage:unet"
PREDICTED = {
    "unet": dict(config=SALIENCY, overrides=(TENTH,), suites=()),
    "tenth": dict(config=SPEC, overrides=(TENTH,)),
    "filled": dict(config=SPEC, overrides=(TENTH, BY)),
    "begun": dict(config=SPEC, overrides=(BY, "init_from.path=stage:tenth")),
}


class TestPredictedGaze:
    """Gaze predicted by another variant's run: planned, and nothing run."""

    def test_it_is_that_of_the_run_of_the_same_seed(self):
        plan = make_plan(sweep_config(PREDICTED))
        unet, tenth, filled, begun = plan.runs[:4]
        assert [one.gaze_by for one in plan.runs[:4]] == ["", "", unet.key, unet.key]
        assert plan.runs[6].gaze_by == plan.runs[4].key != unet.key
        assert (filled.after, begun.after) == ((unet.key,), (tenth.key, unet.key))
        assert plan.chosen(["filled"]) == (unet, filled, plan.runs[4], plan.runs[6])
        assert plan.chosen(["begun"]) == tuple(
            one for one in plan.runs if one.uses[0][0] != "filled"
        )

    def test_what_predicts_is_part_of_which_run_it_is(self):
        before = {one.key for one in make_plan(sweep_config(PREDICTED)).runs}
        unet = {**PREDICTED["unet"], "overrides": ("data.gaze_fraction=0.2",)}
        after = make_plan(sweep_config({**PREDICTED, "unet": unet})).runs
        assert [one.key in before for one in after[:4]] == [False, True, False, False]

    def test_a_run_is_given_the_folder(self, tmp_path):
        plan = make_plan(sweep_config(PREDICTED))
        sweep = FakeRuns(tmp_path).sweep(plan, epath.Path(tmp_path) / "out")
        unet, tenth, filled, begun = plan.runs[:4]
        runs = f"{tmp_path}/out/runs"
        train = sweep.shell_line(filled).split(" && ")[0]
        assert train == (
            f"python -m gazax.main --config={SPEC} --config.seed=0 --config.{TENTH} "
            f"--config.data.gaze=predicted:{runs}/{unet.key} --workdir={runs}/{filled.key}"
        )
        train = sweep.shell_line(begun)
        assert f"--config.init_from.path={runs}/{tenth.key} " in train
        assert f"--config.data.gaze=predicted:{runs}/{unet.key} " in train
        why = sweep.missing()
        assert why["filled, seed 0"] == (
            "not run: unet, seed 0, which predicts its gaze, is not trained"
        )
        assert why["begun, seed 0"] == (
            "not run: unet, seed 0, which predicts its gaze and tenth, seed 0, with which it "
            "begins, is not trained"
        )

    def test_a_variant_that_does_not_come_before_is_refused(self):
        late = {"filled": PREDICTED["filled"], "unet": PREDICTED["unet"]}
        message = (
            r"variant 'filled': it takes its gaze from the run of the variant 'unet' "
            r"\(predicted:stage:unet\).*before it come none"
        )
        with pytest.raises(InputError, match=message):
            make_plan(sweep_config(late))

    def test_the_tenth_that_a_run_keeps_is_the_tenth_that_its_predictor_saw(self):
        """The images that keep their gaze are chosen by seed and image, so the two agree."""
        config = config_lib.load(str(ROOT / "configs/ablations/predicted_gaze.py"))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            plan = make_plan(config)
        of = {variant: one for one in plan.runs for variant, seed in one.uses if seed == 1}
        for name in ("predictor", "real_10", "real_10_predicted_90"):
            assert {"seed=1", TENTH} <= {*of[name].overrides}
        assert of["real_10_predicted_90"].gaze_by == of["predictor"].key
        assert of["predicted_100"].gaze_by == of["predictor"].key
        assert [one.name for one in plan.compared] == [
            "real_100",
            "real_10",
            "real_10_predicted_90",
            "predicted_100",
            "none",
        ]
