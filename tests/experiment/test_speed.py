import json

import pytest

from gazax.experiment.speed import step_seconds


def test_a_steps_time_is_the_median_over_logged_stretches(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"config": {"train": {"batch_size": 64}}}))
    lines = [
        {"step": 10, "images_per_s": 16.0},  # it compiled
        {"step": 10, "validation/probe_auc": 0.5},
        {"step": 20, "images_per_s": 128.0},
        {"step": 30, "images_per_s": 64.0},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"step": 40, "im'
    (tmp_path / "metrics.jsonl").write_text(text)
    assert step_seconds(tmp_path) == pytest.approx(1.0)


def test_a_run_that_logged_nothing_has_no_time(tmp_path):
    assert step_seconds(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"config": {"train": {"batch_size": 64}}}))
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "validation/probe_auc": 0.5}\n')
    assert step_seconds(tmp_path) is None
