"""Every method of the comparison, from command to numbers; on real gaze, its own loss falls."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.runs import call, lines, run
from tests.test_main_real import SAMPLES

pytestmark = pytest.mark.slow

METHODS = {
    # what follows configs/baselines/ -> the loss that is its own
    "simclr.py:views=published": "loss/contrast",
    "byol.py:": "loss/regression",
    "moco.py:": "loss/contrast",
    "moco_v3.py:": "loss/contrast",
    "simsiam.py:": "loss/similarity",
    "mcgip.py:": "loss/contrast",
    "mcgip.py:on=byol,measure=tima": "loss/regression",
    "mcgip.py:on=moco,measure=multimatch": "loss/contrast",
    "focus_contrast.py:": "loss/contrast",
    "random_attention.py:": "loss/attention",
}


def spec(name, words):
    return f"configs/baselines/{name}{'' if name.endswith(':') else ','}{words}"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_ends_with_its_numbers(env, tmp_path, name):
    run(env, tmp_path / "run", config=spec(name, "smoke"))
    numbers = json.loads((tmp_path / "run" / "summary.json").read_text())["numbers"]
    assert {"attention/cc", "probe/auc_macro"} <= numbers.keys()
    logged = [line for line in lines(tmp_path / "run") if METHODS[name] in line]
    assert all(np.isfinite(line[METHODS[name]]) for line in logged)
    if not name.startswith("random"):
        assert logged[-1]["spread/features"] > 0


def test_a_resnet_and_lars_do_too(env, tmp_path):
    flags = ("--config.optim.name=lars", "--config.optim.learning_rate=0.2")
    run(env, tmp_path / "run", *flags, config=spec("moco_v3.py:backbone=resnet", "smoke"))
    assert (tmp_path / "run" / "summary.json").exists()


SHORT, LONG = ("smoke", 200), ("study", 800)
"""Size and steps: MoCo's own loss falls after some 500."""
OF_FEW_IMAGES = (  # as the config has it, and in 200 steps, it does not fall
    "--config.train.batch_size=16",
    "--config.method.queue_size=64",  # of 19 images, 512 rows hold each 27 times
    "--config.method.momentum=0.99",
)


@pytest.mark.parametrize("name", METHODS)
def test_its_loss_falls_on_real_gaze(env, tmp_path, name):
    """24 photographs: too few to compare methods by, enough to learn from."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the real samples are not in {SAMPLES}")
    moco = "moco.py" in name or "on=moco" in name
    size, steps = LONG if moco else SHORT
    flags = (
        f"--config.data.root={SAMPLES / 'natural_gaze'}",
        f"--config.train.steps={steps}",
        f"--config.train.eval_every={steps}",
        f"--config.train.checkpoint_every={steps}",
        *(OF_FEW_IMAGES if moco else ()),
    )
    run(env, tmp_path / "run", *flags, config=spec(name, f"data=gaze_folder,{size}"))
    loss = [line[METHODS[name]] for line in lines(tmp_path / "run") if METHODS[name] in line]
    few = len(loss) // 3
    assert np.mean(loss[-few:]) < np.mean(loss[:few])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """1,797 handwritten digits, which scikit-learn brings along, as a gaze folder without gaze."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "images").mkdir()
    found = load_digits()
    with open(folder / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image_id", "patient_id", *(f"digit_{k}" for k in range(10))])
        for i, (pixels, digit) in enumerate(zip(found.images, found.target, strict=True)):
            image = Image.fromarray(np.uint8(pixels / 16 * 255))
            image.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"images/{i:04d}.png")
            table.writerow([f"{i:04d}", f"{i:04d}", *np.eye(10, dtype=int)[digit]])
    return folder


OF_DIGITS = (  # 400 steps of 64: 20 epochs
    "--config.data.size=32,32",
    "--config.model.depth=2",
    "--config.method.levels=0,1",
    "--config.optim.learning_rate=1e-3",
    "--config.train.steps=400",
    "--config.train.eval_every=400",
    "--config.train.checkpoint_every=400",
)


@pytest.mark.parametrize("name", ["simclr", "byol", "moco", "moco_v3", "simsiam"])
def test_its_features_beat_those_of_random_weights(env, tmp_path, digits, name):
    """On held-out digits, by all labels and by a tenth of them: their classes are easy to see."""
    flags = (f"--config.data.root={digits}", *OF_DIGITS)
    folder = tmp_path / "run"
    run(env, folder, *flags, config=f"configs/baselines/{name}.py:data=gaze_folder")
    call(env, "-m", "gazax.evaluate", f"--workdir={folder}", "--suite=representation")
    found = json.loads((folder / "evaluation" / "numbers.json").read_text())
    numbers = found["suites"]["representation"]["numbers"]
    for row in ("probe", "few_shot_10"):
        _, low, _ = numbers[f"{row}-{row}_step_0/accuracy"]
        assert low > 0, row
