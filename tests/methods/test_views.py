import jax
import jax.numpy as jnp
import numpy as np

from gazax.methods.attention import plain_maps
from gazax.methods.views import gaze_views, own_gaze
from tests.batches import tiny_batch


def centre(maps):
    """[n, 2]: centre of mass, px."""
    maps = np.asarray(maps, np.float64)
    y, x = np.indices(maps.shape[1:]) + 0.5
    total = maps.sum(axis=(1, 2))
    return (
        np.stack([(maps * x).sum(axis=(1, 2)), (maps * y).sum(axis=(1, 2))], axis=1)
        / total[:, None]
    )


def blobs(n=12, size=48):
    """Dark images with one bright blob, and one fixation on it."""
    batch = tiny_batch(n, size=size, fixations=1, readers=1, has_gaze=np.ones(n, bool))
    xy = np.random.default_rng(1).uniform(14, size - 14, (n, 2)).astype(np.float32)
    y, x = np.indices((size, size)) + 0.5
    distance = (x - xy[:, 0, None, None]) ** 2 + (y - xy[:, 1, None, None]) ** 2
    batch["image"] = (250 * np.exp(-distance / 18))[..., None].astype(np.uint8)
    batch["fixations"] |= {
        "xy": xy[:, None],
        "duration": np.ones((n, 1), np.float32),
        "sigma": np.full((n, 1, 2), 3.0, np.float32),
        "window": np.tile(np.float32([0, 0, size, size]), (n, 1, 1)),
        "reader": np.zeros((n, 1), np.int32),
    }
    return batch


def test_attention_gaze_and_image_stay_aligned_through_the_views(rng):
    """A network that sees pixels as they are attends to the blob: where the gaze is, to a pixel."""
    batch = blobs()
    standard = dict(crop=(0.8, 1.0), rotation_degrees=10.0, brightness=0.0, contrast=0.0)
    calm = dict(brightness=0.0, contrast=0.0, gamma=0.0, blur=0.0, noise=0.0, cutout_count=0)
    views = jax.jit(
        lambda: gaze_views(batch, own_gaze(batch), rng, standard=standard, strong=calm)
    )()
    assert bool(views.valid.all())
    attention = plain_maps({"feature_maps": [views.image]}, "energy", (0,))[0]
    moved = np.linalg.norm(centre(views.gaze[::2]) - batch["fixations"]["xy"][:, 0], axis=1)
    assert moved.max() > 1.5  # the views do move
    assert np.abs(centre(attention) - centre(views.gaze)).max() < 1.0
    assert np.abs(centre(views.image[..., 0]) - centre(views.gaze)).max() < 1.0


@jax.jit
def default_views(batch, rng):
    return gaze_views(batch, own_gaze(batch), rng, standard={}, strong={})


def test_an_images_two_views_are_neighbours(rng):
    batch = blobs(4)
    views = default_views(batch, rng)
    assert views.image.shape == (8, 48, 48, 1)
    alone = jax.tree.map(lambda x: x[2:3], batch)
    again = default_views(alone, rng)
    np.testing.assert_allclose(again.image, views.image[4:6], atol=1e-6)


def test_an_image_without_gaze_has_no_valid_view(rng):
    batch = tiny_batch(4, has_gaze=np.array([1, 0, 1, 0], bool))
    views = default_views(batch, rng)
    assert jnp.all(views.valid == jnp.array([1, 1, 0, 0, 1, 1, 0, 0], bool))
