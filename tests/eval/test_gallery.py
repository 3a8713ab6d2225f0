"""Each file of a gallery holds one image with its own gaze, readers, attention and prediction."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from gazax.eval.encode import Split, fixations, load_split
from gazax.eval.gallery import choose, save_gallery
from gazax.ops.gaze import gaze_maps
from gazax.train import sharding
from tests.eval.splits import batches

NAMES = ("normal", "pneumonia", "heart failure")
KEYS = {
    "image",
    "content",
    "gaze",
    "reader_names",
    "reader_gaze",
    "xy",
    "reader",
    "attention",
    "probability",
    "label",
    "label_names",
    "image_id",
}
LOOKED_AT = (1, 2, 4, 5, 7, 8)
"""Of images 0 to 9, those divisible by 3 have no gaze."""


def reader_names(index):
    """Other people for each image: a name that comes from another row is seen."""
    return tuple(f"{index}-{slot}" for slot in range(3))


ONE_CLASS = np.tile(np.float32([0, 1, 0]), (12, 1))


def without_a_reader(n=10):
    """Reader 1 of image 4 has no fixation: his slot is empty, and the next one's is not."""
    for batch in batches(n, label=ONE_CLASS):
        reader = batch["fixations"]["reader"].copy()
        here = np.asarray(batch["index"]) == 4
        reader[here] = np.where(reader[here] == 1, 2, reader[here])
        yield {**batch, "fixations": {**batch["fixations"], "reader": reader}}


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


def load(mesh, of=without_a_reader):
    return load_split(of, patient_ids=np.arange(12).astype(str), mesh=mesh)


@pytest.fixture
def save(tmp_path, mesh):
    split = load(mesh)
    seen = []

    def attention(batch):
        seen.append(batch["index"].tolist())
        return batch["image"][..., 0] / 255

    def save(count, split=split, **more):
        seen.clear()
        folder = epath.Path(tmp_path) / "gallery"
        save_gallery(
            folder,
            split,
            maps={"attention": attention, **more},
            probabilities=np.arange(30).reshape(10, 3) / 30,
            label_names=NAMES,
            image_ids=[f"image_{i}" for i in range(12)],
            reader_names=[reader_names(i) for i in range(12)],
            count=count,
            mesh=mesh,
        )
        return folder, seen

    return save


def cases(folder):
    """By place, after `np.load`."""
    count = len(list(folder.iterdir()))
    return [dict(np.load(folder / f"{place}.npz", allow_pickle=False)) for place in range(count)]


def everything():
    """All examples as one host batch."""
    parts = list(without_a_reader())
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@pytest.mark.parametrize(
    ("classes", "has_gaze", "chosen"),
    [
        ("aaabbc", "111111", [0, 3, 5, 1, 4, 2]),  # each class in turn, until it has no more
        ("aaabbc", "011010", [1, 4, 2, 5, 3, 0]),  # gaze comes first
        ("a.ba.b", "111111", [0, 2, 1, 3, 5, 4]),  # without a label: a class of its own
        ("......", "111110", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_every_class_is_shown_as_often(classes, has_gaze, chosen):
    label = np.array([[one == name for name in "abc"] for one in classes], np.float32)
    label[np.array(list(classes)) == "."] = np.nan
    rows = np.arange(len(classes))
    split = Split(
        batches=lambda: (),
        index=rows,
        label=label,
        patient=rows.astype(str),
        has_gaze=np.array([one == "1" for one in has_gaze]),
        mean_gaze_map=np.zeros((2, 2)),
    )
    for count in (0, 3, 6, 9):
        assert choose(split, count).tolist() == chosen[:count]
    without = dataclasses.replace(split, label=label[:, :0])
    assert choose(without, 3).tolist() == np.argsort(~split.has_gaze, kind="stable")[:3].tolist()


def test_the_first_images_with_gaze_are_kept_whole(save):
    folder, seen = save(4)
    found, whole = cases(folder), everything()
    points = list(fixations(whole))
    gaze = np.asarray(gaze_maps(whole["fixations"], whole["reader_weight"], size=(32, 32)))
    assert len(found) == 4
    for case, index in zip(found, LOOKED_AT, strict=False):
        assert case.keys() == KEYS
        assert str(case["image_id"]) == f"image_{index}"
        assert case["image_id"].ndim == 0
        np.testing.assert_array_equal(case["image"], whole["image"][index, ..., 0])
        assert case["image"].dtype == np.uint8
        np.testing.assert_allclose(case["attention"], case["image"] / 255, atol=1e-6)
        assert case["content"].dtype == bool
        assert case["content"].all()
        np.testing.assert_allclose(case["gaze"], gaze[index], atol=1e-5)
        assert case["gaze"].max() == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(case["xy"], points[index][0])
        np.testing.assert_array_equal(case["label"], whole["label"][index])
        np.testing.assert_allclose(case["probability"], np.arange(3 * index, 3 * index + 3) / 30)
        assert case["label_names"].tolist() == list(NAMES)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]  # the last batch is not asked for


def test_each_map_is_kept_under_its_name(save):
    found = cases(save(6, saliency=lambda batch: jnp.square(batch["image"][..., 0] / 255))[0])
    for case in found:
        assert case.keys() == KEYS | {"saliency"}
        np.testing.assert_allclose(case["saliency"], case["attention"] ** 2, atol=1e-6)


def test_maps_and_fixations_are_those_of_the_named_reader(save):
    folder, _ = save(6)
    whole = everything()
    points = list(fixations(whole))
    for case, index in zip(cases(folder), LOOKED_AT, strict=True):
        slots = [int(name.partition("-")[2]) for name in case["reader_names"]]
        assert [f"{index}-{slot}" for slot in slots] == case["reader_names"].tolist()
        assert slots == sorted(set(points[index][1]))
        np.testing.assert_array_equal(np.array(slots)[case["reader"]], points[index][1])
        for slot, one in zip(slots, case["reader_gaze"], strict=True):
            alone = jnp.zeros((12, 3)).at[:, slot].set(1)
            expected = gaze_maps(whole["fixations"], alone, size=(32, 32))[index]
            np.testing.assert_allclose(one, expected, atol=1e-5)
            assert one.max() > 0
    of_four = cases(folder)[LOOKED_AT.index(4)]
    assert of_four["reader_names"].tolist() == ["4-0", "4-2"]
    assert set(of_four["reader"]) == {0, 1}


def test_more_than_there_are_is_all_of_them(save):
    folder, _ = save(100)
    order = (*LOOKED_AT, 0, 3, 6, 9)  # those without gaze fill up
    found = cases(folder)
    assert [str(case["image_id"]) for case in found] == [f"image_{i}" for i in order]
    assert [len(case["reader_names"]) > 0 for case in found] == [True] * 6 + [False] * 4


def test_images_that_nobody_looked_at_have_no_reader(save, mesh):
    split = load(mesh, lambda: batches(has_gaze=np.zeros(12, bool), label=ONE_CLASS))
    found = cases(save(3, split=split)[0])
    assert [str(case["image_id"]) for case in found] == ["image_0", "image_1", "image_2"]
    for case in found:
        assert case.keys() == KEYS
        assert case["reader_names"].shape == case["reader"].shape == (0,)
        assert case["reader_gaze"].shape == (0, 32, 32)
        assert case["xy"].shape == (0, 2)
        assert not case["gaze"].any()
        assert case["attention"].any()
        assert case["reader_names"].dtype.kind == "U"


def test_a_gallery_takes_the_place_of_the_former(save):
    save(6)
    folder, _ = save(2)
    assert sorted(path.name for path in folder.iterdir()) == ["0.npz", "1.npz"]
    folder, seen = save(0)
    assert not folder.exists()
    assert seen == []
