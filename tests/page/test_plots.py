import re

import numpy as np
import pytest

from gazax.page import plots


def plot(description="loss", place=0):
    lines = [plots.Line(np.arange(5), np.arange(5.0) ** 2, place)]
    return plots.line_plot(lines, x_label="step", description=description)


def test_text_stays_text_in_the_colour_of_the_page():
    drawn = plot()
    assert ">step</text>" in drawn
    assert "currentColor" in drawn
    assert "#010203" not in drawn
    assert "#000000" not in drawn


def test_no_name_is_shared_by_two_plots_of_a_page():
    first, second = (set(re.findall(r'\bid="([^"]+)"', plot(name))) for name in ("loss", "auc"))
    assert first
    assert not first & second


def test_every_name_that_a_plot_uses_is_its_own():
    drawn = plot()
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', drawn))
    assert used
    assert used <= set(re.findall(r'\bid="([^"]+)"', drawn))


def test_what_the_plot_shows_is_said():
    assert 'role="img" aria-label="a &lt; b"' in plot("a < b")


def test_the_same_numbers_give_the_same_plot():
    assert plot() == plot()


def test_colours_come_again_with_another_dash():
    count = len(plots.COLOURS)
    looks = [plots.colour_and_dash(place) for place in range(2 * count)]
    assert len(set(looks)) == 2 * count
    assert looks[count][0] == looks[0][0]


@pytest.mark.parametrize("colour", plots.COLOURS)
@pytest.mark.parametrize("card", ["#ffffff", "#1c2027"])
def test_colours_stand_out_in_both_themes(colour, card):
    """WCAG 2.1, 1.4.11: graphics need a contrast of 3; here a little less on white."""

    def luminance(hexadecimal):
        rgb = np.array([int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    high, low = sorted((luminance(colour), luminance(card)), reverse=True)
    assert (high + 0.05) / (low + 0.05) > 2.9
