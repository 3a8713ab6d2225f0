import numpy as np
import pytest

from gazax.eval.few_shot import draw_rows
from gazax.typing import InputError


def data(n=300, seed=0, shares=(0.6, 0.37, 0.03)):
    rng = np.random.default_rng(seed)
    labels = np.eye(3)[rng.choice(3, n, p=shares)]
    patients = np.array([f"p{i}" for i in rng.integers(0, n // 2, n)])
    return labels, patients


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_patients_are_drawn_whole(fraction):
    labels, patients = data()
    for rows in draw_rows(labels, patients, fraction=fraction, seed=0):
        np.testing.assert_array_equal(rows, np.flatnonzero(np.isin(patients, patients[rows])))


def test_the_fraction_is_reached_and_exceeded_by_less_than_a_patient():
    labels, patients = data(shares=(0.4, 0.3, 0.3))
    for rows in draw_rows(labels, patients, fraction=0.1, seed=0):
        _, counts = np.unique(patients[rows], return_counts=True)
        assert 30 <= len(rows) < 30 + counts.max()


def test_the_fraction_is_exact_where_patients_have_one_image():
    labels = np.eye(3)[np.arange(300) % 3]
    for fraction, wanted in ((0.025, 8), (0.07, 21), (1.0, 300)):
        for rows in draw_rows(labels, np.arange(300), fraction=fraction, seed=3):
            assert len(rows) == wanted


def test_each_class_has_two_images_of_two_patients():
    labels, patients = data()
    for rows in draw_rows(labels, patients, fraction=0.01, num_draws=20, seed=0):
        for label in labels[rows].T:
            assert len(set(patients[rows[label == 1]])) >= 2


def test_each_label_is_absent_from_two_images():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 2)) < [0.97, 0.5]).astype(float)
    labels[rng.random((200, 2)) < 0.2] = np.nan
    for rows in draw_rows(labels, np.arange(200), fraction=0.01, num_draws=20, seed=0):
        for value in (0, 1):
            assert ((labels[rows] == value).sum(axis=0) >= 2).all()


def test_two_images_of_one_patient_do_where_there_is_no_second():
    labels = np.zeros((40, 1))
    labels[[7, 8]] = 1
    patients = np.arange(40)
    patients[8] = 7
    for rows in draw_rows(labels, patients, fraction=0.05, seed=0):
        assert {7, 8} <= set(rows)


def test_draws_differ_and_come_again():
    labels, patients = data()
    first = draw_rows(labels, patients, fraction=0.1, seed=0)
    again = draw_rows(labels.copy(), patients.copy(), fraction=0.1, seed=0)
    other = draw_rows(labels, patients, fraction=0.1, seed=1)
    assert len(first) == 5
    assert len({tuple(rows) for rows in (*first, *other)}) == 10
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_smaller_fraction_is_part_of_a_larger_one():
    labels, patients = data()
    few = draw_rows(labels, patients, fraction=0.03, seed=0)
    many = draw_rows(labels, patients, fraction=0.3, seed=0)
    for one, two in zip(few, many, strict=True):
        assert set(one) < set(two)


def test_every_patient_can_be_drawn():
    labels, patients = data()
    draws = draw_rows(labels, patients, fraction=0.2, num_draws=60, seed=0)
    assert set(np.concatenate(draws)) == set(range(len(labels)))


def test_images_without_a_known_label_are_not_drawn_and_do_not_count():
    labels, _ = data()
    labels[100:] = np.nan
    labels[:6] = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    for rows in draw_rows(labels, np.arange(300), fraction=0.1, seed=0):
        assert len(rows) == 10
        assert rows.max() < 100


@pytest.mark.parametrize(
    ("column", "value", "said"), [(0, 1, "'quiet' is 1"), (1, 0, "'busy' is 0")]
)
def test_a_label_that_training_hardly_has_is_named(column, value, said):
    labels = np.tile([[0.0, 1.0], [1.0, 0.0]], (10, 1))
    labels[:, column] = 1 - value
    labels[0, column] = value
    with pytest.raises(InputError, match=said):
        draw_rows(labels, np.arange(20), fraction=0.5, seed=0, label_names=("quiet", "busy"))


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_a_fraction_out_of_range_is_refused(fraction):
    labels, patients = data()
    with pytest.raises(InputError, match="fraction"):
        draw_rows(labels, patients, fraction=fraction, seed=0)
