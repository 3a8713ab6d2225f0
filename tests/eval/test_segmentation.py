import warnings

import jax
import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from gazax.eval.encode import load_split
from gazax.eval.segmentation import SegmentationEvaluation, macro, make_masks
from gazax.train import sharding
from gazax.typing import InputError
from tests.methods.test_segmentation import drawn_batch, make

NAMES = ("left", "right", "never")
METHOD = make()


def batches_of(*, shift=0, marked=True, junk=0, third=False, label=None):
    """Ten images with a box each, in batches of 4; the last two of the last one are padding."""

    def batches():
        whole = drawn_batch(12)
        whole["mask"] = np.roll(whole["mask"], shift, axis=2) * marked
        # The third label is said to be there, and outside training it is never drawn.
        whole["mask"][..., 2] = whole["mask"][..., 0] if third else 0
        whole["weight"] = (np.arange(12) < 10).astype(np.float32)
        whole["image"][10:], whole["mask"][10:] = junk, junk > 0
        whole["content"][:, 0] = 3
        if label is not None:
            whole["label"] = label
        for start in range(0, 12, 4):
            yield jax.tree.map(lambda x, start=start: x[start : start + 4], whole)

    return batches


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


@pytest.fixture(scope="module")
def load(mesh):
    def load(**changes):
        patients = np.array([f"p{i // 2}" for i in range(12)])
        return load_split(batches_of(**changes), patient_ids=patients, mesh=mesh)

    return load


@pytest.fixture(scope="module")
def weights():
    """A bias that makes about half of the pixels predicted."""
    params, state = METHOD.init(jax.random.key(0), drawn_batch(4))
    return params, state


@pytest.fixture(scope="module")
def evaluation(load, mesh):
    return SegmentationEvaluation(
        METHOD,
        train=load(third=True),
        validation=load(shift=1),
        mesh=mesh,
        seed=0,
        label_names=NAMES,
    )


CONTENT = np.tile(np.arange(32) >= 3, (32, 1))
"""[h, w] of every image."""


def expected(predicted, split):
    """{metric: [10, 3]} by scikit-learn, image by image; NaN where nothing is marked."""
    masks = np.concatenate([batch["mask"] for batch in split.batches()])[:10]
    found = {"dice": np.full((10, 3), np.nan), "iou": np.full((10, 3), np.nan)}
    for i, k in np.ndindex(10, 3):
        true, pred = masks[i, :, :, k][CONTENT] > 0, predicted[i, :, :, k][CONTENT]
        if true.any():
            found["dice"][i, k] = f1_score(true, pred)
            found["iou"][i, k] = jaccard_score(true, pred)
    return found


def test_numbers_are_scikit_learns_image_by_image(evaluation, weights, load):
    test = load(shift=2)
    report = evaluation.on_test(weights, weights, test)
    predicted = jax.jit(METHOD.predict)(*weights, drawn_batch(12))[:10] >= 0.5
    for metric, values in expected(np.asarray(predicted), test).items():
        of_labels = []
        for k, name in enumerate(NAMES[:2]):
            of_labels.append(np.nanmean(values[:, k]))
            estimate, low, high = report.numbers[f"segmentation/{metric}/{name}"]
            assert estimate == pytest.approx(of_labels[-1])
            assert low <= estimate <= high
        estimate, low, high = report.numbers[f"segmentation/{metric}"]
        assert estimate == pytest.approx(np.mean(of_labels))
        assert 0 < low < high
        parts = [report.numbers[f"{row}/{metric}"][0] for row in ("segmentation", "mean_mask")]
        difference = report.numbers[f"segmentation-mean_mask/{metric}"][0]
        assert difference == pytest.approx(parts[0] - parts[1])
        assert f"segmentation/{metric}/never" not in report.numbers
    assert "never: left out of the mean (marked in no image of the test split)" in report.table
    for words in ("Dice", "IoU", "mean training mask", "left (4 images)", "right (3 images)"):
        assert words in report.table


def test_the_mean_mask_is_that_of_training_at_validations_best_threshold(evaluation, weights, load):
    test = load(shift=2)
    train, validation = load(), load(shift=1)
    masks = np.concatenate([batch["mask"] for batch in train.batches()])[:10] > 0
    masks &= CONTENT[..., None]
    mean = np.stack(
        [masks[masks[..., k].any(axis=(1, 2)), :, :, k].mean(axis=0) for k in range(2)], axis=2
    )
    chosen = np.zeros((32, 32, 3), bool)
    for k in range(2):
        tried = []
        for fraction in np.arange(1, 10) / 10:
            one = np.zeros((32, 32, 3), bool)
            one[:, :, k] = mean[:, :, k] >= fraction * mean[:, :, k].max()
            scores = expected(np.broadcast_to(one, (10, 32, 32, 3)), validation)["dice"][:, k]
            tried.append((np.nanmean(scores), one[:, :, k]))
        chosen[:, :, k] = max(tried, key=lambda pair: pair[0])[1]
    scores = expected(np.broadcast_to(chosen, (10, 32, 32, 3)), test)
    report = evaluation.on_test(weights, weights, test)
    for metric, values in scores.items():
        found = report.numbers[f"mean_mask/{metric}"][0]
        assert found == pytest.approx(macro(values))
        assert found > 0.1


def test_validation_has_means_and_each_label(evaluation, weights, load):
    values = evaluation.on_validation(*weights)
    assert values.keys() == {
        f"validation/{metric}{label}"
        for metric in ("dice", "iou")
        for label in ("", "/left", "/right")
    }
    for metric in ("dice", "iou"):
        of_labels = [values[f"validation/{metric}/{name}"] for name in NAMES[:2]]
        assert values[f"validation/{metric}"] == pytest.approx(np.mean(of_labels))
        assert values[f"validation/{metric}"] > 0


def test_part_has_each_label_and_each_image(evaluation, weights, load):
    test = load(shift=2)
    part = evaluation.measure(weights, test)
    predicted = np.asarray(jax.jit(METHOD.predict)(*weights, drawn_batch(12))[:10] >= 0.5)
    for metric, values in expected(predicted, test).items():
        for k, name in enumerate(NAMES):
            found = part.values[f"segmentation/{metric}/{name}"]
            np.testing.assert_allclose(found, values[None, :, k])
        per_image = part.values[f"segmentation/{metric}_per_image"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # images in which nothing is marked
            np.testing.assert_allclose(per_image, np.nanmean(values, axis=1)[None])
    for name, of_images in part.values.items():
        if not np.isnan(of_images).all():
            assert part.numbers[name][0] == pytest.approx(np.nanmean(of_images)), name
    difference = part.numbers["segmentation-mean_mask/dice_per_image"][0]
    rows = [part.numbers[f"{row}/dice_per_image"][0] for row in ("segmentation", "mean_mask")]
    assert difference == pytest.approx(rows[0] - rows[1])
    assert max(map(len, part.table.splitlines())) <= 100


def test_false_positives_are_counted_where_a_label_is_known_to_be_absent(load, mesh):
    """Of each image one corner is predicted: a mark, wherever it lies inside the content."""
    label = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    label[1, 0] = np.nan  # nobody knows whether the first label is there
    evaluation = SegmentationEvaluation(
        METHOD,
        train=load(third=True),
        validation=load(),
        mesh=mesh,
        seed=0,
        label_names=NAMES,
    )

    def predict(params, state, batch):
        """The first label in a corner of every other image, the second in the padding."""
        shape = (*batch["image"].shape[:3], 3)
        index = jax.numpy.broadcast_to(batch["index"][:, None, None, None], shape)
        rows, columns, planes = (
            jax.lax.broadcasted_iota(jax.numpy.int32, shape, axis) for axis in (1, 2, 3)
        )
        corner = (rows == 0) & (columns == 31) & (planes == 0) & (index % 2 == 0)
        return corner | ((columns < 3) & (planes == 1))

    evaluation._predict = jax.jit(predict)
    part = evaluation.measure(({}, {}), load(label=label))
    # With the first label: 0, 3, 6 and 9. Unknown: 1.
    first = [np.nan, np.nan, 1, np.nan, 1, 0, np.nan, 0, 1, np.nan]
    np.testing.assert_array_equal(part.values["segmentation/false_positive_rate/left"], [first])
    assert part.numbers["segmentation/false_positive_rate/left"][0] == 3 / 5
    # Images 2, 5 and 8 have the third label, which is drawn in none of them: they are unknown.
    assert np.nansum(part.values["segmentation/false_positive_rate/right"]) == 0
    third = part.values["segmentation/false_positive_rate/never"]
    assert np.isnan(third[0]).tolist() == [i % 3 == 2 for i in range(10)]
    assert part.numbers["segmentation/false_positive_rate"][0] == pytest.approx(3 / 5 / 3)
    # The mean mask is marked in every image, and so wherever the label is absent.
    assert part.numbers["mean_mask/false_positive_rate/left"][0] == 1
    assert "left 5, right 7, never 7" in part.table


def test_padding_does_not_count(weights, load, mesh):
    found = [
        SegmentationEvaluation(
            METHOD,
            train=load(junk=junk, third=True),
            validation=load(junk=junk),
            mesh=mesh,
            seed=0,
            label_names=NAMES,
        ).on_validation(*weights)
        for junk in (0, 200)
    ]
    assert found[0] == found[1]


def test_training_without_any_mark_is_refused(load, mesh):
    with pytest.raises(
        InputError, match="'left' is marked in none of the 10 training images.*labels=right,never"
    ):
        SegmentationEvaluation(
            METHOD,
            train=load(marked=False),
            validation=load(),
            mesh=mesh,
            seed=0,
            label_names=NAMES,
        )


def test_macro_leaves_out_what_is_not_there():
    values = np.array([[1.0, np.nan, 0.2], [0.0, np.nan, np.nan]])
    assert macro(values) == pytest.approx((0.5 + 0.2) / 2)
    with np.errstate(all="raise"):
        assert np.isnan(macro(np.full((2, 3), np.nan)))


def test_pictures_show_all_labels_in_one_and_unknown_planes_as_nothing(mesh, weights):
    batch = next(batches_of()())
    pictures = {name: one(batch) for name, one in make_masks(METHOD, *weights, mesh=mesh).items()}
    np.testing.assert_array_equal(pictures["marked"], batch["mask"].max(axis=-1))
    probability = METHOD.predict(*weights, batch).max(axis=-1)
    np.testing.assert_allclose(pictures["mask"], probability, rtol=1e-5)
