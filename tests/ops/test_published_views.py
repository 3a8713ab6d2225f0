import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.ops.image import content_mask
from gazax.ops.photometry import content_blur
from gazax.ops.published_views import published_view, random_resized_crop, solarize

SIZE = (24, 32)
WHOLE = np.float32([0, 0, 32, 24])
PADDED = np.float32([4, 2, 30, 21])
KEYS = jax.random.split(jax.random.key(3), 100)
IMAGE = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (*SIZE, 1)), jnp.float32)
NOTHING = {
    "crop": (1.0, 1.0),
    "ratio": (1.0, 1.0),
    "flip": 0.0,
    "jitter_probability": 0.0,
    "blur_probability": 0.0,
    "blur": (0.05, 0.05),
    "solarize_probability": 0.0,
}
ROOMY = {"area": (0.2, 1.0), "ratio": (0.75, 4 / 3), "flip": 0.5}


@jax.jit
def compiled_views(content, strengths):
    def one(key):
        return published_view(key, IMAGE, content, brightness=0.8, contrast=0.8, **strengths)

    return jax.vmap(one)(KEYS)


def views(content, **strengths):
    """published_view of the image under each key."""
    return compiled_views(content, jax.tree.map(np.float32, NOTHING | strengths))


@jax.jit
def compiled_crops(image, content, strengths):
    return jax.vmap(lambda key: random_resized_crop(key, image, content, **strengths))(KEYS)


def crops(image, content, **strengths):
    """random_resized_crop of an image under each key."""
    return compiled_crops(image, content, jax.tree.map(np.float32, strengths))


# --- random_resized_crop ------------------------------------------------------------------------


def test_random_resized_crop_area_ratio_place_and_flip_have_their_distributions():
    # Ramps give the window back: where the image shows x / w and y / h, slopes are its sides.
    ramps = np.stack(np.meshgrid((np.arange(32) + 0.5) / 32, (np.arange(24) + 0.5) / 24))
    ramps = jnp.asarray(ramps[..., None], jnp.float32)

    x, y = (np.asarray(crops(ramp, WHOLE, **ROOMY)[0])[..., 0] for ramp in ramps)
    wide = (x[:, 12, 26] - x[:, 12, 6]) / 20 * 32
    tall = (y[:, 20, 16] - y[:, 4, 16]) / 16 * 24
    assert 0.4 < (wide < 0).mean() < 0.6
    wide = np.abs(wide)
    area, ratio = wide * tall, wide / tall
    assert 0.2 - 1e-4 <= area.min() < 0.24
    assert 0.85 < area.max() <= 1 + 1e-4
    assert 0.75 - 1e-3 <= ratio.min() < 0.79
    assert 1.27 < ratio.max() <= 4 / 3 + 1e-3
    assert abs(np.log(ratio).mean()) < 0.04
    assert wide.max() <= 1 + 1e-4
    assert tall.max() <= 1 + 1e-4
    # The window lies anywhere: its centre, out of what room there is.
    centre = (x[:, 12, 15] + x[:, 12, 16]) / 2
    room = (centre - 0.5) / np.maximum(1 - wide, 1e-6)
    room = room[wide < 0.8]
    assert np.abs(room).max() <= 0.5 + 1e-3
    assert room.min() < -0.4
    assert room.max() > 0.4


def test_random_resized_crop_that_never_fits_takes_the_whole():
    # Four times as wide as high, all of the area: twice as wide as there is.
    got, mask = crops(IMAGE, PADDED, area=(1.0, 1.0), ratio=(4.0, 4.0), flip=0.0)
    inside = content_mask(PADDED, size=SIZE)
    np.testing.assert_array_equal(got[0], IMAGE * inside[:, :, None])
    np.testing.assert_array_equal(mask[0], inside)


def test_random_resized_crop_lets_no_padding_in():
    inside = content_mask(PADDED, size=SIZE)[:, :, None]
    clean = crops(IMAGE, PADDED, **ROOMY)[0]
    dirty = crops(jnp.where(inside > 0, IMAGE, 50.0), PADDED, **ROOMY)[0]
    np.testing.assert_array_equal(clean, dirty)
    np.testing.assert_array_equal(clean * (1 - inside)[None], 0)


# --- solarize -----------------------------------------------------------------------------------


def test_solarize_by_hand():
    got = solarize(jnp.array([[[0.0], [0.25], [0.5], [0.75], [1.0]]]))
    np.testing.assert_array_equal(got[0, :, 0], [0, 0.25, 0.5, 0.25, 0])


# --- published_view -----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [WHOLE, PADDED])
def test_published_view_without_strength_changes_nothing(content):
    inside = content_mask(content, size=SIZE)[:, :, None]
    for got in views(content):
        np.testing.assert_array_equal(got, IMAGE * inside)


def test_published_view_takes_each_operator_alone():
    inside = content_mask(PADDED, size=SIZE)
    content = IMAGE * inside[:, :, None]
    mirrored = content.at[2:21, 4:30].set(content[2:21, 4:30][:, ::-1])
    for strengths, expected in (
        ({"flip": 1.0}, mirrored),
        ({"solarize_probability": 1.0}, solarize(content)),
        ({"blur_probability": 1.0}, content_blur(content, inside, 0.05 * 32)),
    ):
        for got in views(PADDED, **strengths):
            np.testing.assert_allclose(got, expected, atol=1e-5)
    jittered = views(PADDED, jitter_probability=1.0)
    assert jnp.abs(jittered - content[None]).max(axis=(1, 2, 3)).min() > 0.01
    np.testing.assert_array_equal(jittered * (1 - inside)[None, :, :, None], 0)


def test_published_view_takes_each_operator_as_often_as_it_says():
    strengths = {"jitter_probability": 0.8, "blur_probability": 0.1, "solarize_probability": 0.2}
    for name, probability in strengths.items():
        got = views(WHOLE, **{name: probability})
        changed = np.abs(np.asarray(got) - np.asarray(IMAGE)[None]).max(axis=(1, 2, 3)) > 1e-3
        assert abs(changed.mean() - probability) < 0.1


def test_published_view_stays_in_range_and_depends_on_the_key_alone():
    strong = {
        "crop": (0.08, 1.0),
        "ratio": (3 / 4, 4 / 3),
        "flip": 0.5,
        "jitter_probability": 0.8,
        "blur_probability": 0.5,
        "blur": (0.1 / 224, 2 / 224),
        "solarize_probability": 0.2,
    }
    got = views(PADDED, **strong)
    assert got.dtype == jnp.float32
    assert got.min() >= 0
    assert got.max() <= 1
    np.testing.assert_array_equal(got, views(PADDED, **strong))
    assert all(jnp.abs(got[0] - got[k]).max() > 0.02 for k in range(1, 8))
    for values in views(np.zeros(4, np.float32), **strong):
        np.testing.assert_array_equal(values, 0)
