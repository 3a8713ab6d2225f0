"""The pages in a browser, where one is installed: nothing overflows, and no error is logged."""

import csv
import io
import json

import pytest
from etils import epath

from gazax.eval.agreement import read_answers
from gazax.eval.comparison import Row
from gazax.page.comparison import report_page
from gazax.page.reader_study import make_study
from gazax.page.runs import load_runs
from tests.page import browser
from tests.page.workdirs import make_workdir

pytestmark = pytest.mark.skipif(
    browser.find() is None, reason=f"NO BROWSER to open pages in: none of {browser.NAMES}"
)

LAYOUT = """
  const wide = [...document.querySelectorAll("body *")].filter(
    (one) => !one.closest(".scroll, svg, .skip")
      && one.getBoundingClientRect().right > innerWidth + 1,
  );
  return {
    page: document.documentElement.scrollWidth,
    window: innerWidth,
    wide: wide.map((one) => one.outerHTML.slice(0, 100)),
    ink: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
    broken: [...document.images].filter((one) => !one.naturalWidth).length,
  };
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    long = "a_run_with_a_name_that_is_much_too_long_for_a_narrow_window-0123456789abcdef"
    tasks = {"own": "segmentation", "none": "classifier", long: "segmentation"}
    folders = [make_workdir(folder / name, gallery=2, task=task) for name, task in tasks.items()]
    return load_runs([str(one) for one in folders])


@pytest.fixture(scope="module")
def report(runs):
    row = Row(
        variant="none",
        metric="probe/accuracy",
        mean=0.5,
        sd=float("nan"),
        low=0.4,
        high=0.6,
        num_seeds=1,
        reference="own",
        difference=-0.123,
        difference_low=-0.234,
        difference_high=-0.012,
        p=0.0005,
        p_holm=0.001,
    )
    compared = {("representation", "none", "probe/accuracy"): row}
    return report_page(runs, "own", compared, ["A note."], images=True)


@pytest.fixture(scope="module")
def study(runs):
    return make_study(runs, secret="s")


@pytest.mark.parametrize(
    ("kind", "width", "dark"),
    [
        *[("report", width, dark) for width in (1280, 390) for dark in (False, True)],
        *[("study", 1280, False), ("study", 390, True)],
    ],
)
def test_nothing_overflows_and_no_error_is_logged(kind, width, dark, report, study, tmp_path):
    page = report if kind == "report" else study[0]
    found = browser.ask(page, LAYOUT, folder=tmp_path, width=width, dark=dark)
    assert found["window"] == width
    assert found["page"] <= found["window"]
    assert not found["wide"]
    assert not found["broken"]
    bright = [sum(map(int, found[name][4:-1].split(","))) > 380 for name in ("ink", "paper")]
    assert bright == [dark, not dark]


RATE_ALL = """
  document.getElementById("rater").value = 'Dr "X", jr';
  document.getElementById("rater").dispatchEvent(new Event("input"));
  const press = (key) => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  press("ArrowRight");  // the first heat map
  const overlays = document.getElementById("overlays");
  const heads = [];
  for (let i = 0; i < 2 * overlays.children.length; i++) {
    heads.push(document.activeElement.getAttribute("aria-label"));
    press(String(1 + i % 5));
    if (i % overlays.children.length === 1) press("t");
    if (i + 1 < 2 * overlays.children.length) press("ArrowRight");  // over the end: the next image
  }
  const place = document.getElementById("place").textContent;
  press("ArrowUp");
  const back = document.getElementById("place").textContent;
  press("h");
  const hidden = getComputedStyle(overlays.querySelector("img")).visibility;
  const status = document.getElementById("status").textContent;
  return { heads, place, back, hidden, status, csv: csv(), kept: localStorage.getItem(NAME) };
"""


def test_a_study_is_answered_by_keys_alone_and_its_answers_are_read(study, tmp_path):
    page, key = study
    found = browser.ask(page, RATE_ALL, folder=tmp_path)
    assert found["heads"] == [f"Heat map {letter}" for letter in "ABCD"] * 2
    assert (found["place"], found["back"]) == ("Image 2 of 2", "Image 1 of 2")
    assert found["hidden"] == "hidden"
    assert found["status"].startswith("8 of 8 heat maps rated, 2 of 2 choices made.")
    assert len(json.loads(found["kept"])["ratings"]) == 8
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert [row["rating"] for row in rows] == ["1", "2", "3", "4", "5", "1", "2", "3"]
    assert [row["order"] for row in rows] == ["1", "2", "3", "4"] * 2
    assert [row["trusted"] for row in rows] == ["0", "1", "0", "0"] * 2
    assert {row["rater"] for row in rows} == {'Dr "X", jr'}
    (tmp_path / "key.json").write_text(json.dumps(key))
    (tmp_path / "answers.csv").write_text(found["csv"])
    answers = read_answers(
        [epath.Path(tmp_path / "answers.csv")], epath.Path(tmp_path / "key.json")
    )
    first = key["overlays"][rows[1]["overlay"]]
    case = list(key["cases"]).index(first["case"])
    assert answers.rating[0, case, answers.systems.index(first["system"])] == 2
    assert answers.trusted[0, case, answers.systems.index(first["system"])] == 1
