import pytest

from gazax.data.splits import SPLITS, draw_splits
from gazax.typing import InputError


def patients(count):
    return [f"patient {i}" for i in range(count)]


@pytest.mark.parametrize("count", [3, 4, 5, 10, 24])
def test_no_split_is_empty(count):
    assert set(draw_splits(patients(count)).values()) == set(SPLITS)


def test_fractions_are_seven_one_two():
    drawn = list(draw_splits(patients(1000)).values())
    assert [drawn.count(split) for split in SPLITS] == [700, 100, 200]


def test_draw_depends_on_the_set_of_ids_alone():
    ids = patients(50)
    assert draw_splits(ids) == draw_splits([*reversed(ids), *ids])


def test_draw_does_not_follow_the_order_of_the_ids():
    drawn = draw_splits(patients(100))
    assert len({drawn[patient] for patient in patients(100)[:50]}) == 3


def test_draw_never_changes():
    # golden: patients who once were in the test split must stay there in every version
    assert [p for p, split in draw_splits(patients(10)).items() if split == "test"] == GOLDEN


def test_too_few_patients_say_what_to_do():
    with pytest.raises(InputError, match=r"there are 2 patient\(s\).*column 'split'"):
        draw_splits(["a", "b", "a"])


GOLDEN = ["patient 2", "patient 1"]
