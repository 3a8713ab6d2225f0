import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.eval.encode import Encoder, load_split, look, render_readers, walk
from gazax.ops.gaze import gaze_map
from gazax.train import sharding
from tests.batches import tiny_batch
from tests.eval.splits import batches
from tests.methods.test_supervised import make

PATIENTS = np.array([f"p{i}" for i in range(12)])


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


@pytest.fixture(scope="module")
def split(mesh):
    return load_split(batches, patient_ids=PATIENTS, mesh=mesh)


def rendered(row, *, dropped=(), seed=0):
    """The gaze map of an image of `batches`, without the readers of some slots."""
    whole = tiny_batch(12, seed=seed)
    fixations = jax.tree.map(lambda x: x[row], whole["fixations"])
    weight = whole["reader_weight"][row].copy()
    weight[list(dropped)] = 0
    names = ("xy", "duration", "sigma", "window", "reader")
    return np.asarray(gaze_map(*(fixations[name] for name in names), weight, size=(32, 32)))


def test_every_example_once_and_no_padding(split):
    assert split.index.tolist() == list(range(10))
    assert split.patient.tolist() == [f"p{i}" for i in range(10)]
    assert split.label.shape == (10, 3)
    assert split.has_gaze.tolist() == [i % 3 > 0 for i in range(10)]


def test_mean_gaze_map_is_over_the_images_with_gaze(split):
    expected = np.mean([rendered(i) for i in range(10) if i % 3], axis=0, dtype=np.float64)
    assert split.mean_gaze_map.dtype == np.float64
    np.testing.assert_allclose(split.mean_gaze_map, expected, atol=1e-6)


def test_without_any_gaze_the_mean_map_is_zero(mesh):
    empty = load_split(
        lambda: batches(has_gaze=np.zeros(12, bool)), patient_ids=PATIENTS, mesh=mesh
    )
    assert not empty.has_gaze.any()
    assert empty.mean_gaze_map.shape == (32, 32)
    assert not empty.mean_gaze_map.any()


def test_gaze_is_rendered_as_in_training(split, mesh):
    whole = tiny_batch(12)
    looks = [one for _, of_batch, _ in look(split.batches(), mesh=mesh) for one in of_batch]
    assert [one.index for one in looks] == list(range(10))
    np.testing.assert_allclose(looks[1].gaze, rendered(1), atol=1e-6)
    reader = whole["fixations"]["reader"][1]
    np.testing.assert_array_equal(looks[1].xy, whole["fixations"]["xy"][1][reader >= 0])
    np.testing.assert_array_equal(looks[1].reader, reader[reader >= 0])
    assert not looks[0].has_gaze
    assert looks[0].readers == []


def test_a_reader_without_weight_is_not_among_the_fixations(mesh):
    weight = np.ones((12, 3), np.float32)
    weight[:, 1] = 0
    for _, looks, _ in look(batches(reader_weight=weight), mesh=mesh):
        for seen in looks:
            assert 1 not in seen.readers
            if seen.has_gaze:
                np.testing.assert_allclose(seen.gaze, rendered(seen.index, dropped=[1]), atol=1e-6)


def test_content_is_the_rectangle(mesh):
    content = np.tile(np.float32([3, 0, 30, 31]), (12, 1))
    expected = np.zeros((32, 32), bool)
    expected[:31, 3:30] = True
    for _, looks, _ in look(batches(content=content), mesh=mesh):
        for seen in looks:
            np.testing.assert_array_equal(seen.content, expected)


def test_each_reader_and_the_others(mesh):
    def of_readers(batch):
        return render_readers(batch, mesh=mesh)

    for _, looks, ((own, others),) in look(batches(), of_readers, mesh=mesh):
        assert own.shape == others.shape == (len(looks), 3, 32, 32)
        for row, seen in enumerate(looks):
            for slot in range(3):
                rest = [other for other in range(3) if other != slot]
                alone = rendered(seen.index, dropped=rest)
                np.testing.assert_allclose(own[row, slot], alone, atol=1e-6)
                without = rendered(seen.index, dropped=[slot])
                np.testing.assert_allclose(others[row, slot], without, atol=1e-6)


def test_one_readers_look_has_his_fixations_only(mesh):
    seen = next(look(batches(), mesh=mesh))[1][1]
    assert len(seen.readers) > 1
    slot = seen.readers[-1]
    alone = seen.of_reader(slot, rendered(1))
    assert set(alone.reader.tolist()) == {slot}
    np.testing.assert_array_equal(alone.xy, seen.xy[seen.reader == slot])


def test_encoder_gives_every_row_its_own(mesh):
    method = make()
    weights = method.init(jax.random.key(0), tiny_batch(4))
    encoder = Encoder(method, mesh=mesh)
    features, attention = jax.jit(method.encode)(*weights, tiny_batch(12))
    found = encoder.features(*weights, batches())
    np.testing.assert_allclose(found, features[:10], atol=1e-5)
    both = [one for _, (one,) in walk(batches(), encoder.both(*weights), mesh=mesh)]
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in both]), found)
    maps = np.concatenate([maps for _, maps in both])
    expected = jax.image.resize(attention, (12, 32, 32), "bilinear")[:10]
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    alone = [one for _, (one,) in walk(batches(), encoder.attention(*weights), mesh=mesh)]
    np.testing.assert_array_equal(np.concatenate(alone), maps)


def test_no_more_than_two_batches_are_held(mesh):
    """Of batches and of maps made of them, while a caller that keeps nothing walks a split."""
    alive = []

    def counted():
        for batch in batches(24):
            image = batch["image"].copy()
            alive.append(weakref.ref(image))
            yield {**batch, "image": image}
            del image, batch

    largest = 0
    for _, (made,) in walk(counted(), jax.jit(lambda x: jnp.asarray(x["image"]) / 255), mesh=mesh):
        assert made.shape[0] == 4
        gc.collect()
        largest = max(largest, sum(ref() is not None for ref in alive))
    assert len(alive) == 6
    assert largest <= 3  # two, and the one the generator is at
