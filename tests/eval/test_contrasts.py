"""Questions to a sweep, and what their numbers show."""

import dataclasses
import json

import numpy as np
import pytest

from gazax.eval.comparison import WIDTH, Row
from gazax.eval.contrasts import (
    FIRST,
    MISSING,
    NEITHER,
    SECOND,
    Contrast,
    as_dict,
    as_text,
    contrast_rows,
    from_dict,
    verdict,
)
from tests.eval.test_paper_table import RUNS, runs_of

QUESTIONS = (
    Contrast("Is it better?", "ours", "unet", ("saliency/kl", "saliency/cc")),
    Contrast("Is it worse?", "unet", "ours", ("saliency/kl", "saliency/sim")),
    Contrast("Is it the same?", "twin", "ours", ("saliency/cc",)),
    Contrast("Is it there?", "ours", "absent", ("saliency/cc",)),
    Contrast("Nor the other?", "absent", "ours", ("saliency/cc",)),
)


@pytest.fixture(scope="module")
def found():
    return contrast_rows(QUESTIONS, {**RUNS, "twin": RUNS["ours"], "absent": {}})


def test_every_question_has_its_own_reference(found):
    shown = {one.question: [words for _, _, words in lines] for one, lines in found.lines()}
    assert shown == {
        "Is it better?": [FIRST, FIRST],
        "Is it worse?": [SECOND, MISSING],
        "Is it the same?": [NEITHER],
        "Is it there?": [MISSING],
        "Nor the other?": [MISSING],
    }
    better, worse = found.rows[0]["saliency/kl"], found.rows[1]["saliency/kl"]
    assert better.difference == pytest.approx(-worse.difference)
    assert better.difference < 0
    assert "absent has no finished run." in found.notes


def test_holms_correction_is_over_all_questions(found):
    rows = [row for rows in found.rows for row in rows.values() if not np.isnan(row.p)]
    assert len(rows) == 4
    assert min(row.p_holm for row in rows) == pytest.approx(4 * min(row.p for row in rows))


def test_a_question_asked_twice_is_corrected_once():
    both = contrast_rows([QUESTIONS[0], QUESTIONS[0]], RUNS)
    once = contrast_rows([QUESTIONS[0]], RUNS)
    assert both.rows == once.rows * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, SECOND),
        ({"metric": "saliency/cc"}, FIRST),
        ({"difference_low": -0.1}, NEITHER),
        ({"p_t": 0.06}, NEITHER),
        ({"p_t": np.nan}, NEITHER),
        ({"difference": -1.0, "difference_low": -1.2, "difference_high": -0.8}, FIRST),
        ({"difference": np.nan}, MISSING),
    ],
)
def test_a_verdict_takes_interval_and_t_test(change, words):
    row = Row(
        variant="a",
        metric="saliency/kl",
        mean=1.0,
        sd=0.1,
        low=0.9,
        high=1.1,
        num_seeds=3,
        difference=1.0,
        difference_low=0.8,
        difference_high=1.2,
        p=0.01,
        p_t=0.01,
    )
    assert verdict(dataclasses.replace(row, **change)) == words


def test_of_one_seed_an_area_shows_no_difference():
    runs = runs_of(1, ours=1.5, unet=0.0)
    asked = Contrast("By area?", "ours", "unet", ("classifier/auc_macro",))
    found = contrast_rows([asked], runs)
    row = found.rows[0]["classifier/auc_macro"]
    assert row.difference_low > 0
    assert verdict(row) == NEITHER


def test_the_text_says_how_it_is_decided(found):
    text = as_text(found)
    assert max(map(len, text.splitlines())) <= WIDTH
    row = found.rows[0]["saliency/kl"]
    line = next(line for line in text.splitlines() if line.startswith("  saliency/kl"))
    assert f"{row.difference:+.3f} [{row.difference_low:+.3f}, {row.difference_high:+.3f}]" in line
    assert line.endswith(f"  {FIRST}")
    assert "leaves out 0, and p < .05 by the paired t test" in " ".join(text.split())
    assert "absent has no finished run." in text


def test_json_gives_the_questions_back(found):
    kept = json.loads(json.dumps(as_dict(found), allow_nan=False))
    again = from_dict(kept)
    assert as_text(again) == as_text(found)
    assert as_dict(again) == as_dict(found)
    assert kept["contrasts"][0]["shown"] == {"saliency/kl": FIRST, "saliency/cc": FIRST}
