import numpy as np
import pytest
from etils import epath
from PIL import Image

from gazax.eval.embedding import save_figure, tsne


def clouds(n=60, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    return rng.normal(size=(n, 70)) + 8 * np.eye(70)[label], np.eye(3)[label]


def test_clouds_stay_apart():
    features, labels = clouds()
    xy = tsne(features, seed=0)
    assert xy.shape == (60, 2)
    assert xy.dtype == np.float32
    distance = np.linalg.norm(xy[:, None] - xy, axis=-1) + np.diag(np.full(60, np.inf))
    np.testing.assert_array_equal(labels[distance.argmin(axis=1)], labels)


def test_the_same_seed_gives_the_same_map():
    features, _ = clouds(30)
    np.testing.assert_array_equal(tsne(features, seed=0), tsne(features.copy(), seed=0))


@pytest.mark.parametrize("shape", [(4, 5), (6, 1), (5, 2), (7, 300)])
def test_few_points_or_features_have_a_map(shape):
    xy = tsne(np.random.default_rng(0).normal(size=shape).astype(np.float32), seed=0)
    assert xy.shape == (shape[0], 2)
    assert np.isfinite(xy).all()


def test_three_points_are_their_components():
    features = np.array([[0.0, 0.0, 1.0], [3.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    xy = tsne(features, seed=0)
    # along the first feature, about its mean of 1, whichever way round
    np.testing.assert_allclose(np.abs(xy), [[1, 0], [2, 0], [1, 0]], atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (9, 4), (9, 0)])
def test_points_that_are_all_the_same_are_at_the_origin(shape):
    np.testing.assert_array_equal(tsne(np.ones(shape), seed=0), np.zeros((shape[0], 2)))


def colours(path):
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return {tuple(int(c) for c in one) for one in np.unique(pixels, axis=0)}


ORANGE, BLUE = (213, 94, 0), (86, 180, 233)


def test_classes_have_a_colour_each_and_nothing_is_left_beside(tmp_path):
    features, labels = clouds(30)
    labels[:4] = np.nan
    path = epath.Path(tmp_path) / "tsne.png"
    save_figure(path, features[:, :2], labels, ("a", "b $x$", "_c"), exclusive=True)
    assert [one.name for one in tmp_path.iterdir()] == ["tsne.png"]
    assert len(colours(path)) > 4


def test_labels_have_a_panel_each_up_to_six(tmp_path):
    rng = np.random.default_rng(0)
    sizes = []
    for count in (1, 3, 8):
        labels = (rng.random((40, count)) < 0.4).astype(float)
        labels[:5] = np.nan
        path = epath.Path(tmp_path) / f"{count}.png"
        names = [f"label {i}" for i in range(count)]
        save_figure(path, rng.normal(size=(40, 2)), labels, names, exclusive=False)
        assert {ORANGE, BLUE} <= colours(path)
        sizes.append(Image.open(path).size)
    assert sizes[0][0] < sizes[1][0] == sizes[2][0]
    assert sizes[1][1] < sizes[2][1] < 2.2 * sizes[1][1]


def test_the_title_says_that_images_are_simulated(tmp_path):
    features, labels = clouds(12)
    pictures = []
    for phantom in (False, True):
        path = epath.Path(tmp_path) / "tsne.png"
        save_figure(path, features[:, :2], labels, "abc", exclusive=True, phantom_numbers=phantom)
        pictures.append(np.asarray(Image.open(path)))
    title = slice(0, 40)
    assert (pictures[0][title] != pictures[1][title]).any()


def test_no_labels_and_no_points_still_have_a_picture(tmp_path):
    path = epath.Path(tmp_path) / "tsne.png"
    for n in (0, 3):
        save_figure(path, np.zeros((n, 2)), np.zeros((n, 0)), (), exclusive=False)
        assert path.exists()
