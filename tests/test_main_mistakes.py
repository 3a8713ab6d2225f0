"""A person's mistakes end in one line that says what to do."""

import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from gazax.typing import InputError
from tests.runs import CONFIG, ROOT, make_run, run

RESNET = "configs/gazat_resnet.py:smoke"


@pytest.mark.parametrize(
    ("flags", "config", "message"),
    [
        ((), "configs/gazat_vit.py:data=reflacx", "physionet.org/content/reflacx"),
        ((), "configs/gazat_vit.py:smok", "did you mean 'smoke'"),
        ((), "configs/gazat_vi.py", "did you mean 'configs/gazat_vit.py'"),
        (("--config.method.alpa=1",), CONFIG, "did you mean 'method.alpha'"),
        (("--config.train.steps=many",), CONFIG, "train.steps"),
        (("--config.data.size=a,b",), CONFIG, "expected int separated by commas"),
        (("--config.data.size=30,30",), CONFIG, "multiple of the patch"),
        (("--config.data.readers=nobody",), CONFIG, "nobody"),
        (("--config.freeze=backbon/.*",), CONFIG, "backbon/.*"),
        (("--json=.",), CONFIG, "--json=. cannot be written"),
        (("--json=/nowhere/at/all.json",), CONFIG, "--json=/nowhere/at/all.json"),
        (("--nonsense=1",), CONFIG, "nonsense"),
        ((), "configs/eval/linear_probe.py:init_from=nowhere", "'nowhere' is no workdir"),
    ],
)
def test_a_mistake_ends_in_one_line_without_a_traceback(env, tmp_path, flags, config, message):
    failed = run(env, tmp_path / "mistake", *flags, config=config, code=2)
    assert failed.stderr.count("error:") == 1
    assert message in failed.stderr
    assert not (tmp_path / "mistake").exists()


@pytest.mark.parametrize(
    ("overrides", "config", "message"),
    [
        (dict(train__batch_size=0), CONFIG, "train.batch_size is 0"),
        (dict(train__batch_size=6), CONFIG, r"train.batch_size=6 \(global\) cannot be cut"),
        (dict(data__max_fixations=3), CONFIG, "config.data.max_fixations"),
        ({}, "configs/gazat_vit.py:data=gaze_folder,smoke", "config.data.root"),
        (dict(data__root="nowhere"), "configs/gazat_vit.py:data=gaze_folder,smoke", "nowhere"),
        (dict(method__levels=(0, 9)), CONFIG, "names level 9"),
        (dict(data__size=(32,)), CONFIG, r"config.data.size is \(32,\)"),
        (dict(model__num_heads=0), CONFIG, "config.model.num_heads is 0"),
        (dict(train__keep=0), CONFIG, "config.train.keep is 0"),
        (dict(train__profile=(3, 2)), CONFIG, r"config.train.profile is \(3, 2\)"),
        (dict(train__profile=("a", "b")), CONFIG, r"config.train.profile is \('a', 'b'\)"),
        (dict(method__distance="emd"), CONFIG, "method.distance='emd'"),
        (dict(train__parallel="pmap", train__fsdp=2), CONFIG, "fsdp=1"),
        (dict(seed=-1), CONFIG, "config.seed is -1"),
        (dict(optim__warmup_fraction=1.0), CONFIG, "optim.warmup_fraction is 1.0"),
        (
            dict(data__name="gaze_folder", data__root="tests"),
            CONFIG,
            "the data set has no argument contrast, count, image_size, lesions, seed",
        ),
        (dict(method__temperature=0.0), CONFIG, "config.method.temperature is 0.0; it must"),
        (dict(optim__learning_rate=-1.0), CONFIG, "config.optim.learning_rate is -1.0"),
        (dict(method__attention="cam"), CONFIG, "method.attention='cam'"),
        (dict(method__attention="rows"), RESNET, "take grad_cam, energy or module"),
        (dict(data__gaze="shufled"), CONFIG, "did you mean 'shuffled'"),
        (dict(data__labels=("normal", "edema")), CONFIG, "names 'edema'"),
        (dict(init_from__path="nowhere"), CONFIG, "nowhere"),
        (dict(eval__suite="classification"), CONFIG, "measures the method 'supervised'"),
        ({}, "configs/eval/rsna_probe.py", "(?i)rsna"),
        ({}, "configs/eval/finetune_classification.py:modell=vit", "did you mean 'model'"),
        ({}, "configs/eval/finetune_classification.py:head_first", "give init_from=WORKDIR"),
    ],
)
def test_what_no_run_can_be_made_of_is_named(env, tmp_path, overrides, config, message):
    with pytest.raises(InputError, match=message):
        make_run(env, tmp_path / "mistake", config, **overrides).rehearse()
    assert not (tmp_path / "mistake").exists()


def test_help_is_quick_and_shows_the_command(env):
    began = time.perf_counter()
    shown = subprocess.run(
        [sys.executable, "-m", "gazax.main", "--help"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert "--config=configs/gazat_vit.py" in shown.stdout
    assert "--workdir" in shown.stdout
    assert "--json" in shown.stdout
    # 3 s on an idle machine; the bound leaves room for a busy one.
    assert time.perf_counter() - began < 20


@pytest.mark.skipif(find_spec("gcsfs") is not None, reason="gcsfs IS HERE: buckets are reached")
def test_a_bucket_that_nothing_here_reaches_says_what_to_install(env):
    done = run(env, "gs://bucket/run", code=2)
    assert "install gcsfs" in done.stderr
