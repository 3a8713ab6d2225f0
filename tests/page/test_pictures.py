import base64
import io

import numpy as np
from PIL import Image

from gazax.page import pictures


def opened(address):
    kind, _, text = address.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_the_image_is_shown_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    np.testing.assert_array_equal(opened(pictures.grey(image)), image)


def test_a_map_is_transparent_where_it_is_low_and_on_padding():
    one = np.zeros((200, 200))
    one[100:, :] = 5.0
    content = np.ones(one.shape, bool)
    content[:, :50] = False
    alpha = opened(pictures.heat(one, content=content))[..., 3]
    assert alpha[:100].max() == 0
    assert alpha[:, :50].max() == 0
    assert alpha[150, 150] == round(0.68 * 255)


def test_a_map_is_shown_on_its_own_scale():
    one = np.random.default_rng(0).uniform(size=(200, 160))
    content = np.ones(one.shape, bool)
    assert pictures.heat(one, content=content) == pictures.heat(7 + 3 * one, content=content)


def test_padding_does_not_set_the_scale():
    one = np.array([[0.0, 1.0, 2.0, 100.0]])
    scaled = pictures.scaled(one, np.array([[True, True, True, False]]))
    np.testing.assert_allclose(scaled, [[0, 0.5, 1, 0]])


def test_a_constant_map_is_empty():
    content = np.ones((4, 4), bool)
    assert not pictures.scaled(np.full((4, 4), 3.0), content).any()
    assert not pictures.scaled(np.eye(4), ~content).any()


def test_fixations_outside_of_the_image_are_not_drawn():
    xy = np.array([[1.0, 2.0], [-1, 2], [40, 2], [31.5, 23.5]])
    drawn = pictures.circles(xy, "#ffffff", size=(24, 32))
    assert drawn.count("<circle") == 2
    assert 'viewBox="0 0 32 24"' in drawn
