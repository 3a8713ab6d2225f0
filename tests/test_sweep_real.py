"""A sweep that trains and measures, from its command to the page of a report."""

import csv
import json
import re

import pytest

from tests.runs import call

SPEC = "configs/ablations/curve.py:axis=steps,smoke"


def command(env, module, *flags):
    return call(env, "-m", module, *flags)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def swept(env, tmp_path_factory):
    """A sweep's folder, its flags and what it printed."""
    out = tmp_path_factory.mktemp("swept") / "out"
    flags = (f"--config={SPEC}", "--variants=own_2", "--config.seeds=0,", f"--out={out}")
    return out, flags, command(env, "gazax.sweep", *flags)


def test_it_ends_with_the_table_of_what_it_trained(swept):
    out, _, done = swept
    assert "1 runs, 0 of them finished" in done.stdout
    text = (out / "table.txt").read_text()
    assert "own_2" in text
    assert text in done.stdout
    for name in ("shuffled_2", "own_4", "shuffled_4"):
        assert f"{name}, seed 0: not run" in text
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert {row["variant"] for row in rows} == {"own_2"}
    (workdir,) = (out / "runs").iterdir()
    suites = json.loads((workdir / "evaluation" / "numbers.json").read_text())["suites"]
    assert suites.keys() == {"representation", "alignment"}
    table = json.loads((out / "table.json").read_text())["variants"]["own_2"]
    for suite, metric in (("representation", "probe/accuracy"), ("alignment", "attention/cc")):
        assert table[metric]["mean"] == pytest.approx(suites[suite]["numbers"][metric][0])


def test_a_second_time_it_trains_nothing(env, swept):
    out, flags, _ = swept
    (workdir,) = (out / "runs").iterdir()
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    done = command(env, "gazax.sweep", *flags)
    assert "1 runs, 1 of them finished" in done.stdout
    assert "[1/1]" not in done.stdout
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_its_run_makes_a_page_that_loads_nothing(env, swept, tmp_path):
    out, _, _ = swept
    (workdir,) = (out / "runs").iterdir()
    page = tmp_path / "report.html"
    command(env, "gazax.report", f"--workdirs={workdir}", f"--out={page}")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    text = page.read_text()
    assert "data:image" in text
    # xmlns names a format and loads nothing
    assert not re.findall(r"(?:src|href|action|data)\s*=\s*[\"']?\s*(?:https?:)?//", text)
    assert not re.findall(r"(?:url\(|@import|fetch\(|import\()\s*[\"']?\s*(?:https?:)?//", text)
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert {one for one in addresses if not one.startswith("http://www.w3.org/")} == set()
