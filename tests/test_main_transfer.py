"""Whole runs beyond pretraining on a ViT: other attention, other gaze, fine-tuning, stages."""

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from gazax.data.phantom import write_gaze_folder
from gazax.train.source import load_source
from gazax.typing import InputError
from tests.runs import CONFIG, ROOT, command, lines, make_run, run

RESNET = "configs/gazat_resnet.py:smoke"
SHORT = ("--config.train.steps=4", "--config.train.eval_every=4", "--config.train.log_every=2")
CLASSIFY = "configs/eval/finetune_classification.py"


@pytest.mark.slow
@pytest.mark.parametrize(("config", "source"), [(CONFIG, "module"), (RESNET, "grad_cam")])
def test_another_source_of_attention_trains(env, tmp_path, config, source):
    """Each source on each backbone: `tests/methods/test_attention.py`."""
    run(env, tmp_path / "run", f"--config.method.attention={source}", *SHORT, config=config)
    logged = lines(tmp_path / "run")
    assert logged[0]["gradient/attention"] > 0
    assert all(np.isfinite(line["loss"]) for line in logged if "loss" in line)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "attention/cc" in summary["numbers"]


def test_simclr_trains_and_is_measured_against_gaze_too(env, tmp_path):
    run(env, tmp_path / "run", *SHORT, config="configs/baselines/simclr.py:smoke")
    logged = lines(tmp_path / "run")
    assert all("loss/attention" not in line for line in logged)
    assert all(np.isfinite(line["loss/contrast"]) for line in logged if "loss" in line)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {"attention/cc", "probe/auc_macro"} <= summary["numbers"].keys()


@pytest.mark.slow
def test_a_control_with_partial_gaze_is_measured_against_peoples_own(env, tmp_path, finished):
    flags = ("gaze=shuffled", "gaze_fraction=0.3", "gaze_rate=0.25")
    run(env, tmp_path / "run", *(f"--config.data.{flag}" for flag in flags), *SHORT)
    own, control = lines(finished[0]), lines(tmp_path / "run")
    before = {k: v for k, v in own[0].items() if k.startswith("validation/")}
    assert before == {k: control[0][k] for k in before}
    shares = [line["gaze_share"] for line in control if "gaze_share" in line]
    assert shares == pytest.approx([0.25] * len(shares), abs=1 / 16)


@pytest.mark.slow
def test_a_probe_leaves_the_backbone_as_it_was_to_the_bit(env, tmp_path, finished):
    workdir = tmp_path / "probe"
    spec = f"configs/eval/linear_probe.py:init_from={finished[0]},smoke"
    done = run(env, workdir, *SHORT, config=spec)
    assert "without its projector" in done.stdout
    assert "macro AUC" in done.stdout
    best, after = load_source(finished[0], which="best"), load_source(workdir, which="last")
    assert after.params.keys() == {"backbone", "head"}
    _equal(best.params["backbone"], after.params["backbone"])


def _equal(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            _equal(one[name], other[name])
    else:
        np.testing.assert_array_equal(one, other)


def test_a_segmentation_ends_with_dice_and_iou(env, tmp_path):
    spec = "configs/eval/finetune_segmentation.py:decoder=linear,smoke"
    done = run(env, tmp_path / "run", *SHORT, config=spec)
    numbers = json.loads((tmp_path / "run" / "summary.json").read_text())["numbers"]
    for name in ("segmentation", "mean_mask", "segmentation-mean_mask"):
        assert {f"{name}/dice", f"{name}/iou"} <= numbers.keys()
    assert "Dice" in done.stdout


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (dict(model__width=64), r"blocks_0/attn/proj/bias: \(32,\) in the source, \(64,\)"),
        (dict(model__depth=1), "backbone/blocks_1"),
        (dict(init_from__fresh=("heads",)), "heads"),
        (dict(init_from__scopes=("encoder",)), "encoder"),
        (dict(data__size=(64, 64)), "pos_embed"),
        (dict(freeze=("backbone/.*", "head/.*")), "freeze"),
    ],
)
def test_weights_that_do_not_fit_are_named(env, tmp_path, finished, overrides, message):
    spec = f"{CLASSIFY}:init_from={finished[0]},smoke"
    with pytest.raises(InputError, match=message):
        make_run(env, tmp_path / "run", spec, **overrides).rehearse()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("column", "found"), [("1", "only 1: it is constant"), ("0", "only 0: the class is absent")]
)
def test_a_label_that_nothing_can_be_learned_of_is_named(env, tmp_path, column, found):
    folder = tmp_path / "folder"
    write_gaze_folder(folder, count=24, size=32, progress=False)
    rows = (folder / "labels.csv").read_text().splitlines()
    rows = [f"{rows[0]},odd", *(f"{row},{column}" for row in rows[1:])]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    spec = f"{CLASSIFY}:data=gaze_folder,smoke"
    with pytest.raises(InputError, match=f"label 'odd' has {found}") as error:
        make_run(env, tmp_path / "run", spec, data__root=str(folder))
    assert "--config.data.labels=normal,pneumonia,heart_failure" in str(error.value)


def _staged(stage, name, value):
    return f"--config.stages.{stage}.train.{name}={value}"


STAGES = "configs/gazat_transfer.py:smoke"
BRIEF = tuple(
    _staged(stage, name, 150)
    for stage in ("pretrain", "finetune")
    for name in ("steps", "eval_every", "checkpoint_every")
)


def _stop_in(stage, env, workdir):
    """Starts the run and ends it with SIGTERM once the stage has logged a step."""
    process = subprocess.Popen(
        command(workdir, *BRIEF, config=STAGES),
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = workdir / stage / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and '"loss"' in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    return process.returncode, out


@pytest.mark.slow
def test_a_run_of_stages_goes_on_in_either_stage(env, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(env, whole, *BRIEF, config=STAGES)
    for stage in ("pretrain", "finetune"):
        code, out = _stop_in(stage, env, stopped)
        assert code == 75, out
    done = run(env, stopped, *BRIEF, config=STAGES)
    assert "stage finetune" in done.stdout
    for stage in ("pretrain", "finetune"):
        one, other = (load_source(path / stage, which="last") for path in (whole, stopped))
        _equal(one.params, other.params)
    numbers = [
        json.loads((path / "summary.json").read_text())["numbers"] for path in (whole, stopped)
    ]
    assert numbers[0] == numbers[1]
    assert {name.split("/")[0] for name in numbers[0]} == {"pretrain", "finetune"}
    again = run(env, stopped, *BRIEF, config=STAGES)
    assert again.stdout.count("is finished at step") == 2


@pytest.mark.slow
def test_a_mistake_in_the_last_stage_is_found_before_the_first_is_run(env, tmp_path):
    for flag, message in (
        ("--config.stages.finetune.init_from.path=stage:pretrian", "no stage 'pretrian'"),
        ("--config.stages.finetune.freeze=nothing/.*", "matches none"),
        ("--config.stages.pretrain.model.width=64", "backbone/"),
    ):
        failed = run(env, tmp_path / "run", flag, config=STAGES, code=2)
        assert message in failed.stderr
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_finished_run_is_shown_without_the_weights_that_it_began_with(env, tmp_path, finished):
    source, workdir = tmp_path / "source", tmp_path / "run"
    shutil.copytree(finished[0], source)
    flags = (*SHORT, f"--config.init_from.path={source}", "--config.init_from.fresh=head")
    flags += ("--config.init_from.scopes=backbone", "--config.model.width=32")
    flags += ("--config.model.depth=2", "--config.model.num_heads=2")
    run(env, workdir, *flags, config=f"{CLASSIFY}:smoke")
    shutil.rmtree(source)
    done = run(env, workdir, *flags, config=f"{CLASSIFY}:smoke")
    assert "is finished at step 4" in done.stdout
    more = (*flags, "--config.train.steps=6")
    failed = run(env, workdir, *more, config=f"{CLASSIFY}:smoke", code=2)
    assert "source" in failed.stderr
