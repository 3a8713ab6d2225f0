import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.config.siamese import FOCUS_VIEWS
from gazax.methods.focus_contrast import FocusViews
from gazax.methods.views import own_gaze
from gazax.ops.focus import focus_drop
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.view_makers import check_places

STILL = {"rotation_degrees": 0.0, "brightness": 0.0, "contrast": 0.0}


def test_views_come_from_the_place_alone_and_compile_once(rng):
    check_places(FocusViews(**FOCUS_VIEWS), rng, size=24)


def test_an_image_without_gaze_takes_the_plain_zoom(rng):
    n, size = 32, 24
    has_gaze = np.arange(n) % 2 == 0
    batch = tiny_batch(n, size=size, has_gaze=has_gaze)
    # A ramp from left to right: the slope of the view is one over the zoom.
    ramp = np.broadcast_to((np.arange(size) * 10)[None, :, None], (size, size, 1))
    batch["image"] = np.tile(ramp, (n, 1, 1, 1)).astype(np.uint8)
    maker = FocusViews(
        **FOCUS_VIEWS
        | STILL
        | {
            "cutout_probability": 0.0,
            "drop_probability": 0.0,
            "plain_zoom": (1.8, 2.0),
            "zoom": (1.0, 1.5),
        }
    )
    views = np.asarray(jax.jit(maker)(batch, rng))[..., 0]
    zoom = 10 * 6 / 255 / (views[:, 12, 15] - views[:, 12, 9])
    looked = np.repeat(has_gaze, 2)
    assert 1 - 1e-4 <= zoom[looked].min() < 1.1
    assert 1.4 < zoom[looked].max() <= 1.5 + 1e-4
    assert 1.8 - 1e-4 <= zoom[~looked].min() < 1.85
    assert 1.95 < zoom[~looked].max() <= 2 + 1e-4


def test_without_crop_and_cutout_the_drop_is_what_is_left(rng):
    batch = tiny_batch(6, size=24)
    only_drop = dict(crop_probability=0.0, cutout_probability=0.0, drop_probability=1.0)
    maker = FocusViews(**FOCUS_VIEWS | STILL | only_drop)
    views = jax.jit(maker)(batch, rng)
    image, mask = jnp.asarray(batch["image"]) / 255.0, jnp.ones((24, 24))
    dropped = jax.jit(
        lambda: jax.vmap(lambda one, gaze: focus_drop(one, gaze, mask))(image, own_gaze(batch))
    )()
    np.testing.assert_allclose(views[::2], dropped, atol=1e-5)
    np.testing.assert_allclose(views[1::2], dropped, atol=1e-5)
    # Every third image has no gaze, and is as it was.
    np.testing.assert_allclose(views[::6], image[::3], atol=1e-5)
    assert jnp.abs(views[2] - image[1]).max() > 0.1


def test_published_settings_are_complete():
    assert set(FOCUS_VIEWS) == {field.name for field in dataclasses.fields(FocusViews)}


def test_a_wrong_probability_is_named():
    with pytest.raises(InputError, match=r"views.drop_probability is 5; .* \[0, 1\]"):
        FocusViews(**FOCUS_VIEWS | {"drop_probability": 5})
