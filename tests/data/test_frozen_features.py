import jax.numpy as jnp
import numpy as np
import pytest

from gazax.data import frozen_features
from gazax.typing import InputError

FACTS = {"weights": "ab", "records": "cd"}


def batches(rng, dtype=np.float32):
    """Two batches of a data set of five images, in no order."""
    for index in (np.array([3, 0]), np.array([4, 1, 2])):
        rows = np.asarray(rng.normal(size=(len(index), 2, 3)), dtype)
        yield index, {"guide": rows, "pooled": rows[:, 0]}


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_rows_come_back_bit_for_bit_by_their_index(tmp_path, dtype):
    made = list(batches(np.random.default_rng(0), dtype))
    found = frozen_features.make(FACTS, iter(made), images=5, cache=str(tmp_path))
    for index, rows in made:
        cached = found.attach({"index": index})["cached"]
        assert cached.keys() == rows.keys()
        for name, of_name in rows.items():
            assert cached[name].dtype == of_name.dtype
            np.testing.assert_array_equal(cached[name], of_name)
    one = found.attach({"index": np.int32(4), "place": 7})
    assert one["place"] == 7
    np.testing.assert_array_equal(one["cached"]["guide"], made[1][1]["guide"][0])


def test_they_are_computed_once_for_the_same_facts(tmp_path):
    def again():
        raise AssertionError("computed again")
        yield

    cache = str(tmp_path)
    first = frozen_features.make(FACTS, batches(np.random.default_rng(0)), images=5, cache=cache)
    second = frozen_features.make(FACTS, again(), images=5, cache=cache)
    every = {"index": np.arange(5)}
    np.testing.assert_array_equal(
        first.attach(every)["cached"]["guide"], second.attach(every)["cached"]["guide"]
    )
    with pytest.raises(AssertionError, match="computed again"):
        frozen_features.make(FACTS | {"weights": "other"}, again(), images=5, cache=cache)


def test_what_was_cut_off_is_not_believed(tmp_path):
    def cut():
        yield next(batches(np.random.default_rng(0)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frozen_features.make(FACTS, cut(), images=5, cache=str(tmp_path))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_full_disk_is_a_line_that_says_what_to_do(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frozen_features, "open_memmap", full)
    with pytest.raises(InputError, match=r"No space left.*GAZAX_DATA.*cache_frozen=False"):
        frozen_features.make(
            FACTS, batches(np.random.default_rng(0)), images=5, cache=str(tmp_path)
        )
