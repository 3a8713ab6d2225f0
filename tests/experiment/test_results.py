"""What stands above the tables of an evaluation."""

import pytest

from gazax.experiment.results import title
from gazax.typing import InputError

SUMMARY = {
    "split": "test",
    "protocol": "strict",
    "phantom_numbers": False,
    "images": 9,
    "patients": 7,
    "step": 30,
}
PLAIN = (
    "test split: 9 images of 7 patients, step 30, 95 % intervals over patients and few-shot draws"
)
PAPER = "protocol 'paper': images drawn at random, chosen on the test images themselves; "
PHANTOM = "phantom numbers (simulated images and gaze), "


@pytest.mark.parametrize(
    ("changes", "before"),
    [
        ({}, ""),
        ({"phantom_numbers": True}, PHANTOM),
        ({"protocol": "paper"}, PAPER),
        ({"phantom_numbers": True, "protocol": "paper"}, PHANTOM + PAPER),
    ],
)
def test_the_title_says_what_the_numbers_are_not(changes, before):
    assert title(SUMMARY | changes) == before + PLAIN


def test_a_protocol_that_nobody_knows_is_no_plain_one():
    with pytest.raises(InputError, match="protocol"):
        title(SUMMARY | {"protocol": "papers"})
