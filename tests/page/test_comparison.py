"""The report as somebody reads it, and what must not be in it."""

import dataclasses
import json
import re

import numpy as np
import pytest

from gazax.eval.record import Record
from gazax.metrics.hierarchical import hierarchical_interval, holm
from gazax.page.comparison import report_page
from gazax.page.runs import load_runs
from gazax.page.tables import compare_suites
from tests.page.workdirs import make_workdir

NAMES = ("strong", "weak", "elsewhere")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    strong = make_workdir(folder / "strong", skill=0.8, num_images=60)
    settings = {"alpha": 0.0, "note": "<b>none</b>", "crop": [0.5, 1.0]}
    weak = make_workdir(folder / "weak", skill=0.2, num_images=60, settings=settings)
    elsewhere = make_workdir(folder / "elsewhere", data=1, num_images=60)
    return load_runs([str(strong), str(weak), str(elsewhere)])


@pytest.fixture(scope="module")
def compared(runs):
    return compare_suites(runs, "strong")


@pytest.fixture(scope="module")
def page(runs, compared):
    return report_page(runs, "strong", *compared, images=True)


def section(page, anchor):
    return re.search(rf'<section id="{anchor}".*?</section>', page, re.DOTALL)[0]


def text_of(part):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part.replace("<wbr>", "")))


def test_nothing_is_asked_of_the_network(page):
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert not re.findall(r"url\((?!data:|#)", page)
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_phantom_numbers_are_called_so(page, runs):
    assert "Phantom numbers: images and gaze are simulated" in page
    real = list(runs)
    real[1].evaluation["phantom_numbers"] = False
    some = report_page(real, "strong", {}, [], images=False)
    real[2].evaluation["phantom_numbers"] = real[0].evaluation["phantom_numbers"] = False
    none = report_page(real, "strong", {}, [], images=False)
    for run in real:
        run.evaluation["phantom_numbers"] = True
    assert "Phantom numbers (strong, elsewhere):" in some
    assert "Phantom" not in none


def test_numbers_of_another_protocol_are_called_so(tmp_path):
    folders = [make_workdir(tmp_path / name, gallery=0) for name in ("a", "b")]
    runs = load_runs([str(one) for one in folders])
    apart = "patients that took no part in training"
    runs[0].evaluation["protocol"] = "strict"
    page = text_of(report_page(runs, "a", {}, [], images=False))
    assert "protocol" not in page.lower()
    assert apart in page
    runs[0].evaluation["protocol"] = "paper"
    page = text_of(report_page(runs, "a", {}, [], images=False))
    said = "Protocol 'paper': images drawn at random, chosen on the test images themselves (a)."
    assert said in page.replace("&#x27;", "'")
    assert apart not in page


def test_only_keys_that_differ_are_shown(page):
    shown = text_of(section(page, "differs"))
    assert "method.alpha 1.0 0.0 1.0" in shown
    assert "0.5, 1.0" in shown
    assert "method.gaze" not in shown


def test_what_stands_in_a_config_is_not_taken_for_html(page):
    assert "<b>none</b>" not in page
    assert "&lt;b&gt;none&lt;/b&gt;" in page


def test_runs_of_other_records_are_paired_with_a_warning(runs):
    page = report_page(runs, "strong", *compare_suites(runs, "strong"), images=True)
    assert "Of other records" not in page
    runs = [runs[0], dataclasses.replace(runs[1], data="another")]
    page = report_page(runs, "strong", *compare_suites(runs, "strong"), images=True)
    assert "Of other records than strong: weak." in page


def test_a_difference_is_that_of_the_same_images(compared, runs):
    row = compared[0]["alignment", "weak", "attention/cc"]
    values = [run.record.values["attention/cc"][0] for run in runs[:2]]
    assert row.difference == pytest.approx(np.mean(values[1] - values[0]))
    expected = hierarchical_interval(
        (values[1] - values[0])[None, None], runs[0].record.patient, seed=0
    )
    assert row.p == pytest.approx(expected.p_value, abs=1e-3)


def test_p_values_are_corrected_over_their_table(compared):
    table = [
        row
        for (suite, _, name), row in compared[0].items()
        if suite == "representation" and name.startswith("probe/")
    ]
    assert len(table) == 2  # accuracy and AUC; a calibration error cannot be had from the record
    np.testing.assert_allclose(
        [row.p_holm for row in table], holm(np.array([row.p for row in table]))
    )


def test_a_row_of_numbers_has_estimate_interval_difference_and_p(page):
    shown = text_of(section(page, "numbers"))
    number = r"\N{MINUS SIGN}?\d\.\d{3}"
    interval = rf"{number} \[{number}, {number}\]"
    assert re.search(rf"strong reference {interval} {interval}", shown)
    assert re.search(rf"weak {interval} ▼ {interval} p = \.\d{{3}}", shown)


def test_less_is_better_where_it_is(compared, runs):
    row = compared[0]["alignment", "weak", "attention/kl"]
    assert row.difference > 0
    found = section(report_page(runs, "strong", *compared, images=False), "numbers")
    cells = re.findall(r'class="difference (\w*)"><span class="whole">(.) \+', found)
    assert ("worse", "▼") in cells


def test_baselines_stand_once_for_the_runs_that_share_them(page):
    shown = section(page, "numbers")
    assert shown.count("training-mean gaze map") == 2  # two data sets
    assert "of strong, weak" in text_of(shown)


def test_runs_of_other_images_are_said_not_to_be_paired(page, compared):
    assert "Not paired with strong: elsewhere" in page
    assert not [key for key in compared[0] if key[1] == "elsewhere"]


def test_tables_say_what_they_show(page):
    assert page.count("<caption>") == page.count("<table")
    assert page.count("<caption>") > 4
    assert not re.search(r"<th>|<th (?!scope=)", page)


def test_every_picture_has_a_description(page):
    images = re.findall(r"<img [^>]*>", page)
    assert images
    assert all(re.search(r'alt="[^"]+"', image) for image in images)
    drawn = re.findall(r"<svg [^>]*>", page)
    assert all("aria-label=" in one or "aria-hidden=" in one for one in drawn)


def test_a_quantity_has_a_panel_and_a_constant_one_a_sentence(page):
    shown = section(page, "training")
    for name in ("loss", "loss/contrast", "attention/cc", "probe auc"):
        assert f"<figcaption>{name}</figcaption>" in shown
    assert "The same at every step: mean map/cc (0.450)." in shown
    assert "images_per_s" not in shown


def test_each_label_has_its_curves(page):
    shown = section(page, "thresholds")
    for name in ("normal", "pneumonia", "heart failure", "abnormal"):
        assert f"{name}: ROC" in shown
        assert f"{name}: precision-recall" in shown


def test_an_image_is_shown_with_every_reader_and_every_run_of_its_data(page):
    case = re.search(r"<article.*?</article>", section(page, "gallery"), re.DOTALL)[0]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", case.replace("<wbr>", ""))
    assert captions == [
        *("image", "gaze of ann", "gaze of bob", "gaze of cy", "gaze of all"),
        *("attention: strong", "attention: weak"),
    ]
    assert case.count("<circle") == 12
    assert "● present" in case


def test_every_map_of_a_model_is_shown_under_its_name(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=1, gaze=False)
    path = folder / "evaluation" / "gallery" / "0.npz"
    case = dict(np.load(path))
    for maps, expected in {
        ("attention", "saliency"): ["attention: run", "predicted saliency: run (constant)"],
        ("saliency",): ["predicted saliency: run (constant)"],
        ("attention", "mask", "marked"): [
            *("marked in the data", "attention: run", "predicted mask: run"),
        ],
    }.items():
        kept = {name: one for name, one in case.items() if name != "attention"}
        heat = case["attention"]
        found = {"attention": heat, "saliency": np.ones_like(heat), "mask": heat, "marked": heat}
        np.savez(path, **kept, **{name: found[name] for name in maps})
        page = report_page(load_runs([str(folder)]), "run", {}, [], images=True)
        captions = re.findall("<figcaption>(.*?)</figcaption>", section(page, "gallery"))
        assert captions == ["image", *expected]


def test_an_image_is_in_the_page_once(page):
    case = re.search(r"<article.*?</article>", section(page, "gallery"), re.DOTALL)[0]
    base = re.search(r"--image:url\(([^)]+)\)", case)[1]
    assert case.count(base) == 2  # below the layers, and alone


def test_without_images_no_pixel_and_no_name_of_one_is_left(runs, compared):
    page = report_page(runs, "strong", *compared, images=False)
    assert "data:image" not in page
    assert "<img" not in page
    for run in runs:
        assert not [name for name in run.record.image_id if name in page]
        assert not [name for name in run.record.patient if name in page]
    assert "holds no pixel of any image" in page


def test_one_run_is_shown_by_itself(runs):
    page = report_page(runs[:1], "strong", {}, [], images=False)
    assert "<h1>strong</h1>" in page
    assert "reference" not in text_of(section(page, "numbers")).replace("strong reference", "")


def test_numbers_that_are_not_there_are_dashes(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=0)
    path = folder / "evaluation" / "numbers.json"
    found = json.loads(path.read_text())
    found["suites"]["representation"]["numbers"]["knn/accuracy"] = [None, None, None]
    path.write_text(json.dumps(found))
    page = report_page(load_runs([str(folder)]), "run", {}, [], images=False)
    dash = "\N{EN DASH}"
    assert f"<b>{dash}</b>" in page
    assert "nan" not in text_of(section(page, "numbers"))


def test_unknown_labels_and_lines_without_numbers_are_no_obstacle(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=0)
    record = Record.load(folder / "evaluation")
    record.label[:5] = np.nan
    record.scores["probe"][:, :, 1] = 0.5
    record.save(folder / "evaluation")
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": null}\n{"step": 2, "loss": 1.0}\n')
    page = report_page(load_runs([str(folder)]), "run", {}, [], images=False)
    assert "unknown" in section(page, "embedding")
    assert "<figcaption>loss</figcaption>" in page


def test_an_image_without_gaze_is_shown_without(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=1, gaze=False)
    page = report_page(load_runs([str(folder)]), "run", {}, [], images=True)
    found = section(page, "gallery")
    captions = re.findall("<figcaption>(.*?)</figcaption>", found)
    assert captions == ["image", "attention: run"]
    assert "No gaze is known on this image." in found
    assert "Probabilities beside the truth" in found
    assert 'class="legend"' not in found


def test_an_image_whose_gaze_one_run_knows_is_shown_with_it(tmp_path):
    folders = [make_workdir(tmp_path / f"g{i}", gallery=1, gaze=bool(i)) for i in range(2)]
    page = report_page(load_runs([str(one) for one in folders]), "g0", {}, [], images=True)
    captions = re.findall("<figcaption>(.*?)</figcaption>", section(page, "gallery"))
    assert captions == [
        "image",
        *(f"gaze of {name}" for name in ("ann", "bob", "cy")),
        "gaze of all",
        "attention: g0",
        "attention: g1",
    ]


def test_a_page_without_any_image_says_how_to_get_one(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=0)
    page = report_page(load_runs([str(folder)]), "run", {}, [], images=True)
    assert "No image was set aside; python -m gazax.evaluate --gallery=" in page


def test_what_a_suite_left_out_and_why_stands_below_its_tables(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=0, task="segmentation")
    runs = load_runs([str(folder)])
    runs[0].evaluation["suites"]["interpretability"] = {"numbers": {}, "table": "pointing: skipped"}
    shown = section(report_page(runs, "run", {}, [], images=False), "numbers")
    paragraphs = re.findall('<p class="remarks">(.*?)</p>', shown)
    assert paragraphs == [
        "heart failure: left out of the mean (marked in no image of the test split)<br>"
        "anomaly detection: skipped ([0, 1] &lt;2&gt;)",
        "pointing: skipped",
        "t-SNE",
    ]
    assert "<h3>Interpretability</h3>" in shown
    assert shown.index("<caption><span>Segmentation") < shown.index("heart failure: left out")
