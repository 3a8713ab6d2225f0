from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from gazax.ops.image import content_mask
from gazax.ops.views import gaze_blend, standard_view, strong_transform

SIZE = (40, 48)
WHOLE = jnp.array([0.0, 0, 48, 40])
PADDED = jnp.array([6.0, 3, 42, 37])
KEYS = jax.random.split(jax.random.key(7), 32)
STILL = {"crop": (1.0, 1.0), "rotation_degrees": 0.0, "brightness": 0.0, "contrast": 0.0}
UNEXPOSED = {"brightness": 0.0, "contrast": 0.0}


def picture(seed=0, size=SIZE):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 1, (*size, 1)), jnp.float32)


def blob(x, y):
    """A soft point: [h, w], its centre of mass at (x, y) px."""
    columns, rows = np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5
    squares = (columns[None, :] - x) ** 2 + (rows[:, None] - y) ** 2
    return jnp.asarray(np.exp(-squares / (2 * 1.2**2)), jnp.float32)


def centre_of_mass(map):
    map = np.asarray(map, float)
    columns, rows = np.arange(map.shape[1]) + 0.5, np.arange(map.shape[0]) + 0.5
    return np.array([map.sum(axis=0) @ columns, map.sum(axis=1) @ rows]) / map.sum()


@cache
def compiled(function, strengths, in_axes):
    return jax.jit(jax.vmap(partial(function, **dict(strengths)), in_axes=in_axes))


def views(image, gaze, content, keys=KEYS, **strengths):
    """standard_view of the same example under each key."""
    view = compiled(standard_view, tuple(sorted(strengths.items())), (0, None, None, None))
    return view(keys, image, gaze, content)


def strong_views(image, mask, keys=KEYS, **strengths):
    view = compiled(strong_transform, tuple(sorted(strengths.items())), (0, None, None))
    return view(keys, image, mask)


NO_STRENGTH = {
    "brightness": 0.0,
    "contrast": 0.0,
    "gamma": 0.0,
    "blur": 0.0,
    "noise": 0.0,
    "cutout_count": 0,
}


# --- standard_view ------------------------------------------------------------------------------


def test_standard_view_without_strength_changes_nothing():
    image, gaze = picture(), picture(1)[:, :, 0]
    images, gazes, masks = views(image, gaze, WHOLE, **STILL)
    for k in range(len(KEYS)):
        np.testing.assert_allclose(images[k], image, atol=1e-5)
        np.testing.assert_allclose(gazes[k], gaze, atol=1e-5)
        np.testing.assert_array_equal(masks[k], 1)


@pytest.mark.parametrize("content", [WHOLE, PADDED])
def test_standard_view_moves_image_gaze_and_content_together(content):
    gaze = blob(20, 16)
    images, gazes, _ = views(gaze[:, :, None], gaze, content, **UNEXPOSED)
    places = np.array([centre_of_mass(gaze) for gaze in gazes])
    assert (places.std(axis=0) > 0.5).all()
    for image, place in zip(images, places, strict=True):
        np.testing.assert_allclose(centre_of_mass(image[:, :, 0]), place, atol=1e-3)


@pytest.mark.parametrize("content", [WHOLE, PADDED])
def test_standard_view_moves_each_plane_of_a_mask_as_it_would_move_alone(content):
    image, planes = picture(), jnp.stack([blob(20, 16), blob(30, 22), blob(15, 28)], axis=2)
    images, moved, masks = views(image, planes, content)
    for k in range(3):
        alone = views(image, planes[:, :, k], content)
        np.testing.assert_allclose(moved[..., k], alone[1], atol=1e-6)
        np.testing.assert_allclose(images, alone[0], atol=1e-6)
    nothing = views(image, jnp.zeros((*SIZE, 0)), content)
    assert nothing[1].shape == (len(KEYS), *SIZE, 0)
    np.testing.assert_allclose(nothing[0], images, atol=1e-6)
    np.testing.assert_array_equal(nothing[2], masks)


def test_standard_view_keeps_a_mask_in_range_and_on_its_shape_to_within_a_pixel():
    # The image shows the shape of the mask: what the view shows of both differs at edges only.
    shape = np.zeros((*SIZE, 1), np.float32)
    shape[10:25, 14:33] = 1.0
    images, moved, _ = views(jnp.asarray(shape), jnp.asarray(shape), WHOLE, **UNEXPOSED)
    np.testing.assert_allclose(images, moved, atol=1e-5)
    assert moved.min() >= 0
    assert moved.max() <= 1 + 1e-6
    soft = ((moved > 0.01) & (moved < 0.99)).sum(axis=(1, 2, 3))
    # Two sides of 15 px and two of 19, enlarged by at most 1 / sqrt(.8): one or two pixels wide.
    assert soft.max() <= 2 * 2 * (15 + 19) / np.sqrt(0.8)
    area = np.asarray(moved).sum(axis=(1, 2, 3)) / (15 * 19)
    assert (area > 0.99).all()
    assert (area < 1.01 / 0.8).all()


def test_standard_view_crop_and_angle_stay_in_their_ranges():
    # Three points give the whole warp back: distances grow by 1 / sqrt(area), the angle turns.
    points = np.array([[17.0, 15.0], [31.0, 15.0], [17.0, 25.0]])
    strengths = {**UNEXPOSED, "crop": (0.6, 0.9), "rotation_degrees": 15.0}
    found = [
        [centre_of_mass(gaze) for gaze in views(picture(), blob(*p), WHOLE, **strengths)[1]]
        for p in points
    ]
    origin, right, below = np.array(found)
    for axis, length in ((right - origin, 14.0), (below - origin, 10.0)):
        area = (length / np.linalg.norm(axis, axis=1)) ** 2
        assert 0.59 < area.min() < 0.68
        assert 0.82 < area.max() < 0.91
    angle = np.degrees(np.arctan2(*(right - origin).T[::-1]))
    assert -15.1 < angle.min() < -8
    assert 8 < angle.max() < 15.1
    # It turns and does not shear or mirror.
    cross = np.degrees(np.arctan2(*(below - origin).T[::-1])) - angle
    np.testing.assert_allclose(cross, 90, atol=1)


def test_standard_view_crop_is_placed_all_over_the_content():
    strengths = {**STILL, "crop": (0.64, 0.64)}
    gazes = views(picture(), blob(24, 20), WHOLE, **strengths)[1]
    centres = np.array([centre_of_mass(gaze) for gaze in gazes])
    # The window leaves 0.2 of the side, either way 0.1, enlarged by 1 / 0.8: 6 px and 5 px.
    offsets = centres - [24, 20]
    assert (np.abs(offsets).max(axis=0) <= [6.05, 5.05]).all()
    assert (offsets.max(axis=0) > [4, 3]).all()
    assert (offsets.min(axis=0) < [-4, -3]).all()


def test_standard_view_content_mask_moves_with_the_content():
    # The image is 1 on the content and junk elsewhere; what the view shows as 1 is the mask.
    inside = content_mask(PADDED, size=SIZE)
    image = jnp.where(inside[:, :, None] > 0, 1.0, 0.3)
    images, gazes, masks = views(image, image[:, :, 0], PADDED, **UNEXPOSED)
    for k in range(len(KEYS)):
        np.testing.assert_allclose(images[k][:, :, 0], masks[k], atol=1e-5)
        np.testing.assert_allclose(gazes[k], masks[k], atol=1e-5)
        assert 0.5 < masks[k].mean() < 1


def test_standard_view_corner_of_the_content_is_where_a_point_there_goes():
    # Turned by nothing, cropped to a known scale: the content's corner and a point on it.
    corner = np.array([20.0, 16.0])
    content = jnp.array([*corner, 44.0, 36.0])
    images, gazes, masks = views(
        blob(*corner + 2)[:, :, None], blob(*corner + 2), content, **{**STILL, "crop": (0.81, 0.81)}
    )
    seen_corners = 0
    for k in range(len(KEYS)):
        rows, columns = np.nonzero(np.asarray(masks[k]))
        # Two pixels into the content, enlarged by 1 / 0.9. Where the frame cuts the content off
        # there is no corner to see.
        if rows.min() > 0 and columns.min() > 0:
            seen_corners += 1
            seen = np.array([columns.min(), rows.min()])
            np.testing.assert_allclose(centre_of_mass(gazes[k]) - seen, 2 / 0.9, atol=1)
            np.testing.assert_allclose(
                centre_of_mass(images[k][:, :, 0]), centre_of_mass(gazes[k]), atol=1e-3
            )
    assert seen_corners > 5


def test_standard_view_lets_no_padding_in():
    inside = content_mask(PADDED, size=SIZE)
    image, gaze = picture(), picture(1)[:, :, 0]
    padding = jnp.where(inside > 0, 0.0, 50.0)
    clean = views(image * inside[:, :, None], gaze * inside, PADDED)
    dirty = views(image * inside[:, :, None] + padding[:, :, None], gaze * inside + padding, PADDED)
    for one, other in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(one, other)
    images, gazes, masks = clean
    np.testing.assert_array_equal(images[..., 0][masks == 0], 0)
    np.testing.assert_array_equal(gazes[masks == 0], 0)


def test_standard_view_stays_in_range():
    images, gazes, masks = views(picture(), picture(1)[:, :, 0], PADDED)
    for values in (images, gazes, masks):
        assert values.dtype == jnp.float32
        assert values.min() >= 0
        assert values.max() <= 1 + 1e-6
    assert set(np.unique(masks)) <= {0, 1}


def test_standard_view_brightness_is_a_factor_within_its_range():
    images, gazes, _ = views(
        jnp.full((*SIZE, 1), 0.5), blob(24, 20), WHOLE, **{**STILL, "brightness": 0.2}
    )
    level = np.asarray(images).reshape(len(KEYS), -1)
    np.testing.assert_allclose(level, level[:, :1] * np.ones(level.shape), atol=1e-5)
    assert 0.4 - 1e-5 <= level.min() < 0.42
    assert 0.58 < level.max() <= 0.6 + 1e-5
    np.testing.assert_allclose(gazes, gazes[:1] * np.ones(gazes.shape), atol=1e-5)


def test_standard_view_contrast_stretches_about_the_mean_of_the_content():
    image = 0.4 + 0.2 * picture()
    inside = content_mask(PADDED, size=SIZE)[:, :, None]
    images, _, masks = views(image * inside, image[:, :, 0], PADDED, **{**STILL, "contrast": 0.3})
    kept = np.asarray(image[:, :, 0])[np.asarray(masks[0]) > 0]
    spreads = []
    for k in range(len(KEYS)):
        got = np.asarray(images[k][:, :, 0])[np.asarray(masks[k]) > 0]
        np.testing.assert_allclose(got.mean(), kept.mean(), atol=1e-5)
        spreads.append(got.std() / kept.std())
    assert 0.7 <= min(spreads) < 0.95
    assert 1.05 < max(spreads) <= 1.3


def test_standard_view_of_an_image_without_gaze_has_no_gaze():
    np.testing.assert_array_equal(views(picture(), jnp.zeros(SIZE), WHOLE)[1], 0)


def test_standard_view_depends_on_the_key_alone():
    image, gaze = picture(), picture(1)[:, :, 0]
    once, again = views(image, gaze, PADDED), views(image, gaze, PADDED)
    np.testing.assert_array_equal(once[0], again[0])
    assert all(jnp.abs(once[0][0] - once[0][k]).max() > 0.05 for k in range(1, len(KEYS)))
    for k in range(2):
        eager = standard_view(KEYS[k], image, gaze, PADDED)
        # A pixel centre on the edge of the content may fall either side.
        for one, other in zip(eager, once, strict=True):
            assert (np.abs(np.asarray(one - other[k])) > 1e-4).mean() < 2e-3


def test_standard_view_survives_an_empty_content():
    for values in views(picture(), picture(1)[:, :, 0], jnp.zeros(4)):
        np.testing.assert_array_equal(values, 0)


# --- strong_transform ---------------------------------------------------------------------------


def test_strong_transform_without_strength_changes_nothing():
    got = strong_views(picture(), jnp.ones(SIZE), **NO_STRENGTH)
    np.testing.assert_allclose(got, picture()[None] * np.ones(got.shape), atol=1e-6)


def test_strong_transform_leaves_padding_untouched_and_unseen():
    inside = content_mask(PADDED, size=SIZE)
    image = picture()
    got = strong_views(image, inside)
    outside = np.asarray(inside) == 0
    assert (np.asarray(got)[:, outside] == np.asarray(image)[outside]).all()
    other = jnp.where(inside[:, :, None] > 0, image, 0.9)
    np.testing.assert_array_equal(
        np.asarray(strong_views(other, inside))[:, ~outside], np.asarray(got)[:, ~outside]
    )


def test_strong_transform_stays_in_range_and_is_strong():
    got = strong_views(picture(), jnp.ones(SIZE))
    assert got.dtype == jnp.float32
    assert got.min() >= 0
    assert got.max() <= 1
    assert jnp.abs(got - picture()[None]).mean(axis=(1, 2, 3)).min() > 0.02


def test_strong_transform_moves_nothing():
    marker = 0.1 + 0.8 * blob(30, 12)
    got = strong_views(marker[:, :, None], jnp.ones(SIZE), noise=0.0, cutout_count=0)
    for k in range(len(KEYS)):
        # Above the flat ground, which the exposure has changed as well.
        values = np.asarray(got[k][:, :, 0], float)
        centre = centre_of_mass(np.maximum(values - np.median(values) - 0.02, 0))
        np.testing.assert_allclose(centre, [30, 12], atol=0.1)


def test_strong_transform_blur_equals_scipy():
    # One draw, so the sigma is found by matching the peak; then the whole image must agree.
    marker = jnp.zeros(SIZE).at[20, 24].set(1.0)
    strengths = {**NO_STRENGTH, "blur": 0.04}
    got = np.asarray(strong_views(marker[:, :, None], jnp.ones(SIZE), **strengths))[..., 0]
    sigmas = []
    for image in got:
        row = image[20] / image[20, 24]
        sigma = np.sqrt(-0.5 / np.log(row[25])) if row[25] > 0 else 0.0
        sigmas.append(sigma)
        expected = gaussian_filter(np.asarray(marker, float), sigma, truncate=16)
        np.testing.assert_allclose(image, expected, atol=1e-5)
    assert 1 < max(sigmas) <= 0.04 * 48


def test_strong_transform_gamma_is_a_power_within_its_range():
    got = strong_views(picture(), jnp.ones(SIZE), **{**NO_STRENGTH, "gamma": 0.5})
    exponents = np.log(np.asarray(got)) / np.log(np.asarray(picture()))[None]
    middle = np.median(exponents, axis=(1, 2, 3))
    np.testing.assert_allclose(
        got, np.asarray(picture())[None] ** middle[:, None, None, None], atol=1e-4
    )
    assert 1 / 1.5 - 1e-3 <= middle.min() < 0.9
    assert 1.1 < middle.max() <= 1.5 + 1e-3


def test_strong_transform_noise_has_its_strength():
    flat = jnp.full((*SIZE, 1), 0.5)
    got = strong_views(flat, jnp.ones(SIZE), **{**NO_STRENGTH, "noise": 0.1}) - flat[None]
    spread = np.asarray(got).std(axis=(1, 2, 3))
    assert spread.max() <= 0.105
    assert spread.max() > 0.07
    assert np.abs(np.asarray(got).mean(axis=(1, 2, 3))).max() < 0.01


def test_strong_transform_cut_out_is_a_rectangle_of_the_mean():
    strengths = {**NO_STRENGTH, "cutout_count": 1, "cutout_side": (0.2, 0.4)}
    image = picture()
    got = strong_views(image, jnp.ones(SIZE), **strengths)
    for k in range(len(KEYS)):
        rows, columns = np.nonzero(np.abs(np.asarray(got[k] - image))[:, :, 0] > 1e-6)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        # A rectangle may hang over the edge; inside it every pixel is the mean.
        assert height <= 0.4 * 40 + 1
        assert width <= 0.4 * 48 + 1
        assert len(rows) >= 0.98 * height * width
        np.testing.assert_allclose(
            np.asarray(got[k])[rows, columns], float(image.mean()), atol=1e-5
        )


def test_strong_transform_depends_on_the_key_alone():
    image, mask = picture(), jnp.ones(SIZE)
    got = strong_views(image, mask)
    np.testing.assert_array_equal(got, strong_views(image, mask))
    np.testing.assert_allclose(strong_transform(KEYS[0], image, mask), got[0], atol=1e-5)
    assert jnp.abs(got[0] - got[1]).max() > 0.05


# --- gaze_blend ---------------------------------------------------------------------------------


def test_gaze_blend_by_hand():
    # 0.25 * 0.8 + 0.75 * 0.4 = 0.5
    got = gaze_blend(jnp.full((1, 1, 1), 0.8), jnp.full((1, 1, 1), 0.4), jnp.full((1, 1), 0.25))
    np.testing.assert_allclose(got, [[[0.5]]], atol=1e-6)


def test_gaze_blend_is_exact_where_gaze_is_all_or_nothing():
    image, strong = picture(), picture(1)
    np.testing.assert_array_equal(gaze_blend(image, strong, jnp.zeros(SIZE)), strong)
    np.testing.assert_array_equal(gaze_blend(image, strong, jnp.ones(SIZE)), image)


def test_gaze_blend_computes_in_float32_from_bfloat16():
    image, strong, gaze = (picture(s).astype(jnp.bfloat16) for s in range(3))
    got = gaze_blend(image, strong, gaze[:, :, 0])
    assert got.dtype == jnp.float32
    wide = [x.astype(jnp.float32) for x in (image, strong, gaze)]
    np.testing.assert_array_equal(got, gaze_blend(wide[0], wide[1], wide[2][:, :, 0]))
