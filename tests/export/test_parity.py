"""What passes as the same computation, and what does not."""

import numpy as np
import pytest

from gazax.export.parity import EARLY_LIMIT, LIMIT, compare, require
from gazax.typing import InputError, RunError

IMAGES = {
    "dark": np.zeros((2, 2), np.uint8),
    "bright": np.full((2, 2), 200, np.uint8),
    "odd": np.full((3, 1), 100, np.uint8),
}


def run(change, *, tensor="features"):
    """Compares [sum of the pixels + 1, 0] with what `change` makes of it."""

    def look(images):
        ours = np.stack([images.sum(axis=(1, 2)) + 1.0, np.zeros(len(images))], axis=1)
        return {tensor: change(ours.copy()), "more": ours}, {tensor: ours}

    return compare(look, IMAGES, packages=("numpy",))


def test_equal_tensors_pass_and_each_is_named():
    found = run(lambda values: values)
    assert found["passed"] is True
    assert found["max_relative_difference"] == 0
    assert [(one["image"], one["tensor"], one["shape"]) for one in found["compared"]] == [
        (image, "features", [2]) for image in ("dark", "bright", "odd")
    ]
    assert found["versions"] == {"numpy": np.__version__}


def test_a_difference_is_relative_to_each_images_largest_value():
    found = run(lambda values: values + np.array([[0, 5e-5]]))
    shares = [one["relative_difference"] for one in found["compared"]]
    assert shares == pytest.approx([5e-5, 5e-5 / 801, 5e-5 / 301])
    assert found["max_relative_difference"] == pytest.approx(5e-5)


@pytest.mark.parametrize(
    ("tensor", "limit"), [("features", LIMIT), ("stem", EARLY_LIMIT), ("block", EARLY_LIMIT)]
)
def test_more_than_the_limit_fails_and_is_named(tensor, limit):
    run(lambda values: values * (1 + 0.9 * limit), tensor=tensor)
    with pytest.raises(RunError, match=f"3 of 3 tensors differ.*\n  {tensor} of dark: .*limit 1e-"):
        run(lambda values: values * (1 + 1.1 * limit), tensor=tensor)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values * np.nan,
        lambda values: values + np.inf,
        lambda values: values[:, :1],
        lambda values: values * 0,
    ],
)
def test_what_is_no_number_or_has_another_shape_fails(change):
    with pytest.raises(RunError, match="3 of 3 tensors differ"):
        run(change)


def test_zeros_equal_zeros_alone():
    def look(images, found):
        zeros = np.zeros((len(images), 2))
        return {"features": zeros + found}, {"features": zeros}

    images = {"one": IMAGES["dark"]}
    assert compare(lambda x: look(x, 0), images, packages=())["max_relative_difference"] == 0
    with pytest.raises(RunError):
        compare(lambda x: look(x, 1e-30), images, packages=())


def test_a_package_that_is_missing_or_broken_is_named(monkeypatch, tmp_path):
    with pytest.raises(
        InputError, match="with no_such_package, .*It is not installed: pip install"
    ):
        require(("numpy", "no_such_package"))
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="nms does not exist.*It is installed: do its version.*"):
        require(("numpy", "broken_package"))
