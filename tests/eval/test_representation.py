import dataclasses

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from gazax.eval.features import Examples, Features
from gazax.eval.few_shot import draw_rows
from gazax.eval.probe import choose_probe
from gazax.eval.representation import measure
from gazax.metrics.classification import accuracy
from gazax.metrics.hierarchical import hierarchical_statistic
from gazax.metrics.statistics import of_rows
from gazax.typing import InputError

NAMES = ("quiet", "busy", "odd")
ROWS = ("probe", "knn", "few_shot_5", "few_shot_20")
COLUMNS = {
    "accuracy", "f1_macro", "auc_macro", "auc_micro", "ap_macro", "sensitivity_at_95", "ece",
}  # fmt: skip


def split(n, seed, *, exclusive):
    rng = np.random.default_rng(seed)
    if exclusive:
        label = np.eye(3)[rng.permutation(n) % 3]
    else:
        label = (rng.random((n, 3)) < 0.4).astype(float)
    features = rng.normal(size=(n, 8)) + 2 * label @ np.eye(3, 8)
    label[rng.random(label.shape) < 0.05] = np.nan
    return Examples(
        features=features.astype(np.float32),
        label=label.astype(np.float32),
        patient=np.array([f"{seed}-{i // 2}" for i in range(n)]),
    )


def make(*, exclusive=True):
    return Features(
        train=split(120, 0, exclusive=exclusive),
        validation=split(40, 1, exclusive=exclusive),
        test=split(50, 2, exclusive=exclusive),
        exclusive=exclusive,
        label_names=NAMES,
    )


def run(features, **changes):
    options = {"seed": 0, "fractions": (0.05, 0.2), "num_draws": 3, "num_samples": 20}
    return measure(features, **options | changes)


@pytest.fixture(scope="module")
def part():
    return run(make())


def test_every_row_has_every_column(part):
    columns = {name.split("/")[1] for name in part.numbers}
    assert columns == COLUMNS
    assert set(part.numbers) == {f"{row}/{column}" for row in ROWS for column in columns}
    for row in ROWS:
        estimate, low, high = part.numbers[f"{row}/auc_macro"]
        assert 0.7 < low <= estimate <= high <= 1


def test_scores_and_values_have_an_axis_of_draws(part):
    test = make().test
    for row, draws in zip(ROWS, (1, 1, 3, 3), strict=True):
        assert part.scores[row].shape == (draws, 50, 3)
        right = part.values[f"{row}/accuracy"]
        assert right.shape == (draws, 50)
        assert (np.isnan(right) == np.isnan(test.label).any(axis=1)).all()
        np.testing.assert_allclose(np.nanmean(right), part.numbers[f"{row}/accuracy"][0])


def test_the_probe_is_fitted_to_training_and_chosen_on_validation(part):
    features = make()
    train, validation, test = features.train, features.validation, features.test
    probe, _ = choose_probe(
        train.features, train.label, validation.features, validation.label, exclusive=True
    )
    scores = probe.score(test.features)
    np.testing.assert_allclose(part.scores["probe"][0], scores)
    np.testing.assert_allclose(part.numbers["probe/accuracy"][0], accuracy(scores, test.label))


def test_few_shot_probes_see_their_draw_of_labels(part):
    features = make()
    train, validation = features.train, features.validation
    scaler = StandardScaler().fit(train.features.astype(np.float64))
    draws = draw_rows(train.label, train.patient, fraction=0.05, num_draws=3, seed=0)
    for rows, scores in zip(draws, part.scores["few_shot_5"], strict=True):
        probe, _ = choose_probe(
            train.features[rows],
            train.label[rows],
            validation.features,
            validation.label,
            exclusive=True,
            scaler=scaler,
        )
        np.testing.assert_allclose(scores, probe.score(features.test.features))
    sizes = sorted(map(len, draws))
    assert f"few-shot, 5 % of labels: 3 draws of {sizes[0]} to {sizes[-1]} train" in part.table


@pytest.fixture(scope="module")
def both():
    """Beside features of other weights."""
    return run(make(), untrained=untrained())


def untrained(**changes):
    """The same images by features that say less."""

    def of(examples, seed):
        noise = 3 * np.random.default_rng(seed).normal(size=examples.features.shape)
        features = (examples.features + noise).astype(np.float32)
        return dataclasses.replace(examples, features=features)

    trained = make(**changes)
    names = ("train", "validation", "test")
    return dataclasses.replace(
        trained, **{name: of(getattr(trained, name), i) for i, name in enumerate(names)}
    )


def test_rows_of_step_0_are_those_of_its_features_alone(part, both):
    alone = run(untrained())
    for row in ROWS:
        np.testing.assert_array_equal(both.scores[row], part.scores[row])
        np.testing.assert_array_equal(both.scores[f"{row}_step_0"], alone.scores[row])
        accuracy_of = f"{row}_step_0/accuracy"
        np.testing.assert_array_equal(both.values[accuracy_of], alone.values[f"{row}/accuracy"])
        for column in COLUMNS:
            assert both.numbers[f"{row}/{column}"] == part.numbers[f"{row}/{column}"]
            assert both.numbers[f"{row}_step_0/{column}"] == alone.numbers[f"{row}/{column}"]


def test_differences_from_step_0_are_paired(both):
    for row in ROWS:
        first = f"{row}_step_0"
        for column in COLUMNS:
            estimate, low, high = both.numbers[f"{row}-{first}/{column}"]
            parts = both.numbers[f"{row}/{column}"][0] - both.numbers[f"{first}/{column}"][0]
            assert estimate == pytest.approx(parts, abs=1e-12)
            assert low <= high
    same = run(make(), untrained=make(), fractions=(0.2,)).numbers
    differences = {name: one for name, one in same.items() if "-" in name}
    assert len(differences) == 3 * len(COLUMNS)
    assert set(differences.values()) == {(0.0, 0.0, 0.0)}


def test_differences_have_the_draws_and_patients_of_their_rows(both):
    """Of accuracy, image by image, from the values that are kept."""
    test = make().test
    for row in ROWS:
        ours, theirs = (both.values[f"{one}/accuracy"] for one in (row, f"{row}_step_0"))
        expected = hierarchical_statistic(
            lambda _, draw, times, by=ours - theirs: of_rows(
                lambda rows: np.nanmean(by[draw, rows])
            )(times),
            (1, len(ours)),
            test.patient,
            num_samples=20,
            seed=0,
        ).interval
        found = both.numbers[f"{row}-{row}_step_0/accuracy"]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_table_has_each_row_above_that_of_step_0(both):
    lines = both.table.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("few-shot, 5 % of labels  "))
    assert lines[place + 1].startswith("few-shot, 5 %, step 0  ")
    assert lines[place + 2].startswith("  trained - step 0  ")
    for title in ("linear probe, step 0  ", "nearest neighbours, step 0  "):
        assert title in both.table
    assert max(map(len, lines)) <= 100


def test_untrained_features_of_other_images_are_refused():
    other = untrained()
    test = dataclasses.replace(other.test, patient=other.test.patient[::-1])
    with pytest.raises(InputError, match="the test split of the untrained features"):
        run(make(), untrained=dataclasses.replace(other, test=test))


def test_test_labels_change_no_score(part):
    features = make()
    test = dataclasses.replace(features.test, label=features.test.label[::-1].copy())
    other = run(dataclasses.replace(features, test=test))
    for row in ROWS:
        np.testing.assert_array_equal(part.scores[row], other.scores[row])
    assert part.numbers != other.numbers


def test_numbers_come_again(part):
    assert run(make()).numbers == part.numbers


def test_labels_that_do_not_exclude_each_other_have_no_accuracy():
    part = run(make(exclusive=False))
    assert not part.values
    assert {name.split("/")[0] for name in part.numbers} == set(ROWS)
    assert not any(name.endswith("/accuracy") for name in part.numbers)


def test_a_rare_label_skips_few_shot_rows_and_says_so():
    features = make(exclusive=False)
    label = features.train.label.copy()
    label[:, 2] = 0
    label[0, 2] = 1
    part = run(
        dataclasses.replace(features, train=dataclasses.replace(features.train, label=label))
    )
    assert set(part.scores) == {"probe", "knn"}
    assert "few-shot, 5 % of labels: skipped (" in part.table
    assert "'odd' is 1" in part.table


def test_a_label_of_one_value_in_test_is_named():
    features = make(exclusive=False)
    label = features.test.label.copy()
    label[:, 1] = 0
    part = run(dataclasses.replace(features, test=dataclasses.replace(features.test, label=label)))
    assert "busy: left out of macro means (it is 0" in part.table
    assert all(np.isfinite(interval).all() for interval in part.numbers.values())


def test_no_known_training_label_skips_all():
    features = make()
    unknown = np.full_like(features.train.label, np.nan)
    train = dataclasses.replace(features.train, label=unknown)
    part = run(dataclasses.replace(features, train=train))
    assert not part.numbers
    assert "skipped (none is known" in part.table


def test_no_label_column_skips_all():
    bare = {
        name: dataclasses.replace(one, label=one.label[:, :0])
        for name, one in (
            ("train", make().train), ("validation", make().validation), ("test", make().test)
        )
    }  # fmt: skip
    part = run(Features(**bare, exclusive=False, label_names=()))
    assert "no label column" in part.table
    assert not part.scores


def test_empty_validation_is_allowed():
    features = make()
    empty = Examples(
        features=np.zeros((0, 8), np.float32), label=np.zeros((0, 3)), patient=np.zeros(0, str)
    )
    part = run(dataclasses.replace(features, validation=empty))
    assert "probe/auc_macro" in part.numbers
    assert "probe/sensitivity_at_95" not in part.numbers


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("features", np.full((50, 8), np.nan), "the test split is not finite"),
        ("features", np.zeros((50, 7)), "test split are"),
        ("patient", np.zeros(49), "test split are"),
        ("label", np.ones((50, 3)), "not one-hot"),
    ],
)
def test_features_that_do_not_fit_are_refused(name, value, said):
    features = make()
    with pytest.raises(InputError, match=said):
        dataclasses.replace(features, test=dataclasses.replace(features.test, **{name: value}))


def test_a_class_is_known_where_its_row_is():
    label = make().test.label
    assert (np.isnan(label).any(axis=1) == np.isnan(label).all(axis=1)).all()
    np.testing.assert_array_equal(np.nansum(label, axis=1), ~np.isnan(label[:, 0]))
