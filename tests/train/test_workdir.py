import json

import pytest
from etils import epath

from gazax.train.workdir import check_claim, claim, read_summary, write_json
from gazax.typing import InputError

CONFIG = {
    "seed": 0,
    "data": {"root": "a", "size": (64, 64)},
    "train": {"steps": 10, "batch_size": 8, "log_every": 5, "parallel": "jit"},
    "method": {"alpha": 1.0},
}


def changed(**changes):
    config = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        section, _, name = key.partition("__")
        config[section][name] = value
    return config


@pytest.fixture
def folder(tmp_path):
    folder = epath.Path(tmp_path) / "run"
    claim(folder, CONFIG, "abc")
    return folder


def test_config_is_written_with_versions(folder):
    written = json.loads((folder / "config.json").read_text())
    assert written["config"]["method"] == {"alpha": 1.0}
    assert {"gazax", "jax", "flax"} <= written["versions"].keys()


def test_the_same_config_goes_on(folder):
    claim(folder, CONFIG, "abc")


@pytest.mark.parametrize(
    "change",
    [
        {"data__root": "b"},
        {"train__log_every": 1},
        {"train__parallel": "pmap"},
        {"train__steps": 20},
        {"train__patience": 5},
    ],
)
def test_what_does_not_change_the_result_may_change(folder, change):
    claim(folder, changed(**change), "abc")


def test_another_config_is_refused_with_every_key_that_differs(folder):
    with pytest.raises(InputError) as error:
        claim(folder, changed(method__alpha=2.0, train__batch_size=16), "abc")
    assert "method.alpha: 1.0 there, 2.0 now" in str(error.value)
    assert "train.batch_size: 8 there, 16 now" in str(error.value)
    assert "steps" not in str(error.value)


def test_other_data_is_refused(folder):
    with pytest.raises(InputError, match="abc there, abd now"):
        claim(folder, CONFIG, "abd")


def test_other_weights_are_refused_and_the_same_ones_may_lie_elsewhere(tmp_path):
    folder = epath.Path(tmp_path) / "run"
    config = {**CONFIG, "init_from": {"path": "runs/a", "which": "best", "fresh": ()}}
    moved = {**CONFIG, "init_from": {"path": "runs/b", "which": "last", "fresh": ()}}
    claim(folder, config, "abc", "w1")
    check_claim(folder, moved, "abc", "w1")
    with pytest.raises(InputError, match="init_from: weights w1 there, w2 now"):
        check_claim(folder, config, "abc", "w2")
    with pytest.raises(InputError, match="weights w1 there, None now"):
        check_claim(folder, config, "abc")
    scopes = {**config, "init_from": {**config["init_from"], "fresh": ("head",)}}
    with pytest.raises(InputError, match=r"init_from\.fresh"):
        check_claim(folder, scopes, "abc", "w1")


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="not empty and has no config.json"):
        claim(epath.Path(tmp_path), CONFIG, "abc")


def test_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="is a file"):
        claim(epath.Path(tmp_path / "run"), CONFIG, "abc")


def test_a_damaged_config_is_named(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json' is damaged"):
        claim(folder, CONFIG, "abc")


def test_summary_is_absent_until_it_is_written(folder):
    assert read_summary(folder) is None
    write_json(folder / "summary.json", {"step": 3})
    assert read_summary(folder) == {"step": 3}
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "summary.json"]


def test_a_kill_before_the_first_rename_leaves_a_folder_to_claim(tmp_path):
    (tmp_path / ".config.json.partial").write_text("{")
    claim(epath.Path(tmp_path), CONFIG, "abc")
    assert (tmp_path / "config.json").exists()


def test_checking_writes_nothing(folder, tmp_path):
    before = (folder / "config.json").read_text()
    check_claim(folder, changed(train__steps=20), "abc")
    assert (folder / "config.json").read_text() == before
    check_claim(epath.Path(tmp_path) / "new", CONFIG, "abc")
    assert not (tmp_path / "new").exists()


def test_what_is_not_finite_is_null(tmp_path):
    write_json(epath.Path(tmp_path) / "a.json", {"x": [float("nan"), 1.0], "y": float("inf")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [None, 1.0], "y": None}
