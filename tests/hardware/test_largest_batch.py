import pytest

from gazax.hardware.largest_batch import RESOLUTION, find_largest


@pytest.mark.parametrize("start", [1, 7, 128, 4096])
@pytest.mark.parametrize("largest", [1, 2, 13, 100, 1000])
def test_the_answer_is_bracketed_to_a_sixteenth(largest, start):
    tried = []

    def fits(size):
        tried.append(size)
        return size <= largest

    found = find_largest(fits, start=start)
    assert found.fits <= largest < found.too_large
    assert found.too_large - found.fits <= max(1, found.fits // RESOLUTION)
    assert {found.fits, found.too_large} <= set(tried)  # neither is guessed
    assert len(tried) == len(set(tried)) <= 18


def test_where_not_even_one_fits():
    assert find_largest(lambda size: False, start=5) == (0, 1)
