"""The sweep at the head of a report: its numbers, its figure, and what is missing."""

import base64
import html
import json
import math
import re
from xml.etree import ElementTree

import pytest
from etils import epath

from gazax.eval import contrasts, paper_table
from gazax.eval.comparison import ADDED, Comparison, Row, as_dict
from gazax.eval.comparison_figure import Place, save_figure
from gazax.page.comparison import report_page
from gazax.page.html import DASH, MINUS
from gazax.page.runs import load_runs
from gazax.page.sweep import load_sweep
from gazax.train.workdir import write_json
from gazax.typing import InputError
from tests.page import browser
from tests.page.test_browser import LAYOUT
from tests.page.workdirs import make_workdir

MISSING = "MT-UNet (variant absent) has no finished run: its column is empty."
LONG = "a_variant_with_a_name_that_is_much_too_long_for_a_narrow_window-0123456789abcdef"
NONE = {"p": math.nan, "p_holm": math.nan, "reference": "own"}


def row(variant, metric, mean, difference=math.nan, **rest):
    numbers = {
        "sd": 0.0123,
        "low": mean - 0.05,
        "high": mean + 0.05,
        "num_seeds": 3,
        "difference": difference,
        "difference_low": difference - 0.02,
        "difference_high": difference + 0.02,
        "p": 0.0002,
        "p_holm": 0.0004,
        "reference": "" if variant == "own" else "own",
    }
    return Row(variant=variant, metric=metric, mean=mean, **numbers | rest)


ROWS = (
    row("own", "few_shot_1/accuracy", 0.612),
    row("none", "few_shot_1/accuracy", 0.499, -0.113),
    row("own", "attention/kl", 0.8),
    row("none", "attention/kl", 0.5, -0.3),
    row(LONG, "attention/kl", 0.7, **NONE),
)


LAYOUT_OF_PAPER = paper_table.Layout(
    title="Table 2: <saliency>",
    systems={"own": "Ours", "none": "UNet_S", "absent": "MT-UNet"},
    metrics={"saliency/kl": "KL", "classifier/auc_macro": "AUC"},
    beside={"centre": "centre bias"},
    published={"saliency/kl": {"own": "0.706 ± 0.183", "absent": "0.747 ± 0.185"}},
    source="a paper, of other images",
    notes=("One sees gaze.",),
)


def paper():
    """A table and two questions, as `table.json` has them."""
    seen = {"p_t": 0.012, "sd_images": 0.183}
    kl = row("UNet_S", "saliency/kl", 0.781, 0.075, reference="Ours", **seen)
    own = row("Ours", "saliency/kl", 0.706, reference="", sd_images=0.183)
    area = row("UNet_S", "classifier/auc_macro", 0.88, -0.03, reference="Ours", p_t=0.5, p_holm=1.0)
    rows = {
        "saliency/kl": {"Ours": own, "UNet_S": kl},
        "classifier/auc_macro": {
            "Ours": row("Ours", "classifier/auc_macro", 0.91, reference=""),
            "UNet_S": area,
        },
    }
    table = paper_table.PaperTable(layout=LAYOUT_OF_PAPER, rows=rows, remarks=(MISSING,))
    asked = (
        contrasts.Contrast("Do blocks help?", "none", "own", ("saliency/kl", "saliency/cc")),
        contrasts.Contrast("Does fusion?", "none", "own", ("classifier/auc_macro",)),
    )
    found = ({"saliency/kl": kl}, {"classifier/auc_macro": area})
    answers = contrasts.Contrasts(asked, found, ("A note on them.",))
    return {"tables": [paper_table.as_dict(table)], "contrasts": contrasts.as_dict(answers)}


def make_sweep(folder, rows=ROWS, **rest):
    folder = epath.Path(folder)
    folder.mkdir()
    table = {
        "title": "phantom numbers (simulated images and gaze), test split: 9 images; seeds 0, 1, 2",
        "made": "2030-01-02, a processor: python -m gazax.sweep --config=a.py",
        "phantom_numbers": True,
        "variants": as_dict(Comparison(rows, ())),
        "notes": ["Three <b>seeds</b> are few."],
        "missing": {"none, seed 1": "not run", "none, seed 2": "not run", "own, seed 2": "a crash"},
    }
    write_json(folder / "table.json", table | rest)
    if rows:
        places = {row.variant: Place(None, row.variant) for row in rows}
        save_figure(folder, rows, places=places, x_label="", title="a title")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_sweep(tmp_path_factory.mktemp("sweep") / "components")


@pytest.fixture(scope="module")
def page(folder):
    return page_of(folder)


def page_of(folder, runs=()):
    reference = runs[0].name if runs else ""
    return report_page(runs, reference, {}, [], images=False, sweep=load_sweep(str(folder)))


def text_of(part):
    """What is read, with a plain dash for every minus."""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part.replace("<wbr>", "")))
    return html.unescape(text).replace(MINUS, "-").replace(DASH, "-")


def lines_of(page):
    table = re.search(r"<table.*?</table>", page, re.DOTALL)[0]
    return [text_of(line).strip() for line in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]


def test_a_line_is_a_variant_and_a_column_a_metric(page):
    head, own, none, long = lines_of(page)
    few, kl = "Few-shot, 1 % of labels: Accuracy", "Attention: KL (lower is better)"
    assert head == f"Variant {few} {kl}"
    assert own.startswith("own reference 3 seeds 0.612 [0.562, 0.662] sd 0.012 0.800 [0.750")
    assert "0.499 [0.449, 0.549] sd 0.012 ▼ -0.113 [-0.133, -0.093] p < .001" in none
    assert "▲ -0.300 [-0.320, -0.280] p < .001" in none  # a divergence: less is better
    assert long.startswith(f"{LONG} 3 seeds - 0.700")
    assert "p" not in long.partition("0.700")[2]  # nothing to compare


def test_several_references_are_named_line_by_line(tmp_path):
    rows = (*ROWS[:2], row("far", "few_shot_1/accuracy", 0.4, -0.1, reference="none"))
    _, own, none, far = lines_of(page_of(make_sweep(tmp_path / "a", rows)))
    assert own.startswith("own reference 3 seeds 0.612")
    assert none.startswith("none reference 3 seeds, against own")
    assert far.startswith("far 3 seeds, against none")


def test_one_seed_has_no_standard_deviation(tmp_path):
    rows = (row("own", "probe/accuracy", 0.6, sd=math.nan, num_seeds=1),)
    page = page_of(make_sweep(tmp_path / "a", rows))
    assert lines_of(page)[1] == "own 1 seed 0.600 [0.550, 0.650]"
    assert "standard deviation" not in page


def test_notes_and_missing_runs_are_listed(page):
    text = text_of(page)
    assert "3 runs are missing, and not in these numbers:" in text
    assert "none, seed 1; none, seed 2: not run" in text
    assert "own, seed 2: a crash" in text
    assert "Three <b>seeds</b> are few." in text
    assert "python -m gazax.sweep --config=a.py" in text


def test_the_figure_is_in_the_page_and_asks_nothing_of_the_network(page, folder):
    (address,) = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]*)" alt="[^"]+">', page)
    drawn = base64.b64decode(address).decode()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert drawn == (folder / "figure.svg").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "<svg" not in page  # its ids would meet those of other figures


def test_the_page_says_what_it_is_of(page, folder, tmp_path):
    assert "<title>gazax: Sweep components</title>" in page
    assert 'href="#sweep"' in page
    for anchor in ("differs", "numbers", "gallery"):
        assert f'id="{anchor}"' not in page
    runs = load_runs([str(make_workdir(tmp_path / name, gallery=0)) for name in ("a", "b")])
    both = page_of(folder, runs)
    assert "<h1>Sweep components, and 2 runs compared</h1>" in both
    assert both.index('<section id="sweep"') < both.index('<section id="differs"')
    assert "the run a</h1>" in page_of(folder, runs[:1])


def test_phantom_numbers_are_called_so(page, tmp_path):
    said = "Phantom numbers: images and gaze are simulated"
    assert said in page
    marked = make_sweep(tmp_path / "marked", title="test split")
    assert said in page_of(marked)
    real = make_sweep(tmp_path / "real", title="test split", phantom_numbers=False)
    assert "simulated" not in page_of(real)
    runs = load_runs([str(make_workdir(tmp_path / "run", gallery=0))])
    assert "Phantom numbers (run): images" in page_of(real, runs)


def test_numbers_of_another_protocol_are_called_so(tmp_path):
    words = "protocol 'paper': images drawn at random, chosen on the test images themselves"
    folder = make_sweep(tmp_path / "sweep", title=f"{words}; test split: 9 images")
    page = page_of(folder).replace("&#x27;", "'")
    assert f"{words[:1].upper()}{words[1:]} (sweep sweep)." in page
    assert f"{words[:1].upper()}{words[1:]}; test split: 9 images." in page
    assert "protocol" not in page_of(make_sweep(tmp_path / "other")).lower()


def test_a_sweep_without_a_finished_run_has_no_table(tmp_path):
    page = page_of(make_sweep(tmp_path / "a", ()))
    assert "No run is finished" in page
    assert "<table" not in page
    assert "<img" not in page


def test_an_absent_figure_is_said(tmp_path):
    folder = make_sweep(tmp_path / "a")
    (folder / "figure.svg").unlink()
    assert "There is no figure" in page_of(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.pop("notes"), "KeyError: 'notes'"),
        (lambda table: table.update(missing=[]), "'missing' is no dict"),
        (lambda table: table.update(notes=[1]), "hold other things than text"),
        (lambda table: table.update(variants=[1]), "AttributeError"),
        (lambda table: table["variants"]["own"].update(x={}), "KeyError"),
        (lambda table: table["variants"]["own"].update(x=None), "TypeError"),
        (lambda table: table["variants"]["own"]["attention/kl"].update(mean="high"), "ValueError"),
    ],
)
def test_a_damaged_table_is_answered_with_the_command(change, message, folder, tmp_path):
    table = json.loads((folder / "table.json").read_text())
    change(table)
    (tmp_path / "table.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"table\.json' is damaged") as found:
        load_sweep(str(tmp_path))
    assert message in str(found.value)
    assert f"python -m gazax.sweep --config=FILE --out={tmp_path}" in str(found.value)


def test_what_is_no_sweep_is_said_so(folder, tmp_path):
    with pytest.raises(InputError, match="--sweep=nowhere: there is no such folder"):
        load_sweep("nowhere")
    command = "run python -m gazax.sweep --config=FILE"
    with pytest.raises(InputError, match=rf"has no table\.json: it is no sweep's; {command}"):
        load_sweep(str(tmp_path))
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(InputError, match=rf"its sweep has not ended; {command}"):
        load_sweep(str(tmp_path))
    (tmp_path / "table.json").write_text('{"title": ')
    with pytest.raises(InputError, match=r"table\.json' is damaged"):
        load_sweep(str(tmp_path))
    (tmp_path / "table.json").write_text((folder / "table.json").read_text())
    (tmp_path / "figure.svg").write_text("<svg>")
    with pytest.raises(InputError, match=r"figure\.svg' is damaged"):
        load_sweep(str(tmp_path))


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    return page_of(make_sweep(tmp_path_factory.mktemp("paper") / "tables", **paper()))


def tables_of(page):
    """Of each table its lines, as they are read."""
    return [
        [text_of(line).strip() for line in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]
        for table in re.findall(r"<table.*?</table>", page, re.DOTALL)
    ]


def test_a_papers_table_has_systems_as_columns_and_its_numbers_below_ours(laid_out):
    _, (head, kl, printed, area), _ = tables_of(laid_out)
    assert head == "Metric Ours UNet_S MT-UNet centre bias"
    assert kl.startswith("KL ↓ 0.706 ± 0.183 best [0.656, 0.756] sd 0.012 0.781 ± 0.183 [0.731")
    assert kl.endswith("▼ +0.075 [0.055, 0.095] p = .012† - -")
    assert printed == "paper, other data 0.706 ± 0.183 0.747 ± 0.185"
    assert area.startswith("AUC ↑ 0.910 best [0.860, 0.960]")
    assert area.endswith("-0.030 [-0.050, -0.010] p = .500 - -")  # found by neither test
    text = text_of(laid_out)
    for sentence in ("Table 2: <saliency>", "a paper, of other images", "One sees gaze.", MISSING):
        assert sentence in text
    assert "the difference from Ours" in text


def test_questions_are_answered_by_name(laid_out):
    *_, (_, first, kl, cc, second, area) = tables_of(laid_out)
    assert (first, second) == ("Do blocks help? none - own", "Does fusion? none - own")
    assert kl.startswith("Predicted saliency: KL (lower is better) reference better +0.075 [0.055")
    assert cc == "Predicted saliency: CC not compared - - - -"
    assert "no difference shown" in area
    assert "A note on them." in text_of(laid_out)


def test_what_is_read_is_what_was_written(tmp_path):
    written = paper()
    found = load_sweep(str(make_sweep(tmp_path / "a", **written)))
    assert [paper_table.as_dict(one) for one in found.tables] == [
        {**one, "notes": tuple(one["notes"])} for one in written["tables"]
    ]
    assert contrasts.as_dict(found.contrasts) == written["contrasts"]


def test_a_table_of_before_has_neither(page, folder, tmp_path):
    assert len(tables_of(page)) == 1
    assert "Contrasts" not in page
    table = json.loads((folder / "table.json").read_text())
    for metrics in table["variants"].values():
        for one in metrics.values():
            for name in ADDED:
                del one[name]
    (tmp_path / "table.json").write_text(json.dumps(table))
    again = load_sweep(str(tmp_path)).rows["none"]["attention/kl"]
    assert again.difference == -0.3
    assert math.isnan(again.p_t)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.update(tables=[{}]), "KeyError"),
        (lambda table: table["tables"][0].update(notes="a"), "TypeError"),
        (lambda table: table["tables"][0].update(systems={}), "has no systems"),
        (lambda table: table["tables"][0]["cells"].pop("saliency/kl"), "KeyError"),
        (lambda table: table.update(contrasts={"rule": ""}), "KeyError: 'contrasts'"),
    ],
)
def test_a_damaged_layout_is_answered_with_the_command(change, message, tmp_path):
    table = json.loads((make_sweep(tmp_path / "a", (), **paper()) / "table.json").read_text())
    change(table)
    (tmp_path / "table.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"table\.json' is damaged") as found:
        load_sweep(str(tmp_path))
    assert message in str(found.value)


CARD = "return getComputedStyle(document.querySelector('img').parentElement).backgroundColor;"


@pytest.mark.skipif(browser.find() is None, reason=f"NO BROWSER: none of {browser.NAMES}")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_nothing_overflows_and_the_figure_lies_on_white(laid_out, width, dark, tmp_path):
    found = browser.ask(laid_out, LAYOUT, folder=tmp_path, width=width, dark=dark)
    assert (found["window"], found["wide"], found["broken"]) == (width, [], 0)
    assert found["page"] <= width
    card = browser.ask(laid_out, CARD, folder=tmp_path, width=width, dark=dark)
    assert card == "rgb(255, 255, 255)"
