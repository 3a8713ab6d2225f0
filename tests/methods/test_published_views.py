import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.config.siamese import PUBLISHED_VIEWS
from gazax.methods.published_views import PublishedViews
from gazax.ops.published_views import solarize
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.view_makers import check_places

STILL = PublishedViews(
    crop=(1.0, 1.0),
    ratio=(1.0, 1.0),
    flip=0.0,
    jitter=0.0,
    brightness=0.8,
    contrast=0.8,
    blur=(0.0, 0.0),
    blur_sigma=(0.05, 0.05),
    solarize=(0.0, 1.0),
)


def test_an_images_views_are_neighbours_and_each_has_its_own_probabilities(rng):
    batch = tiny_batch(3, size=16)
    views = jax.jit(STILL)(batch, rng)
    image = jnp.asarray(batch["image"]) / 255.0
    np.testing.assert_allclose(views[::2], image, atol=1e-6)
    np.testing.assert_allclose(views[1::2], solarize(image), atol=1e-6)


def test_views_come_from_the_place_alone_and_compile_once(rng):
    check_places(PublishedViews(**PUBLISHED_VIEWS["byol"]), rng, size=16)


def test_published_settings_are_complete():
    for settings in PUBLISHED_VIEWS.values():
        assert set(settings) == {field.name for field in dataclasses.fields(PublishedViews)}
        PublishedViews(**settings)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"flip": 1.5}, "views.flip is 1.5"),
        ({"blur": (0.5, -0.1)}, r"views.blur\[1\] is -0.1"),
    ],
)
def test_a_wrong_probability_is_named(changed, named):
    with pytest.raises(InputError, match=named):
        PublishedViews(**PUBLISHED_VIEWS["byol"] | changed)
