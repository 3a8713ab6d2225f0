"""What is known without the data, and that a dry run compiles what a run runs."""

import numpy as np
import pytest

from gazax import config as config_lib
from gazax.experiment import dryrun
from gazax.experiment.dryrun import choose_batch, dry_run, fill_in, stages_of
from gazax.hardware.chips import CHIPS
from gazax.hardware.compiled import TooLarge
from gazax.hardware.topology import Slice, open_slice
from gazax.train.sharding import batch_sharding, place_batch
from gazax.train.step import jit_step
from gazax.typing import InputError
from tests.runs import CONFIG, ROOT, make_run


def load(spec):
    return config_lib.load(str(ROOT / spec))


def test_the_configs_batch_is_kept_where_it_can_be_cut_and_is_a_chips_where_it_cannot():
    assert choose_batch(None, 128, 16) == (128, "")
    assert choose_batch(None, 128, 128) == (128, "")
    batch, why = choose_batch(None, 128, 256)
    assert batch == 32768
    assert "cannot be cut over 256 devices" in why
    assert choose_batch(512, 128, 256) == (512, "")


def test_it_lowers_the_program_that_the_run_runs(env, tmp_path):
    """To the letter: what is drawn, cut over the devices and donated."""
    run = make_run(env, tmp_path / "run", CONFIG, train__fsdp=2)
    config = load(CONFIG)
    config.train.fsdp = 2
    fill_in(config)
    step = dryrun.make_step(config, None)
    own = jit_step(run.method, run._tx, run._schedule, mesh=run.mesh, parallel="jit", seed=0)
    host = next(run._train_batches(0))
    batch = place_batch(host, batch_sharding(run.mesh))
    expected = own.lower(run._start.described, batch).as_text()
    assert "jax.buffer_donor" in expected or "tf.aliasing_output" in expected
    assert step.step.lower(step.state, step.batch).as_text() == expected


def test_what_the_data_would_say_is_assumed_aloud():
    config = load("configs/cooperative/stage1_classify.py:data=egd_cxr")
    images, remarks = fill_in(config)
    assert (config.method.task, config.method.class_weight) == ("multiclass", (1.0, 1.0, 1.0))
    assert images == 758  # 70 % of 1,083
    assert config.train.steps == 2369  # 50 epochs of batches of 16
    assert any("758 training images assumed" in remark for remark in remarks)
    assert any("multiclass" in remark for remark in remarks)


def test_nobody_knows_how_many_images_a_folder_has():
    config = load("configs/gazat_vit.py:data=gaze_folder")
    with pytest.raises(InputError, match=r"only its files say.*--config.data.labels=A,B"):
        fill_in(config)
    config.data.labels = ("a", "b")
    config.train.epochs = 3
    images, remarks = fill_in(config)
    assert images is None
    assert any("--images=N" in remark for remark in remarks)
    assert fill_in(config, 640)[0] == 640
    assert config.train.steps == 30


def test_what_cannot_be_known_or_compiled_is_refused():
    partners = load("configs/baselines/mcgip.py:measure=tima,smoke")
    with pytest.raises(InputError, match=r"--config.method.partners.length=64"):
        fill_in(partners)
    mapped = load(CONFIG)
    mapped.train.parallel = "pmap"
    with pytest.raises(InputError, match="pmap"):
        dry_run(mapped, open_slice("cpu:2"))
    with pytest.raises(InputError, match=r"train.batch_size=3 .* 2 devices; take 2 or 4"):
        dry_run(load(CONFIG), open_slice("cpu:2"), batch=3)
    with pytest.raises(InputError, match="--find_batch"):
        dry_run(load(CONFIG), open_slice("cpu:2"), find_batch=True)


def test_stages_are_taken_by_name():
    config = load("configs/cooperative/all.py:smoke")
    assert list(stages_of(config, None)) == list(config.stages)
    assert list(stages_of(config, "stage2_saliency")) == ["stage2_saliency"]
    with pytest.raises(InputError, match="did you mean 'stage2_saliency'"):
        stages_of(config, "stage2_salience")
    with pytest.raises(InputError, match="no stages"):
        stages_of(load(CONFIG), "first")


@pytest.fixture
def rooms(monkeypatch):
    """A slice of two chips, and a compiler that has room for so many images a chip."""
    tried, room = [], {}

    class Lowered:
        def lower(self, **platforms):
            return self

    def make_step(config, devices):
        tried.append(config.train.batch_size)
        step = type("Jitted", (), {"trace": lambda *_: Lowered()})()
        return dryrun.Step(step, type("State", (), {"params": {"w": np.zeros(3)}}), None, 3)

    def compile_for_slice(lowered, *, devices):
        size = tried[-1] // devices
        found = dryrun.Compiled(0, 0, 0, 0, size, 1.0, 1.0, [])
        return found if size <= room["images"] else TooLarge(size, room["images"], "no room")

    def slice_with(images):
        room["images"] = images
        return Slice("v5e:1x2", open_slice("cpu:2").devices, 2, CHIPS["v5e"]), tried

    monkeypatch.setattr(dryrun, "make_step", make_step)
    monkeypatch.setattr(dryrun, "compile_for_slice", compile_for_slice)
    return slice_with


def test_where_not_even_one_image_fits_it_says_so(rooms):
    where, _ = rooms(0)
    found = dry_run(load(CONFIG), where, find_batch=True)
    assert not found.estimate.fits
    assert found.remarks[0] == "not even one image a chip fits."


def test_the_largest_batch_is_found_by_what_the_compiler_refuses(rooms):
    where, tried = rooms(37)
    found = dry_run(load(CONFIG), where, find_batch=True)
    assert found.estimate.batch in (72, 74)
    assert found.estimate.found.peak == found.estimate.batch // 2
    assert f"batch {found.estimate.batch} is the largest found" in found.remarks[0]
    assert len(tried) == len(set(tried))
    refused = dry_run(load(CONFIG), where, batch=100).estimate
    assert (refused.fits, refused.found) == (False, TooLarge(50, 37, "no room"))
