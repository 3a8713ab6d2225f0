"""The command that predicts: what it writes, prints, leaves out and refuses."""

import csv
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data.dicoms import write_dicom
from tests.experiment.trained import LABELS, STEP, make_config, make_staged
from tests.runs import ROOT, call

SAMPLES = pathlib.Path(os.environ.get("GAZAX_TEST_DATA", ROOT.parent / "shared" / "data"))


def predict(env, *flags, code=0):
    return call(env, "-m", "gazax.predict", *flags, code=code)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A pretraining and a classifier in one workdir, and a third stage that has not begun."""
    folder = tmp_path_factory.mktemp("runs") / "staged"
    gazat = make_config("configs/gazat_vit.py:smoke")
    return make_staged(folder, pretrain=gazat, classify=make_config(), late=None)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Ten images, two of them called alike, one DICOM and two that are broken."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    names = ["x.png", "a/x.png", "b/x.jpg", *(f"c/{i}.png" for i in range(6))]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40), np.uint8)).save(folder / name)
    pixels = rng.integers(0, 4096, (50, 20), np.uint16)
    write_dicom(folder / "a/scan.dcm", pixels, BitsStored=12, PatientName="Roekenstein^Jane")
    whole = (folder / "x.png").read_bytes()
    (folder / "b" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (folder / "c" / "empty.png").touch()
    return folder


@pytest.fixture(scope="module")
def predicted(env, staged, images, tmp_path_factory):
    """What the classifier's stage says of the folder, what that printed, and its --json."""
    out = tmp_path_factory.mktemp("out") / "new" / "folder"
    numbers = out.parent.parent / "numbers.json"
    flags = (f"--images={images}", f"--out={out}", f"--json={numbers}", "--stage=classify")
    return out, predict(env, f"--workdir={staged}", *flags), json.loads(numbers.read_text())


def rows_of(out):
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_every_image_has_its_row_and_its_files(predicted):
    out, _, _ = predicted
    header, *rows = rows_of(out)
    assert header == ["image", *LABELS]
    good = ["a/scan.dcm", "a/x.png", "b/x.jpg", *(f"c/{i}.png" for i in range(6)), "x.png"]
    assert [row[0] for row in rows] == good
    for row in rows:
        assert sum(map(float, row[1:])) == pytest.approx(1, abs=3e-6)
    names = json.loads((out / "predictions.json").read_text())["images"]
    assert list(names) == good
    written = {"predictions.csv", "predictions.json"}
    for name in names.values():
        written |= {f"{name}.grad_cam.npy", f"{name}.overlay.png"}
    assert {path.name for path in out.iterdir()} == written
    for image, size in (("a/scan.dcm", (50, 20)), ("x.png", (30, 40))):
        density = np.load(out / f"{names[image]}.grad_cam.npy")
        assert (density.shape, density.dtype) == (size, np.float32)
        assert density.sum() == pytest.approx(1, abs=1e-5)
    with Image.open(out / "b__x.overlay.png") as overlay:
        assert overlay.width > 2 * 448


def test_bad_files_are_reported_and_the_rest_goes_on(predicted):
    out, done, _ = predicted
    assert "b/torn.png does not decode" in done.stderr
    assert "c/empty.png is neither a PNG nor a JPEG file; it is left out" in done.stderr
    assert f"{out}/: 10 of 12 images predicted, 2 left out, see above" in done.stdout
    left_out = json.loads((out / "predictions.json").read_text())["left_out"]
    assert list(left_out) == ["b/torn.png", "c/empty.png"]


def test_what_is_printed_is_what_is_written(predicted, staged):
    out, done, numbers = predicted
    assert f"{staged}/classify: step {STEP}, trained on the phantom (simulated" in done.stdout
    assert "one class an image: its probabilities sum to 1" in done.stdout
    rows = rows_of(out)[1:]
    expected = {row[0]: dict(zip(LABELS, map(float, row[1:]), strict=True)) for row in rows}
    assert numbers == {"predicted": 10, "left_out": 2, "probabilities": expected}
    line = next(line for line in done.stdout.splitlines() if line.startswith("a/x.png"))
    assert line.split()[1:] == [f"{expected['a/x.png'][label]:.3f}" for label in LABELS]


def test_nothing_of_a_dicom_header_is_written(predicted):
    out, done, _ = predicted
    for path in out.iterdir():
        assert b"Roekenstein" not in path.read_bytes()
    assert "Roekenstein" not in done.stdout + done.stderr


def test_a_pretrained_model_gives_attention_alone_and_none_is_mixed(
    env, staged, images, predicted, tmp_path
):
    workdir = f"--workdir={staged / 'pretrain'}"
    done = predict(env, workdir, f"--images={images / 'a' / 'x.png'}", f"--out={tmp_path / 'out'}")
    assert "the method 'gazat' has no head for classes; written: attention" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "predictions.json",
        "x.attention.npy",
        "x.overlay.png",
    }
    before = {path.name: path.read_bytes() for path in predicted[0].iterdir()}
    done = predict(env, workdir, f"--images={images}", f"--out={predicted[0]}", code=2)
    assert f"by {staged}/classify, step {STEP}; the weights now are others" in done.stderr
    assert {path.name: path.read_bytes() for path in predicted[0].iterdir()} == before


def test_where_no_image_can_be_read_it_fails(env, staged, images, tmp_path):
    shutil.copy(images / "c" / "empty.png", tmp_path / "empty.png")
    flags = (f"--images={tmp_path / 'empty.png'}", f"--out={tmp_path / 'out'}", "--nomaps")
    done = predict(env, f"--workdir={staged}", "--stage=classify", *flags, code=1)
    assert "none of the 1 images in" in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--out=",), "--workdir=DIR, --images=FOLDER or FILE and --out=DIR are needed"),
        (
            (),
            "stage 'late' of '{staged}' has not begun. Let its run go on, or take --stage=classify",
        ),
        (("--stage=clasify",), "--stage='clasify' is unknown (did you mean 'classify'?)"),
        (("--workdir={staged}/classify", "--stage=x"), "is no run of several stages"),
        (("--images={out}", "--stage=classify"), "'{out}' does not exist"),
        (("--out={images}/out",), "what is written would be read as images the next time"),
    ],
)
def test_a_mistake_ends_in_one_line(env, staged, images, tmp_path, flags, message):
    names = {"staged": staged, "images": images, "out": tmp_path / "out"}
    given = {"workdir": staged, "images": images, "out": tmp_path / "out"}
    given |= dict(flag.format(**names).removeprefix("--").split("=", 1) for flag in flags)
    done = predict(env, *(f"--{key}={value}" for key, value in given.items()), code=2)
    assert message.format(**names) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_real_radiographs_are_predicted_on_their_own_pixels(env, staged, tmp_path):
    folder = SAMPLES / "chest_xrays" / "images"
    if not folder.is_dir():
        pytest.skip(f"the real samples are not in {SAMPLES}")
    out = tmp_path / "out"
    predict(env, f"--workdir={staged}", "--stage=classify", f"--images={folder}", f"--out={out}")
    paths = sorted(folder.iterdir())
    assert [row[0] for row in rows_of(out)[1:]] == [path.name for path in paths]
    for path in paths:
        with Image.open(path) as image:
            assert np.load(out / f"{path.stem}.grad_cam.npy").shape == image.size[::-1]
