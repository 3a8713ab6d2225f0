"""The stages of cooperative learning as one command, and each alone."""

import itertools
import json
import os
import signal
import subprocess
from unittest import mock

import jax
import numpy as np
import pytest

from gazax.experiment.frozen import compute_frozen
from gazax.train.source import load_source
from gazax.typing import InputError
from tests.runs import ROOT, command, lines, make_run, run

ALL = "configs/cooperative/all.py:smoke"
NAMES = ("stage1_triplet", "stage1_classify", "stage2_saliency", "stage3_fusion")


@pytest.fixture(scope="module")
def cooperated(env, tmp_path_factory):
    """The four stages, run to their end, and what they printed."""
    workdir = tmp_path_factory.mktemp("cooperative") / "all"
    return workdir, run(env, workdir, config=ALL)


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_every_stage_begins_with_the_one_before_and_ends_with_its_numbers(env, cooperated):
    workdir, done = cooperated
    numbers = json.loads((workdir / "summary.json").read_text())["numbers"]
    assert {
        "stage1_triplet/probe/auc_macro",
        "stage1_classify/classifier/accuracy",
        "stage2_saliency/saliency/kl",
        "stage2_saliency/saliency-mean_map/cc",
        "stage3_fusion/classifier/auc_macro",
    } <= numbers.keys()
    for before, name in itertools.pairwise(NAMES):
        best = json.loads((workdir / before / "summary.json").read_text())["best_step"]
        assert f"weights from {workdir}/{before}/checkpoints/{best}" in done.stdout
        assert (workdir / name / "summary.json").exists()
    again = run(env, workdir, config=ALL)
    assert again.stdout.count("is finished at step") == len(NAMES)


def test_what_is_frozen_is_the_stage_befores_to_the_bit(cooperated):
    workdir, _ = cooperated
    classifier, saliency, fusion = (load_source(workdir / name, which="best") for name in NAMES[1:])
    last = load_source(workdir / "stage2_saliency", which="last")
    for after in (saliency, last, fusion):
        equal(classifier.params["backbone"], after.params["densenet"])
        equal(classifier.state["backbone"], after.state["densenet"])
    equal(saliency.params["unet"], fusion.params["unet"])
    equal(saliency.state["unet"], fusion.state["unet"])


def test_frozen_features_are_computed_once(cooperated):
    _, done = cooperated
    assert done.stdout.count("computing what the frozen parts give, once") == 2


def test_batches_have_as_many_of_each_class(env, cooperated):
    workdir, _ = cooperated
    method_run = make_run(
        env, workdir / "stage1_triplet", "configs/cooperative/stage1_triplet.py:smoke"
    )
    labels = next(method_run._train_batches(0))["label"]
    assert sorted(labels.sum(axis=0).tolist()) == [5, 5, 6]
    assert all(
        line["anchor_share"] == 1 for line in lines(workdir / "stage1_triplet") if "loss" in line
    )


@pytest.mark.slow
def test_killed_in_any_stage_it_ends_bit_identical(env, cooperated, tmp_path):
    workdir = tmp_path / "killed"
    for name in NAMES:
        process = subprocess.Popen(
            command(workdir, config=ALL), cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
        )
        for text in process.stdout:
            if text.startswith("step 15/30") and (workdir / name).exists():
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(env, workdir, config=ALL)
    whole = cooperated[0]
    numbers = [json.loads((w / "summary.json").read_text())["numbers"] for w in (workdir, whole)]
    assert numbers[0] == numbers[1]
    for name in NAMES:
        one, other = (load_source(w / name, which="last") for w in (workdir, whole))
        equal(one.params, other.params)
        equal(one.state, other.state)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        "stage1_triplet.py:objective=sup_con,smoke",
        "stage2_saliency.py:guided=false,smoke",
        "stage2_saliency.py:smoke,protocol=paper",
        "stage3_fusion.py:smoke",
    ],
)
def test_a_stage_runs_alone(env, tmp_path, spec):
    done = run(env, tmp_path / "run", config=f"configs/cooperative/{spec}")
    assert ("chosen on the test images themselves" in done.stdout) == ("paper" in spec)
    numbers = json.loads((tmp_path / "run" / "summary.json").read_text())["numbers"]
    assert all(np.isfinite(numbers[name][0]) for name in numbers)


@pytest.mark.slow
def test_a_stage_goes_on_from_the_workdir_of_the_one_before(env, cooperated, tmp_path):
    """And computes again what the cache does not have: the weights are the same."""
    before = cooperated[0] / "stage2_saliency"
    spec = f"configs/cooperative/stage3_fusion.py:init_from={before},smoke"
    done = run(env, tmp_path / "run", config=spec)
    assert "computing what the frozen parts give" not in done.stdout  # found: the same weights
    uncached = run(env, tmp_path / "uncached", "--config.train.cache_frozen=False", config=spec)
    assert "computing" not in uncached.stdout
    one, other = (load_source(tmp_path / name, which="last") for name in ("run", "uncached"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one.params, other.params)


def test_weights_of_another_protocol_are_refused(env, cooperated, tmp_path):
    """What trained one may be what the other tests."""
    path = str(cooperated[0] / "stage1_triplet")
    with pytest.raises(InputError, match="trained under the protocol 'strict'.*is under 'paper'"):
        make_run(
            env,
            tmp_path / "run",
            "configs/cooperative/stage1_classify.py:smoke,protocol=paper",
            init_from__path=path,
        )


@pytest.mark.slow
def test_frozen_features_are_of_the_frozen_weights_and_no_others(env, cooperated, tmp_path):
    """A frozen part that is fresh has other weights by another seed, and so other features."""
    settings = dict(
        init_from__path=str(cooperated[0] / "stage1_classify"),
        init_from__scopes=("backbone:densenet",),
        init_from__fresh=("unet", "classifier"),
        freeze=("densenet/.*", "unet/.*"),
        train__cache_frozen=True,
    )
    spec = "configs/cooperative/stage3_fusion.py:smoke"
    found = []
    for seed in (0, 0, 1):
        one = make_run(env, tmp_path / "run", spec, seed=seed, **settings)
        with mock.patch.dict(os.environ, GAZAX_DATA=env["GAZAX_DATA"]):
            rows = compute_frozen(one).attach({"index": np.arange(4)})["cached"]["features"]
        found.append(rows)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-3


@pytest.mark.parametrize(
    ("spec", "flags", "message"),
    [
        (
            "stage2_saliency.py:smoke",
            ("train.cache_frozen=True",),
            "saliency and fusion with config.freeze",
        ),
        ("stage3_fusion.py:smoke", ("guide.name=",), "fuses two encoders"),
        ("stage1_triplet.py:smoke", ("data.labels=normal,pneumonia",), "exclude each other"),
    ],
)
def test_a_mistake_ends_in_one_line(env, tmp_path, spec, flags, message):
    flags = [f"--config.{flag}" for flag in flags]
    done = run(env, tmp_path / "run", *flags, config=f"configs/cooperative/{spec}", code=2)
    assert message in done.stderr
