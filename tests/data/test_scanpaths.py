"""Whose scanpath, what is joined in it, and how it comes into the batch."""

import jax
import numpy as np
import pytest

from gazax import data
from gazax.data import pipeline, scanpaths
from gazax.data.gaze_settings import OWN, GazeSettings
from gazax.data.scanpaths import Describe, clusters, merge, scanpath, simplify
from gazax.ops.gaze import minmax_normalize, render_gaze
from gazax.ops.gaze_similarity import moments
from gazax.typing import InputError, batch_spec
from tests.data.test_pipeline import SIZES, assert_same, concatenate, take

ALL = dict(masks=False, labels=(), **SIZES)
SIDE = 40


def example(*readers, weights=(1, 1, 1), durations=None):
    """An image of 30 x 40 px in the middle of a square, and positions by reader."""
    xy = np.float32([point for path in readers for point in path]).reshape(-1, 2)
    reader = np.repeat(np.arange(len(readers)), [len(path) for path in readers])
    number, rows = len(xy), len(xy) + 2

    def padded(values, fill=np.nan):
        out = np.full((rows, *values.shape[1:]), fill, values.dtype)
        out[:number] = values
        return out

    content = np.float32([0, 5, 40, 35])
    lasts = np.ones(number, np.float32) if durations is None else np.float32(durations)
    return {
        "image": np.zeros((SIDE, SIDE, 1), np.uint8),
        "fixations": {
            "xy": padded(xy),
            "duration": padded(lasts),
            "sigma": padded(np.full((number, 2), 2, np.float32)),
            "window": padded(np.tile(content, (number, 1))),
            "reader": padded(reader.astype(np.int32), -1),
        },
        "reader_weight": np.float32(weights),
        "content": content,
        "index": np.int32(1),
    }


def test_the_reader_with_the_most_fixations_counts():
    few = [[0, 5], [20, 5]]
    path, other = [[0, 5], [20, 5], [20, 30]], [[40, 5], [40, 35], [0, 35]]
    # a diagonal of 50: the last fixation starts nothing
    expected = [[0, 0, 0.4, 0, 1], [0.4, 0, 0, 0.5, 1]]
    for readers in ([few, path], [path, other], [path, few]):
        np.testing.assert_allclose(scanpath(example(*readers), "multimatch"), expected, atol=1e-6)
    weighed = example(other, path, weights=(0, 1, 1))
    np.testing.assert_allclose(scanpath(weighed, "multimatch"), expected, atol=1e-6)


@pytest.mark.parametrize("measure", ["multimatch", "tima"])
def test_without_gaze_there_are_no_steps(measure):
    for nothing in (example(), example([[0, 5]] * 4, weights=(0, 1, 1))):
        assert len(scanpath(nothing, measure)) == 0
    assert Describe(measure, 3, ("a", "b"))(example())["count"] == 0


def test_fewer_than_three_places_are_no_scanpath():
    # five fixations, the first four of them within 5 % of 40 px
    near = [[1, 9], [2.5, 9], [1, 10.5], [2.9, 10.9], [30, 9]]
    assert len(scanpath(example(near), "multimatch")) == 0
    assert len(scanpath(example([*near, [5, 30]]), "multimatch")) == 2


def test_merge_by_hand():
    xy = np.array([[0, 0], [0.9, 0], [0, 0.9], [1.8, 0], [0, 1.0], [0, 1.5]])
    found, duration = merge(xy, np.array([1, 2, 4, 8, 16, 32.0]), nearer=1.0)
    # the third is near the first, the fourth no longer; what lies exactly as far off is another
    np.testing.assert_array_equal(found, [[0, 0], [1.8, 0], [0, 1]])
    np.testing.assert_array_equal(duration, [7, 8, 48])


def test_simplify_by_hand():
    thresholds = dict(amplitude=1.0, direction=45.0, longest=0.3)
    # straight on, 5 and 5; the fixation between them is long, then short
    xy = np.array([[0, 0], [5, 0], [10, 1], [10, 9]], float)
    long, short = np.array([0.1, 0.4, 0.1, 0.1]), np.array([0.1, 0.2, 0.1, 0.1])
    assert len(simplify(xy, long, **thresholds)) == 3
    assert simplify(xy, short, **thresholds) == [(0, 0, 10, 1, 0.1), (10, 1, 0, 8, 0.1)]
    # a short saccade goes to the next one, and the last to the one before
    xy = np.array([[0, 0], [5, 0], [5.5, 0.5], [2, 6], [9, 6], [9.5, 6.5]])
    found = simplify(xy, np.full(6, 0.2), **thresholds | dict(direction=0.0))
    expected = [(0, 0, 5, 0, 0.2), (5, 0, -3, 6, 0.2), (2, 6, 7.5, 0.5, 0.2)]
    np.testing.assert_allclose(np.array(found), expected)
    # two of no length do not turn
    assert len(simplify(np.zeros((3, 2)), np.full(3, 9.0), **thresholds)) == 2


def test_clusters_are_near_in_place_and_in_time():
    here, there = [[0.1, 0.1]] * 5, [[0.8, 0.1]] * 5
    found = clusters(np.array([*here, *there, *here, [0.4, 0.9]]))
    # the same place looked at again is another cluster; a lone glance is noise
    assert [list(chosen) for chosen in found] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [*range(10, 15)],
    ]
    assert clusters(np.zeros((0, 2))) == []


def test_tima_steps_are_the_moments_of_each_clusters_map():
    path = np.float32(
        [[8, 10], [9, 12], [8.5, 11], [9, 10], [33, 30], [30, 28], [31, 29], [30, 29]]
    )
    durations = np.float32([1, 2, 3, 1, 1, 0.5, 0.5, 0.7])
    window = np.tile(np.float32([0, 5, 40, 35]), (8, 1))
    found = scanpath(example(path.tolist(), durations=durations), "tima")
    for step, chosen in zip(found, (slice(0, 4), slice(4, 8)), strict=True):
        heat = render_gaze(
            path[chosen],
            durations[chosen],
            sigma_px=2.0,
            size=(SIDE, SIDE),
            window=window[chosen],
        )
        np.testing.assert_allclose(step, moments(minmax_normalize(heat)), rtol=1e-4)


def test_a_longer_scanpath_names_its_image_and_what_it_needs():
    zigzag = example([[5, 10], [30, 30], [5, 30], [30, 10], [5, 20]])
    assert Describe("multimatch", 4, ("a", "b"))(zigzag)["count"] == 4
    with pytest.raises(InputError, match=r"image 'b' has a scanpath of 4 steps.*length to 4"):
        Describe("multimatch", 3, ("a", "b"))(zigzag)
    with pytest.raises(InputError, match="moments"):
        Describe("moments", 3, ())


@pytest.fixture(scope="module")
def train(records) -> data.Source:
    return records.source("train")


def described(train, measure, length, gaze=OWN):
    """The examples of one epoch, by image."""
    examples = pipeline.train_examples(
        train,
        seed=7,
        gaze=gaze,
        scanpaths=Describe(measure, length, train.records.image_ids),
        **ALL,
    )
    epoch = concatenate(take(pipeline.train_batches(examples, global_batch_size=1), len(train)))
    order = np.argsort(epoch["index"])
    return jax.tree.map(lambda rows: rows[order], epoch)


@pytest.mark.parametrize("measure", ["multimatch", "tima"])
def test_scanpaths_come_into_the_batch_as_its_spec_says(train, measure, monkeypatch):
    monkeypatch.setattr(scanpaths, "MERGE", 0.001)  # the fixations of this folder lie close
    monkeypatch.setattr(scanpaths, "AMPLITUDE", 0.0)
    length = pipeline.longest_scanpath(train, measure, seed=7, **ALL)
    batch = described(train, measure, length)
    assert batch["scanpath"]["count"].max() == length > 0
    columns = batch["scanpath"]["steps"].shape[-1]
    spec = batch_spec(
        batch_size=len(train),
        size=(24, 32),
        num_labels=2,
        scanpath=(length, columns),
        **SIZES,
    )
    assert jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch) == spec


def test_shuffled_gaze_has_shuffled_scanpaths(train):
    shuffled = GazeSettings(gaze="shuffled")
    length = pipeline.longest_scanpath(train, "tima", seed=7, gaze=shuffled, **ALL)
    own, other = (described(train, "tima", length + 4, gaze) for gaze in (OWN, shuffled))
    has_gaze = own["scanpath"]["count"] > 0
    np.testing.assert_array_equal(other["scanpath"]["count"] > 0, has_gaze)
    assert (own["scanpath"]["steps"] != other["scanpath"]["steps"]).any()
    assert_same(own["image"], other["image"])
    nothing = GazeSettings(gaze="none")
    assert pipeline.longest_scanpath(train, "tima", seed=7, gaze=nothing, **ALL) == 1
    assert not described(train, "tima", 1, nothing)["scanpath"]["count"].any()
