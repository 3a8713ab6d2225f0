"""Whole runs on the phantom: what they write, and how they end, stop and go on."""

import json
import shutil
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.faults.works import without_clocks
from tests.runs import ROOT, command, lines, run


def test_a_run_writes_its_whole_workdir(finished):
    workdir, done = finished
    assert {path.name for path in workdir.iterdir()} == {
        ".lock",
        "config.json",
        "checkpoints",
        "images",
        "metrics.jsonl",
        "summary.json",
        "tensorboard",
    }
    assert sorted(int(p.name) for p in (workdir / "checkpoints").iterdir()) == [10, 20, 30]
    pictures = [Image.open(path) for path in (workdir / "images").iterdir()]
    assert len(pictures) >= 3
    assert all(picture.width > 3 * picture.height for picture in pictures)
    assert any((workdir / "tensorboard").iterdir())
    for word in ("step 30/30", "contrast", "attention", "regional", "images/s", "left"):
        assert word in done.stdout


def test_it_ends_with_numbers_that_have_intervals(finished):
    workdir, done = finished
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["phantom_numbers"]
    assert summary["split"] == "test"
    for name in ("attention", "attention_step_0", "mean_map", "centre"):
        for metric in ("cc", "nss", "auc"):
            estimate, low, high = summary["numbers"][f"{name}/{metric}"]
            assert low <= estimate <= high
    assert {"probe/auc_macro", "attention-mean_map/cc"} <= summary["numbers"].keys()
    assert "phantom numbers" in done.stdout
    assert "[" in done.stdout.splitlines()[-5]
    assert json.loads((workdir.parent / "numbers.json").read_text()) == summary


def test_metrics_hold_the_terms_and_the_held_out_numbers(finished):
    workdir, _ = finished
    logged = [line for line in lines(workdir) if "loss" in line]
    assert [line["step"] for line in logged] == [5, 10, 15, 20, 25, 30]
    for line in logged:
        assert line["loss/contrast"] > 0
        assert line["loss/attention"] > 0
        assert line["loss/regional"] > 0
        assert {"images_per_s", "step_s", "input_wait_share"} <= line.keys()
        assert {"grad_norm", "learning_rate"} <= line.keys()
    evaluated = [line for line in lines(workdir) if "validation/attention/cc" in line]
    assert [line["step"] for line in evaluated] == [0, 10, 20, 30]
    for name in ("mean_map/nss", "centre/auc", "probe_auc"):
        assert all(f"validation/{name}" in line for line in evaluated)
    assert all(line["gradient/attention"] > 0 for line in evaluated)


def test_a_finished_run_says_so(env, finished):
    workdir, _ = finished
    before = (workdir / "metrics.jsonl").read_bytes()
    again = run(env, workdir)
    assert "is finished at step 30" in again.stdout
    assert json.loads((workdir / "summary.json").read_text())["table"] in again.stdout
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_another_config_is_refused(env, finished):
    workdir, _ = finished
    refused = run(env, workdir, "--config.method.alpha=7", code=2)
    assert "method.alpha: 1" in refused.stderr
    assert "7.0 now" in refused.stderr


@pytest.mark.slow
def test_more_training_goes_on_from_the_end(env, finished, tmp_path):
    workdir = tmp_path / "more"
    shutil.copytree(finished[0], workdir)
    done = run(env, workdir, "--config.train.steps=35")
    assert "going on from step 30" in done.stdout
    assert json.loads((workdir / "summary.json").read_text())["step"] == 35


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_75(env, finished, tmp_path):
    workdir = tmp_path / "preempted"
    process = subprocess.Popen(
        command(workdir), cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    )
    for text in process.stdout:
        if text.startswith("step 5/30  loss"):
            process.send_signal(signal.SIGTERM)
            break
    rest = process.stdout.read()
    assert process.wait() == 75
    assert "the same command goes on" in rest
    (saved,) = (workdir / "checkpoints").iterdir()
    assert int(saved.name) < 10
    run(env, workdir)
    assert without_clocks(workdir) == without_clocks(finished[0])


@pytest.mark.slow
def test_divergence_ends_with_step_images_and_checkpoint(env, tmp_path):
    failed = run(
        env,
        tmp_path / "diverged",
        "--config.optim.learning_rate=1e30",
        "--config.optim.clip_norm=0",
        code=1,
    )
    assert "diverged at step" in failed.stderr
    assert "phantom_0" in failed.stderr
    assert "Last good checkpoint" in failed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_every_way_of_running_is_a_flag(env, finished, tmp_path, parallel):
    workdir = tmp_path / parallel
    run(
        {**env, "JAX_NUM_CPU_DEVICES": "2"},
        workdir,
        f"--config.train.parallel={parallel}",
    )
    expected = next(line for line in lines(finished[0]) if line["step"] == 5)
    found = next(line for line in lines(workdir) if line["step"] == 5)
    for name in ("loss", "loss/contrast", "loss/attention", "loss/regional"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, err_msg=name)
