"""What only the data knows is filled in, and data of which nothing can be learned is refused."""

import numpy as np
import pytest

from gazax import config as config_lib
from gazax import data
from gazax.experiment import parts
from gazax.experiment.method import build_method
from gazax.typing import InputError
from tests.data.folders import table, write_folder
from tests.runs import ROOT

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Six images of three splits and two classes, of which one training image was looked at."""
    folder = tmp_path_factory.mktemp("source")
    names = [f"im{i}" for i in range(6)]
    rows = [f"{name},{name},{SPLITS[i // 2]},{i % 2},{1 - i % 2}" for i, name in enumerate(names)]
    write_folder(
        folder,
        {name: np.full((32, 32), i, np.uint8) for i, name in enumerate(names)},
        labels=table("image_id,patient_id,split,a,b", *rows),
        fixations=table("image_id,reader_id,x_px,y_px,duration_s", "im0,r,3,4,.5"),
    )
    cache = str(tmp_path_factory.mktemp("made"))
    return data.prepare("gaze_folder", root=str(folder), size=(32, 32), cache=cache)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mt_unet.py:smoke", "method 'mt_unet' needs gaze, .* of the split validation has any"),
        ("unet_s.py:smoke", "method 'saliency' needs gaze, .* of the split validation has any"),
        ("gaze_gnn.py:smoke", "method.gaze_input=True needs gaze, .* of the split validation"),
        ("gg_cam.py:smoke", ""),  # only learns from it
        ("inception_resnet_v2.py:smoke", ""),
    ],
)
def test_gaze_must_be_where_it_is_needed(records, spec, message):
    config = config_lib.load(str(ROOT / "configs/baselines" / spec))
    config.data.labels = ()
    if not message:
        parts.resolve(config, records)
        assert config.data.labels == ("a", "b")
        return
    with pytest.raises(InputError, match=message):
        parts.resolve(config, records)


@pytest.mark.parametrize(
    ("spec", "key", "value", "message"),
    [
        ("gg_cam.py:smoke", "gaze", "none", "'gg_cam' needs gaze, and config.data.gaze=none"),
        ("gg_cam.py:smoke", "gaze_fraction", 0.0, "config.data.gaze_fraction=0.0 leaves none"),
        ("gaze_gnn.py:smoke", "gaze", "shuffled", "gaze=shuffled changes .* take gaze=own"),
        ("gaze_gnn.py:smoke", "part", "early", "part=early changes .* take part=all"),
        ("mcgip.py:smoke", "gaze", "none", "partners.measure needs gaze.*gaze=none leaves none"),
        ("focus_contrast.py:smoke", "gaze_fraction", 0.0, "maker='focus' needs gaze.*leaves none"),
    ],
)
def test_settings_of_gaze_that_leave_nothing_to_learn_are_refused(
    records, spec, key, value, message
):
    config = config_lib.load(str(ROOT / "configs/baselines" / spec))
    config.data.labels = ()
    config.data[key] = value
    with pytest.raises(InputError, match=message):
        parts.resolve(config, records)


def test_gazat_and_bootstraps_know_the_length_of_the_run():
    for file in ("gazat_vit.py", "baselines/byol.py"):
        config = config_lib.load(str(ROOT / "configs" / f"{file}:smoke"))
        config.data.labels, config.train.steps = ("a", "b"), 7
        assert build_method(config).total_steps == 7


def test_a_setting_of_another_model_is_named():
    config = config_lib.load(str(ROOT / "configs/baselines/mt_unet.py:smoke"))
    config.data.labels, config.method.task = ("a", "b"), "multiclass"
    config.model.name = "unet"
    message = "config.model.dropout is no setting of the model 'unet', which has width, head, dtype"
    with pytest.raises(InputError, match=message):
        build_method(config)
