import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from gazax.losses.parallel import gather
from gazax.methods.mcgip import GazePartners
from gazax.ops.gaze_similarity import moment_similarity, moments
from gazax.ops.scanpaths import multimatch, tima_similarity
from gazax.train.sharding import make_mesh
from gazax.typing import InputError
from tests.batches import tiny_batch

B, LENGTH = 8, 4
IDS = np.int32([3, 11, 4, 70, 5, 6, 9, 3])  # the last is the first once more


@pytest.fixture(scope="module")
def gaze():
    """Maps of which the second is shown twice and the fifth is of nobody."""
    maps = np.random.default_rng(0).uniform(size=(B, 16, 24)).astype(np.float32) ** 6
    maps[2], maps[4], maps[7] = maps[1], 0, maps[0]
    return maps


def scanpath_batch(measure):
    generator = np.random.default_rng(1)
    columns = {"multimatch": 5, "tima": 2}[measure]
    steps = generator.uniform(0.1, 1, (B, LENGTH, columns)).astype(np.float32)
    count = np.int32([4, 3, 3, 2, 0, 4, 1, 4])
    steps[2], steps[7] = steps[1], steps[0]
    return {**tiny_batch(B), "scanpath": {"steps": steps, "count": count}}


@functools.cache
def chooser(partners):
    return jax.jit(partners.choose)


def choose(partners, described, rows=slice(None), columns=slice(None), seed=0):
    own = jax.tree.map(lambda x: x[rows], described)
    everyone = jax.tree.map(lambda x: x[columns], described)
    return np.asarray(
        chooser(partners)(jax.random.key(seed), own, IDS[rows], everyone, IDS[columns])
    )


def similarities(of_pair):
    found = np.array([[float(of_pair(i, j)) for j in range(B)] for i in range(B)])
    found[4], found[:, 4] = -1, -1  # nobody looked
    found[IDS[:, None] == IDS[None]] = -1
    return found


def test_moments_choose_what_is_more_similar_than_the_threshold(gaze):
    of = [moments(one) for one in gaze]
    expected = similarities(lambda i, j: moment_similarity(of[i], of[j])) > 0.95
    partners = GazePartners("moments", 0.95)
    described = partners.describe(tiny_batch(B), gaze)
    np.testing.assert_array_equal(choose(partners, described), expected)
    assert expected[1, 2]
    assert not expected[0, 7]  # one image
    assert 2 <= expected.sum() < B * B / 2


def test_hashes_choose_the_same_map(gaze):
    partners = GazePartners("dhash", 0.9)
    found = choose(partners, partners.describe(tiny_batch(B), gaze))
    assert sorted(map(tuple, np.argwhere(found))) == [(1, 2), (2, 1)]


@pytest.mark.parametrize("measure", ["multimatch", "tima"])
def test_scanpaths_choose_what_is_more_similar_than_the_threshold(measure, gaze):
    batch = scanpath_batch(measure)
    steps, count = batch["scanpath"]["steps"], batch["scanpath"]["count"]

    @jax.jit
    def of_pair(i, j):
        pair = steps_on_device[i], count_on_device[i], steps_on_device[j], count_on_device[j]
        return multimatch(*pair).mean() if measure == "multimatch" else tima_similarity(*pair)

    steps_on_device, count_on_device = jnp.asarray(steps), jnp.asarray(count)
    values = similarities(of_pair)
    threshold = float(np.median(values[values >= 0])) + 1e-4
    partners = GazePartners(measure, threshold)
    found = choose(partners, partners.describe(batch, gaze))
    np.testing.assert_array_equal(found, values > threshold)
    assert found[1, 2]
    assert 2 < found.sum() < B * B / 2


def test_a_draw_depends_on_the_two_ids_alone(gaze):
    everything = GazePartners("moments", 0.0, keep=0.5)
    described = everything.describe(tiny_batch(B), gaze)
    whole = choose(everything, described)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_array_equal(whole[0], whole[7])  # the same image
    order = np.random.default_rng(0).permutation(B)
    np.testing.assert_array_equal(choose(everything, described, order), whole[order])
    np.testing.assert_array_equal(
        choose(everything, described, columns=order[:5]), whole[:, order[:5]]
    )
    assert (choose(everything, described, seed=1) != whole).any()


def test_so_many_are_kept(gaze):
    ids = np.arange(60, dtype=np.int32)
    partners = GazePartners("moments", 0.0, keep=0.3)
    described = {"moments": np.ones((60, 2), np.float32)}
    found = chooser(partners)(jax.random.key(0), described, ids, described, ids)
    pairs = 60 * 59 / 2
    error = np.sqrt(0.3 * 0.7 / pairs)
    assert abs(float(found.sum()) / 2 / pairs - 0.3) < 3 * error


def test_shards_choose_what_one_device_chooses(gaze):
    partners = GazePartners("dhash", 0.2, keep=0.5)
    batch = tiny_batch(B)
    whole = choose(partners, partners.describe(batch, gaze))
    mesh = make_mesh()
    axis = mesh.axis_names[0]

    def on_a_shard(gaze, ids):
        described = partners.describe(batch, gaze)
        everyone = jax.tree.map(lambda x: gather(x, axis), described)
        return partners.choose(jax.random.key(0), described, ids, everyone, gather(ids, axis))

    shards = jax.shard_map(on_a_shard, mesh=mesh, in_specs=(P(axis), P(axis)), out_specs=P(axis))
    np.testing.assert_array_equal(jax.jit(shards)(gaze, IDS), whole)
    assert 2 <= whole.sum() < B * B - B


@pytest.mark.parametrize("measure", ["moments", "dhash", "tima"])
def test_an_empty_description_is_nobodys_partner(measure, gaze):
    partners = GazePartners(measure, 0.0)
    batch = scanpath_batch("tima")
    described = partners.describe(batch, gaze)
    empty = jax.tree.map(jnp.zeros_like, described)
    found = chooser(partners)(jax.random.key(0), described, IDS, empty, IDS + 100)
    assert not found.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(measure="momemts", threshold=0.9), "did you mean 'moments'"),
        (dict(measure="tima", threshold=1.0), r"threshold is 1.0; it lies in \[0, 1\)"),
        (dict(measure="tima", threshold=0.9, keep=0.0), r"keep is 0.0; it lies in \(0, 1\]"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(InputError, match=message):
        GazePartners(**settings)


def test_scanpaths_have_to_be_in_the_batch(gaze):
    with pytest.raises(InputError, match="the batch has none"):
        GazePartners("tima", 0.5).describe(tiny_batch(B), gaze)
