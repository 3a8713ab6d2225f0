import jax
import jax.numpy as jnp
import numpy as np

from gazax.ops.image import content_mask
from gazax.ops.photometry import content_blur, jitter
from tests.reference import windows as reference

SIZE = (10, 12)
MASK = content_mask(jnp.array([2.0, 1, 11, 9]), size=SIZE)
KEYS = jax.random.split(jax.random.key(5), 48)
IMAGE = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (*SIZE, 1)), jnp.float32)


@jax.jit
def jittered(image):
    def one(key):
        return jitter(key, image, MASK, brightness=0.4, contrast=0.8)

    return jax.vmap(one)(KEYS)


blurred = jax.jit(content_blur)


def test_jitter_takes_brightness_and_contrast_in_either_order():
    # Values around .4 are never clipped: mean and spread give both factors back.
    calm = 0.4 + 0.04 * (IMAGE - 0.5)
    inside = np.asarray(MASK) > 0
    before, after = np.asarray(calm[..., 0])[inside], np.asarray(jittered(calm))[..., 0][:, inside]
    brightness = after.mean(axis=1) / before.mean()
    contrast = after.std(axis=1) / before.std() / brightness
    for factor, strength in ((brightness, 0.4), (contrast, 0.8)):
        assert 1 - strength - 1e-4 <= factor.min() < 1 - 0.8 * strength
        assert 1 + 0.8 * strength < factor.max() <= 1 + strength + 1e-4

    orders = []
    for k, image in enumerate(np.asarray(jittered(IMAGE))[..., 0]):
        distance = [
            np.abs(
                image
                - reference.jitter(
                    np.asarray(IMAGE[..., 0], float),
                    np.asarray(MASK),
                    brightness[k],
                    contrast[k],
                    brightness_first=first,
                )
            ).max()
            for first in (True, False)
        ]
        assert min(distance) < 2e-4
        if max(distance) > 1e-2:
            orders.append(distance[0] < distance[1])
    assert 0.2 < np.mean(orders) < 0.8


def test_jitter_leaves_padding_untouched_and_unseen():
    outside = np.asarray(MASK) == 0
    other = jnp.where(outside[:, :, None], 0.9, IMAGE)
    one, two = np.asarray(jittered(IMAGE)), np.asarray(jittered(other))
    np.testing.assert_array_equal(one[:, ~outside], two[:, ~outside])
    np.testing.assert_array_equal(one[:, outside], np.tile(IMAGE[outside], (len(KEYS), 1, 1)))


def test_content_blur_equals_loops_and_keeps_padding():
    got = blurred(IMAGE, MASK, jnp.float32(1.7))
    expected = reference.content_blur(np.asarray(IMAGE[..., 0], float), np.asarray(MASK), 1.7)
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-5)


def test_content_blur_of_a_flat_image_is_flat_up_to_the_border():
    flat = jnp.where(MASK[:, :, None] > 0, 0.5, 0.0)
    np.testing.assert_allclose(blurred(flat, MASK, jnp.float32(3.0)), flat, atol=1e-6)


def test_content_blur_without_content_or_width_changes_nothing():
    np.testing.assert_array_equal(blurred(IMAGE, 0 * MASK, jnp.float32(2.0)), IMAGE)
    np.testing.assert_allclose(blurred(IMAGE, MASK, jnp.float32(0.0)), IMAGE, atol=1e-6)
