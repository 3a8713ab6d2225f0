from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from gazax.losses import multiclass, multilabel, segmentation_loss
from tests.losses.devices import assert_same_on_all_devices
from tests.reference import supervised as reference

NAN = np.nan
VALID = np.array([True, False, True, True, False, True])


def scores(seed=0, b=6, k=4):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 2, (b, k)), jnp.float32)


def one_hot(seed=0, b=6, k=4):
    return np.eye(k, dtype=np.float32)[np.random.default_rng(seed).integers(0, k, b)]


def some_unknown(seed=0, b=6, k=4):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, (b, k)).astype(np.float32)
    return np.where(generator.random((b, k)) < 0.3, NAN, label).astype(np.float32)


def planes(seed=0, b=6, size=(5, 4), k=3):
    """Logits, soft masks of which one plane is empty and one unknown, and the content."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (b, *size, k)).astype(np.float32)
    mask = np.clip(generator.normal(0.5, 0.6, (b, *size, k)), 0, 1).astype(np.float32)
    mask[0, :, :, 1] = 0.0
    mask[2, :, :, 0] = NAN
    where = np.ones((b, *size), np.float32)
    where[:, :1], where[1, :, 2:] = 0.0, 0.0
    return jnp.asarray(logits), mask, where


def gradient(loss, logits):
    return jax.grad(lambda x: loss(x).sum())(logits)


# --- multiclass ---------------------------------------------------------------------------------


def test_multiclass_by_hand():
    # logits (ln 3, 0): p = (3/4, 1/4); -ln(1/4) = 1.386294; smoothed by .2: t = (.1, .9).
    logits, label = jnp.array([[np.log(3.0), 0.0]]), np.array([[0.0, 1.0]])
    np.testing.assert_allclose(multiclass(logits, label), [1.386294], rtol=1e-6)
    expected = 0.1 * 0.2876821 + 0.9 * 1.3862944
    np.testing.assert_allclose(multiclass(logits, label, label_smoothing=0.2), [expected], 1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_multiclass_of_equal_logits_is_log_of_classes(smoothing):
    got = multiclass(jnp.full((6, 4), 7.0), one_hot(), label_smoothing=smoothing)
    np.testing.assert_allclose(got, np.log(4), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("valid", [None, VALID])
def test_multiclass_equals_loops_and_torch(smoothing, valid):
    torch = pytest.importorskip("torch")
    logits, label = scores(), one_hot()
    label[3, 2] = NAN
    got = multiclass(logits, label, label_smoothing=smoothing, valid=valid)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, reference.multiclass(logits, label, smoothing, valid), 1e-5)
    kept = ~np.isnan(label).any(axis=1) & (True if valid is None else valid)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(np.asarray(logits)[kept]),
        torch.tensor(label[kept].argmax(axis=1)),
        reduction="none",
        label_smoothing=smoothing,
    )
    np.testing.assert_allclose(np.asarray(got)[kept], theirs, rtol=1e-5)


def test_multiclass_mean_is_scikit_learns_log_loss():
    logits, label = scores(1), one_hot(1)
    ours = multiclass(logits, label).mean()
    np.testing.assert_allclose(ours, log_loss(label, jax.nn.softmax(logits, axis=1)), rtol=1e-5)


CLASS_WEIGHT = np.array([0.5, 2.0, 3.0, 0.0], np.float32)


def test_class_weight_by_hand():
    # -ln(1/4) of the second class, of weight 3; a soft label of (1/4, 3/4) has 1/4 + 9/4.
    logits = jnp.array([[np.log(3.0), 0.0]])
    weighted = partial(multiclass, logits, class_weight=np.array([1.0, 3.0]))
    np.testing.assert_allclose(weighted(np.array([[0.0, 1.0]])), [3 * 1.386294], rtol=1e-6)
    soft = 2.5 * (0.25 * 0.2876821 + 0.75 * 1.3862944)
    np.testing.assert_allclose(weighted(np.array([[0.25, 0.75]])), [soft], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("valid", [None, VALID])
def test_weighted_multiclass_equals_loops(smoothing, valid):
    logits, label = scores(7), one_hot(7)
    label[0] = 0.1, 0.2, 0.3, 0.4
    label[3, 2] = NAN
    got = multiclass(
        logits, label, label_smoothing=smoothing, class_weight=CLASS_WEIGHT, valid=valid
    )
    expected = reference.multiclass(logits, label, smoothing, valid, CLASS_WEIGHT)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_weighted_multiclass_is_torchs_but_for_its_mean():
    torch = pytest.importorskip("torch")
    logits, label = scores(8), one_hot(8)
    got = multiclass(logits, label, class_weight=CLASS_WEIGHT)
    theirs = partial(
        torch.nn.functional.cross_entropy,
        torch.tensor(np.array(logits)),
        torch.tensor(label.argmax(axis=1)),
        weight=torch.tensor(CLASS_WEIGHT),
    )
    np.testing.assert_allclose(got, theirs(reduction="none"), rtol=1e-5)
    weights = CLASS_WEIGHT[label.argmax(axis=1)]
    np.testing.assert_allclose(got.sum() / weights.sum(), theirs(), rtol=1e-5)
    assert abs(got.mean() - theirs().item()) > 1e-3


def test_class_weight_weighs_the_gradient_and_ones_change_nothing():
    logits, label = scores(9), one_hot(9)
    plain = partial(multiclass, label=label, label_smoothing=0.1)
    weighted = gradient(partial(plain, class_weight=CLASS_WEIGHT), logits)
    expected = gradient(plain, logits) * CLASS_WEIGHT[label.argmax(axis=1)][:, None]
    np.testing.assert_allclose(weighted, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(plain(logits, class_weight=np.ones(4)), plain(logits))


# --- multilabel ---------------------------------------------------------------------------------


def test_multilabel_by_hand():
    # sigmoid(ln 3) = 3/4: present costs ln(4/3), absent ln 4; weighted 2 ln(4/3); unknown nothing.
    logits = jnp.full((1, 3), np.log(3.0))
    label = np.array([[1.0, 0.0, NAN]])
    np.testing.assert_allclose(multilabel(logits, label), [(0.2876821 + 1.3862944) / 2], 1e-6)
    weighted = multilabel(logits, label, positive_weight=np.array([2.0, 5.0, 7.0]))
    np.testing.assert_allclose(weighted, [(2 * 0.2876821 + 1.3862944) / 2], 1e-6)


@pytest.mark.parametrize("weight", [None, (0.5, 2.0, 3.0, 1.0)])
@pytest.mark.parametrize("valid", [None, VALID])
def test_multilabel_equals_loops_and_torch(weight, valid):
    torch = pytest.importorskip("torch")
    logits, label = scores(2), some_unknown(2)
    array = None if weight is None else np.array(weight, np.float32)
    got = multilabel(logits, label, positive_weight=array, valid=valid)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, reference.multilabel(logits, label, weight, valid), 1e-5)
    entries = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(np.asarray(logits)),
        torch.tensor(np.nan_to_num(label)),
        reduction="none",
        pos_weight=None if weight is None else torch.tensor(array),
    ).numpy()
    theirs = np.nanmean(np.where(np.isnan(label), NAN, entries), axis=1)
    kept = slice(None) if valid is None else valid
    np.testing.assert_allclose(np.asarray(got)[kept], theirs[kept], rtol=1e-5)


def test_multilabel_of_nothing_known_is_exactly_zero():
    logits, label = scores().at[1].set(NAN), some_unknown()
    label[1] = NAN
    assert multilabel(logits, label)[1] == 0.0
    np.testing.assert_array_equal(gradient(lambda x: multilabel(x, label), logits)[1], 0)


# --- segmentation -------------------------------------------------------------------------------


def test_segmentation_loss_by_hand():
    # Two pixels, p = (3/4, 1/2), t = (1, 0): bce = (ln(4/3) + ln 2) / 2,
    # dice = 1 - (2 * 3/4 + 1) / (9/16 + 1/4 + 1 + 1) = 1 - 2.5 / 2.8125.
    logits = jnp.array([np.log(3.0), 0.0]).reshape(1, 1, 2, 1)
    mask = np.array([1.0, 0.0]).reshape(1, 1, 2, 1)
    loss = partial(segmentation_loss, logits, mask, where=np.ones((1, 1, 2)))
    bce, dice = (0.2876821 + 0.6931472) / 2, 1 - 2.5 / 2.8125
    np.testing.assert_allclose(loss(dice_weight=0.0), [bce], rtol=1e-6)
    np.testing.assert_allclose(loss(bce_weight=0.0), [dice], rtol=1e-5)
    np.testing.assert_allclose(loss(dice_weight=3.0, bce_weight=2.0), [2 * bce + 3 * dice], 1e-6)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.0, 1.0), (2.0, 0.0)])
@pytest.mark.parametrize("valid", [None, VALID])
def test_segmentation_loss_equals_loops(weights, valid):
    logits, mask, where = planes()
    got = segmentation_loss(
        logits, mask, where=where, dice_weight=weights[0], bce_weight=weights[1], valid=valid
    )
    assert got.dtype == jnp.float32
    expected = reference.segmentation_loss(logits, mask, where, *weights, valid)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_segmentation_bce_is_torchs():
    torch = pytest.importorskip("torch")
    logits, mask, _ = planes(1)
    mask = np.nan_to_num(mask)
    got = segmentation_loss(logits, mask, where=np.ones(mask.shape[:3]), dice_weight=0.0)
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(np.asarray(logits)), torch.tensor(mask), reduction="none"
    )
    np.testing.assert_allclose(got, theirs.mean(dim=(1, 2, 3)), rtol=1e-5)


def test_dice_is_zero_where_a_soft_mask_is_met():
    _, mask, where = planes(2)
    mask = np.clip(mask, 0.05, 0.95)
    logits = jnp.asarray(np.log(mask / (1 - mask)))
    got = segmentation_loss(logits, mask, where=where, bce_weight=0.0)
    np.testing.assert_allclose(got, 0, atol=1e-6)
    assert (segmentation_loss(logits + 1, mask, where=where, bce_weight=0.0) > 1e-3).all()


@pytest.mark.parametrize(("predicted", "expected"), [(0, 0.0), (1, 0.5), (3, 0.75)])
def test_dice_of_an_empty_plane_is_as_documented(predicted, expected):
    logits = np.full((1, 2, 2, 1), -40.0, np.float32)
    logits.reshape(-1)[:predicted] = 40.0
    loss = partial(segmentation_loss, where=np.ones((1, 2, 2)), bce_weight=0.0)
    np.testing.assert_allclose(loss(logits, np.zeros((1, 2, 2, 1))), [expected], atol=1e-6)


def test_what_lies_outside_the_content_does_not_count():
    logits, mask, where = planes(3)
    outside = (where == 0)[..., None]
    junk = jnp.where(outside, NAN, logits), np.where(outside, 1.0 - mask, mask)
    loss = lambda x, mask: segmentation_loss(x, mask, where=where)  # noqa: E731
    np.testing.assert_array_equal(loss(*junk), loss(logits, mask))
    grads = gradient(lambda x: loss(x, mask), junk[0])
    np.testing.assert_array_equal(np.asarray(grads)[np.broadcast_to(outside, grads.shape)], 0)
    np.testing.assert_array_equal(loss(logits, mask) > 0, True)
    empty = segmentation_loss(logits, mask, where=np.zeros_like(where))
    np.testing.assert_array_equal(empty, 0)


# --- all ----------------------------------------------------------------------------------------

LABELS = {"multiclass": one_hot(5), "weighted": one_hot(5), "multilabel": some_unknown(5)}


def loss_of(name):
    """(logits, what is unknown or not valid, logits -> losses) of each loss."""
    if name == "segmentation":
        logits, mask, where = planes(4)
        off = np.isnan(mask).any(axis=(1, 2))[:, None, None, :] | ~VALID[:, None, None, None]
        return logits, off, lambda x: segmentation_loss(x, mask, where=where, valid=VALID)
    loss = {
        "multiclass": multiclass,
        "weighted": partial(multiclass, class_weight=CLASS_WEIGHT),
        "multilabel": multilabel,
    }[name]
    label = LABELS[name].copy()
    label[5, 1] = NAN
    off = np.isnan(label) | ~VALID[:, None]
    if name != "multilabel":
        off = np.broadcast_to(off.any(axis=1, keepdims=True), off.shape)
    return scores(5), off, lambda x: loss(x, label, valid=VALID)


ALL = pytest.mark.parametrize("name", ["multiclass", "weighted", "multilabel", "segmentation"])


@ALL
@pytest.mark.parametrize("junk", [NAN, np.inf, -np.inf, 1e30])
def test_what_is_unknown_or_not_valid_is_exactly_zero(name, junk):
    logits, off, loss = loss_of(name)
    dirty = jnp.where(off, junk, logits)
    np.testing.assert_array_equal(loss(dirty), loss(logits))
    np.testing.assert_array_equal(loss(dirty)[~VALID], 0)
    got, clean = gradient(loss, dirty), gradient(loss, logits)
    np.testing.assert_array_equal(got, clean)
    np.testing.assert_array_equal(np.asarray(got)[np.broadcast_to(off, got.shape)], 0)
    assert np.abs(got).max() > 1e-3


@ALL
@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(name, value):
    logits, _, loss = loss_of(name)
    for extreme in (jnp.full_like(logits, value), logits * abs(value)):
        assert jnp.isfinite(loss(extreme)).all()
        assert jnp.isfinite(gradient(loss, extreme)).all()


@ALL
def test_losses_compute_in_float32_from_bfloat16(name):
    logits, _, loss = loss_of(name)
    low = logits.astype(jnp.bfloat16)
    got = loss(low)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, loss(low.astype(jnp.float32)))


@ALL
def test_losses_jit_equals_eager(name):
    logits, _, loss = loss_of(name)
    np.testing.assert_allclose(jax.jit(loss)(logits), loss(logits), rtol=1e-5, atol=1e-7)


@ALL
def test_losses_are_the_same_on_one_device_and_four(name):
    # Two valid rows on one device, none on another: a mean of local means would be wrong.
    valid = np.array([1, 1, 0, 1, 0, 0, 1, 0.0], np.float32)
    if name == "segmentation":
        logits, mask, where = planes(6, b=8)
        rows = {"x": logits, "mask": mask, "where": where, "valid": valid}
    else:
        label = some_unknown(6, b=8) if name == "multilabel" else one_hot(6, b=8)
        rows = {"x": scores(6, b=8), "label": label, "valid": valid}

    def per_example(params, rows, axis_name):
        logits = rows["x"] * params["scale"] + params["shift"]
        if name == "segmentation":
            return segmentation_loss(logits, rows["mask"], where=rows["where"], valid=rows["valid"])
        weight = {"class_weight": CLASS_WEIGHT} if name == "weighted" else {}
        loss = multilabel if name == "multilabel" else multiclass
        return loss(logits, rows["label"], valid=rows["valid"], **weight)

    params = {"scale": jnp.float32(1.3), "shift": jnp.float32(0.2)}
    assert_same_on_all_devices(per_example, params, rows)
