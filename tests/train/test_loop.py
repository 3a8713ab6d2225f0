import dataclasses
import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from gazax.train import loop, optim, sharding
from gazax.train.logging import read_metrics
from gazax.train.preemption import EXIT_RESUMABLE, Preemption
from gazax.typing import RunError

IDS = tuple(f"image_{i}" for i in range(8))


@pytest.fixture
def run(method, tx, schedule, spec, stream):
    def run(folder, *, steps=12, evaluate=lambda state: {}, monitor=(), tx=tx, **also):
        with Preemption() as preemption:
            return loop.train(
                method,
                tx,
                schedule,
                start=loop.make_start(method, tx, spec, mesh=sharding.make_mesh(), seed=0),
                batches=stream,
                example_ids=IDS,
                batch_size=8,
                steps=steps,
                seed=0,
                mesh=sharding.make_mesh(),
                parallel="jit",
                workdir=epath.Path(folder),
                cadence=loop.Cadence(log_every=2, eval_every=4, checkpoint_every=4, keep=2),
                evaluate=evaluate,
                monitor=monitor,
                preemption=preemption,
                **also,
            )

    return run


def losses(folder):
    return [(line["step"], line["loss"]) for line in read_metrics(folder) if "loss" in line]


def bits(state):
    return jax.tree.map(np.asarray, state)


def test_every_step_is_logged_on_its_cadence(run, tmp_path):
    evaluated = []
    outcome = run(tmp_path, evaluate=lambda state: evaluated.append(int(state.step)) or {})
    assert outcome.step == outcome.best_step == 12
    assert not outcome.interrupted
    assert evaluated == [0, 4, 8, 12]
    assert [step for step, _ in losses(epath.Path(tmp_path))] == [2, 4, 6, 8, 10, 12]
    line = read_metrics(epath.Path(tmp_path))[-2]
    speed = {"images_per_s", "step_s", "input_wait_share"}
    assert {"loss/contrast", "grad_norm"} | speed <= line.keys()
    assert line["images_per_s"] == pytest.approx(8 / line["step_s"])
    assert "mfu" not in line  # no maker says how fast a CPU is


def test_the_use_of_a_known_peak_is_logged(run, tmp_path):
    run(tmp_path, steps=4, peak_flops=1e12)
    line = read_metrics(epath.Path(tmp_path))[-2]
    flops = line["mfu"] * line["step_s"] * 1e12
    assert flops == pytest.approx(round(flops))  # of whole products
    assert 1e6 < flops < 1e9


def test_a_window_of_steps_is_traced_once(run, tmp_path, capsys):
    run(tmp_path, profile=(3, 5))
    traces = tmp_path / "profile/plugins/profile"
    assert {path.name for path in traces.iterdir()} == {"steps_3_5"}
    assert any(path.name.endswith(".xplane.pb") for path in (traces / "steps_3_5").iterdir())
    assert capsys.readouterr().out.count("trace: ") == 1


def test_a_window_that_the_run_does_not_reach_the_end_of_is_written(run, tmp_path, capsys):
    run(tmp_path, profile=(11, 50))
    assert (tmp_path / "profile/plugins/profile/steps_11_12").is_dir()
    run(tmp_path, profile=(40, 50))
    assert "no step from 40 to 50 was taken" in capsys.readouterr().out


def test_speed_is_of_whole_steps(run, tmp_path, monkeypatch):
    """The next step is under way when the numbers of one are read."""
    slow = loop.make_step

    def make_step(*args, **kwargs):
        step = slow(*args, **kwargs)

        def run_slowly(state, batch):
            time.sleep(0.05)
            return step.run(state, batch)

        return dataclasses.replace(step, run=run_slowly)

    monkeypatch.setattr(loop, "make_step", make_step)
    run(tmp_path)
    lines = [line for line in read_metrics(epath.Path(tmp_path)) if line.get("step_s")]
    assert len(lines) == 6
    assert min(line["step_s"] for line in lines) >= 0.05


def test_resumed_is_bit_identical_to_unbroken(run, tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", steps=8)
    parts = run(tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, bits(whole.state), bits(parts.state))
    whole_losses, parts_losses = (
        losses(epath.Path(tmp_path) / name) for name in ("whole", "parts")
    )
    assert whole_losses == parts_losses


def test_sigterm_saves_the_step_at_hand_and_the_next_run_goes_on(run, tmp_path):
    def evaluate(state):
        if int(state.step) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return {}

    whole = run(tmp_path / "whole")
    stopped = run(tmp_path / "parts", evaluate=evaluate)
    assert stopped.interrupted
    assert stopped.step == 5  # the signal came after step 4 had ended
    parts = run(tmp_path / "parts")
    assert parts.step == 12
    jax.tree.map(np.testing.assert_array_equal, bits(whole.state), bits(parts.state))


def test_sigterm_before_training_ends_at_once():
    with pytest.raises(SystemExit) as ended, Preemption():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == EXIT_RESUMABLE


def test_the_best_step_is_kept(run, tmp_path):
    scores = {0: 0.9, 4: 0.8, 8: 0.1, 12: 0.2}
    outcome = run(
        tmp_path, evaluate=lambda state: {"score": scores[int(state.step)]}, monitor=("score",)
    )
    assert outcome.best_step == 4
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"4", "8", "12"}


def test_divergence_names_step_images_and_last_good_checkpoint(run, tmp_path):
    poisoned = optim.adamw(
        lambda step: jnp.where(step < 6, 1e-2, jnp.nan), weight_decay=0.0, clip_norm=1.0
    )
    with pytest.raises(RunError) as error:
        run(tmp_path, tx=poisoned)
    message = str(error.value)
    assert "diverged at step 7" in message
    assert "every step up to 6 was finite" in message
    assert "checkpoints/4" in message
    assert "image_0, image_1" in message


def test_finished_run_does_no_step(run, tmp_path):
    first = run(tmp_path)
    again = run(tmp_path)
    assert again.step == 12
    jax.tree.map(np.testing.assert_array_equal, bits(first.state), bits(again.state))


def test_a_damaged_best_checkpoint_is_set_aside_and_the_next_best_taken(run, tmp_path):
    scores = {0: 0.0, 4: 0.9, 8: 0.8, 12: 0.2}

    def evaluate(state):
        return {"score": scores[int(state.step)]}

    run(tmp_path, steps=8, evaluate=evaluate, monitor=("score",))
    (tmp_path / "checkpoints/4/state/_METADATA").write_text("")
    outcome = run(tmp_path, evaluate=evaluate, monitor=("score",))
    assert outcome.best_step == 8
    assert (tmp_path / "checkpoints.damaged/4").is_dir()
