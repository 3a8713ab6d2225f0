"""Pixels and coordinates go through one transform and stay together."""

import numpy as np
import pytest

from gazax.data.pixels.frame import Frame, parse_size
from gazax.typing import InputError


@pytest.mark.parametrize(
    ("stored", "size", "rectangle"),
    [
        ((100, 200), (50, 100), (0, 0, 100, 50)),  # the same shape
        ((100, 200), (64, 64), (0, 16, 64, 48)),  # wide: bars above and below
        ((200, 100), (64, 64), (16, 0, 48, 64)),  # tall: bars left and right
        ((10, 10), (64, 32), (0, 16, 32, 48)),  # enlarged
        ((1000, 1), (10, 10), (4, 0, 5, 10)),  # never thinner than a pixel
    ],
)
def test_content_is_centred_and_as_large_as_fits(stored, size, rectangle):
    assert Frame(stored, size).content == pytest.approx(rectangle)


@pytest.mark.parametrize(
    ("stored", "rectangle"),
    [
        ((300, 200), (10, 5, 30, 35)),  # smaller than the canvas: not enlarged
        ((500, 200), (10, 0, 30, 40)),  # taller: cropped above and below
        ((401, 301), (4.9, 0, 35, 40)),  # odd: the larger margin is on the right
    ],
)
def test_canvas_gives_every_image_the_same_scale(stored, rectangle):
    frame = Frame(stored, (40, 40), canvas=(400, 400))
    assert frame.scale == (0.1, 0.1)
    assert frame.content == pytest.approx(rectangle)


def test_canvas_of_another_aspect_is_refused():
    with pytest.raises(InputError, match="another aspect"):
        Frame((10, 10), (64, 64), canvas=(3200, 2560))


def test_padding_is_zero_and_a_constant_stays():
    fitted = Frame((100, 200), (64, 64)).pixels(np.full((100, 200), 77, np.uint8))
    assert (fitted[16:48] == 77).all()
    assert (fitted[:16] == 0).all()
    assert (fitted[48:] == 0).all()


def test_pixels_are_averaged_instead_of_picked():
    fine = np.indices((128, 128)).sum(0) % 2 * np.uint8(200)
    fitted = Frame((128, 128), (16, 16)).pixels(fine.astype(np.uint8))
    np.testing.assert_allclose(fitted[2:-2, 2:-2].astype(int), 100, atol=4)


@pytest.mark.parametrize("canvas", [None, (62, 58)])
def test_fitted_labels_are_no_new_labels(canvas):
    labels = np.random.Generator(np.random.PCG64(0)).choice(
        np.array([0, 3, 255], np.uint8), (50, 70)
    )
    fitted = Frame((50, 70), (31, 29), canvas).pixels(labels, labels=True)
    assert set(np.unique(fitted)) == {0, 3, 255}


@pytest.mark.parametrize("stored", [(60, 100), (100, 60), (61, 97)])
@pytest.mark.parametrize("size", [(64, 64), (40, 80), (200, 150)])
def test_marker_pixel_stays_under_its_coordinate(stored, size):
    for y, x in ((8, 11), (30, 40), (50, 45)):
        image = np.zeros(stored, np.uint8)
        image[y - 1 : y + 2, x - 1 : x + 2] = 255  # centred on the pixel (y, x)
        frame = Frame(stored, size)
        seen = centroid(frame.pixels(image))
        moved = frame.points(np.array([[x + 0.5, y + 0.5]]))
        np.testing.assert_allclose(moved[0], seen, atol=0.06)


def test_corners_of_the_image_become_corners_of_the_content():
    frame = Frame((60, 100), (64, 48))
    box = np.array([[0.0, 0.0, 100.0, 60.0]])
    moved = frame.points(box)
    np.testing.assert_allclose(moved[0], frame.content, atol=1e-12)
    lengths = frame.lengths(box[:, 2:])
    np.testing.assert_allclose(lengths[0], moved[0, 2:] - moved[0, :2], atol=1e-12)


def test_unknown_coordinates_stay_unknown():
    assert np.isnan(Frame((10, 10), (5, 5)).points(np.full((1, 4), np.nan))).all()


@pytest.mark.parametrize(
    ("text", "size"), [("224", (224, 224)), ("640x512", (640, 512)), (64, (64, 64))]
)
def test_size_is_written_height_by_width(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "64x", "1x2x3", "-3", "a", "6.5"])
def test_other_sizes_are_refused(text):
    with pytest.raises(InputError, match="neither a number of pixels"):
        parse_size(text)


@pytest.mark.parametrize("with_canvas", [False, True])
def test_points_land_where_their_pixels_go(with_canvas):
    """Within half a pixel of the frame, for images and frames of any size.

    A dot is drawn on the stored image about a random point, large enough to be seen after shrinking
    and small enough to be one place; where its light falls in the frame is where the point goes.
    """
    for draw in range(300):
        frame, rng = random_frame(draw, with_canvas)
        where = seen_part(frame)
        # two px of the frame at least
        side = np.minimum(np.ceil(2 / np.array(frame.scale)), where[2:] - where[:2]).astype(int)
        corner = rng.integers(where[:2], where[2:] - side + 1)
        box = np.concatenate([corner, corner + side])[None].astype(float)
        image = np.zeros(frame.stored, np.uint8)
        image[corner[1] : corner[1] + side[1], corner[0] : corner[0] + side[0]] = 255
        fitted = frame.pixels(image)
        middle = frame.points(box.reshape(2, 2).mean(0)[None])[0]
        assert fitted.shape == frame.size
        assert np.abs(centroid(fitted) - middle).max() < 0.5, (draw, frame)
        # a box goes as its corners do, and is as long as its lengths
        moved = frame.points(box)[0]
        np.testing.assert_allclose(moved.reshape(2, 2), frame.points(box.reshape(2, 2)))
        np.testing.assert_allclose(frame.lengths(box[:, 2:] - box[:, :2])[0], moved[2:] - moved[:2])
        left, top, right, bottom = frame.content
        assert (moved >= np.array([left, top, left, top]) - 1e-9).all(), (draw, frame)
        assert (moved <= np.array([right, bottom, right, bottom]) + 1e-9).all(), (draw, frame)


@pytest.mark.parametrize("with_canvas", [False, True])
def test_ramp_shows_the_coordinate_it_comes_from(with_canvas):
    """A stored pixel's value says where it is, so that the frame's values say where they were."""
    checked = 0
    for draw in range(300):
        frame, rng = random_frame(draw, with_canvas)
        axis = draw % 2
        length = frame.stored[1 - axis]
        ramp = np.rint(40 + 200 * (np.arange(length) + 0.5) / length).astype(np.uint8)
        image = np.broadcast_to(ramp if axis == 0 else ramp[:, None], frame.stored).copy()
        fitted = frame.pixels(image).astype(float)
        left, top, right, bottom = frame.content
        # away from the edges, where the filter sees one side only
        edge = 1 + np.ceil(np.maximum(frame.scale, 1)).astype(int)
        columns = np.arange(int(np.ceil(left)) + edge[0], int(right) - edge[0])
        rows = np.arange(int(np.ceil(top)) + edge[1], int(bottom) - edge[1])
        if not (len(columns) and len(rows)):
            continue
        picked = np.stack([rng.choice(columns, 20), rng.choice(rows, 20)], 1)
        stored = back(frame, picked + 0.5)[:, axis]
        half_a_pixel = 200 / length * 0.5 / frame.scale[axis]
        found = fitted[picked[:, 1], picked[:, 0]]
        # values are rounded twice, by half each
        assert np.abs(found - 40 - 200 * stored / length).max() < half_a_pixel + 1, (draw, frame)
        checked += 1
    assert checked > 250


@pytest.mark.parametrize("with_canvas", [False, True])
def test_scale_and_offset_lead_back(with_canvas):
    for draw in range(300):
        frame, rng = random_frame(draw, with_canvas)
        points = rng.uniform(-50, 500, (20, 2))
        np.testing.assert_allclose(back(frame, frame.points(points)), points, atol=1e-9)


def random_frame(draw: int, with_canvas: bool) -> tuple[Frame, np.random.Generator]:
    rng = np.random.Generator(np.random.PCG64(draw))
    stored = (int(rng.integers(3, 400)), int(rng.integers(3, 400)))
    size = (int(rng.integers(8, 160)), int(rng.integers(8, 160)))
    times = int(rng.integers(1, 5))
    return Frame(stored, size, (times * size[0], times * size[1]) if with_canvas else None), rng


def back(frame: Frame, points: np.ndarray) -> np.ndarray:
    """From px of the frame to px of the stored image."""
    return (points - np.array(frame.offset)) / np.array(frame.scale)


def seen_part(frame: Frame) -> np.ndarray:
    """xmin, ymin, xmax, ymax of the stored pixels that the frame shows whole."""
    corners = back(frame, np.array([[0, 0], frame.size[::-1]], float))
    low = np.maximum(np.ceil(corners[0] - 1e-9), 0)
    high = np.minimum(np.floor(corners[1] + 1e-9), frame.stored[::-1])
    return np.concatenate([low, high]).astype(int)


def centroid(image: np.ndarray) -> np.ndarray:
    """x, y of the light's centre, px."""
    light = image.astype(float)
    rows, columns = np.indices(image.shape) + 0.5
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
