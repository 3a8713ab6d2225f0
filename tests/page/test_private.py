"""A page that may be passed on tells of no reader, no image, no patient and no folder."""

import json
import re

import numpy as np
import pytest

from gazax.page.comparison import report_page
from gazax.page.private import without_names, without_paths
from gazax.page.runs import load_runs
from gazax.page.sweep import load_sweep
from gazax.page.tables import compare_suites
from tests.page.test_sweep import make_sweep
from tests.page.workdirs import READERS, make_workdir

IDS = ("ann-1", "site/bob", "dr_cy", "readers of x")
PATHS = (
    "/data/secret",
    "~/stash",
    "C:\\secret",
    "gs://secret/x",
    "runs/secret.safetensors",
    "predicted:runs/stash",
)
SETTINGS = {
    "data.root": PATHS[0],
    "data.cache": PATHS[1],
    "data.source.table": "secret/table.csv",
    "data.readers": [IDS[0]],
    "init_from.path": PATHS[4],
    "data.gaze": PATHS[5],
    "method.teacher": PATHS[2],
    "method.files": ["x", PATHS[3]],
}


@pytest.fixture
def runs(tmp_path):
    folders = [make_workdir(tmp_path / name, gallery=1, num_images=40) for name in ("own", "none")]
    (own, none) = (json.loads((folder / "config.json").read_text()) for folder in folders)
    own["config"] |= SETTINGS | {"freeze": ["backbone/.*"], "init_from.scopes": ["a:b"]}
    for folder, found in zip(folders, (own, none), strict=True):
        (folder / "config.json").write_text(json.dumps(found))
    runs = load_runs([str(folder) for folder in folders])
    for place, run in enumerate(runs):
        numbers = run.evaluation["suites"]["alignment"]["numbers"]
        for reader in ("readers", *IDS[place:]):
            numbers[f"attention@{reader}/cc"] = [0.1, 0.0, 0.2]
            run.record.values[f"attention@{reader}/cc"] = run.record.values["attention/cc"]
    return runs


def test_a_page_without_images_names_nobody_and_no_folder(runs, tmp_path):
    def pages(images):
        page = report_page(runs, "own", *compare_suites(runs, "own"), images=images)
        return page.replace("<wbr>", "")

    record = runs[0].record
    images = [*map(str, record.image_id), *map(str, record.patient)]
    told = pages(images=False)
    names = [*IDS, *PATHS, *images, "secret", "stash", str(tmp_path)]
    assert [name for name in names if name in told] == []
    assert [name for name in READERS if re.search(rf"\b{name}\b", told)] == []
    assert "data:image" not in told
    for name in SETTINGS:
        assert name not in told
    assert "backbone/.*" in told
    assert "init_from.scopes" in told
    assert (
        "but for paths and readers' names, which are left out on request".replace("'", "&#x27;")
        in told
    )
    shown = pages(images=True)
    for name in (*IDS, *READERS, str(record.image_id[0]), PATHS[0], "data.root"):
        assert name in shown, name


def test_a_reader_has_one_number_in_all_runs(runs):
    own, none = without_names(runs)
    rows = [
        [name for name in run.evaluation["suites"]["alignment"]["numbers"] if "@" in name]
        for run in (own, none)
    ]
    numbered = [f"attention@reader {place}/cc" for place in (1, 4, 2, 3)]
    assert sorted(rows[0]) == sorted(["attention@readers/cc", *numbered])
    assert sorted(rows[1]) == sorted(["attention@readers/cc", *set(numbered) - {numbered[0]}])
    assert "attention@ann-1/cc" in runs[0].evaluation["suites"]["alignment"]["numbers"]
    np.testing.assert_equal(
        own.evaluation["suites"]["representation"], runs[0].evaluation["suites"]["representation"]
    )


def test_a_page_whose_runs_differ_in_folders_alone_says_so(runs):
    for run in runs:
        run.settings.clear()
    runs[0].settings["data.root"] = PATHS[0]
    page = report_page(runs, "own", {}, [], images=False)
    assert "The configs of all runs are the same, but for paths" in page


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "python -m gazax.sweep --config=configs/a.py:data=reflacx,root=/data/x --out=runs/x",
            "python -m gazax.sweep --config=configs/a.py:data=reflacx,root=- --out=-",
        ),
        ("exit code 1, see ~/x/log.txt", "exit code 1, see -"),
        ("--json=x/n.json, see ~ann/x", "--json=-, see -"),
        ("'gs://x/a b' and C:\\x", "- and -"),
        ("-m gazax.sweep '--out=/data/a b'", "-m gazax.sweep -"),
        ("-m gazax.sweep --out runs/x --seeds=1", "-m gazax.sweep --out - --seeds=1"),
        ("images/s of 12 and/or n/a, 1 / 2", "images/s of 12 and/or n/a, 1 / 2"),
    ],
)
def test_a_sweeps_texts_keep_no_path(tmp_path, text, left):
    sweep = load_sweep(str(make_sweep(tmp_path / "sweep", made=text, notes=[text])))
    told = without_paths(sweep).found
    assert told["made"] == left
    assert told["notes"] == [left]


def test_what_is_missing_keeps_no_log(tmp_path):
    missing = {
        "own, seed 0": "exit code 1, see runs/smith/logs/own-0.log",
        "own, seed 1": "not run",
    }
    sweep = load_sweep(str(make_sweep(tmp_path / "sweep", missing=missing)))
    told = without_paths(sweep).found["missing"]
    assert told == {"own, seed 0": "exit code 1", "own, seed 1": "not run"}
