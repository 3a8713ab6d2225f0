"""Gaze predicted by the model of another run: found, drawn, and part of a run's identity."""

import json
import os
import shutil

import jax
import numpy as np
import pytest
from etils import epath

from gazax import config as config_lib
from gazax import data
from gazax.data.decode import decode
from gazax.data.mean_gaze import fit_fixations
from gazax.experiment import parts, predicted_gaze
from gazax.experiment.predicted_gaze import find_predictor, predict_gaze
from gazax.experiment.prediction import Predictor
from gazax.ops.gaze import gaze_maps
from gazax.train import sharding, workdir
from gazax.train.checkpoint import MANIFEST
from gazax.typing import InputError
from tests.data.folders import table, write_folder
from tests.experiment.trained import make_config, make_staged, make_workdir
from tests.runs import ROOT, make_run, run

SALIENCY = "configs/baselines/unet_s.py:smoke"
GAZAT = "configs/gazat_vit.py:data=gaze_folder,smoke"
SHAPES = ((30, 40), (50, 20), (32, 32))


def saliency_config(size=(48, 32)):
    config = make_config(SALIENCY, size=size, labels=("a",))
    config.model.width, config.eval.batch_size = 2, 5
    config.data.name = "gaze_folder"
    return config


@pytest.fixture(scope="module")
def saliency(tmp_path_factory):
    """A run that predicts saliency at 48 x 32 px, with random weights."""
    return make_workdir(tmp_path_factory.mktemp("run") / "saliency", saliency_config())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """14 images of three shapes, smooth, each with a spot of its own; every second has gaze."""
    pixels, labels, fixations = {}, [], []
    for i in range(14):
        name, shape = f"im{i:02}", SHAPES[i % 3]
        y, x = np.indices(shape)
        spot = np.exp(-((y - 4 - 1.5 * i) ** 2 + (x - 24 + 1.5 * i) ** 2) / 50)
        pixels[name] = (40 + x + 160 * spot).astype(np.uint8)
        split = {11: "val", 12: "val", 13: "test"}.get(i, "train")
        labels.append(f"{name},{name},{split},{i % 2}")
        if i % 2:
            fixations += [f"{name},ann,{x},{i},1" for x in (8, 12)]
    return write_folder(
        tmp_path_factory.mktemp("images"),
        pixels,
        labels=table("image_id,patient_id,split,a", *labels),
        fixations=table("image_id,reader_id,x_px,y_px,duration_s", *fixations),
    )


def gazat_config(root, cache, gaze, **settings):
    config = config_lib.load(str(ROOT / GAZAT))
    config.data.update(root=str(root), cache=str(cache), gaze=gaze, labels=("a",), **settings)
    return config


@pytest.fixture(scope="module")
def config(root, tmp_path_factory, saliency):
    """Of a run that is to have its predictions, with a cache of its own."""
    return gazat_config(root, tmp_path_factory.mktemp("cache"), f"predicted:{saliency}")


@pytest.fixture(scope="module")
def predicted(config, saliency):
    found = find_predictor(str(saliency))
    return predict_gaze(config, parts.prepare(config), found, mesh=sharding.make_mesh())


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return {**os.environ, "GAZAX_DATA": str(tmp_path_factory.mktemp("prepared"))}


@pytest.mark.slow
class TestPredicted:
    def test_it_draws_what_the_model_says_of_each_training_image(
        self, config, root, saliency, predicted
    ):
        """Held against `Predictor`, which reads the files: the place in the image is the same."""
        there = saliency_config()
        records = data.prepare("gaze_folder", root=root, size=(48, 32), cache=config.data.cache)
        train = records.source("train")
        model = Predictor(there, saliency, which="best", batch_size=4, maps=True)
        frames = [
            (i, model.task_of(root / "images" / f"im{i:02}.png", roots=(root,))) for i in range(11)
        ]
        said = {
            key: found["saliency"]
            for key, found in model.predictions((i, decode(task)) for i, task in frames)
        }
        # Records stand in the order of the source's images.
        assert len(predicted) == len(train) == len(said) == 11
        correlations = []
        for position, record in enumerate(train):
            np.testing.assert_array_equal(
                record["image"][..., 0], decode(frames[position][1]).image
            )
            content = record["content"]
            xmin, ymin, xmax, ymax = content.astype(int)
            inside = np.s_[ymin:ymax, xmin:xmax]
            wanted = np.zeros((48, 32))
            wanted[inside] = said[position][inside] - said[position][inside].min()
            wanted /= wanted.max()
            expected = fit_fixations(wanted, config.data.max_fixations, content=content)
            fixations = predicted.fixations(position, content)
            assert fixations["duration"].max() > 0.1
            np.testing.assert_allclose(
                fixations["duration"], expected["duration"], rtol=0.05, atol=1e-3
            )
            fixations["window"] = np.tile(content, (len(fixations["reader"]), 1))
            batch = jax.tree.map(lambda x: x[None], fixations)
            drawn = np.asarray(_draw(batch, np.ones((1, 1)), size=(48, 32)))[0]
            pair = drawn[inside].ravel(), wanted[inside].ravel()
            correlations.append(np.corrcoef(*pair)[0, 1])
        assert predicted.correlation["mean"] == pytest.approx(np.mean(correlations), abs=1e-3)
        assert predicted.correlation["lowest"] < predicted.correlation["mean"] < 1

    def test_it_is_computed_once_for_the_same_weights(
        self, config, saliency, predicted, tmp_path, capsys, monkeypatch
    ):
        """Wherever they lie; a setting that it does not depend on changes nothing."""
        moved = shutil.copytree(saliency, tmp_path / "moved")
        records = parts.prepare(config)
        monkeypatch.setattr(predicted_gaze, "make_saliency", None)
        config.data.gaze_fraction = 0.5
        found = predict_gaze(config, records, find_predictor(str(moved)), mesh=sharding.make_mesh())
        assert "predicting" not in capsys.readouterr().out
        content = np.float32([0, 0, 9, 9])
        np.testing.assert_array_equal(
            found.fixations(2, content)["duration"], predicted.fixations(2, content)["duration"]
        )

    def test_weights_that_predict_nothing_finite_are_named(self, config, saliency):
        found = find_predictor(str(saliency))
        grown = jax.tree.map(lambda leaf: leaf * np.float32(1e30), found.source.params)
        source = predicted_gaze.dataclasses.replace(
            found.source, params=grown, identity="of something else"
        )
        found = predicted_gaze.dataclasses.replace(found, source=source)
        with pytest.raises(InputError, match=r"predicts NaN or infinity for the image '[0-9a-f]"):
            predict_gaze(config, parts.prepare(config), found, mesh=sharding.make_mesh())
        assert not list(epath.Path(config.data.cache).glob("*.partial"))


_draw = jax.jit(gaze_maps, static_argnames="size")


class TestFound:
    def test_of_several_stages_the_last_or_the_one_named(self, tmp_path):
        last = saliency_config()
        last.seed = 1
        folder = make_staged(tmp_path / "all", first=saliency_config(), second=last)
        assert find_predictor(str(folder)).config.seed == 1
        assert find_predictor(f"{folder}/first").config.seed == 0
        step = next(iter((folder / "first" / "checkpoints").glob("[0-9]*")))
        assert find_predictor(str(step)).source.name == str(step)

    @pytest.mark.parametrize(
        ("what", "message"),
        [
            ("nowhere", r"config\.data\.gaze='predicted:.*nowhere': there is no such folder; give"),
            ("empty", r"'.*empty' is no workdir: it has no config\.json"),
            ("begun", r"predicted:.*begun': '.*begun' has no checkpoint yet; let its run go on"),
            ("probe", r"'.*probe' is of the method 'supervised', which predicts no saliency; give"),
            ("damaged", r"predicted:.*damaged': init_from: the checkpoint is damaged"),
            ("staged", r"predicted:.*staged': '.*staged/second' is no workdir"),
        ],
    )
    def test_a_run_that_cannot_predict_is_named(self, saliency, tmp_path, what, message):
        folder = tmp_path / what
        if what == "empty":
            folder.mkdir()
        elif what == "probe":
            make_workdir(folder, make_config())
        elif what == "staged":
            make_staged(folder, first=saliency_config(), second=None)
        elif what != "nowhere":
            shutil.copytree(saliency, folder)
        for manifest in folder.glob(f"checkpoints/*/{MANIFEST}"):
            if what == "begun":
                manifest.unlink()
            elif what == "damaged":
                manifest.write_text(manifest.read_text()[1:])
        with pytest.raises(InputError, match=message):
            find_predictor(str(folder))

    def test_a_variant_of_a_sweep_is_none_of_a_run(self):
        with pytest.raises(InputError, match=r"predicted:stage:unet': stage:NAME is for variants"):
            find_predictor("stage:unet")


class TestOfARun:
    def make(self, env, folder, root, gaze, spec=GAZAT, **settings):
        return make_run(env, folder, spec, data__root=str(root), data__gaze=gaze, **settings)

    def test_other_predictions_are_another_run_and_another_place_is_not(
        self, env, root, saliency, tmp_path
    ):
        folder, gaze = tmp_path / "run", f"predicted:{saliency}"
        first = self.make(env, folder, root, gaze, data__gaze_fraction=0.1)
        assert first.finished is None
        workdir.claim(first.folder, *first._identity)
        moved = shutil.copytree(saliency, tmp_path / "moved")
        same = dict(data__gaze_fraction=0.1)
        assert self.make(env, folder, root, f"predicted:{moved}", **same).finished is None
        other = make_workdir(tmp_path / "other", saliency_config(), seed=1)
        message = r"data\.gaze: predicted by weights [0-9a-f]{64} there, [0-9a-f]{64} now"
        with pytest.raises(InputError, match=message):
            self.make(env, folder, root, f"predicted:{other}", **same).finished  # noqa: B018
        with pytest.raises(InputError, match=r"data\.gaze: predicted by weights .* there, None"):
            self.make(env, folder, root, "own", **same).finished  # noqa: B018
        with pytest.raises(InputError, match=r"data\.gaze_fraction: 0\.1 there, 0\.2 now"):
            self.make(env, folder, root, gaze, data__gaze_fraction=0.2).finished  # noqa: B018

    def test_a_finished_run_is_shown_without_its_predictor_and_goes_no_further(
        self, env, root, saliency, tmp_path
    ):
        folder, moved = tmp_path / "run", shutil.copytree(saliency, tmp_path / "moved")
        gaze = f"predicted:{moved}"
        first = self.make(env, folder, root, gaze)
        workdir.claim(first.folder, *first._identity)
        shutil.rmtree(moved)
        with pytest.raises(InputError, match="there is no such folder"):
            self.make(env, folder, root, gaze)
        summary = {"step": 30, "stopped_early": False, "patience": 0}
        (folder / "summary.json").write_text(json.dumps(summary))
        assert self.make(env, folder, root, gaze).finished == summary
        longer = self.make(env, folder, root, gaze, train__steps=60)
        assert longer.finished is None
        with pytest.raises(InputError, match="there is no such folder"):
            longer.start()

    def test_a_model_of_another_protocol_is_refused(self, env, root, saliency, tmp_path):
        message = (
            r"config\.data\.gaze: .*saliency/checkpoints/7 was trained under the protocol 'strict'"
        )
        gaze = f"predicted:{saliency}"
        with pytest.raises(InputError, match=message):
            self.make(env, tmp_path / "run", root, gaze, data__protocol="paper")

    def test_gaze_that_is_an_input_is_never_predicted(self, env, root, saliency, tmp_path):
        message = r"config\.data\.gaze=predicted:.*gaze_input=True the model is given gaze when"
        settings = dict(
            spec="configs/baselines/gaze_gnn.py:data=gaze_folder,smoke",
            method__balance_classes=False,
        )
        with pytest.raises(InputError, match=message):
            self.make(env, tmp_path / "run", root, f"predicted:{saliency}", **settings)

    def test_predictions_are_gaze_to_a_method_that_needs_some(self, env, root, saliency, tmp_path):
        """Of no one's gaze in training nothing would be learned; of the predicted, something is."""
        settings = dict(
            spec="configs/baselines/gg_cam.py:data=gaze_folder,smoke",
            method__balance_classes=False,
            data__gaze_fraction=0.0,
        )
        with pytest.raises(InputError, match=r"config\.data\.gaze_fraction=0\.0 leaves none"):
            self.make(env, tmp_path / "run", root, "own", **settings)
        self.make(env, tmp_path / "run", root, f"predicted:{saliency}", **settings)

    @pytest.mark.slow
    def test_a_run_learns_from_it_and_is_measured_against_people(
        self, env, root, saliency, tmp_path
    ):
        """Finished, it needs its predictor no more; run again, it ends the same."""
        moved = shutil.copytree(saliency, tmp_path / "moved")
        flags = [
            f"--config.data.root={root}",
            f"--config.data.gaze=predicted:{moved}",
            "--config.data.gaze_fraction=0.2",
            "--config.train.batch_size=8",
            "--config.eval.batch_size=8",
        ]
        folder = tmp_path / "run"
        done = run(env, folder, *flags, config=GAZAT)
        assert "predicting gaze of 11 training images by " in done.stdout
        assert "11 training images; fixations draw its maps with a corr" in done.stdout
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["predicted_gaze"]["correlation"].keys() == {"mean", "lowest"}
        one = lines_of(folder)
        assert all(np.isfinite(line["loss"]) for line in one)
        again = run(env, tmp_path / "again", *flags, config=GAZAT)
        assert "predicting gaze of" not in again.stdout
        assert [line["loss"] for line in lines_of(tmp_path / "again")] == [
            line["loss"] for line in one
        ]
        shutil.rmtree(moved)
        assert "is finished at step" in run(env, folder, *flags, config=GAZAT).stdout


def lines_of(folder):
    """The lines of training."""
    texts = (folder / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, texts) if "loss" in line]
