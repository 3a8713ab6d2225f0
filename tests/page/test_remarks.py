import pytest

from gazax.eval.report import block
from gazax.page.remarks import sentences, suite_remarks
from gazax.page.runs import load_runs
from tests.page.workdirs import make_workdir

SAID = "skipped (few-shot learning needs [2] images of 'a <b>')"


def test_sentences_are_told_from_numbers_and_headings():
    nan = float("nan")
    numbers = {"a/cc": (-0.5, -1.25, 12.0), "a/kl": (nan, nan, nan), "b/cc": (1.0, 0.5, 2.0)}
    rows = {"a": "a row [0, 1]", "b": "lower KL is better"}
    lines = block(numbers, rows=rows, columns={"cc": "CC", "kl": "KL (nat)"})
    assert len(lines) == 3
    assert sentences("\n".join([*lines, "", SAID, *lines, "images: 3"])) == [SAID, "images: 3"]


@pytest.fixture
def runs(tmp_path):
    folders = [make_workdir(tmp_path / name, gallery=0) for name in ("own", "none", "old")]
    return load_runs([str(one) for one in folders])


def put(run, table):
    run.evaluation["suites"]["downstream"]["table"] = table


def test_what_all_runs_say_is_said_once(runs):
    for run in runs:
        put(run, SAID)
    text = SAID.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#x27;")
    assert suite_remarks("downstream", runs) == [f'<p class="remarks">{text}</p>']


def test_what_some_runs_say_is_said_of_them(runs):
    for run, table in zip(runs, ("one", "two\nlines", "one"), strict=True):
        put(run, table)
    del runs[2].evaluation["suites"]["downstream"]["table"]
    assert suite_remarks("downstream", runs) == [
        '<p class="remarks"><b>own</b><br>one</p>',
        '<p class="remarks"><b>none</b><br>two<br>lines</p>',
    ]
