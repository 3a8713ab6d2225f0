import os
import signal

import jax
import numpy as np
import pytest
from etils import epath

from gazax.train.logging import Metrics, read_metrics
from gazax.typing import InputError
from tests.train import toys

SCORES = {0: 0.9, 2: 0.1, 4: 0.5, 6: 0.5, 8: 0.3, 10: 0.4, 12: 0.8}
"""Best at 4 (what step 0 had does not count, nor that 6 is as good); then three without a rise."""

MONITOR = ("score",)


def score(state):
    return {"score": SCORES[int(state.step)]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = epath.Path(tmp_path_factory.mktemp("whole"))
    return folder, toys.train(
        toys.Toy(), folder, steps=12, evaluate=score, monitor=MONITOR, patience=3
    )


def test_it_fires_after_that_many_evaluations_without_a_rise(whole):
    folder, outcome = whole
    assert outcome.step == 10
    assert outcome.best_step == 4
    assert outcome.stopped_early
    assert not outcome.interrupted
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"4", "10"}


def test_behind_a_minus_sign_the_lowest_is_best(tmp_path):
    outcome = toys.train(
        toys.Toy(),
        epath.Path(tmp_path),
        steps=12,
        evaluate=lambda state: {"loss_there": -SCORES[int(state.step)]},
        monitor=("-loss_there",),
        patience=3,
    )
    assert (outcome.step, outcome.best_step, outcome.stopped_early) == (10, 4, True)


@pytest.mark.parametrize("patience", [0, 4])
def test_it_does_not_fire_without_patience_or_before_it_is_out(tmp_path, patience):
    outcome = toys.train(
        toys.Toy(),
        epath.Path(tmp_path),
        steps=12,
        evaluate=score,
        monitor=MONITOR,
        patience=patience,
    )
    assert (outcome.step, outcome.best_step, outcome.stopped_early) == (12, 12, False)


def test_the_last_step_is_not_early(tmp_path):
    outcome = toys.train(
        toys.Toy(), epath.Path(tmp_path), steps=10, evaluate=score, monitor=MONITOR, patience=3
    )
    assert (outcome.step, outcome.stopped_early, outcome.interrupted) == (10, False, False)


@pytest.mark.parametrize("stop", [6, 10])
def test_interrupted_anywhere_it_ends_at_the_same_step_with_the_same_bits(
    tmp_path, whole, stop, capsys
):
    """Step 10 is where it fires: there the signal comes too late to interrupt anything."""
    folder = epath.Path(tmp_path)

    def interrupt(state):
        if int(state.step) == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return score(state)

    first = toys.train(
        toys.Toy(), folder, steps=12, evaluate=interrupt, monitor=MONITOR, patience=3
    )
    assert first.interrupted == (stop < 10)
    again = toys.train(toys.Toy(), folder, steps=12, evaluate=score, monitor=MONITOR, patience=3)
    assert (again.step, again.best_step, again.stopped_early) == (10, 4, True)
    assert "no better for 3 evaluations: ends at step 10" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, toys.flat(whole[1].state), toys.flat(again.state))
    kept = [
        [(line["step"], line.get("score"), line.get("loss")) for line in read_metrics(run)]
        for run in (whole[0], folder)
    ]
    assert kept[0] == kept[1]


def test_patience_without_a_monitored_value_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(InputError, match=r"train\.patience=3 .*\.monitor=\(score\)"):
        toys.train(
            toys.Toy(),
            epath.Path(tmp_path),
            steps=4,
            evaluate=lambda _: {"other": 1.0},
            monitor=MONITOR,
            patience=3,
        )
    assert [line["step"] for line in read_metrics(epath.Path(tmp_path))] == [0]


def test_values_that_are_no_numbers_are_no_rise(tmp_path):
    metrics = Metrics(epath.Path(tmp_path), start=0)
    for step, value in enumerate((0.9, 0.2, float("nan"), 0.1)):
        metrics.write(step, {"auc": value})
    assert metrics.since_best("auc") == 2
    assert metrics.has("auc")
    assert not metrics.has("cc")
    metrics.close()
