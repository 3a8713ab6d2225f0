"""How much of the labels lies in frozen features: linear probe, nearest neighbours, few labels."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.preprocessing import StandardScaler

from gazax.eval import classification
from gazax.eval.features import Features
from gazax.eval.few_shot import draw_rows
from gazax.eval.knn import choose_neighbours
from gazax.eval.probe import choose_probe
from gazax.eval.record import Part
from gazax.eval.report import Numbers
from gazax.metrics.hierarchical import hierarchical_statistic
from gazax.metrics.statistics import Interval, Resamples, paired_difference
from gazax.typing import InputError

WAYS = {"probe": "linear probe", "knn": "nearest neighbours"}
FEW_SHOT = "few_shot_"
"""Begins a row of few labels; their per cent end it."""
STEP_0 = "_step_0"
"""Ends the rows of features by the weights that a run began with."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """What one way of reading the labels gives, [d, images, k] probabilities of both splits."""

    validation: np.ndarray
    test: np.ndarray


def measure(
    features: Features,
    *,
    seed: int,
    untrained: Features | None = None,
    fractions: tuple[float, ...] = (0.01, 0.1),
    num_draws: int = 5,
    num_samples: int = 1000,
) -> Part:
    """Rows probe, knn and few_shot_1, few_shot_10 (per cent of labels); columns of `COLUMNS`.

    The probes' penalty, the number of neighbours and the thresholds are chosen on validation, for
    every draw by itself. So few-shot numbers see the labels of all of validation, but for the
    choice of one penalty and of thresholds only; nothing is fitted to them. Features are
    standardised by all training images: that needs no label.

    Args:
      features: of the three splits.
      seed: of the draws and of the bootstrap.
      untrained: of the same images by the weights at step 0: what the labels give without any
        training of the features. None = no such rows.
      fractions: of the labelled training images, one row each.
      num_draws: of each fraction; see `draw_rows`.
      num_samples: of the bootstrap: over patients, and for few-shot rows over draws too.

    Returns:
      numbers without those that have no value; values ``row/accuracy`` [draws, n] where labels
      exclude each other; scores [draws, n, k]. The table says what was left out and why: rows of
      which training has too few labels, labels that have one value in test. The rows of one seed
      are drawn alike, so that they can be compared in pairs: ``probe-probe_step_0/...`` and so on
      are differences of the same draws and patients, with ``untrained``.

    Raises:
      InputError: ``untrained`` is of other images.

    Source: fractions of labels, Chen et al. 2020, arXiv:2002.05709, §4.2 (who fine-tune; a linear
    probe here); the sources of each row are with `choose_probe` and `choose_neighbours`.
    """
    train, test = features.train, features.test
    if np.isnan(train.label).all():
        found = "labels.csv has no label column" if not features.label_names else "none is known"
        return Part({}, f"representation: skipped ({found} in the training split)")
    draws, lines = _few_shot_draws(features, fractions, num_draws, seed)
    scores = _scores(features, draws)
    rows = list(scores)
    if untrained is not None:
        _check_same_images(features, untrained)
        scores |= {f"{row}{STEP_0}": one for row, one in _scores(untrained, draws).items()}
    numbers: Numbers = {}
    values = {}
    for row, of_row in scores.items():
        columns = classification.measure(
            of_row.test,
            test.label,
            validation_scores=of_row.validation,
            validation_labels=features.validation.label,
            patients=test.patient,
            exclusive=features.exclusive,
            seed=seed,
            num_samples=num_samples,
        )
        numbers |= {f"{row}/{name}": one for name, one in columns.items()}
        if features.exclusive:
            values[f"{row}/accuracy"] = classification.correct(of_row.test, test.label)
    for row in rows if untrained is not None else ():
        both = scores[row], scores[f"{row}{STEP_0}"]
        columns = _difference(*both, features, seed=seed, num_samples=num_samples)
        numbers |= {f"{row}-{row}{STEP_0}/{name}": one for name, one in columns.items()}
    numbers = {name: one for name, one in numbers.items() if not np.isnan(one[0])}
    lines = [
        *classification.table(numbers, rows=_titles(rows)),
        *lines,
        *classification.left_out(test.label, features.label_names),
    ]
    return Part(
        numbers, "\n".join(lines), values, {row: of_row.test for row, of_row in scores.items()}
    )


def _check_same_images(features: Features, untrained: Features) -> None:
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(features, name), getattr(untrained, name)
        if not (
            np.array_equal(ours.label, theirs.label, equal_nan=True)
            and np.array_equal(ours.patient, theirs.patient)
        ):
            raise InputError(
                f"the {name} split of the untrained features has other labels or patients; encode "
                "the same images with both weights"
            )


def _few_shot_draws(
    features: Features, fractions: tuple[float, ...], num_draws: int, seed: int
) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """Row -> the training images of each draw; and what to say of all fractions."""
    found, lines = {}, []
    for fraction in fractions:
        title = f"few-shot, {100 * fraction:g} % of labels"
        try:
            draws = draw_rows(
                features.train.label,
                features.train.patient,
                fraction=fraction,
                num_draws=num_draws,
                seed=seed,
                label_names=features.label_names,
            )
        except InputError as error:
            lines.append(f"{title}: skipped ({error})")
            continue
        found[f"{FEW_SHOT}{100 * fraction:g}"] = draws
        sizes = sorted(len(rows) for rows in draws)
        between = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
        lines.append(f"{title}: {num_draws} draws of {between} training images")
    return found, lines


def _titles(rows: Sequence[str]) -> dict[str, str]:
    """Each row, beneath it that of step 0, and the difference."""
    found = {}
    for row in rows:
        short = WAYS.get(row, f"few-shot, {row.removeprefix(FEW_SHOT)} %")
        found[row] = short if row in WAYS else f"{short} of labels"
        found[f"{row}{STEP_0}"] = f"{short}, step 0"
        found[f"{row}-{row}{STEP_0}"] = "  trained - step 0"
    return found


def _difference(
    trained: Scores, first: Scores, features: Features, *, seed: int, num_samples: int
) -> dict[str, Interval]:
    """Column -> the paired difference: of the same draws and, in each sample, patients."""

    def of_draws(scores: Scores) -> list[dict[str, Resamples]]:
        return [
            classification.statistics(
                test,
                features.test.label,
                validation_scores=validation,
                validation_labels=features.validation.label,
                exclusive=features.exclusive,
            )
            for test, validation in zip(scores.test, scores.validation, strict=True)
        ]

    ours, theirs = of_draws(trained), of_draws(first)
    return {
        column: hierarchical_statistic(
            lambda _, draw, times, column=column: paired_difference(
                ours[draw][column], theirs[draw][column]
            )(times),
            (1, len(ours)),
            features.test.patient,
            num_samples=num_samples,
            seed=seed,
        ).interval
        for column in ours[0]
    }


def _scores(features: Features, draws: Mapping[str, list[np.ndarray]]) -> dict[str, Scores]:
    """Of every row; ``draws`` are those of the few-shot rows."""
    everything = [np.arange(len(features.train.label))]
    return {
        "probe": _probes(features, everything),
        "knn": _neighbours(features),
        **{row: _probes(features, of_row) for row, of_row in draws.items()},
    }


def _probes(features: Features, draws: list[np.ndarray]) -> Scores:
    """Of the probes fitted to each of these draws of training rows."""
    scaler = StandardScaler().fit(np.asarray(features.train.features, np.float64))
    probes = [
        choose_probe(
            features.train.features[rows],
            features.train.label[rows],
            features.validation.features,
            features.validation.label,
            exclusive=features.exclusive,
            scaler=scaler,
        )[0]
        for rows in draws
    ]
    return Scores(
        np.stack([probe.score(features.validation.features) for probe in probes]),
        np.stack([probe.score(features.test.features) for probe in probes]),
    )


def _neighbours(features: Features) -> Scores:
    neighbours, _ = choose_neighbours(
        features.train.features,
        features.train.label,
        features.validation.features,
        features.validation.label,
        exclusive=features.exclusive,
    )
    return Scores(
        neighbours.score(features.validation.features)[None],
        neighbours.score(features.test.features)[None],
    )
