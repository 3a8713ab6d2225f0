"""The baselines of the cooperative paper, from command to numbers, and its two tables."""

import json

import pytest

from tests.experiment.trained import LABELS
from tests.runs import run
from tests.test_predict import predict
from tests.test_sweep_real import command

pytestmark = pytest.mark.slow

BASELINES = {
    "mt_unet": ("classifier/accuracy", "saliency/kl", "mean_map/kl"),
    "mt_unet.py:balance=gradnorm": ("classifier/accuracy", "saliency/kl"),
    "unet_s": ("saliency/kl", "mean_map/kl"),
    "res_se_unet": ("saliency/kl", "mean_map/kl"),
    "densenet201": ("classifier/accuracy",),
    "inception_resnet_v2": ("classifier/accuracy",),
    "gaze_gnn": ("classifier/accuracy",),
    "gg_cam": ("classifier/accuracy",),
    "attention_consistency": ("classifier/accuracy",),
}


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_ends_with_its_numbers(env, tmp_path, name):
    spec = f"configs/baselines/{name if '.py:' in name else f'{name}.py:'}"
    run(env, tmp_path / "run", config=f"{spec}{'' if spec.endswith(':') else ','}smoke")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {*BASELINES[name]} <= summary["numbers"].keys()


def test_mt_unet_is_evaluated_in_both_tasks_and_predicts_both(env, tmp_path):
    workdir = tmp_path / "run"
    run(env, workdir, config="configs/baselines/mt_unet.py:smoke")
    command(env, "gazax.evaluate", f"--workdir={workdir}", "--suite=downstream,alignment")
    suites = json.loads((workdir / "evaluation" / "numbers.json").read_text())["suites"]
    assert "classifier/auc_macro" in suites["downstream"]["numbers"]
    assert "saliency-mean_map/cc" in suites["alignment"]["numbers"]
    images = next(workdir.glob("images/*.png")).parent
    predict(env, f"--workdir={workdir}", f"--images={images}", f"--out={tmp_path / 'out'}")
    header = (tmp_path / "out" / "predictions.csv").read_text().splitlines()[0]
    assert all(name in header for name in LABELS)


@pytest.fixture(scope="module")
def swept(env, tmp_path_factory):
    """The tables of two systems, and what was printed."""
    out = tmp_path_factory.mktemp("tables") / "out"
    spec = "--config=configs/cooperative/tables.py:smoke"
    flags = (spec, "--variants=ours,unet_s", "--config.seeds=0,", f"--out={out}")
    return out, command(env, "gazax.sweep", *flags)


def test_what_several_systems_begin_with_is_trained_once(swept):
    out, done = swept
    assert "5 runs, 0 of them finished" in done.stdout
    runs = json.loads((out / "sweep.json").read_text())["runs"]
    finished = [one["uses"] for one in runs.values() if one["status"] == "finished"]
    begun = ("triplet", "dnet201_cl", "saliency", "ours", "unet_s")
    assert sorted(finished) == sorted([f"{name}, seed 0"] for name in begun)


def test_the_tables_stand_in_the_papers_layout(swept):
    out, done = swept
    text = (out / "table.txt").read_text()
    assert text in done.stdout
    for words in ("Table 1: diagnosis", "Table 2: predicted gaze", "0.706 ± 0.183", "GazeGNN sees"):
        assert words in text
    classes, gaze = json.loads((out / "table.json").read_text())["tables"]
    assert gaze["cells"]["saliency/kl"].keys() >= {"Ours", "UNet_S", "training-mean map"}
    assert classes["cells"]["classifier/auc/normal"].keys() == {
        "Ours",
        "DNet201-CL",
        "class shares",
    }
    assert "| KL ↓ |" in (out / "tables.md").read_text()


def test_a_report_shows_them(env, swept, tmp_path):
    out, _ = swept
    command(env, "gazax.report", f"--sweep={out}", f"--out={tmp_path / 'report.html'}")
    page = (tmp_path / "report.html").read_text()
    assert "Table 2: predicted gaze" in page
    assert "residual and SE blocks" in page
