"""Runs of several variants and seeds in one table: means, paired differences, what is refused."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from etils import epath
from PIL import Image
from scipy import stats

from gazax.eval.comparison import ADDED, WIDTH, as_csv, as_dict, as_text, compare, row_of_dict
from gazax.eval.comparison_figure import Place, save_figure
from gazax.eval.measured import (
    IncomparableError,
    Mean,
    lower_is_better,
    measure,
    t_interval,
    t_test,
)
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


@pytest.mark.parametrize(("column", "metric"), [("auc", roc_auc), ("ap", average_precision)])
def test_a_statistic_of_one_label_is_called_by_its_name(column, metric):
    scores = np.random.default_rng(0).normal(size=(3, N, 2))
    one = record({}, scores={"classifier": scores})
    for place, name in enumerate(one.label_names):
        found = measure([one], f"classifier/{column}/{name}").per_seed()
        expected = np.mean([metric(draw, one.label)["per_class"][place] for draw in scores])
        assert found == pytest.approx([expected])
    one.targets["anomaly"] = one.label
    one.scores["anomaly"] = scores
    for wrong in ("classifier/auc/c", "classifier/f1/a", "classifier/auc_macro/a", "anomaly/auc/a"):
        with pytest.raises(IncomparableError, match="was not measured"):
            measure([one], wrong)


def test_less_of_a_divergence_is_better():
    assert lower_is_better("kl")
    assert lower_is_better("false_positive_rate/mass")
    assert not lower_is_better("auc/kl")


def test_the_t_test_of_a_mean_is_over_patients():
    """Patients' means 2, 2, 4: t = (8/3) / (2/3) = 4 with 2 degrees of freedom, p = 1 - 4/18^.5."""
    patients = np.array(["a", "a", "b", "c", "d"])
    found = Mean(np.array([[[1.0, 3.0, 2.0, 4.0, np.nan]]])).t_test(patients)
    assert found == pytest.approx(1 - 4 / np.sqrt(18))
    seeds = Mean(np.array([[[0.0, 5.0, 2.0, np.nan]], [[2.0, 1.0, np.nan, 4.0]]]))
    assert seeds.t_test(patients[:4]) == pytest.approx(found)  # averaged over seeds first


def test_the_t_test_is_that_of_scipy():
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    assert t_test(first - second) == pytest.approx(stats.ttest_rel(first, second).pvalue)


@pytest.mark.parametrize(("values", "p"), [([0.0, 0.0], 1.0), ([2.0, 2.0], 0.0), ([2.0], np.nan)])
def test_the_t_test_of_what_has_no_spread(values, p):
    np.testing.assert_equal(t_test(np.array(values)), p)


def test_an_interval_over_seeds_allows_for_their_number():
    half = 4.302652729911275 / np.sqrt(3)  # t of 2 degrees of freedom
    assert t_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2 - half, 2 + half))
    assert np.isnan(t_interval(np.array([1.0]))).all()


def test_the_deviation_over_images_is_the_mean_of_that_of_each_seed():
    known = np.array([[[0.0, 2.0, np.nan], [0.0, 2.0, np.nan]], [[0, 6.0, 3.0], [0, 6.0, 3.0]]])
    assert Mean(known).sd_images() == pytest.approx((1 + np.sqrt(6)) / 2)


def test_a_row_has_the_tests_of_its_difference():
    rng = np.random.default_rng(0)
    values = {name: rng.normal(mean, size=(3, 1, N)) for name, mean in (("a", 0.3), ("b", 0.0))}
    scores = {name: rng.normal(size=(3, 1, N, 2)) for name in "ab"}
    runs = {
        name: {
            seed: record({"x/cc": values[name][seed]}, scores={"probe": scores[name][seed]})
            for seed in range(3)
        }
        for name in "ab"
    }
    comparison = compare(runs, {"a": "b", "b": ""}, ["x/cc", "probe/auc_macro"])
    row = row_of(comparison, "a")
    means = {
        name: one.mean(axis=(0, 1)).reshape(-1, 2).mean(axis=1) for name, one in values.items()
    }
    assert row.p_t == pytest.approx(stats.ttest_rel(means["a"], means["b"]).pvalue)
    assert row.sd_images == pytest.approx(values["a"].std(axis=2).mean())
    by_seed = (values["a"] - values["b"]).mean(axis=(1, 2))
    expected = stats.t.interval(0.95, 2, by_seed.mean(), by_seed.std(ddof=1) / np.sqrt(3))
    assert (row.t_low, row.t_high) == pytest.approx(expected)
    area = row_of(comparison, "a", "probe/auc_macro")
    label = runs["a"][0].label
    areas = {name: [roc_auc(s[0], label)["macro"] for s in one] for name, one in scores.items()}
    assert area.p_t == pytest.approx(stats.ttest_rel(areas["a"], areas["b"]).pvalue)
    assert np.isnan(area.sd_images)
    assert np.isnan(row_of(comparison, "b").p_t)


def test_identical_runs_show_no_difference_and_one_seed_has_no_interval_over_seeds():
    one = record({"x/cc": noisy(0.5, 0)}, scores={"x": np.random.default_rng(0).random((1, N, 2))})
    rows = compare({"a": {0: one}, "b": {0: one}}, {"a": "b", "b": ""}, ["x/cc", "x/auc_macro"])
    same = row_of(rows, "a")
    assert (same.difference, same.p_t, same.p, same.p_holm) == (0, 1, 1, 1)
    assert np.isnan([same.t_low, same.t_high, row_of(rows, "a", "x/auc_macro").p_t]).all()


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
    assert "a, b have no x/f1_macro: it was not measured." in text


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
    assert {"p", "p_holm", *ADDED} <= found.keys()
    kept = json.loads(json.dumps(as_dict(three), allow_nan=False))
    for row in three.rows:
        again = row_of_dict(row.variant, row.metric, kept[row.variant]["x/cc"])
        np.testing.assert_equal(vars(again), vars(row))


def test_a_row_of_before_has_no_t_test(three):
    found = {key: value for key, value in as_dict(three)["a_1"]["x/cc"].items() if key not in ADDED}
    row = row_of_dict("a_1", "x/cc", found)
    assert (row.mean, row.p) == (three.rows[0].mean, three.rows[0].p)
    assert np.isnan([row.p_t, row.sd_images, row.t_low, row.t_high]).all()
    del found["mean"]
    with pytest.raises(KeyError):
        row_of_dict("a_1", "x/cc", found)


def test_the_interval_over_seeds_is_in_the_text_where_it_fits(three):
    text = as_text(three)
    assert "t test" in text
    assert f"[{three.rows[0].t_low:+.3f}, {three.rows[0].t_high:+.3f}]" in text
    assert max(map(len, text.splitlines()[:5])) <= WIDTH
    row = dataclasses.replace(three.rows[0], variant="a" * 40)
    text = as_text(dataclasses.replace(three, rows=(row,)))
    assert "t test" in text
    assert "t over seeds" not in text.splitlines()[1]


@pytest.mark.parametrize("x_label", ["", "contrast"])
def test_the_figure_is_written_as_png_and_svg(three, tmp_path, x_label):
    places = {"a_1": Place(1.0, "a"), "a_2": Place(20.0, "a"), "b": Place(None, "b")}
    save_figure(epath.Path(tmp_path), three.rows, places=places, x_label=x_label, title="a title")
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "figure.svg"}
    assert Image.open(tmp_path / "figure.png").width > 1000
    assert "<svg" in (tmp_path / "figure.svg").read_text()
