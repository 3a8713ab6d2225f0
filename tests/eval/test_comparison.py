"""Runs of several variants and seeds in one table: means, paired differences, what is refused."""

import csv
import io
import json

import numpy as np
import pytest
from etils import epath
from PIL import Image

from gazax.eval.comparison import as_csv, as_dict, as_text, compare
from gazax.eval.comparison_figure import Place, save_figure
from gazax.eval.record import Record
from gazax.metrics.classification import roc_auc
from gazax.metrics.curves import average_precision

N = 40


def record(values, *, scores=None, prefix="image", label=None):
    ids = np.array([f"{prefix}{i}" for i in range(N)])
    return Record(
        index=np.arange(N),
        image_id=ids,
        patient=np.array([f"patient{i // 2}" for i in range(N)]),
        label=np.eye(2)[np.arange(N) % 2] if label is None else label,
        label_names=np.array(["a", "b"]),
        features=np.zeros((N, 0)),
        embedding=np.zeros((N, 0)),
        values={name: np.asarray(one, float) for name, one in values.items()},
        scores=scores or {},
    )


def noisy(mean, seed, *, draws=1):
    """Values whose noise two variants of a seed share, so that pairing takes it away."""
    shared = np.random.default_rng(seed).normal(size=(draws, N))
    return mean + shared


def row_of(comparison, variant, metric="x/cc"):
    (found,) = [r for r in comparison.rows if (r.variant, r.metric) == (variant, metric)]
    return found


def test_means_and_deviations_are_those_of_the_seeds():
    values = {seed: noisy(seed, seed, draws=3) for seed in range(3)}
    runs = {seed: record({"x/cc": one}) for seed, one in values.items()}
    row = row_of(compare({"a": runs}, {"a": ""}, ["x/cc"]), "a")
    means = [one.mean() for one in values.values()]
    assert row.mean == pytest.approx(np.mean(means))
    assert row.sd == pytest.approx(np.std(means, ddof=1))
    assert row.low < row.mean < row.high
    assert row.num_seeds == 3
    assert np.isnan(row.difference)


def test_a_difference_is_paired_by_seed_and_image():
    """Noise much larger than the difference, and the same on both sides."""
    runs = {
        name: {seed: record({"x/cc": noisy(mean, seed)}) for seed in range(3)}
        for name, mean in (("a", 0.1), ("b", 0.0))
    }
    row = row_of(compare(runs, {"a": "b", "b": ""}, ["x/cc"]), "a")
    assert (row.difference, row.difference_low, row.difference_high) == pytest.approx((0.1,) * 3)
    assert row.p == pytest.approx(2 / 2001)
    assert row.high - row.low > 0.3
    swapped = {"a": runs["a"], "b": {seed: runs["b"][2 - seed] for seed in range(3)}}
    mixed = row_of(compare(swapped, {"a": "b", "b": ""}, ["x/cc"]), "a")
    assert mixed.difference_high - mixed.difference_low > 0.2


def test_unknown_values_are_left_out():
    values = noisy(1.0, 0)
    values[0, ::2] = np.nan
    comparison = compare({"a": {0: record({"x/cc": values})}}, {"a": ""}, ["x/cc"])
    assert row_of(comparison, "a").mean == pytest.approx(np.nanmean(values))
    nothing = {"a": {0: record({"x/cc": np.full((1, N), np.nan)})}}
    comparison = compare(nothing, {"a": ""}, ["x/cc"])
    assert not comparison.rows
    assert "a has no x/cc: no image has a value." in comparison.notes


@pytest.mark.parametrize(
    ("column", "metric"),
    [
        ("auc_macro", lambda s, y: roc_auc(s, y)["macro"]),
        ("auc_micro", lambda s, y: roc_auc(s, y)["micro"]),
        ("ap_macro", lambda s, y: average_precision(s, y)["macro"]),
    ],
)
def test_statistics_are_made_of_scores(column, metric):
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=(2, 3, N, 2)) for name in "ab"}
    runs = {
        name: {seed: record({}, scores={"probe": one[seed]}) for seed in range(2)}
        for name, one in scores.items()
    }
    comparison = compare(runs, {"a": "b", "b": ""}, [f"probe/{column}"])
    label = runs["a"][0].label
    found = {
        name: np.array([[metric(draw, label) for draw in seed] for seed in one])
        for name, one in scores.items()
    }
    row = row_of(comparison, "a", f"probe/{column}")
    assert row.mean == pytest.approx(found["a"].mean())
    assert row.sd == pytest.approx(found["a"].mean(axis=1).std(ddof=1))
    assert row.difference == pytest.approx(found["a"].mean() - found["b"].mean())
    assert row.difference_low < row.difference < row.difference_high


def test_scores_are_held_against_their_own_target():
    target = np.ones((N, 1))
    target[:5] = 0
    one = record({}, scores={"anomaly": np.arange(float(N))[None, :, None]})
    one.targets["anomaly"] = target
    comparison = compare({"a": {0: one}}, {"a": ""}, ["anomaly/auc_macro"])
    assert row_of(comparison, "a", "anomaly/auc_macro").mean == 1.0


def test_two_rows_of_a_run_can_be_a_metric():
    one = record({"attention/cc": noisy(0.5, 0), "mean_map/cc": noisy(0.2, 0)})
    comparison = compare({"a": {0: one}}, {"a": ""}, ["attention-mean_map/cc"])
    row = row_of(comparison, "a", "attention-mean_map/cc")
    assert (row.mean, row.low, row.high) == pytest.approx((0.3,) * 3)


def test_p_values_are_corrected_over_all_differences_of_the_table():
    rng = np.random.default_rng(0)
    names = {"a": 0.1, "b": 0.0, "c": 0.5}
    runs = {
        name: {0: record({m: mean + rng.normal(size=(1, N)) for m in ("x/cc", "y/cc")})}
        for name, mean in names.items()
    }
    rows = compare(runs, {"a": "b", "b": "", "c": "b"}, ["x/cc", "y/cc"]).rows
    compared = sorted((row for row in rows if row.reference), key=lambda row: row.p)
    assert len(compared) == 4
    assert compared[0].p_holm == pytest.approx(4 * compared[0].p)
    assert compared[1].p_holm == pytest.approx(max(3 * compared[1].p, compared[0].p_holm))


def test_many_differences_leave_the_smallest_p_room_for_the_correction():
    runs = {
        f"v{i}": {seed: record({"x/cc": noisy(float(i), seed)}) for seed in range(2)}
        for i in range(31)
    }
    comparison = compare(runs, {name: "" if name == "v0" else "v0" for name in runs}, ["x/cc"])
    assert max(row.p_holm for row in comparison.rows if row.reference) < 0.011


def test_other_test_images_are_not_compared_and_the_table_says_so():
    label = np.eye(2)[(np.arange(N) + 1) % 2]
    values = {"x/cc": noisy(0.0, 0)}
    for other in (record(values, prefix="other"), record(values, label=label)):
        runs = {"a": {0: record(values)}, "b": {0: other}}
        comparison = compare(runs, {"a": "b", "b": ""}, ["x/cc"])
        row = row_of(comparison, "a")
        assert np.isnan(row.difference)
        assert np.isnan(row.p_holm)
        text = as_text(comparison)
        assert "a minus b: not compared, their test images, patients or labels differ." in text


def test_seeds_of_other_images_give_no_interval():
    runs = {0: record({"x/cc": noisy(0, 0)}), 1: record({"x/cc": noisy(1, 1)}, prefix="other")}
    comparison = compare({"a": runs}, {"a": ""}, ["x/cc"])
    row = row_of(comparison, "a")
    assert not np.isnan([row.mean, row.sd]).any()
    assert np.isnan(row.low)
    assert "The seeds of a give no interval" in as_text(comparison)


def test_what_was_not_measured_and_other_draws_are_said():
    runs = {
        "a": {0: record({"x/cc": noisy(0, 0, draws=5)})},
        "b": {0: record({"x/cc": noisy(0, 0, draws=3)})},
    }
    comparison = compare(runs, {"a": "b", "b": ""}, ["x/cc", "x/f1_macro"])
    assert [row.variant for row in comparison.rows] == ["a", "b"]
    text = as_text(comparison)
    assert "a minus b, x/cc: not compared, there are 5 and 3 draws." in text
    assert "a has no x/f1_macro: it was not measured." in text


def test_a_difference_is_of_the_seeds_that_both_have():
    runs = {
        "a": {seed: record({"x/cc": noisy(seed, seed)}) for seed in (0, 1, 2)},
        "b": {seed: record({"x/cc": noisy(0.0, seed)}) for seed in (1, 2)},
        "c": {},
    }
    comparison = compare(runs, {"a": "b", "b": "c", "c": ""}, ["x/cc"])
    assert row_of(comparison, "a").difference == pytest.approx(1.5)
    text = as_text(comparison)
    assert "a minus b: of the seeds that both have, 1, 2." in text
    assert "b minus c: not compared, they have no seed in common." in text


def test_one_seed_has_no_deviation_and_the_table_says_what_its_interval_is():
    comparison = compare({"a": {0: record({"x/cc": noisy(0.5, 0)})}}, {"a": ""}, ["x/cc"])
    text = as_text(comparison)
    assert "One seed: intervals and p are over patients and draws only" in text
    line = next(line for line in text.splitlines() if line.startswith("a "))
    assert line.split()[-2:] == ["-", "1"]


@pytest.fixture(scope="module")
def three():
    runs = {
        name: {seed: record({"x/cc": noisy(mean, seed)}) for seed in range(2)}
        for name, mean in (("a_1", 0.3), ("a_2", 0.5), ("b", 0.0))
    }
    return compare(runs, {"a_1": "b", "a_2": "b", "b": ""}, ["x/cc"])


def test_the_table_is_also_csv_and_json(three):
    rows = list(csv.DictReader(io.StringIO(as_csv(three))))
    assert [row["variant"] for row in rows] == ["a_1", "a_2", "b"]
    assert float(rows[0]["difference"]) == pytest.approx(0.3)
    assert rows[2]["difference"] == ""
    found = as_dict(three)["a_1"]["x/cc"]
    assert found["reference"] == "b"
    assert found["mean"] == float(rows[0]["mean"])
    assert {"sd", "low", "high", "num_seeds", "difference_low", "difference_high"} <= found.keys()
    assert {"p", "p_holm"} <= found.keys()
    json.dumps(found)


@pytest.mark.parametrize("x_label", ["", "contrast"])
def test_the_figure_is_written_as_png_and_svg(three, tmp_path, x_label):
    places = {"a_1": Place(1.0, "a"), "a_2": Place(20.0, "a"), "b": Place(None, "b")}
    save_figure(epath.Path(tmp_path), three.rows, places=places, x_label=x_label, title="a title")
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "figure.svg"}
    assert Image.open(tmp_path / "figure.png").width > 1000
    assert "<svg" in (tmp_path / "figure.svg").read_text()
