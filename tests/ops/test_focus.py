import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.ops.focus import focus_crop, focus_cutout, focus_drop, focus_window
from gazax.ops.image import content_mask
from gazax.ops.windows import area_shares, draw_rectangles, draw_windows, window_sums
from tests.reference import windows as reference

SIZE = (20, 24)
WHOLE = np.float32([0, 0, 24, 20])
PADDED = np.float32([4, 2, 22, 17])
KEYS = jax.random.split(jax.random.key(3), 24)
IMAGE = jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, (*SIZE, 1)), jnp.float32)
ZEROS = np.zeros(SIZE, np.float32)
REDRAWS = 30


def blob(x, y, sigma=1.5):
    columns, rows = np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5
    squares = (columns[None, :] - x) ** 2 + (rows[:, None] - y) ** 2
    return np.exp(-squares / (2 * sigma**2)).astype(np.float32)


# One place far out that few windows hold, and two far apart that hardly any holds together.
SALIENCY = {"corner": blob(7, 4), "apart": blob(6, 5) + blob(20, 15), "zeros": ZEROS}
CROP = {"zoom": (1.0, 2.0), "keep": 0.9, "max_redraws": REDRAWS}


@jax.jit
def windows_of(keys, saliency, content):
    """The window of each key, and all that were drawn for it."""

    def one(key):
        chosen = focus_window(key, saliency, content, **CROP)
        return chosen, draw_windows(key, content, zoom=(1.0, 2.0), count=REDRAWS + 1)

    return jax.vmap(one)(keys)


@jax.jit
def crops_of(image, saliency, content, zoom, strengths):
    def one(key):
        return focus_crop(key, image, saliency, content, **CROP | {"zoom": zoom}, **strengths)

    return jax.vmap(one)(KEYS)


def crops(saliency, content, *, image=IMAGE, zoom=(1.0, 2.0), rotation_degrees=0.0, flip=0.0):
    strengths = {"rotation_degrees": jnp.float32(rotation_degrees), "flip": jnp.float32(flip)}
    return crops_of(image, saliency, content, tuple(jnp.float32(z) for z in zoom), strengths)


@jax.jit
def cutouts(saliency, content):
    side = (0.2, 1.0)

    def one(key):
        cut = focus_cutout(
            key, IMAGE, saliency, content, side=side, max_mass=0.02, max_redraws=REDRAWS
        )
        return cut, draw_rectangles(key, content, side=side, count=REDRAWS + 1)

    return jax.vmap(one)(KEYS)


# --- focus_crop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [WHOLE, PADDED])
@pytest.mark.parametrize("name", ["corner", "apart"])
def test_focus_window_is_the_one_that_drawing_one_after_the_other_gives(name, content):
    saliency = SALIENCY[name].astype(float)
    chosen, drawn = (np.asarray(x) for x in windows_of(KEYS, SALIENCY[name], content))
    bound = 0.9 * reference.mass(saliency, content)
    redrawn = 0
    for k in range(len(KEYS)):
        expected = reference.draw_until(drawn[k], lambda w: reference.mass(saliency, w) >= bound)
        np.testing.assert_array_equal(chosen[k], expected)
        redrawn += not np.array_equal(expected, drawn[k][0])
        accepted = reference.mass(saliency, chosen[k]) >= bound
        assert accepted or np.array_equal(chosen[k], drawn[k][-1])
    assert redrawn > 3


def test_focus_window_without_saliency_is_the_first_draw():
    chosen, drawn = windows_of(KEYS, ZEROS, PADDED)
    np.testing.assert_array_equal(chosen, drawn[:, 0])


def test_focus_window_bound_is_the_published_one():
    # Published, on the map enlarged twice: sum of the crop / sum of the map / zoom^2.
    saliency = SALIENCY["apart"]
    enlarged = np.kron(saliency, np.ones((2, 2)))
    window = np.float32([[3, 2.5, 15, 12.5]])
    published = enlarged[5:25, 6:30].sum() / saliency.sum() / 2**2
    ours = window_sums(jnp.asarray(saliency), *area_shares(jnp.asarray(window), SIZE))
    np.testing.assert_allclose(ours / saliency.sum(), [published], rtol=1e-5)


def test_focus_crop_shows_the_window():
    for content in (WHOLE, PADDED):
        saliency = SALIENCY["corner"]
        images, maps, masks = crops(saliency, content)
        # focus_crop draws its window from the first of its keys.
        chosen, _ = windows_of(
            jax.vmap(lambda key: jax.random.split(key, 3)[0])(KEYS), saliency, content
        )
        for k in range(4):
            for shown, map in ((images[k][..., 0], IMAGE[..., 0]), (maps[k], saliency)):
                expected, mask = reference.show_window(
                    np.asarray(map, float), content, np.asarray(chosen[k], float), 0.0, False
                )
                np.testing.assert_allclose(shown, expected, atol=1e-4)
                np.testing.assert_array_equal(masks[k], mask)


def test_focus_crop_keeps_what_was_looked_at_in_view():
    # What is shown is zoom^2 times as much as there was: shown saliency as a density of the view
    # is as much as the window held, give or take the edges of the bilinear warp.
    keys = jax.vmap(lambda key: jax.random.split(key, 3)[0])(KEYS)
    saliency = SALIENCY["corner"]
    _, maps, _ = crops(saliency, WHOLE)
    windows = np.asarray(windows_of(keys, saliency, WHOLE)[0])
    share = (windows[:, 2] - windows[:, 0]) / 24
    kept = np.asarray(maps).sum(axis=(1, 2)) * share**2 / saliency.sum()
    assert (kept > 0.89).sum() > len(KEYS) / 2
    expected = [reference.mass(saliency.astype(float), w) / saliency.sum() for w in windows]
    np.testing.assert_allclose(kept, expected, atol=0.02)


def test_focus_crop_turns_and_mirrors_within_its_ranges():
    ramp = (jnp.arange(24.0)[None, :] + 0.5) / 24 * jnp.ones((20, 1))
    shown = np.asarray(
        crops(ZEROS, WHOLE, image=ramp[:, :, None], zoom=(1, 1), rotation_degrees=20, flip=0.5)[0]
    )[..., 0]
    along = (shown[:, 10, 14] - shown[:, 10, 9]) / 5 * 24
    down = (shown[:, 12, 12] - shown[:, 8, 12]) / 4 * 24
    np.testing.assert_allclose(along**2 + down**2, 1, atol=1e-4)
    assert 0.2 < (along < 0).mean() < 0.8
    angle = np.degrees(np.arcsin(down))
    assert -20.1 < angle.min() < -12
    assert 12 < angle.max() < 20.1


def test_focus_crop_survives_an_empty_content():
    for values in crops(SALIENCY["corner"], np.zeros(4, np.float32)):
        np.testing.assert_array_equal(values, 0)


# --- focus_cutout -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [WHOLE, PADDED])
@pytest.mark.parametrize("name", ["corner", "apart", "zeros"])
def test_focus_cutout_is_the_one_that_drawing_one_after_the_other_gives(name, content):
    saliency = SALIENCY[name].astype(float)
    images, drawn = (np.asarray(x) for x in cutouts(SALIENCY[name], content))
    bound = 0.02 * (content[2] - content[0]) * (content[3] - content[1])
    for k in range(len(KEYS)):

        def hidden(window):
            return (saliency * reference.rectangle(window, SIZE)).sum()

        expected = reference.draw_until(drawn[k], lambda w: hidden(w) <= bound)
        cut = reference.rectangle(expected, SIZE)[:, :, None]
        np.testing.assert_array_equal(images[k], np.where(cut > 0, 0, IMAGE))
        assert hidden(expected) <= bound or np.array_equal(expected, drawn[k][-1])
        if name == "zeros":
            np.testing.assert_array_equal(expected, drawn[k][0])


def test_focus_cutout_of_a_map_of_ones_takes_the_last_rectangle():
    images, drawn = (np.asarray(x) for x in cutouts(np.ones(SIZE, np.float32), WHOLE))
    for k in range(4):
        cut = reference.rectangle(drawn[k][-1], SIZE)
        np.testing.assert_array_equal(images[k][..., 0] == 0, cut > 0)


def test_focus_cutout_default_bound_is_400_of_224_by_224_pixels_of_content():
    # Of 480 pixels, 400 / 224^2 is 3.83; of the 270 within the padding, 2.15: a pixel of a little
    # less may be hidden, one of a little more may not.
    cut = jax.jit(jax.vmap(lambda key, *maps: focus_cutout(key, IMAGE, *maps), (0, None, None)))
    for content, bound in ((WHOLE, 3.827), (PADDED, 2.152)):
        for value, may_hide in ((bound - 0.02, True), (bound + 0.02, False)):
            saliency = ZEROS.copy()
            saliency[10, 12] = value
            hidden = np.asarray(cut(KEYS, saliency, content))[:, 10, 12, 0] == 0
            assert hidden.any() == may_hide


# --- focus_drop ---------------------------------------------------------------------------------

drop = jax.jit(focus_drop, static_argnames="blur")


@pytest.mark.parametrize("content", [WHOLE, PADDED])
def test_focus_drop_equals_loops(content):
    mask = content_mask(content, size=SIZE)
    got = drop(IMAGE, SALIENCY["apart"], mask)
    expected = reference.focus_drop(
        np.asarray(IMAGE[..., 0], float),
        SALIENCY["apart"].astype(float),
        np.asarray(mask),
        30.2 / 224 * 24,
        0.1,
    )
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-5)


def test_focus_drop_by_hand():
    # Unblurred: 1 gives min(1 / 1.01 + .1, 1) = 1, .5 gives .5 / 1.01 + .1 = .59505, 0 gives .1.
    saliency = jnp.array([[1.0, 0.5, 0.0]])
    got = drop(jnp.full((1, 3, 1), 0.8), saliency, jnp.ones((1, 3)), blur=0.0)
    np.testing.assert_allclose(got[0, :, 0], [0.8, 0.8 * 0.5950495, 0.08], atol=1e-6)


def test_focus_drop_of_a_flat_map_changes_nothing():
    # Of ones: 1 / 1.01 + .1 is clipped to 1. Nobody looked: nothing says what to drop.
    mask = content_mask(PADDED, size=SIZE)
    for saliency in (ZEROS, np.ones(SIZE, np.float32)):
        np.testing.assert_array_equal(drop(IMAGE, saliency, mask), IMAGE)


def test_focus_drop_leaves_padding_untouched_and_unseen():
    mask = content_mask(PADDED, size=SIZE)
    outside = np.asarray(mask) == 0
    clean = np.asarray(drop(IMAGE, SALIENCY["corner"], mask))
    dirty = np.asarray(drop(IMAGE, np.where(outside, 9, SALIENCY["corner"]), mask))
    np.testing.assert_array_equal(dirty, clean)
    np.testing.assert_array_equal(clean[outside], np.asarray(IMAGE)[outside])
    assert (clean[~outside] <= np.asarray(IMAGE)[~outside]).all()
