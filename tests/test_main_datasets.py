"""Training and evaluation on trees laid out as the released data sets, from the command line."""

import json

import pytest

from tests.data.trees.chestxray14 import write_chestxray14
from tests.data.trees.egd_cxr import write_egd_cxr
from tests.data.trees.mimic_cxr import write_mimic_cxr
from tests.data.trees.reflacx import write_reflacx
from tests.data.trees.rsna_pneumonia import write_rsna_pneumonia
from tests.runs import ROOT, lines, run

WITH_GAZE = {"reflacx": write_reflacx, "egd_cxr": write_egd_cxr}
WITHOUT = {
    "mimic_cxr_probe": (write_mimic_cxr, ("Cardiomegaly", "Edema", "No Finding")),
    "rsna_probe": (write_rsna_pneumonia, ("Pneumonia",)),
    "rsna_segmentation": (write_rsna_pneumonia, ("Pneumonia",)),
    "chestxray14_finetune": (write_chestxray14, ("Atelectasis", "Effusion")),
}
"""The writer of a tree, and labels that its few images have both ways."""
BEARING = "--config.data.max_bad_fraction=0.5"  # the trees hold every trap there is
FEW = ("--config.train.steps=4", "--config.train.log_every=2", "--config.train.eval_every=4")


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_GAZE)
def test_gazat_trains_and_is_evaluated_on_a_tree_with_gaze(env, tmp_path, name):
    root = WITH_GAZE[name](tmp_path / "source", 24)
    config = f"configs/gazat_vit.py:data={name},smoke"
    workdir = tmp_path / "run"
    run(env, workdir, f"--config.data.root={root}", BEARING, *FEW, config=config)
    logged = [line for line in lines(workdir) if "loss" in line]
    assert all(line["loss/attention"] > 0 for line in logged)
    assert all(0 < line["gaze_share"] <= 1 for line in logged)
    summary = json.loads((workdir / "summary.json").read_text())
    assert any(key.endswith("attention/cc") for key in str(summary).replace("'", " ").split())
    texts = [p.read_text() for p in workdir.rglob("*.json*") if p.is_file()]
    subjects = {path.name.lstrip("p") for path in root.rglob("files/p*/p*")}
    assert subjects
    assert not any(subject in text for subject in subjects for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("config", sorted(WITHOUT))
def test_a_transfer_trains_and_is_evaluated_on_a_tree_without_gaze(env, tmp_path, config):
    write, labels = WITHOUT[config]
    root = write(tmp_path / "source", 24)
    workdir = tmp_path / "run"
    chosen = f"--config.data.labels={','.join(labels)}"
    unwatched = ("--config.train.patience=0", "--config.eval.monitor=()")  # too few to validate
    flags = (f"--config.data.root={root}", chosen, BEARING, *FEW, *unwatched)
    run(env, workdir, *flags, config=f"configs/eval/{config}.py:smoke")
    assert (workdir / "summary.json").exists()


def test_the_readme_names_every_data_set():
    from gazax.data import DATASETS

    text = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in text for name in DATASETS if name not in ("phantom", "gaze_folder"))
