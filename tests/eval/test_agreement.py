"""Ratings become the numbers that they hold, and a wrong row is named."""

import csv
import json

import numpy as np
import pytest
from etils import epath

from gazax.eval.agreement import measure
from gazax.metrics.agreement import fleiss_kappa
from gazax.typing import InputError

SYSTEMS = ("gazat", "simclr", "readers")
NUM_CASES = 6
HEADINGS = "rater,case,overlay,rating,trusted,order"


@pytest.fixture
def key(tmp_path):
    cases = {f"c{i}": {"image_id": f"im{i}", "patient": f"p{i // 2}"} for i in range(NUM_CASES)}
    overlays = {
        f"o{i}{place}": {"case": f"c{i}", "system": system}
        for i in range(NUM_CASES)
        for place, system in enumerate(SYSTEMS)
    }
    path = epath.Path(tmp_path) / "study.key.json"
    kinds = {"gazat": "model", "simclr": "model", "readers": "readers"}
    path.write_text(json.dumps({"systems": kinds, "cases": cases, "overlays": overlays}))
    return path


def answers(folder, rater, rating, trusted, *, name="answers.csv"):
    """A file of ``rating(case, system)`` and of the place that ``trusted(case)`` says, or None."""
    lines = [HEADINGS]
    for case in range(NUM_CASES):
        chosen = trusted(case)
        for place in range(len(SYSTEMS)):
            mark = "" if chosen is None else int(chosen == place)
            lines.append(f"{rater},c{case},o{case}{place},{rating(case, place)},{mark},{place + 1}")
    path = epath.Path(folder) / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_ratings_and_trust_are_means_over_raters_and_cases(tmp_path, key):
    first = answers(tmp_path, "ann", lambda c, p: (4, 2, 5)[p], lambda c: 2, name="a.csv")
    second = answers(
        tmp_path, "bob", lambda c, p: (2, 1, 5)[p], lambda c: 2 * (c > 2), name="b.csv"
    )
    numbers = measure([first, second], key, seed=0).numbers
    assert numbers["gazat/rating"] == (3, 3, 3)
    assert numbers["simclr/rating"] == (1.5, 1.5, 1.5)
    assert numbers["gazat-readers/rating"] == (-2, -2, -2)
    assert numbers["simclr-readers/preference"][0] == -0.75
    assert numbers["readers/preference"][0] == 0.75
    assert numbers["gazat/preference"][0] == 0.25
    estimate, low, high = numbers["gazat/preference"]
    assert low < estimate < high
    shares = [numbers[f"{system}/preference"][0] for system in SYSTEMS]
    assert sum(shares) == pytest.approx(1)


def test_agreement_is_fleiss_kappa(tmp_path, key):
    rng = np.random.default_rng(0)
    ratings = rng.integers(1, 6, (3, NUM_CASES, 3))
    trusted = rng.integers(0, 3, (3, NUM_CASES))
    files = [
        answers(
            tmp_path,
            f"r{i}",
            lambda c, p, i=i: ratings[i, c, p],
            lambda c, i=i: trusted[i, c],
            name=f"{i}.csv",
        )
        for i in range(3)
    ]
    numbers = measure(files, key, seed=0).numbers
    of_ratings = (ratings[..., None] == np.arange(1, 6)).sum(axis=0).reshape(-1, 5)
    of_trust = (trusted[..., None] == np.arange(3)).sum(axis=0)
    assert numbers["raters/kappa_rating"][0] == pytest.approx(fleiss_kappa(of_ratings))
    assert numbers["raters/kappa_trusted"][0] == pytest.approx(fleiss_kappa(of_trust))


def test_images_of_a_patient_are_drawn_together(tmp_path, key):
    """Case 2 i and 2 i + 1 are of one patient: alike in pairs, the interval must be wider."""
    pairs = answers(tmp_path, "ann", lambda c, p: 1 + 2 * (c // 2 == 1), lambda c: 0, name="a.csv")
    whole = measure([pairs], key, seed=0).numbers["gazat/rating"]
    found = json.loads(key.read_text())
    for case in found["cases"].values():
        case["patient"] = case["image_id"]
    key.write_text(json.dumps(found))
    single = measure([pairs], key, seed=0).numbers["gazat/rating"]
    assert whole[0] == single[0]
    assert whole[2] - whole[1] > single[2] - single[1]


def test_missing_answers_are_left_out(tmp_path, key):
    path = answers(
        tmp_path,
        "ann",
        lambda c, p: "" if (c, p) == (0, 0) else 2 + (c == 0),
        lambda c: None if c < 3 else 1,
    )
    numbers = measure([path], key, seed=0).numbers
    assert numbers["gazat/rating"][0] == 2
    assert numbers["simclr/rating"][0] == pytest.approx(13 / 6)
    assert numbers["gazat-readers/rating"][0] == 0  # of the cases that have both
    assert numbers["simclr/preference"][0] == 1


def test_one_rater_has_no_agreement(tmp_path, key):
    part = measure([answers(tmp_path, "ann", lambda c, p: 3, lambda c: 0)], key, seed=0)
    assert not [name for name in part.numbers if name.startswith("raters/")]
    for title in ("ratings", "trusted"):
        assert f"kappa, {title}: skipped (nothing has the answers of two raters)" in part.table
    assert "1 rater (ann), 6 of 6 images" in part.table


def test_table_shows_every_system_and_what_chance_would_give(tmp_path, key):
    table = measure([answers(tmp_path, "ann", lambda c, p: 3, lambda c: 0)], key, seed=0).table
    for title in (*SYSTEMS, "gazat - readers", "gazat - simclr", "1-5  ", " trusted (chance 0.33)"):
        assert title in table


def test_models_are_compared_with_each_other_too(tmp_path, key):
    path = answers(tmp_path, "ann", lambda c, p: (4, 2 + (c == 0), 5)[p], lambda c: 2 * (c > 2))
    numbers = measure([path], key, seed=0).numbers
    pairs = {name.partition("/")[0] for name in numbers if "-" in name}
    assert pairs == {"gazat-simclr", "gazat-readers", "simclr-readers"}
    assert numbers["gazat-simclr/rating"][0] == pytest.approx(11 / 6)
    assert numbers["gazat-simclr/preference"][0] == 0.5


def test_agreement_that_could_not_be_otherwise_is_said_to_have_no_kappa(tmp_path, key):
    """Both always trust the same system, and rate it differently."""
    files = [
        answers(tmp_path, rater, lambda c, p, i=i: 1 + p + i, lambda c: 2, name=f"{i}.csv")
        for i, rater in enumerate(("ann", "bob"))
    ]
    part = measure(files, key, seed=0)
    assert "raters/kappa_rating" in part.numbers
    assert "raters/kappa_trusted" not in part.numbers
    assert "Fleiss' kappa, trusted: skipped (everybody always said the same" in part.table
    assert "kappa, ratings: skipped" not in part.table


def test_what_a_spreadsheet_writes_is_read(tmp_path, key):
    path = answers(tmp_path, "ann", lambda c, p: "4.0", lambda c: 0)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", "\r\n").encode())
    assert measure([path], key, seed=0).numbers["gazat/rating"][0] == 4


@pytest.mark.parametrize("separator", [";", "\t"])
def test_cells_may_be_apart_as_spreadsheets_of_other_countries_have_them(tmp_path, key, separator):
    path = answers(tmp_path, "ann", lambda c, p: 3, lambda c: 0)
    path.write_text(path.read_text().replace(",", separator))
    assert measure([path], key, seed=0).numbers["gazat/rating"][0] == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["ann,c0,o00,7,0,1"], "row 2, column 'rating': .* 1 to 5, or nothing, found '7'"),
        (["ann,c0,o00,3.5,0,1"], "row 2, column 'rating'"),
        (["ann,c0,o00,good,0,1"], "found 'good'"),
        (["ann,c0,o00,3,yes,1"], "row 2, column 'trusted': .* 0 to 1"),
        (["ann,c0,o00,3,0,1", "ann,c0,o09,3,0,1"], "row 3, column 'overlay': 'o09' is not in"),
        (["ann,c1,o00,3,0,1"], "row 2, column 'case': overlay o00 belongs to case c0, found 'c1'"),
        ([" ,c0,o00,3,0,1"], "row 2, column 'rater' is empty"),
        (
            ["ann,c0,o00,3,0,1", "ann,c0,o00,3,0,1"],
            "row 3: 'ann' rated overlay o00 before, in .* row 2",
        ),
        (["ann,c0,o00,3,1,1", "ann,c0,o01,3,1,1"], "row 3, .* trusts two overlays of case c0"),
        (["ann,c0"], "row 2, column 'overlay' is missing"),
        (["ann,c0,o00,,,1"], "there is no answer"),
        ([], "there is no answer"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, key, rows, message):
    path = epath.Path(tmp_path) / "answers.csv"
    path.write_text("\n".join([HEADINGS, *rows]) + "\n")
    with pytest.raises(InputError, match=message) as raised:
        measure([path], key, seed=0)
    assert "answers.csv" in str(raised.value)


def test_a_missing_column_is_named(tmp_path, key):
    path = epath.Path(tmp_path) / "answers.csv"
    path.write_text("rater,case,overlay,rating\n")
    with pytest.raises(InputError, match="answers.csv row 1: column 'trusted' is missing"):
        measure([path], key, seed=0)


def test_files_that_are_not_there_are_named(tmp_path, key):
    path = answers(tmp_path, "ann", lambda c, p: 3, lambda c: 0)
    with pytest.raises(InputError, match=r"no ratings '.*nowhere.csv'"):
        measure([path.parent / "nowhere.csv"], key, seed=0)
    with pytest.raises(InputError, match=r"no key '.*nowhere.json'"):
        measure([path], path.parent / "nowhere.json", seed=0)
    with pytest.raises(InputError, match="no ratings are given"):
        measure([], key, seed=0)


def test_a_folder_is_neither_ratings_nor_key(tmp_path, key):
    path = answers(tmp_path, "ann", lambda c, p: 3, lambda c: 0)
    with pytest.raises(InputError, match=r"ratings '.*' cannot be read \(Is a directory\)"):
        measure([epath.Path(tmp_path)], key, seed=0)
    with pytest.raises(InputError, match="is no key of a reader study"):
        measure([path], epath.Path(tmp_path), seed=0)


def test_a_quotation_mark_left_open_is_named(tmp_path, key):
    path = answers(tmp_path, "ann", lambda c, p: 3, lambda c: 0)
    path.write_text(path.read_text() + '"' + "x" * (csv.field_size_limit() + 1))
    with pytest.raises(InputError, match=r"after row \d+: .*; is a quotation mark left open"):
        measure([path], key, seed=0)


NO_PATIENT = json.dumps(
    {"systems": {"readers": "readers"}, "cases": {"c0": {"patient": None}}, "overlays": {}}
)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"systems": {}, "cases": {}, "overlays": {}}', NO_PATIENT]
)
def test_a_damaged_key_is_named(tmp_path, key, text):
    path = answers(tmp_path, "ann", lambda c, p: 3, lambda c: 0)
    key.write_text(text)
    with pytest.raises(InputError, match=r"study.key.json' is no key of a reader study"):
        measure([path], key, seed=0)
