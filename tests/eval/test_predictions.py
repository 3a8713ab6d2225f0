"""The folder of predictions: names that do not collide, and files that are not mixed."""

import hashlib
import json
import os

import numpy as np
import pytest
from etils import epath
from PIL import Image

from gazax.data.decode import Pixels
from gazax.data.pixels.frame import Frame
from gazax.eval.predictions import FACTS, LONGEST, TABLE, Predictions, find_images
from gazax.typing import InputError, RunError

DIGEST = hashlib.sha256(b"x.png").hexdigest()
OF = {"weights": "1f", "images_from": "/somewhere", "workdir": "runs/a", "step": 3}


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_images_are_found_below_in_order_and_called_by_their_path(tmp_path):
    touch(
        tmp_path, "b/x.png", "a/x.PNG", "a/c/y.dcm", "z.jpeg", "notes.txt", "a/._x.png", ".h/i.png"
    )
    found = find_images(tmp_path)
    assert [one.shown for one in found] == ["a/c/y.dcm", "a/x.PNG", "b/x.png", "z.jpeg"]
    assert [one.name for one in found] == ["a__c__y", "a__x", "b__x", "z"]
    assert [one.path for one in found] == [tmp_path / one.shown for one in found]
    assert [one.name for one in find_images(tmp_path / "b" / "x.png")] == ["x"]


@pytest.mark.parametrize(
    "names",
    [
        ("x.png", "x.jpg"),
        ("a/x.png", "a__x.png"),
        ("X.png", "x.png"),
        ("y" * 245 + "1.png", "y" * 245 + "2.png"),
        ("é" * 110 + "1.png", "é" * 110 + "2.png"),
        ("x.png", "x.jpg", f"x-{DIGEST[:8]}.png"),
    ],
)
def test_no_two_images_have_one_name(tmp_path, names):
    found = find_images(touch(tmp_path, "plain.png", *names))
    made = {one.shown: one.name for one in found}
    assert len({name.casefold() for name in made.values()}) == len(names) + 1
    assert all(len(name.encode()) <= LONGEST + 70 for name in made.values())
    assert made["plain.png"] == "plain"
    assert {one.shown: one.name for one in find_images(tmp_path)} == made


def test_a_name_that_is_no_text_is_spelled_out(tmp_path):
    try:
        open(os.fsencode(tmp_path) + b"/\xff.png", "w").close()
    except OSError:
        pytest.skip("this file system takes names of text alone")
    (found,) = find_images(tmp_path)
    assert (found.shown, found.name) == (r"\udcff.png", r"\udcff")


def test_where_there_is_no_image_it_is_said(tmp_path):
    with pytest.raises(
        InputError, match=r"has no image in it or below it; .png, .jpg, .jpeg, .dcm"
    ):
        find_images(touch(tmp_path, "notes.txt"))
    with pytest.raises(InputError, match="is no image by its ending"):
        find_images(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="does not exist"):
        find_images(tmp_path / "nothing")


def write(folder, **facts):
    """One image with everything that there can be, in a folder of its own."""
    (file,) = find_images(touch(folder / "in", "x.png") / "x.png")
    predictions = Predictions(epath.Path(folder / "out"), OF | facts)
    frame = Frame((30, 40), (16, 16))
    found = {
        "saliency": np.eye(16, dtype=np.float32),
        "grad_cam": np.ones((2, 2), np.float32),
        "probability": np.float32([0.25, 0.75]),
        "masks": np.full((16, 16, 2), 0.5, np.float32),
    }
    shown = Pixels(np.zeros((448, 448), np.uint8), None, Frame((30, 40), (448, 448)))
    predictions.save(file, found, frame=frame, shown=shown, label_names=("a", "b"))
    return predictions


def finish(predictions, **changes):
    given = dict(
        label_names=("a", "b"),
        probabilities={"x, y.png": (0.25, 0.75)},
        names={"x, y.png": "x, y"},
        faults={"z.png": "is broken"},
    )
    predictions.finish(**given | changes)


def test_everything_of_an_image_is_written(tmp_path):
    finish(write(tmp_path))
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "predictions.csv",
        "predictions.json",
        "x.grad_cam.npy",
        "x.masks.npy",
        "x.overlay.png",
        "x.saliency.npy",
    ]
    for kind in ("saliency", "grad_cam"):
        density = np.load(out / f"x.{kind}.npy")
        assert density.shape == (30, 40)
        assert density.sum() == pytest.approx(1, abs=1e-5)
    masks = np.load(out / "x.masks.npy")
    assert (masks.shape, masks.dtype) == ((30, 40, 2), np.float32)
    np.testing.assert_allclose(masks, 0.5)
    # image, saliency, Grad-CAM and two masks beside each other, 448 x 336 each
    assert Image.open(out / "x.overlay.png").width == 5 * 458 + 10
    assert (out / TABLE).read_text() == 'image,a,b\n"x, y.png",0.25,0.75\n'
    facts = json.loads((out / FACTS).read_text())
    assert OF.items() <= facts.items()
    assert facts["images"] == {"x, y.png": "x, y"}
    assert facts["left_out"] == {"z.png": "is broken"}
    assert facts["finished"] is True


def test_without_classes_there_is_no_table(tmp_path):
    finish(write(tmp_path), probabilities={})
    assert not (tmp_path / "out" / TABLE).exists()


def test_the_same_weights_and_images_are_written_anew(tmp_path):
    finish(write(tmp_path))
    again = write(tmp_path)
    assert json.loads((tmp_path / "out" / FACTS).read_text())["finished"] is False
    finish(again)


def test_what_is_not_predicted_again_does_not_stay(tmp_path):
    """A file that has gone bad, or away, since the run before."""
    finish(write(tmp_path))
    (tmp_path / "out" / "notes.txt").write_text("mine")
    Predictions(epath.Path(tmp_path / "out"), OF)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {FACTS, "notes.txt"}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"weights": "2e"}, "by runs/a, step 3; the weights now are others"),
        ({"images_from": "/elsewhere"}, "of the images in /somewhere .* the images now are others"),
    ],
)
def test_predictions_of_others_are_not_mixed(tmp_path, facts, message):
    finish(write(tmp_path))
    before = (tmp_path / "out" / FACTS).read_bytes()
    with pytest.raises(InputError, match=message):
        write(tmp_path, **facts)
    assert (tmp_path / "out" / FACTS).read_bytes() == before


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    touch(tmp_path, "out/thesis.tex")
    with pytest.raises(InputError, match="is not empty and has no predictions.json"):
        write(tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    touch(tmp_path, "file")
    with pytest.raises(InputError, match="is a file; give a folder"):
        Predictions(epath.Path(tmp_path / "file"), OF)
    with pytest.raises(InputError, match="cannot be written"):
        Predictions(epath.Path(tmp_path / "file" / "below"), OF)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_folder_is_refused(tmp_path, content):
    touch(tmp_path, f"out/{FACTS}").joinpath("out", FACTS).write_bytes(content)
    with pytest.raises(InputError, match=r"predictions.json' is damaged"):
        write(tmp_path)


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(to, array):
        to.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(RunError, match=r"x.saliency.npy' could not be written: .* Make room"):
        write(tmp_path)
    assert not list((tmp_path / "out").glob("*.npy"))
