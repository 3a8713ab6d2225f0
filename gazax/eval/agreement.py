"""Answers to a reader study as numbers: which heat maps people rate high, and which they trust."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Float

from gazax.eval.record import Part
from gazax.eval.report import Numbers, block
from gazax.metrics.agreement import fleiss_kappa
from gazax.metrics.statistics import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_statistic,
    of_rows,
)
from gazax.typing import InputError

READERS = "readers"
"""The system whose heat maps are people's gaze."""

COLUMNS = ("rater", "case", "overlay", "rating", "trusted")
SEPARATORS = ",;\t"
"""Of cells: spreadsheets of many countries write a semicolon."""
LEVELS = 5
"""Ratings go from 1 to this."""


class Answers(NamedTuple):
    """What raters said, by rater, case and system."""

    rating: Float[np.ndarray, "rater case system"]
    """1 to `LEVELS`; NaN where none was given."""
    trusted: Float[np.ndarray, "rater case system"]
    """1 for the system that was trusted most and 0 for the others; NaN where none was."""
    raters: list[str]
    systems: list[str]
    patient: np.ndarray
    """[case] the groups of the bootstrap."""


def measure(ratings: Sequence[epath.Path], key: epath.Path, *, seed: int) -> Part:
    """Mean rating and share of trust of each system, their differences, and agreement.

    A case counts with the mean of the raters who answered on it; intervals are over the patients of
    the cases, for these raters.

    Args:
      ratings: files that the rating page saved, of one rater or several each.
      key: what the page's tokens stand for, written beside the page.
      seed: of the bootstrap.

    Returns:
      Numbers ``<system>/rating``, ``<system>/preference``; ``<model>-<other model>/...`` and
      ``<model>-readers/...`` of the same cases; and for two raters or more ``raters/kappa_rating``
      and ``raters/kappa_trusted`` (Fleiss; the ratings as 5 categories without order); where one
      of them does not exist, the table says why.

    Raises:
      InputError: a file is missing or damaged, or a row of it is not an answer to this study; the
        message names file, row and column.
    """
    answers = read_answers(ratings, key)
    groups = answers.patient
    numbers: Numbers = {}
    means = {"rating": _mean(answers.rating), "preference": _mean(answers.trusted)}
    for column, of_case in means.items():
        for place, system in enumerate(answers.systems):
            own = of_case[:, place]
            if np.isnan(own).all():
                continue
            numbers[f"{system}/{column}"] = bootstrap_interval(own, groups, seed=seed)
        for one, other in _pairs(answers.systems):
            own, others = (of_case[:, answers.systems.index(name)] for name in (one, other))
            if not np.isnan(own - others).all():
                numbers[f"{one}-{other}/{column}"] = bootstrap_difference(
                    own, others, groups, seed=seed
                )
    numbers |= _kappas(answers, seed=seed)
    return Part(numbers, _table(answers, numbers))


def read_answers(ratings: Sequence[epath.Path], key: epath.Path) -> Answers:
    """The answers of all files, unblinded.

    Args:
      ratings, key: as in `measure`.

    Raises:
      InputError: as in `measure`.
    """
    if not ratings:
        raise InputError("no ratings are given; give the csv files that the rating page saved.")
    systems, cases, overlays = _read_key(key)
    raters: list[str] = []
    rating: dict[tuple[str, str, str], float] = {}
    trusted: dict[tuple[str, str], str | None] = {}
    known_by: dict[tuple[str, str], str] = {}
    for path in ratings:
        for where, row in _rows(path):
            rater, case, token = row["rater"].strip(), row["case"], row["overlay"]
            if not rater:
                raise InputError(f"{where}, column 'rater' is empty; write who rated.")
            if token not in overlays:
                raise InputError(
                    f"{where}, column 'overlay': '{token}' is not in {key}; is it the key of "
                    "another study?"
                )
            if overlays[token]["case"] != case:
                raise InputError(
                    f"{where}, column 'case': overlay {token} belongs to case "
                    f"{overlays[token]['case']}, found '{case}'."
                )
            if (rater, token) in known_by:
                raise InputError(
                    f"{where}: '{rater}' rated overlay {token} before, in "
                    f"{known_by[rater, token]}; give each rater's answers once, or other names."
                )
            known_by[rater, token] = where
            if rater not in raters:
                raters.append(rater)
            system = overlays[token]["system"]
            if (value := row["rating"].strip()) != "":
                rating[rater, case, system] = _choice(where, "rating", value, LEVELS)
            if (value := row["trusted"].strip()) != "":
                chosen = trusted.setdefault((rater, case), None)
                if _choice(where, "trusted", value, 1, first=0):
                    if chosen is not None:
                        raise InputError(
                            f"{where}, column 'trusted': '{rater}' trusts two overlays of case "
                            f"{case} most; leave one 1."
                        )
                    trusted[rater, case] = system
    shape = len(raters), len(cases), len(systems)
    answers = Answers(
        rating=np.full(shape, np.nan),
        trusted=np.full(shape, np.nan),
        raters=raters,
        systems=systems,
        patient=np.array([case["patient"] for case in cases.values()]),
    )
    rater_at, case_at, system_at = (
        {name: place for place, name in enumerate(names)} for names in (raters, cases, systems)
    )
    for (rater, case, system), value in rating.items():
        answers.rating[rater_at[rater], case_at[case], system_at[system]] = value
    for (rater, case), system in trusted.items():
        if system is not None:  # only zeros: the choice was not made
            answers.trusted[rater_at[rater], case_at[case]] = 0
            answers.trusted[rater_at[rater], case_at[case], system_at[system]] = 1
    if np.isnan(answers.rating).all() and np.isnan(answers.trusted).all():
        raise InputError(f"{', '.join(map(str, ratings))}: there is no answer in it.")
    return answers


def _read_key(path: epath.Path) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    if not path.exists():
        raise InputError(f"there is no key '{path}'; it was written beside the rating page.")
    try:
        found = json.loads(path.read_bytes())
        systems, cases, overlays = list(found["systems"]), found["cases"], found["overlays"]
        assert_known = [
            one["system"] in systems and one["case"] in cases for one in overlays.values()
        ]
        if not all(assert_known) or READERS not in systems:
            raise ValueError("its parts do not fit each other")
        if not all(isinstance(case["patient"], str) for case in cases.values()):
            raise ValueError("a case has no patient")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"'{path}' is no key of a reader study, or damaged ({error}).") from None
    return systems, cases, overlays


def _rows(path: epath.Path) -> Iterator[tuple[str, dict[str, str]]]:
    """('<file> row <number>', cells) of each row; the headings are row 1."""
    if not path.exists():
        raise InputError(f"there are no ratings '{path}'.")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets begin with a mark
    except OSError as error:
        raise InputError(f"ratings '{path}' cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error}); save it as csv, UTF-8.") from None
    first_line = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first_line.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    for name in COLUMNS:
        if name not in (reader.fieldnames or ()):
            raise InputError(
                f"{path} row 1: column '{name}' is missing; needed are {', '.join(COLUMNS)}."
            )
    for row in _in_full(reader, path):
        where = f"{path} row {reader.line_num}"
        for name in COLUMNS:
            if row[name] is None:
                raise InputError(f"{where}, column '{name}' is missing: the row is too short.")
        yield where, row


def _in_full(reader: csv.DictReader, path: epath.Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise InputError(
            f"{path}, after row {reader.line_num}: {error}; is a quotation mark left open?"
        ) from None


def _choice(where: str, column: str, text: str, last: int, *, first: int = 1) -> int:
    try:
        value = float(text)  # spreadsheets write 4.0
    except ValueError:
        value = np.nan
    if value not in range(first, last + 1):
        raise InputError(
            f"{where}, column '{column}': expected a whole number from {first} to {last}, or "
            f"nothing, found '{text}'."
        )
    return int(value)


def _pairs(systems: Sequence[str]) -> list[tuple[str, str]]:
    """Of each two models, and of each model and the readers."""
    models = [name for name in systems if name != READERS]
    return [*itertools.combinations(models, 2), *((name, READERS) for name in models)]


def _mean(values: np.ndarray) -> np.ndarray:
    """[case, system]: mean over the raters who answered, NaN where nobody did."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _kappas(answers: Answers, *, seed: int) -> Numbers:
    """Fleiss' kappa of the choice of a case and of the rating of an overlay, where it exists."""
    chosen = np.nansum(answers.trusted, axis=0)
    levels = np.arange(1, LEVELS + 1)
    rated = (answers.rating[..., None] == levels).sum(axis=0)  # [case, system, level]
    kappas: dict[str, Callable[[np.ndarray], float]] = {
        "raters/kappa_trusted": lambda rows: fleiss_kappa(chosen[rows]),
        "raters/kappa_rating": lambda rows: fleiss_kappa(rated[rows].reshape(-1, LEVELS)),
    }
    everything = np.arange(len(answers.patient))
    return {
        name: bootstrap_statistic(of_rows(kappa), answers.patient, seed=seed)
        for name, kappa in kappas.items()
        if not np.isnan(kappa(everything))
    }


def _table(answers: Answers, numbers: Numbers) -> str:
    cases = int((~np.isnan(answers.rating)).any(axis=(0, 2)).sum())
    raters, systems = answers.raters, answers.systems
    many = "rater" if len(raters) == 1 else "raters"
    lines = [
        f"{len(raters)} {many} ({', '.join(raters)}), {cases} of {len(answers.patient)} images, "
        f"{len(systems)} heat maps each; intervals over patients, for these raters"
    ]
    rows = {name: name for name in systems} | {
        f"{one}-{other}": f"{one} - {other}" for one, other in _pairs(systems)
    }
    chance = 1 / len(systems)
    lines += block(
        numbers,
        rows=rows,
        columns={"rating": "mean rating, 1-5", "preference": f"trusted (chance {chance:.2f})"},
        width=max(28, *(len(title) + 2 for title in rows.values())),
    )
    kappas = {"kappa_rating": "ratings", "kappa_trusted": "trusted"}
    lines += block(numbers, rows={"raters": "Fleiss' kappa"}, columns=kappas)
    several = {
        "kappa_rating": (~np.isnan(answers.rating)).sum(axis=0).max() > 1,
        "kappa_trusted": (~np.isnan(answers.trusted)).sum(axis=0).max() > 1,
    }
    for name, title in kappas.items():
        if f"raters/{name}" not in numbers:
            why = (
                "everybody always said the same: agreement is perfect, and so would chance's be"
                if several[name]
                else "nothing has the answers of two raters"
            )
            lines.append(f"Fleiss' kappa, {title}: skipped ({why})")
    return "\n".join(lines)
