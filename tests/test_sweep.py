"""The sweep's command: what it prints, writes and refuses. Its runs are made beforehand."""

import csv
import json
import subprocess
import sys

import pytest
from etils import epath

from gazax import config as config_lib
from gazax.experiment.sweep_plan import make_plan
from gazax.train.preemption import Preemption
from tests.experiment.sweeps import SPEC, FakeRuns
from tests.runs import ROOT

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
    done = subprocess.run(
        [sys.executable, "-m", "gazax.sweep", *words],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


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
