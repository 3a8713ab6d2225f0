"""A map lies on its image where the model meant it, whatever the image's shape."""

import numpy as np
import pytest

from gazax.data.pixels.frame import Frame
from gazax.eval.panels import Panel, density_on_image, lay_on_image, picture
from gazax.typing import RunError

FRAMES = [
    Frame((300, 400), (64, 64)),
    Frame((400, 130), (64, 48)),
    Frame((20, 30), (64, 64)),
    Frame((400, 420), (64, 48), canvas=(480, 360)),  # wider than the canvas
]


def spot(size, x, y):
    """A blob of 3 x 3 cells whose centre is that of the cell at (x, y)."""
    found = np.zeros(size, np.float32)
    found[y - 1 : y + 2, x - 1 : x + 2] = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    return found


def centre_of(density):
    """x and y of the centre of mass, px."""
    ys, xs = (np.arange(n) + 0.5 for n in density.shape)
    total = density.sum()
    return (density.sum(axis=0) @ xs) / total, (density.sum(axis=1) @ ys) / total


@pytest.mark.parametrize("frame", FRAMES)
def test_what_is_seen_in_the_frame_lies_there_on_the_image(frame):
    x, y = 20, 30
    density = density_on_image(spot(frame.size, x, y), frame)
    assert density.shape == frame.stored
    assert density.dtype == np.float32
    assert density.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    (scale_x, scale_y), (offset_x, offset_y) = frame.scale, frame.offset
    expected = (x + 0.5 - offset_x) / scale_x, (y + 0.5 - offset_y) / scale_y
    assert centre_of(density) == pytest.approx(expected, abs=0.5 / min(frame.scale))


@pytest.mark.parametrize("frame", FRAMES)
def test_a_coarse_grid_covers_the_whole_frame(frame):
    """Columns that grow from left to right: their value at a pixel is its place in the frame."""
    ramp = np.tile((np.arange(16, dtype=np.float32) + 0.5) / 16, (12, 1))
    laid = lay_on_image(ramp, frame)
    x = (np.arange(frame.stored[1]) + 0.5) * frame.scale[0] + frame.offset[0]
    place = x / frame.size[1]
    inner = (place > 1 / 32) & (place < 1 - 1 / 32)  # beyond, the outermost cell goes on
    assert inner.any()
    row = laid[frame.stored[0] // 2]
    np.testing.assert_allclose(row[inner], place[inner], atol=0.02)


def test_what_lies_on_padding_is_left_out():
    frame = Frame((32, 64), (64, 64))  # 16 rows of padding above and below
    found = spot(frame.size, 30, 30) + 100 * spot(frame.size, 30, 5)
    density = density_on_image(found, frame)
    assert centre_of(density) == pytest.approx((30.5, 14.5), abs=0.01)


def test_what_the_frame_cuts_off_gets_nothing():
    frame = Frame((400, 420), (64, 48), canvas=(480, 360))
    laid = lay_on_image(np.ones(frame.size, np.float32), frame)
    assert not laid[:, :30].any()
    assert not laid[:, 390:].any()
    np.testing.assert_allclose(laid[:, 30:390], 1)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_map_of_nothing_becomes_uniform(frame):
    density = density_on_image(np.zeros((5, 7), np.float32), frame)
    np.testing.assert_allclose(density, 1 / density.size, rtol=1e-6)


@pytest.mark.parametrize("stored", [(1, 2**20), (2**20, 1), (1, 1)])
@pytest.mark.parametrize("canvas", [None, (480, 360)])
def test_an_image_of_any_shape_has_a_place(stored, canvas):
    frame = Frame(stored, (64, 48), canvas=canvas)
    for size in (None, (1, 448), (448, 1)):
        assert np.isfinite(lay_on_image(np.ones((7, 7), np.float32), frame, size=size)).all()


def test_a_picture_shows_the_image_and_the_map_where_it_is_high():
    image = np.full((448, 300), 100, np.uint8)
    ramp = np.tile(np.linspace(0, 1, 300, dtype=np.float32), (448, 1))
    pixels = np.asarray(picture(image, [Panel("ramp", ramp)], title="a/b.png"))
    assert pixels.shape[1] < 2.2 * 300
    rows = pixels[-20]  # through both
    grey = (rows == 100).all(axis=1)
    assert grey[:310].sum() == 300  # the image as it is
    right = rows[320:620].astype(int)
    assert grey[320] or grey[321]  # nothing of the map where it is lowest
    assert (right[-1] - right[-1, 2])[0] > 50  # inferno's end is yellow


@pytest.mark.parametrize("count", [1, 4, 5, 14])
def test_pictures_of_many_maps_have_rows_of_five(count):
    image = np.zeros((40, 300), np.uint8)
    panels = [Panel(f"{i}", np.full((4, 4), 0.5, np.float32), (0.0, 1.0)) for i in range(count)]
    made = picture(image, panels, title="x")
    assert made.width == min(count + 1, 5) * 310 + 10
    assert made.height == 34 + -(-(count + 1) // 5) * 74


def test_a_long_name_is_cut_in_the_middle_and_a_flat_map_is_drawn():
    image = np.zeros((448, 30), np.uint8)
    flat = Panel("x" * 500, np.ones((3, 3), np.float32))
    made = picture(image, [flat], title="\n".join("y" * 900))
    assert made.width == 2 * 230 + 10


def test_a_map_that_is_no_number_is_not_drawn():
    frame = Frame((5, 7), (5, 7))
    with pytest.raises(RunError, match="NaN"):
        density_on_image(np.full((5, 7), np.nan, np.float32), frame)
