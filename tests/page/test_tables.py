import dataclasses
import re

import pytest

from gazax.page.runs import load_runs
from gazax.page.tables import compare_suites, p_value, suite_tables, suite_title
from tests.page.workdirs import make_workdir

MINUS = "\N{MINUS SIGN}"


def made(folder, **rest):
    """A run that is good and one that is bad, with the differences of the second."""
    names = {"good": 0.8, "bad": 0.2}
    folders = [
        make_workdir(folder / name, skill=skill, num_images=60, gallery=0, **rest)
        for name, skill in names.items()
    ]
    runs = load_runs([str(one) for one in folders])
    return runs, compare_suites(runs, "good")[0]


def captions(parts):
    return re.findall("<caption><span>(.*?)</span>", "".join(parts))


def groups(table):
    """Titles of the parts of a table -> the headings of its lines."""
    found = {}
    for body in re.findall("<tbody>(.*?)</tbody>", table, re.DOTALL):
        title = re.search(r'scope="rowgroup"[^>]*><span>(.*?)</span>', body)
        rows = re.findall(r'scope="row">(.*?)</th>', body)
        found[title[1] if title else ""] = [re.sub("<[^>]+>", "", row) for row in rows]
    return found


def headings(table):
    head = re.search("<thead>(.*?)</thead>", table, re.DOTALL)[1]
    return [re.sub("<[^>]+>", "", one) for one in re.findall('scope="col">(.*?)</th>', head)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "p < .001"), (0.0132, "p = .013"), (0.2, "p = .200"), (1.0, "p = 1.000")],
)
def test_p_values_are_short(value, text):
    assert p_value(value) == text


def test_single_readers_stand_below_all_and_are_not_compared(tmp_path):
    runs = load_runs([str(make_workdir(tmp_path / name, gallery=0)) for name in ("a", "b")])
    for run in runs:
        numbers = run.evaluation["suites"]["alignment"]["numbers"]
        for reader in ("dr-x", "readers"):
            numbers[f"attention@{reader}/cc"] = [0.1, 0.0, 0.2]
            run.record.values[f"attention@{reader}/cc"] = run.record.values["attention/cc"] - 0.3
        numbers["attention-readers/cc"] = [-0.2, -0.3, -0.1]
        run.evaluation["suites"] = {"alignment": run.evaluation["suites"]["alignment"]}
    compared, _ = compare_suites(runs, "a")
    assert {metric for _, _, metric in compared} == {"attention/cc", "attention/kl"}
    tables = suite_tables("alignment", runs, "a", compared)
    captions = [re.findall("<caption><span>(.*?)</span>", table) for table in tables]
    assert captions == [["Attention"], [f"Attention {MINUS} other readers (ceiling)"]]
    titles = ("Beside it", "each reader alone", "against dr-x")
    places = [tables[0].index(title) for title in titles]
    assert places == sorted(places)


def test_a_segmentation_is_one_table_with_its_labels_below(tmp_path):
    runs, compared = made(tmp_path, task="segmentation")
    tables = suite_tables("downstream", runs, "good", compared)
    assert captions(tables) == [
        "Anomaly, k nearest normals",
        "Segmentation",
        f"Segmentation {MINUS} mean training mask",
    ]
    assert headings(tables[1]) == [
        "Run",
        "Dice",
        "IoU",
        "Dice per image",
        "IoU per image",
        "False positive rate (lower is better)",
    ]
    assert groups(tables[1]) == {
        "": ["good reference", "bad"],
        "Beside it": ["mean training mask"],
        "normal alone": ["good", "bad", "mean training mask"],
        "pneumonia alone": ["good", "bad", "mean training mask"],
    }
    assert groups(tables[0]) == {"": ["good reference", "bad"]}


def test_more_false_positives_are_worse(tmp_path):
    runs, compared = made(tmp_path, task="segmentation")
    for metric, sign in {"false_positive_rate": 1, "dice": -1}.items():
        assert compared["downstream", "bad", f"segmentation/{metric}/normal"].difference * sign > 0
    table = suite_tables("downstream", runs, "good", compared)[1]
    marks = re.findall(r'class="difference (\w*)"><span class="whole">(.) ', table)
    # Bad is worse in Dice, IoU and false positives of two labels, and in two means per image.
    assert marks == [("worse", "▼")] * 8


def test_what_is_compared_is_no_baseline_and_no_difference(tmp_path):
    _, compared = made(tmp_path, task="segmentation")
    rows = {metric.partition("/")[0] for suite, _, metric in compared if suite == "downstream"}
    assert rows == {"segmentation", "anomaly_knn"}


def test_the_auc_of_a_label_stands_under_their_mean(tmp_path):
    runs, compared = made(tmp_path, task="classifier")
    tables = suite_tables("downstream", runs, "good", compared)
    assert captions(tables)[1:] == [
        "Classifier",
        f"Classifier {MINUS} class shares of training",
    ]
    below = "Calibration error (lower is better)"
    assert headings(tables[1]) == ["Run", "Accuracy", "AUC, macro", below]
    labels = ("normal alone", "pneumonia alone", "heart failure alone")
    assert groups(tables[1]) == {
        "": ["good reference", "bad"],
        "Beside it": ["class shares of training"],
        **{label: ["good", "bad"] for label in labels},
    }
    body = re.search(r"<span>pneumonia alone.*?</tbody>", tables[1], re.DOTALL)[0]
    numbers = re.findall("<td>(?:<b>(.*?)</b>)?", body)
    assert numbers == ["", "0.810", "", "", "0.210", ""]


@pytest.mark.parametrize("same", [True, False])
def test_untrained_features_stand_beside_the_trained_once_if_they_are_the_same(tmp_path, same):
    runs, _ = made(tmp_path)
    for place, run in enumerate(runs):
        numbers = run.evaluation["suites"]["representation"]["numbers"]
        start = 0.4 if same else 0.4 + place / 10
        for row, value in {
            "probe_step_0": start,
            "few_shot_1_step_0": start,
            "probe-probe_step_0": 0.2,
        }.items():
            numbers[f"{row}/accuracy"] = [value, value - 0.1, value + 0.1]
            run.record.values[f"{row}/accuracy"] = run.record.values["probe/accuracy"]
    compared, _ = compare_suites(runs, "good")
    assert not [metric for _, _, metric in compared if "step_0" in metric]
    tables = suite_tables("representation", runs, "good", compared)
    assert captions(tables) == [
        "Linear probe",
        "Few-shot, 1 % of labels",
        f"Linear probe {MINUS} Linear probe, untrained features",
    ]
    title = "Linear probe, untrained features"
    own = [title] if same else [f"{title} of good", f"{title} of bad"]
    assert groups(tables[0])["Beside it"] == own
    assert groups(tables[1])["Beside it"][0].startswith("Few-shot, 1 % of labels, untrained")


def test_the_mean_map_against_single_readers_stands_with_the_attention_against_them(tmp_path):
    runs, compared = made(tmp_path)
    for run in runs:
        numbers = run.evaluation["suites"]["alignment"]["numbers"]
        for row in ("attention@readers", "mean_map@readers", "attention@readers-mean_map@readers"):
            numbers[f"{row}/cc"] = [0.3, 0.2, 0.4]
    table, within = suite_tables("alignment", runs, "good", compared)
    whom = "against each reader alone"
    found = groups(table)
    assert found[f"Attention {whom}"] == ["good", "bad", f"training-mean gaze map {whom}"]
    assert found["Beside it"] == ["training-mean gaze map", "other readers (ceiling)"]
    assert captions([within]) == [f"Attention {whom} {MINUS} training-mean gaze map {whom}"]


def predicting(run):
    """The run as if its maps were predicted saliency, with the difference from the mean map."""
    suite = run.evaluation["suites"]["alignment"]
    numbers = {k.replace("attention", "saliency"): v for k, v in suite["numbers"].items()}
    numbers["saliency-mean_map/cc"] = [0.1, 0.0, 0.2]
    values = {k.replace("attention", "saliency"): v for k, v in run.record.values.items()}
    record = dataclasses.replace(run.record, values=values)
    suites = run.evaluation["suites"] | {"alignment": suite | {"numbers": numbers}}
    return dataclasses.replace(run, record=record, evaluation=run.evaluation | {"suites": suites})


def test_predicted_saliency_stands_beside_the_same_baselines_under_its_own_name(tmp_path):
    runs = [predicting(run) for run in made(tmp_path)[0]]
    compared, _ = compare_suites(runs, "good")
    assert ("alignment", "bad", "saliency/kl") in compared
    assert compared["alignment", "bad", "saliency/cc"].difference < 0
    table, within = suite_tables("alignment", runs, "good", compared)
    assert captions([table]) == ["Predicted saliency"]
    assert groups(table) == {
        "": ["good reference", "bad"],
        "Beside it": ["training-mean gaze map", "other readers (ceiling)"],
    }
    assert captions([within]) == [f"Predicted saliency {MINUS} training-mean gaze map"]
    assert suite_title("alignment", runs) == "Predicted saliency against gaze"


def test_a_page_of_both_has_a_table_for_each(tmp_path):
    looking, other = made(tmp_path)[0]
    runs = [looking, predicting(other)]
    tables = suite_tables("alignment", runs, "good", {})
    assert captions(tables[:2]) == ["Attention", "Predicted saliency"]
    for table in tables[:2]:
        assert groups(table)["Beside it"] == ["training-mean gaze map", "other readers (ceiling)"]
    assert suite_title("alignment", runs) == "Attention and predicted saliency against gaze"
    assert suite_title("alignment", runs[:1]) == "Attention against gaze"
    skipped = dataclasses.replace(looking, evaluation={"suites": {"alignment": {"numbers": {}}}})
    assert suite_title("alignment", [skipped]) == "Maps against gaze"


def test_a_run_of_another_protocol_is_marked_in_every_table(tmp_path):
    runs, compared = made(tmp_path)
    runs[1].evaluation["protocol"] = "paper"
    for suite in ("representation", "alignment"):
        tables = filter(None, suite_tables(suite, runs, "good", compared))
        found = [groups(table)[""] for table in tables]
        assert found
        assert all(one == ["good reference", "bad protocol paper"] for one in found)


def test_runs_of_another_task_have_a_line_of_dashes_and_no_more(tmp_path):
    tasks = ("classifier", "segmentation")
    folders = [make_workdir(tmp_path / task, gallery=0, task=task) for task in tasks]
    runs = load_runs([str(one) for one in folders])
    tables = suite_tables("downstream", runs, "classifier", {})
    assert captions(tables)[1:3] == ["Classifier", "Segmentation"]
    assert groups(tables[2]) == {
        "": ["classifier reference", "segmentation"],
        "Beside it": ["mean training mask of segmentation"],
        **{
            f"{label} alone": ["segmentation", "mean training mask of segmentation"]
            for label in ("normal", "pneumonia")
        },
    }
