"""The command writes pages, and explains in one line why it does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.page.test_sweep import make_sweep
from tests.page.workdirs import make_workdir

ROOT = Path(__file__).parents[1]


def run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "gazax.report", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def workdirs(tmp_path):
    folders = [make_workdir(tmp_path / name, gallery=1) for name in ("own", "none")]
    return f"--workdirs={','.join(map(str, folders))}"


def test_a_report_is_written_with_its_numbers(workdirs, tmp_path):
    out, numbers = tmp_path / "report.html", tmp_path / "numbers.json"
    result = run(workdirs, f"--out={out}", "--reference=none", f"--json={numbers}")
    assert result.returncode == 0, result.stderr
    assert "2 runs compared" in out.read_text()
    assert "own, none; reference none" in result.stdout
    found = json.loads(numbers.read_text())
    assert found["reference"] == "none"
    assert set(found["runs"]) == {"own", "none"}
    row = next(one for one in found["differences"] if one["metric"] == "attention/cc")
    assert (row["suite"], row["variant"], row["reference"]) == ("alignment", "own", "none")
    assert row["p_holm"] >= row["p"]
    assert not list(tmp_path.glob(".*"))


def test_a_report_without_images_names_no_run_by_its_folders(tmp_path):
    folders = [make_workdir(tmp_path / name / "run", gallery=1) for name in ("smith_1945", "none")]
    out = tmp_path / "report.html"
    workdirs = f"--workdirs={','.join(map(str, folders))}"
    result = run(workdirs, f"--out={out}", "--reference=none/run", "--no_images")
    assert result.returncode == 0, result.stderr
    assert "run 1, run 2; reference run 2" in result.stdout
    page = out.read_text()
    assert "2 runs compared" in page
    assert "data:image" not in page
    assert "smith_1945" not in page


def test_a_sweep_is_reported_alone_and_before_runs(workdirs, tmp_path):
    sweep = f"--sweep={make_sweep(tmp_path / 'components')}"
    out, numbers = tmp_path / "report.html", tmp_path / "numbers.json"
    alone = run(sweep, f"--out={out}", f"--json={numbers}")
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout == f"{out}: sweep components\n"
    assert "<h1>Sweep components</h1>" in out.read_text()
    table = json.loads((tmp_path / "components" / "table.json").read_text())
    assert json.loads(numbers.read_text()) == {"sweep": table}
    both = run(sweep, workdirs, f"--out={out}", f"--json={numbers}")
    assert both.returncode == 0, both.stderr
    assert both.stdout == f"{out}: sweep components; own, none; reference own\n"
    assert "<h1>Sweep components, and 2 runs compared</h1>" in out.read_text()
    assert json.loads(numbers.read_text()).keys() == {"sweep", "reference", "runs", "differences"}


def test_a_study_is_written_once(workdirs, tmp_path):
    out, key = tmp_path / "study.html", tmp_path / "study.key.json"
    result = run("--reader_study", workdirs, f"--out={out}")
    assert result.returncode == 0, result.stderr
    assert "1 images with 3 heat maps each" in result.stdout
    assert f"{key}: what each heat map is" in result.stdout
    assert json.loads(key.read_text())["systems"]["readers"] == "readers"
    before = out.read_text()
    again = run("--reader_study", workdirs, f"--out={out}")
    assert again.returncode == 2
    assert "study.key.json' exists" in again.stderr
    assert out.read_text() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--workdirs=nowhere",), "error: workdir 'nowhere': there is no such folder"),
        (("--out=nowhere/a.html", "--workdirs=a"), "error: --out=nowhere/a.html: there is no"),
        (("--reader_study", "--no_images", "--workdirs=a"), "error: --reader_study takes no"),
        (("--no_images", "--json=a.json", "--workdirs=a"), "error: --json writes names of readers"),
        (("--out=config.json", "--workdirs=a"), "error: --out=config.json is a page; give a name"),
        (("--sweep=",), "error: --sweep is empty; give the folder of a sweep."),
        (("--reader_study", "--workdirs=a", "--sweep=a"), "error: --reader_study takes no --sweep"),
        (("--reader_study", "--sweep=a"), "error: --workdirs=A,B,... is needed"),
        (("--sweep=nowhere",), "error: --sweep=nowhere: there is no such folder"),
        (("--sweep=gazax",), "has no table.json: it is no sweep's; run python -m gazax.sweep"),
        (("--workdirs=",), "error: --workdirs=A,B,..., or --sweep=DIR, is needed"),
        ((), "error: --workdirs=A,B,..., or --sweep=DIR, is needed"),
    ],
)
def test_mistakes_end_in_one_line(flags, message):
    result = run(*flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_reference_is_answered_with_the_names(workdirs, tmp_path):
    result = run(workdirs, f"--out={tmp_path}/report.html", "--reference=nome")
    assert result.returncode == 2
    assert "error: --reference=nome: no run has this name (did you mean 'none'?)" in result.stderr
    assert "they are own, none" in result.stderr
