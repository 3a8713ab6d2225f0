import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.eval.encode import load_split
from gazax.eval.pointing import measure
from gazax.train import sharding
from tests.eval.splits import batches

PATIENTS = np.array([f"p{i}" for i in range(12)])
CONTENT = np.tile(np.float32([0, 0, 32, 16]), (12, 1))


def drawn():
    """A box of the first label in images 0 to 4, and its mask, shifted, in images 1 and 2.

    It is present in images 0 to 3 only. In image 3 the box lies in the padding.
    """
    box = np.full((12, 2, 4), np.nan, np.float32)
    box_label = np.full((12, 2), -1, np.int32)
    box[:5, 0], box_label[:5, 0] = [8, 4, 16, 8], 0
    box[3, 0] = [8, 20, 16, 30]
    label = np.zeros((12, 2), np.float32)
    label[:4, 0] = 1
    mask = np.zeros((12, 32, 32, 2), np.uint8)
    mask[1:3, 4:8, 20:22, 0] = 1
    return {"box": box, "box_label": box_label, "label": label, "mask": mask, "content": CONTENT}


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


def load(mesh, **changes):
    return load_split(
        functools.partial(batches, **{**drawn(), **changes}), patient_ids=PATIENTS, mesh=mesh
    )


@jax.jit
def attention(batch):
    """One pixel: inside the box in image 0, in the mask in image 1, 3 px beside the box in 2."""
    x = jnp.array([10, 21, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0])[batch["index"]]
    columns = jax.lax.broadcasted_iota(jnp.int32, (x.shape[0], 32, 32), 2)
    rows = jax.lax.broadcasted_iota(jnp.int32, (x.shape[0], 32, 32), 1)
    # The padding holds more, and does not count.
    return (columns == x[:, None, None]) * (rows == 6) + 5.0 * (rows > 20)


@pytest.fixture(scope="module")
def mean_map():
    """Half of it lies in the box, its maximum outside."""
    one = np.zeros((32, 32))
    one[4:8, 8:16] = 1 / 32
    one[0, 0] = 1.0
    return one


@pytest.fixture(scope="module")
def part(mesh, mean_map):
    return measure(load(mesh), {"attention": attention}, mean_map=mean_map, mesh=mesh, seed=0)


def known(part, name):
    """Values by image, without those that have none."""
    values = part.values[name]
    assert values.shape == (1, 10)
    return {i: float(values[0, i]) for i in range(10) if not np.isnan(values[0, i])}


def test_images_without_a_region_of_a_present_label_are_left_out(part):
    assert known(part, "attention/pointing") == {0: 1, 1: 0, 2: 0}
    assert known(part, "attention/energy") == {0: 1, 1: 0, 2: 0}
    assert known(part, "attention/pointing_mask") == {1: 1, 2: 0}
    assert known(part, "attention/energy_mask") == {1: 1, 2: 0}


def test_chance_is_the_regions_share_of_the_content(part):
    box, mask = 8 * 4 / (32 * 16), 2 * 4 / (32 * 16)
    for column, share in (("pointing", box), ("energy", box)):
        assert known(part, f"uniform/{column}") == pytest.approx(dict.fromkeys((0, 1, 2), share))
        assert known(part, f"uniform/{column}_mask") == {1: mask, 2: mask}


def test_baselines_are_maps_like_any_other(part):
    assert known(part, "mean_map/pointing") == {0: 0, 1: 0, 2: 0}
    assert known(part, "mean_map/energy") == pytest.approx({0: 0.5, 1: 0.5, 2: 0.5})
    # The content's centre is the corner of four pixels, one of which is the box's last.
    assert known(part, "centre/pointing") == {0: 0.25, 1: 0.25, 2: 0.25}
    assert set(known(part, "gaze/energy")) == {1, 2}  # image 0 has no gaze


def test_numbers_are_means_and_the_difference_is_paired(part):
    for name, values in part.values.items():
        assert part.numbers[name][0] == pytest.approx(np.nanmean(values)), name
    estimate, low, high = part.numbers["attention-mean_map/energy"]
    assert estimate == pytest.approx(1 / 3 - 1 / 2)
    assert low < high
    lines = part.table.splitlines()
    assert max(map(len, lines)) <= 100
    assert "images with a box: 3; tolerance 0 px" in lines
    assert "images with a mask: 2; tolerance 0 px" in lines


def test_predicted_saliency_is_a_row_of_its_own(mesh, mean_map, part):
    maps = {"attention": lambda batch: 1 - attention(batch), "saliency": attention}
    found = measure(load(mesh), maps, mean_map=mean_map, mesh=mesh, seed=0)
    for column in ("pointing", "energy", "pointing_mask", "energy_mask"):
        assert known(found, f"saliency/{column}") == known(part, f"attention/{column}")
        difference = found.numbers[f"saliency-mean_map/{column}"]
        assert difference == part.numbers[f"attention-mean_map/{column}"]
    assert "saliency, predicted" in found.table


def test_tolerance_is_the_distance_to_the_region(mesh, mean_map):
    # From the centre of column 18 to that of column 15, the box's last, there are 3 px.
    for tolerance, hit in ((2.5, 0), (3.0, 1)):
        part = measure(
            load(mesh),
            {"attention": attention},
            mean_map=mean_map,
            mesh=mesh,
            seed=0,
            tolerance_px=tolerance,
        )
        assert known(part, "attention/pointing")[2] == hit
        chance = known(part, "uniform/pointing")[0]
        assert chance > known(part, "uniform/energy")[0] == 8 * 4 / (32 * 16)


def test_without_a_region_there_is_nothing_to_say(mesh, mean_map):
    for changes in ({"label": np.zeros((12, 2), np.float32)}, {"label": np.zeros((12, 0))}):
        split = load(mesh, **{name: value.astype(np.float32) for name, value in changes.items()})
        part = measure(split, {"attention": attention}, mean_map=mean_map, mesh=mesh, seed=0)
        assert part.numbers == part.values == {}
        assert "skipped" in part.table
