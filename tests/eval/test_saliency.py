import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.eval.encode import Look, load_split, render
from gazax.eval.saliency import (
    ALL_METRICS,
    OF_DENSITIES,
    OtherFixations,
    baseline_maps,
    centred_gaussian,
    measure,
    score,
    score_all,
)
from gazax.metrics.saliency import auc_shuffled, cc, information_gain, kl, nss, sim
from gazax.ops.gaze import gaze_map
from gazax.train import sharding
from tests.batches import tiny_batch
from tests.eval.splits import batches

PATIENTS = np.array([f"p{i // 2}" for i in range(12)])
CONTENT = np.tile(np.float32([0, 4, 32, 30]), (12, 1))
NAMES = [("ann", "bob", "cyd")] * 12


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


@pytest.fixture(scope="module")
def whole():
    """Ten images: those divisible by 3 have no gaze, image 4 that of one reader only."""
    batch = tiny_batch(12)
    reader = batch["fixations"]["reader"]
    reader[4] = np.where(reader[4] >= 0, 1, -1)
    return {"fixations": batch["fixations"], "content": CONTENT}


@pytest.fixture(scope="module")
def split(mesh, whole):
    return load_split(functools.partial(batches, **whole), patient_ids=PATIENTS, mesh=mesh)


@pytest.fixture(scope="module")
def mean_map():
    """Of a training split that is another one."""
    return np.random.default_rng(7).uniform(0.1, 1, (32, 32))


def attention(batch):
    """Something that varies from image to image and is not negative."""
    return batch["image"][..., 0].astype(jnp.float32)


@pytest.fixture(scope="module")
def part(split, mesh, mean_map):
    first = functools.partial(render, mesh=mesh)  # as if the model knew
    return measure(
        split,
        {"attention": jax.jit(attention), "attention_step_0": first},
        mean_map=mean_map,
        mesh=mesh,
        seed=0,
        reader_names=NAMES,
    )


def seen_by(xy, gaze, content=None):
    content = np.ones(gaze.shape, bool) if content is None else content
    reader = np.zeros(len(xy), np.int32)
    return Look(index=0, content=content, gaze=gaze, xy=xy, reader=reader)


@pytest.fixture
def corner():
    """An image that people looked at in one corner."""
    gaze = np.zeros((8, 8), np.float32)
    gaze[1, 1] = 1.0
    return seen_by(np.array([[1.5, 1.5]]), gaze)


def test_the_gaze_itself_scores_highest_and_anothers_scores_low(corner):
    own = score(corner.gaze, corner)
    # One pixel of 64: mean 1/64, variance 1/64 - 1/64^2; NSS = (1 - 1/64) / sd = sqrt(63).
    assert own == pytest.approx({"cc": 1.0, "nss": np.sqrt(63), "auc": 1.0})
    assert score(corner.gaze[::-1], corner)["cc"] == pytest.approx(-1 / 63)


def test_centred_gaussian_is_centred_on_the_content():
    content = np.zeros((10, 20), bool)
    content[:, 5:15] = True
    gaussian = centred_gaussian(content)
    # The content's centre lies between the pixels 4 and 5 down, 9 and 10 across.
    assert np.unravel_index(gaussian.argmax(), gaussian.shape) == (4, 9)
    np.testing.assert_allclose(gaussian, gaussian[::-1])
    np.testing.assert_allclose(gaussian[:, 5:15], gaussian[:, 5:15][:, ::-1])


def test_padding_is_left_out_of_every_score():
    rng = np.random.default_rng(0)
    gaze, one, mean_map = rng.uniform(size=(3, 8, 8))
    content = np.zeros((8, 8), bool)
    content[:, 2:6] = True
    other = rng.uniform((2, 0), (6, 8), size=(9, 2))
    padded = score_all(
        one,
        seen_by(np.array([[3.5, 2.5]]), gaze, content),
        other_xy=other,
        mean_map=mean_map,
        seed=0,
    )
    cut = score_all(
        one[:, 2:6],
        seen_by(np.array([[1.5, 2.5]]), gaze[:, 2:6]),
        other_xy=other - [2, 0],
        mean_map=mean_map[:, 2:6],
        seed=0,
    )
    assert padded == pytest.approx(cut)
    assert tuple(padded) == ALL_METRICS


def test_baselines_know_the_content_only(mean_map):
    maps = baseline_maps(np.ones((32, 32), bool), mean_map=mean_map)
    assert list(maps) == ["mean_map", "centre"]
    assert maps["mean_map"] is mean_map


def test_other_fixations_are_those_of_ten_other_images_scaled_to_the_content(mesh):
    content = np.tile(np.float32([0, 0, 32, 32]), (24, 1))
    content[3] = [8, 0, 24, 32]  # half as wide
    batch = tiny_batch(24, has_gaze=np.ones(24, bool))
    xy = np.where(np.isnan(batch["fixations"]["xy"]), np.nan, np.float32(16))
    xy[np.arange(24), 0, 0] = np.arange(24) + 0.5  # the image tells itself by its first fixation
    whole = {"fixations": {**batch["fixations"], "xy": xy}, "content": content}

    def load(patients=24):
        return load_split(
            lambda: batches(24, has_gaze=np.ones(24, bool), **whole),
            patient_ids=(np.arange(24) % patients).astype(str),
            mesh=mesh,
        )

    others = OtherFixations(load(), mesh=mesh, seed=0)
    found = others.of(5)
    assert len(found) == 10 * 8
    first = found[::8, 0].tolist()
    assert 5.5 not in first
    assert len(set(first)) == 10
    np.testing.assert_array_equal(found, OtherFixations(load(), mesh=mesh, seed=0).of(5))
    assert first != OtherFixations(load(), mesh=mesh, seed=1).of(5)[::8, 0].tolist()
    assert first != others.of(6)[::8, 0].tolist()
    # The middle of another image is the middle of this one; a quarter of its width, a quarter.
    narrow = others.of(3)
    assert (narrow[1::8] == 16).all()
    np.testing.assert_allclose((narrow[::8, 0] - 8) * 2 % 1, 0.5)
    # Of two patients with twelve images each, only the other one's.
    of_two = OtherFixations(load(patients=2), mesh=mesh, seed=0).of(5)[::8, 0]
    assert len(of_two) == 10
    assert set(of_two % 2) == {0.5}
    # Of one patient there is no other's.
    assert OtherFixations(load(patients=1), mesh=mesh, seed=0).of(5).shape == (0, 2)


def test_every_row_and_metric_is_that_of_its_map(part, split, whole, mean_map, mesh):
    """Image 1, by hand; NaN for the images without gaze."""
    assert {name.rpartition("/")[0] for name in part.values} == {
        *("attention", "attention_step_0", "mean_map", "centre", "uniform", "readers"),
        *("attention@readers", "mean_map@readers"),
        *("attention@ann", "attention@bob", "attention@cyd"),
    }
    for name, values in part.values.items():
        assert values.shape == (1, 10)
        assert np.isnan(values[0, ::3]).all(), name
    fixations = jax.tree.map(lambda x: x[1], whole["fixations"])
    names = ("xy", "duration", "sigma", "window", "reader")
    arguments = [fixations[name] for name in names]
    gaze = np.asarray(gaze_map(*arguments, np.ones(3), size=(32, 32)), np.float64)
    content = np.zeros((32, 32), bool)
    content[4:30] = True
    xy = fixations["xy"][fixations["reader"] >= 0]
    image = tiny_batch(12)["image"][1, ..., 0].astype(np.float64)
    maps = {
        "attention": image,
        "attention_step_0": gaze,
        "mean_map": mean_map,
        "uniform": np.ones((32, 32)),
    }
    other = OtherFixations(split, mesh=mesh, seed=0).of(1)
    for row, one in maps.items():
        expected = {
            "cc": cc(one, gaze, where=content),
            "nss": nss(one, xy, where=content),
            "sim": sim(one, gaze, where=content),
            "kl": kl(one, gaze, where=content),
            "information_gain": information_gain(one, xy, mean_map, where=content),
            "auc_shuffled": auc_shuffled(
                one, xy, other, rng=np.random.default_rng([0, 1]), where=content
            ),
        }
        for metric, value in expected.items():
            assert part.values[f"{row}/{metric}"][0, 1] == pytest.approx(value, abs=1e-5)
    assert part.values["attention_step_0/cc"][0, 1] == pytest.approx(1)
    np.testing.assert_array_equal(part.values["mean_map/information_gain"][0, [1, 2, 4]], 0)
    for metric, chance in (("cc", 0), ("nss", 0), ("auc", 0.5), ("auc_shuffled", 0.5)):
        assert part.values[f"uniform/{metric}"][0, 1] == pytest.approx(chance)


def test_the_ceiling_is_each_reader_against_the_others(part, whole, mean_map):
    """Image 1, reader by reader; image 4 has one reader and no ceiling."""
    fixations = jax.tree.map(lambda x: x[1], whole["fixations"])
    names = ("xy", "duration", "sigma", "window", "reader")
    arguments = [fixations[name] for name in names]
    content = np.zeros((32, 32), bool)
    content[4:30] = True
    ceiling, by_attention, by_mean = ({"cc": [], "nss": []} for _ in range(3))
    image = tiny_batch(12)["image"][1, ..., 0].astype(np.float64)
    readers = np.unique(fixations["reader"][fixations["reader"] >= 0])
    assert len(readers) > 1
    for slot in readers:
        only = (np.arange(3) == slot).astype(np.float32)
        own = np.asarray(gaze_map(*arguments, only, size=(32, 32)))
        rest = np.asarray(gaze_map(*arguments, 1 - only, size=(32, 32)))
        xy = fixations["xy"][fixations["reader"] == slot]
        for one, found in ((rest, ceiling), (image, by_attention), (mean_map, by_mean)):
            found["cc"].append(cc(one, own, where=content))
            found["nss"].append(nss(one, xy, where=content))
        for metric in ("cc", "nss"):
            single = part.values[f"attention@{NAMES[1][slot]}/{metric}"][0, 1]
            assert single == pytest.approx(by_attention[metric][-1], abs=1e-5)
    for metric in ("cc", "nss"):
        rows = {"readers": ceiling, "attention@readers": by_attention, "mean_map@readers": by_mean}
        for row, found in rows.items():
            value = part.values[f"{row}/{metric}"][0, 1]
            assert value == pytest.approx(np.mean(found[metric]), abs=1e-5)
            assert np.isnan(part.values[f"{row}/{metric}"][0, 4])
    assert not np.isnan(part.values["attention@bob/cc"][0, 4])
    assert np.isnan(part.values["attention@ann/cc"][0, 4])


def test_numbers_are_means_of_values_and_differences_are_paired(part):
    for name, values in part.values.items():
        assert part.numbers[name][0] == pytest.approx(np.nanmean(values)), name
    pairs = [("attention", row) for row in ("attention_step_0", "mean_map", "centre", "readers")]
    pairs += [("attention@readers", row) for row in ("readers", "mean_map@readers")]
    for one, other in pairs:
        for metric in ALL_METRICS:
            if other == "readers" and metric in OF_DENSITIES:
                continue
            differences = part.values[f"{one}/{metric}"] - part.values[f"{other}/{metric}"]
            estimate, low, high = part.numbers[f"{one}-{other}/{metric}"]
            assert estimate == pytest.approx(np.nanmean(differences), abs=1e-12)
            assert low <= high


def test_readers_are_no_ceiling_of_densities(part):
    for metric in OF_DENSITIES:
        for kind in (part.values, part.numbers):
            assert f"attention@readers/{metric}" in kind
            assert f"readers/{metric}" not in kind
        assert not [name for name in part.numbers if name.endswith(f"-readers/{metric}")]
    assert "have no row 'by the others'" in part.table.splitlines()[-1]


def test_table_fits_a_page(part):
    lines = part.table.splitlines()
    assert max(map(len, lines)) <= 100
    for words in ("AUC (shuffled)", "KL (nat)", "each reader, by the others", "attention, bob"):
        assert words in part.table
    assert lines[-2] == "images with gaze: 6; with that of two readers or more: 5"


def test_without_names_there_are_no_rows_of_single_readers(part, split, mesh, mean_map):
    bare = measure(split, {"attention": jax.jit(attention)}, mean_map=mean_map, mesh=mesh, seed=0)
    assert {name.rpartition("/")[0] for name in bare.values} == {
        *("attention", "mean_map", "centre", "uniform", "readers"),
        *("attention@readers", "mean_map@readers"),
    }
    for name, values in bare.values.items():
        np.testing.assert_array_equal(values, part.values[name])


def test_saliency_is_measured_as_attention_is_under_other_names(part, split, mesh, mean_map):
    maps = {"saliency": jax.jit(attention), "saliency_step_0": functools.partial(render, mesh=mesh)}
    found = measure(
        split,
        maps,
        subject="saliency",
        mean_map=mean_map,
        mesh=mesh,
        seed=0,
        reader_names=NAMES,
    )
    assert found.numbers == {k.replace("attention", "saliency"): v for k, v in part.numbers.items()}
    assert found.values.keys() == {k.replace("attention", "saliency") for k in part.values}
    assert "saliency, bob" in found.table
    assert "attention" not in found.table
    assert max(map(len, found.table.splitlines())) <= 100


def test_without_gaze_there_is_nothing_to_say(mesh, mean_map):
    empty = load_split(
        lambda: batches(has_gaze=np.zeros(12, bool)), patient_ids=PATIENTS, mesh=mesh
    )
    part = measure(empty, {"attention": attention}, mean_map=mean_map, mesh=mesh, seed=0)
    assert part.numbers == part.values == {}
    assert "skipped" in part.table
