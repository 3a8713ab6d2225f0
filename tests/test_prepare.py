"""The command prepares, shows a table, and explains what is wrong in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gazax import data, prepare
from tests.data.folders import example_folder

ROOT = Path(__file__).parents[1]


def run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "gazax.prepare", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_gaze_folder_becomes_records_with_a_table(tmp_path):
    source = example_folder(tmp_path / "source")
    flags = ("--dataset=gaze_folder", f"--source={source}", "--size=24x32")
    out = (f"--out={tmp_path}/cache", f"--json={tmp_path}/numbers.json")
    result = run(*flags, "--keep_ids", *out)
    assert result.returncode == 0, result.stderr
    records = data.prepare(
        "gaze_folder", root=source, size=(24, 32), cache=tmp_path / "cache", keep_ids=True
    )
    assert str(records.directory) in result.stdout  # training finds what the command made
    assert "17 of 16 patients at 24 x 32 px" in result.stdout
    assert json.loads((tmp_path / "numbers.json").read_text()) == records.summary


def test_phantom_is_written_as_a_gaze_folder(tmp_path):
    flags = ("--dataset=phantom", "--layout=gaze_folder", "--count=6", "--size=32")
    result = run(*flags, f"--out={tmp_path}/phantom")
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "phantom" / "images").glob("*.png"))) == 6
    assert (tmp_path / "phantom" / "fixations.csv").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dataset=gaze_folder", "--source=nowhere"), "error: no folder nowhere"),
        (("--dataset=gaze_folder", "--size=big"), "error: size 'big' is neither"),
        (("--dataset=gaze_folder", "--layout=gaze_folder"), "error: --layout=gaze_folder writes"),
        (("--dataset=phantom", "--layout=gaze_folder"), "error: --layout=gaze_folder needs --out"),
        (("--size=3",), "dataset"),
    ],
)
def test_mistakes_end_in_one_line(flags, message):
    result = run(*flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_faulty_source_is_explained(tmp_path):
    source = example_folder(tmp_path / "source")
    (source / "fixations.csv").write_text("image_id,reader_id,x,y,duration_s\nim01,ann,1,1,1\n")
    result = run("--dataset=gaze_folder", f"--source={source}", f"--out={tmp_path}/cache")
    assert result.returncode == 2
    assert result.stderr.startswith("error: fixations.csv row 1: column 'x_px' is missing")


def test_table_shows_counts_faults_and_what_was_not_used(records):
    faults = {"boxes.csv": {"count": 7, "reasons": {"size": 7}, "first": []}}
    summary = records.summary | {"faults": faults, "ignored_columns": ["pupil"]}
    summary["fixations"] = summary["fixations"] | {"dropped": {"duration": 3}}
    text = prepare.format_summary(summary)
    header, train, *_ = text[text.index("split") :].splitlines()
    assert header.split() == ["split", "images", "patients", "fixations"]
    assert train.split()[:2] == ["train", str(records.num_examples("train"))]
    labels = text[text.index("label ") :].splitlines()
    assert labels[0].split() == ["label", "train", "validation", "test"]
    known = records.summary["splits"]["train"]["labels"]["a"]
    assert labels[1].split()[:2] == [
        "a",
        f"{known['present']}/{known['present'] + known['absent']}",
    ]
    assert "3 fixations left out: duration" in text
    assert "boxes.csv: 7 left out\n  7 size" in text
    assert "columns not used: pupil" in text
    assert "6 fixations (im03), 2 readers" in text


@pytest.fixture
def records(tmp_path):
    source = example_folder(tmp_path / "source")
    return data.prepare(
        "gaze_folder", root=source, size=(24, 32), cache=tmp_path / "cache", keep_ids=True
    )
