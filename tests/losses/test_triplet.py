import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazax.losses import has_triplet, triplet_margin
from gazax.typing import InputError
from tests.reference import cooperative as reference

NAN = np.nan
CLASSES = (0, 1, 0, 2, 1, 0, 0)
VALID = np.array([True, True, False, True, True, True, False])
MININGS = ("all", "hard", "semi_hard")
SHAPES = {"embedding": (7, 4), "published": (7, 2, 3, 4)}
MARGINS = {"embedding": 0.4, "published": 1.0}
EACH = pytest.mark.parametrize(
    ("distance", "mining"), list(itertools.product(SHAPES, MININGS)), ids="-".join
)


def one_hot(classes=CLASSES):
    return np.eye(3, dtype=np.float32)[list(classes)]


def arrays(distance="embedding", seed=0):
    generator = np.random.default_rng(seed)
    return jnp.asarray(generator.normal(size=SHAPES[distance]), jnp.float32)


@functools.cache
def compiled(distance, mining):
    """(z, label, valid) -> (losses, gradient of their sum), in the margin of the distance."""

    def run(z, label, valid=None):
        def total(z):
            losses = triplet_margin(
                z, label, margin=MARGINS[distance], mining=mining, distance=distance, valid=valid
            )
            return losses.sum(), losses

        gradient, losses = jax.grad(total, has_aux=True)(z)
        return losses, gradient

    return jax.jit(run)


def on_the_circle(*degrees):
    angle = np.deg2rad(degrees)
    return 3.0 * jnp.asarray(np.stack([np.cos(angle), np.sin(angle)], axis=1), jnp.float32)


# Anchor at 0 degrees, its class at 60 (distance 1) and 20 (.347), another class at 40 (.684), 80
# (1.286) and 180 (2); the distance of an angle is 2 sin(angle / 2). With a margin of 0.5:
#   all        60 with 40: .816, with 80: .214, with 180: 0; 20 with 40: .163, then 0, 0
#   hard       60 with 40
#   semi_hard  60 with 80: .214; 20 with 40: .163
@pytest.mark.parametrize(
    ("mining", "expected"),
    [
        ("all", (0.815960 + 0.214425 + 0.163256) / 6),
        ("hard", 0.815960),
        ("semi_hard", (0.214425 + 0.163256) / 2),
    ],
)
def test_triplet_margin_by_hand(mining, expected):
    z = on_the_circle(0, 60, 20, 40, 80, 180)
    label = one_hot([0, 0, 0, 1, 1, 1])
    got = triplet_margin(z, label, margin=0.5, mining=mining)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got[0], expected, atol=1e-5)


def test_semi_hard_without_a_farther_negative_takes_the_farthest():
    # The positive at 90 (distance 1.414), the negatives at 10 (.174) and 30 (.518).
    got = triplet_margin(
        on_the_circle(0, 90, 10, 30), one_hot([0, 0, 1, 1]), margin=0.1, mining="semi_hard"
    )
    np.testing.assert_allclose(got[0], 1.414214 - 0.517638 + 0.1, atol=1e-5)


def test_semi_hard_beyond_the_margin_costs_nothing():
    z = on_the_circle(0, 10, 90, 180)
    got = triplet_margin(z, one_hot([0, 0, 1, 1]), margin=0.2, mining="semi_hard")
    assert got[0] == 0.0


def test_published_distance_by_hand():
    # One row, two channels, width 2. Distances of the positive: 5 and 0; of the negative: 3 and 2.
    maps = np.zeros((3, 1, 2, 2), np.float32)
    maps[1, 0, :, 0] = 3, 4
    maps[2, 0, :, 0], maps[2, 0, :, 1] = (0, 3), (2, 0)
    got = triplet_margin(maps, one_hot([0, 0, 1]), margin=1.0, distance="published")
    # relu(5 - 3 + 1) and relu(0 - 2 + 1)
    np.testing.assert_allclose(got[0], (3.0 + 0.0) / 2, atol=1e-5)


@EACH
@pytest.mark.parametrize("valid", [None, VALID, VALID.astype(np.float32)])
def test_triplet_margin_equals_loops(distance, mining, valid):
    z, label = arrays(distance), one_hot()
    label[4] = NAN
    got, _ = compiled(distance, mining)(z, label, valid)
    assert got.shape == (7,)
    expected = reference.triplet_margin(z, label, MARGINS[distance], mining, distance, valid)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    assert expected.max() > 0.1


@pytest.mark.parametrize("at_once", [1, 40, 90, 200])
@pytest.mark.parametrize("distance", list(SHAPES))
def test_how_many_anchors_are_taken_at_once_changes_nothing(distance, at_once, monkeypatch):
    """From one anchor and one positive at a time to several and a rest."""
    from gazax.losses import triplet

    expected = compiled(distance, "all")(arrays(distance), one_hot())
    monkeypatch.setattr(triplet, "_AT_ONCE", at_once)
    found = compiled.__wrapped__(distance, "all")(arrays(distance), one_hot())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("distance", list(SHAPES))
def test_a_triplet_is_torchs(distance):
    """Value and gradient of each triplet alone; PyTorch takes the last axis of NCHW, the width."""
    torch = pytest.importorskip("torch")
    z, label = arrays(distance, 1), one_hot([0, 0, 1])

    @jax.jit
    @jax.value_and_grad
    def ours(x):
        # The anchor's own loss alone: the positive is an anchor too.
        return triplet_margin(x, label, margin=MARGINS[distance], distance=distance)[0]

    criterion = torch.nn.TripletMarginLoss(margin=MARGINS[distance])
    triplets = [(0, 1, 3), (2, 5, 4), (6, 0, 1)]
    for rows in triplets:
        x = z[np.array(rows)]
        theirs = torch.tensor(np.array(x), dtype=torch.float64, requires_grad=True)
        if distance == "embedding":
            value = criterion(*torch.nn.functional.normalize(theirs))
        else:
            value = criterion(*theirs.permute(0, 3, 1, 2))
        value.backward()
        loss, gradient = ours(x)
        np.testing.assert_allclose(loss, value.item(), atol=1e-5)
        np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=2e-5)


@pytest.mark.parametrize("distance", list(SHAPES))
def test_all_is_the_published_sum_over_the_number_of_triplets(distance):
    """All ordered triplets of the batch, as the published code adds them up, by torch."""
    torch = pytest.importorskip("torch")
    z, label = arrays(distance, 2), one_hot()
    criterion = torch.nn.TripletMarginLoss(margin=MARGINS[distance])
    rows = torch.tensor(np.array(z), dtype=torch.float64)
    rows = (
        torch.nn.functional.normalize(rows) if distance == "embedding" else rows.permute(0, 3, 1, 2)
    )
    total, numbers = 0.0, np.zeros(7)
    for a, p, n in itertools.product(range(7), repeat=3):
        if a != p and CLASSES[a] == CLASSES[p] != CLASSES[n]:
            total += criterion(rows[a], rows[p], rows[n]).item()
            numbers[a] += 1
    ours, _ = compiled(distance, "all")(z, label)
    np.testing.assert_allclose((ours * numbers).sum(), total, rtol=1e-5)


@EACH
def test_equal_distances_cost_the_margin(distance, mining):
    got, _ = compiled(distance, mining)(jnp.ones(SHAPES[distance]), one_hot())
    np.testing.assert_allclose(got, np.where(has_triplet(one_hot()), MARGINS[distance], 0.0))


@EACH
def test_coincident_and_zero_rows_have_finite_gradients(distance, mining):
    z = arrays(distance)
    same = z.at[2].set(z[0]).at[1].set(z[0]).at[3].set(0.0).at[5].set(0.0)
    for degenerate in (jnp.zeros_like(z), jnp.ones_like(z), same, z * 1e-20, z * 1e15):
        for found in compiled(distance, mining)(degenerate, one_hot()):
            assert jnp.isfinite(found).all()


def test_a_published_distance_of_exactly_zero_has_a_finite_gradient():
    # 0 - 1e-6 + 1e-6
    maps = jnp.zeros(SHAPES["published"]).at[2].set(1e-6).at[1].set(0.5)
    for found in compiled("published", "all")(maps, one_hot()):
        assert jnp.isfinite(found).all()


@EACH
@pytest.mark.parametrize("junk", [1e3, NAN, np.inf])
def test_what_does_not_count_equals_what_is_not_there(distance, mining, junk):
    """By `valid` or by an unknown label: zero value and gradient, and nobody's partner."""
    z, label = arrays(distance), one_hot()
    label[4] = NAN
    kept = VALID & (np.arange(7) != 4)
    dirty = z.at[~kept].set(junk)
    losses, gradient = compiled(distance, mining)(dirty, label, VALID)
    short_losses, short_gradient = compiled(distance, mining)(z[kept], label[kept])
    np.testing.assert_array_equal(losses[~kept], 0)
    np.testing.assert_allclose(losses[kept], short_losses, atol=1e-6)
    np.testing.assert_array_equal(gradient[~kept], 0)
    np.testing.assert_allclose(gradient[kept], short_gradient, atol=1e-6)
    assert np.abs(gradient).max() > 1e-3


@EACH
@pytest.mark.parametrize(
    "classes", [(1,) * 7, (0, 1, 2, 3, 4, 5, 6)], ids=["no negative", "no positive"]
)
def test_a_batch_without_triplets_is_exactly_zero(distance, mining, classes):
    label = np.eye(7, dtype=np.float32)[list(classes)]
    assert not has_triplet(label).any()
    for found in compiled(distance, mining)(arrays(distance), label):
        np.testing.assert_array_equal(found, 0)


def test_a_batch_of_one_is_exactly_zero():
    for found in compiled("embedding", "all")(arrays()[:1], one_hot([1])):
        np.testing.assert_array_equal(found, 0)


def test_has_triplet_by_hand():
    # Class 2 is there once; row 2 is the only other valid one of class 1.
    label = one_hot([0, 0, 1, 1, 2, 1])
    np.testing.assert_array_equal(has_triplet(label), [1, 1, 1, 1, 0, 1])
    valid = np.array([1, 1, 1, 0, 1, 1.0])
    np.testing.assert_array_equal(has_triplet(label, valid=valid), [1, 1, 1, 0, 0, 1])
    label[5] = NAN
    np.testing.assert_array_equal(has_triplet(label, valid=valid), [1, 1, 0, 0, 0, 0])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(1e-3, 1e3))
def test_embeddings_ignore_scale_and_order_and_mining_is_ordered(seed, scale):
    z, label = arrays(seed=seed), one_hot()
    order = np.random.default_rng(seed).permutation(7)
    found = {}
    for mining in MININGS:
        loss = compiled("embedding", mining)
        found[mining], _ = loss(z, label)
        np.testing.assert_allclose(loss(scale * z, label)[0], found[mining], atol=2e-6)
        moved, _ = loss(z[order], label[order])
        np.testing.assert_allclose(moved, found[mining][order], atol=2e-6)
        np.testing.assert_array_less(-1e-9, found[mining])
        np.testing.assert_array_less(found[mining], 2.4)
    # The hardest triplet costs most.
    assert (found["hard"] >= found["all"] - 1e-6).all()
    assert (found["hard"] >= found["semi_hard"] - 1e-6).all()


@pytest.mark.parametrize("distance", list(SHAPES))
def test_triplet_margin_computes_in_float32_from_bfloat16(distance):
    z = arrays(distance).astype(jnp.bfloat16)
    got, _ = compiled(distance, "all")(z, one_hot())
    assert got.dtype == jnp.float32
    expected, _ = compiled(distance, "all")(z.astype(jnp.float32), one_hot())
    np.testing.assert_array_equal(got, expected)


def test_what_is_not_known_is_named():
    z, maps, label = arrays(), arrays("published"), one_hot()
    with pytest.raises(InputError, match="mining='easy'; known: all, hard, semi_hard"):
        triplet_margin(z, label, margin=0.1, mining="easy")
    with pytest.raises(InputError, match="distance='cosine'; known: embedding, published"):
        triplet_margin(z, label, margin=0.1, distance="cosine")
    with pytest.raises(InputError, match=r"an array with 4 axes; 'embedding' is of \[b, d\]"):
        triplet_margin(maps, label, margin=0.1)
    with pytest.raises(InputError, match="distance='published' of an array with 2 axes"):
        triplet_margin(z, label, margin=0.1, distance="published")
