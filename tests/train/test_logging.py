import json

import pytest
from etils import epath

from gazax.train.logging import Metrics, Progress, read_metrics


def test_lines_behind_the_restored_step_are_dropped(tmp_path):
    workdir = epath.Path(tmp_path)
    metrics = Metrics(workdir, start=0)
    for step in (0, 5, 10, 15):
        metrics.write(step, {"loss": float(step)})
    metrics.close()
    again = Metrics(workdir, start=10)
    again.write(15, {"loss": -1.0})
    again.close()
    assert [(line["step"], line["loss"]) for line in read_metrics(workdir)] == [
        (0, 0.0),
        (5, 5.0),
        (10, 10.0),
        (15, -1.0),
    ]


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_metrics(epath.Path(tmp_path)) == [{"step": 1, "loss": 2.0}]


def test_a_damaged_line_costs_only_itself(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step\xff: 2}\n{"step": 3}\n')
    assert read_metrics(epath.Path(tmp_path)) == [{"step": 1}, {"step": 3}]


def test_where_nothing_can_be_appended_lines_are_written_with_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("gazax.train.logging.is_object_store", lambda path: True)
    workdir = epath.Path(tmp_path)
    metrics = Metrics(workdir, start=0)
    metrics.write(1, {"loss": 1.0})
    assert read_metrics(workdir) == []
    metrics.save()
    metrics.write(2, {"loss": 2.0})
    assert [line["step"] for line in read_metrics(workdir)] == [1]
    metrics.close()
    assert [line["step"] for line in read_metrics(workdir)] == [1, 2]


def test_best_is_the_first_highest_after_step_0(tmp_path):
    metrics = Metrics(epath.Path(tmp_path), start=0)
    for step, value in ((0, 0.9), (1, 0.2), (2, 0.7), (3, 0.7), (4, float("nan"))):
        metrics.write(step, {"auc": value})
    assert metrics.best("auc") == (2, 0.7)
    assert metrics.best("cc") is None
    metrics.close()


def test_what_is_not_a_number_is_null(tmp_path):
    metrics = Metrics(epath.Path(tmp_path), start=0)
    metrics.write(1, {"loss": float("inf")})
    metrics.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": None}


def test_events_are_written(tmp_path):
    metrics = Metrics(epath.Path(tmp_path), start=0)
    metrics.write(1, {"loss": 1.0})
    metrics.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()


@pytest.mark.parametrize(("known", "shown"), [({}, ""), ({"mfu": 0.314}, "MFU 31.4%  ")])
def test_the_line_shows_step_losses_speed_and_time_left(capsys, known, shown):
    progress = Progress(steps=100, batch_size=8)
    speed = {"images_per_s": 16.0, "step_s": 0.5, "input_wait_share": 0.25, **known}
    progress.show(60, {"loss": 3.0, "loss/contrast": 2.0, **speed})
    # 40 steps of half a second
    assert capsys.readouterr().out == (
        "step 60/100  loss 3.0000  contrast 2.0000  16 images/s  500 ms/step  "
        f"{shown}input wait 25%  left 0:20\n"
    )


def test_speed_counts_steps_images_waiting_and_use_of_the_peak(monkeypatch):
    clock = iter((0.0, 100.0, 104.0, 104.0))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    progress = Progress(steps=100, batch_size=8)
    progress.restart(10)
    progress.waited(1.0)
    speed = {"images_per_s": 4.0, "step_s": 2.0, "input_wait_share": 0.25}
    assert progress.speed(12) == speed
    progress.step_at_peak = 0.5
    assert progress.speed(12) == {**speed, "mfu": 0.25}


def test_a_step_that_compiled_has_no_speed(capsys):
    progress = Progress(steps=100, batch_size=8)
    progress.restart(1)
    assert progress.speed(1) == {}
    progress.show(1, {"loss": 3.0})
    assert capsys.readouterr().out == "step 1/100  loss 3.0000\n"
