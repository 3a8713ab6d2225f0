"""Every config file resolves, with each of its arguments, and its step has a shape."""

import json
import pathlib

import jax
import jax.export
import numpy as np
import pytest

from gazax import config as config_lib
from gazax.experiment import dryrun, parts
from gazax.experiment.check import RANGES, check
from gazax.experiment.method import build_method
from gazax.experiment.sweep_plan import make_plan
from gazax.main import default_workdir
from gazax.train import loop, optim, sharding
from gazax.typing import InputError

ROOT = pathlib.Path(__file__).parent.parent
COOPERATIVE = ROOT / "configs/cooperative"
EVERY_FILE = sorted((ROOT / "configs").rglob("*.py"))
SWEEPS = [file for file in EVERY_FILE if "variants" in config_lib.load(str(file))]
FILES = [file for file in EVERY_FILE if file not in SWEEPS]
PRETRAINING = ("", "smoke", "study", "data=gaze_folder,smoke", "data=reflacx")
ARGUMENTS = {
    "gazat_vit": PRETRAINING,
    "gazat_resnet": (*PRETRAINING[1:4], "data=reflacx"),
    "gazat_transfer": ("smoke", "model=resnet,smoke"),
    "simclr": ("smoke", "study", "data=reflacx", "backbone=resnet,views=published,smoke"),
    **dict.fromkeys(("byol", "moco", "moco_v3", "simsiam"), ("smoke", "data=reflacx")),
    "mcgip": ("smoke", "on=moco,measure=tima,smoke"),
    "focus_contrast": ("smoke", "on=byol,smoke"),
    **dict.fromkeys(("random_attention", "supervised"), ("smoke",)),
    "finetune_classification": ("", "model=resnet"),
    "finetune_segmentation": ("decoder=linear", "model=resnet,smoke"),
    "linear_probe": ("", "model=resnet"),
    "stage1_triplet": ("", "smoke", "study", "objective=sup_con"),
    "stage1_classify": ("", "smoke"),
    "stage2_saliency": ("", "guided=false", "smoke"),
    "stage3_fusion": ("", "smoke"),
    "all": ("smoke", "data=egd_cxr,protocol=paper"),
    "mt_unet": ("", "balance=kendall,smoke", "balance=gradnorm,smoke", "balance=fixed,smoke"),
    "inception_resnet_v2": ("smoke", "study", "data=egd_cxr"),
    "gaze_gnn": ("smoke", "study", "data=egd_cxr"),
    **dict.fromkeys(("unet_s", "gg_cam", "attention_consistency"), ("smoke",)),
    **dict.fromkeys(("densenet201", "res_se_unet"), ("smoke",)),
}


def stages(config):
    return list(config.stages.values()) if "stages" in config else [config]


@pytest.mark.parametrize(
    ("file", "arg"),
    [(file, arg) for file in FILES for arg in ARGUMENTS.get(file.stem, ("",))],
    ids=lambda value: value.stem if isinstance(value, pathlib.Path) else value,
)
def test_config_resolves_and_its_state_has_shapes(file, arg):
    for config in stages(config_lib.load(f"{file}:{arg}")):
        check(config)
        if config.method.get("task") == "":
            config.method.task = "multilabel"  # what the data says
        if not config.data.labels:
            config.data.labels = ("any", "thing")
        spec = config_lib.batch_spec(config)
        height, width = config.data.size
        assert spec["image"].shape == (config.train.batch_size, height, width, 1)
        method = build_method(config)
        tx = optim.adamw(lambda step: 1e-3, weight_decay=0.1, clip_norm=1.0)
        start = loop.make_start(method, tx, spec, mesh=sharding.make_mesh(), seed=0)
        assert all(leaf.size for leaf in jax.tree.leaves(start.described.params))
        parts.gaze_settings(config)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_step_of_a_config_is_lowered_for_what_is_not_here(file):
    """Cut over devices too, as a run on a GPU or a TPU would have it."""
    for config in stages(config_lib.load(f"{file}:smoke")):
        dryrun.fill_in(config)
        step = dryrun.make_step(config, None)
        exported = jax.export.export(step.step, platforms=("cuda", "tpu"))(step.state, step.batch)
        assert exported.platforms == ("cuda", "tpu")
        assert exported.nr_devices == jax.device_count() > 1


def test_every_number_of_a_config_has_a_range():
    """Or is free: a place, a count of seconds, a weight that may be anything."""
    free = {"views.mean", "method.levels", "method.level_weights", "eval.monitor"}
    for file in FILES:
        for config in stages(config_lib.load(str(file))):
            for key, value in config_lib.flatten(config):
                number = isinstance(value, int | float) and not isinstance(value, bool)
                number |= isinstance(value, tuple) and any(isinstance(x, float) for x in value)
                if number and not key.startswith("data.source."):
                    assert key in {*RANGES, *free}, f"{file}: {key}"


@pytest.mark.parametrize("file", EVERY_FILE, ids=lambda path: path.stem)
def test_config_says_how_it_is_run_and_what_came_out(file):
    docstring = file.read_text().split('"""')[1]
    command = "sweep" if file in SWEEPS else "main"
    assert f"python -m gazax.{command} --config=configs/" in docstring
    assert "2026-" in docstring or "not yet run" in docstring


@pytest.mark.parametrize("arg", ["", "smoke"])
@pytest.mark.parametrize("file", SWEEPS, ids=lambda path: path.stem)
def test_sweep_can_be_run(file, arg, monkeypatch):
    """Every config and override that it names is there, and is checked as a run's is."""
    monkeypatch.chdir(ROOT)
    plan = make_plan(config_lib.load(f"{file}:{arg}"))
    if plan.split == "test":  # reported, and not only chosen by
        assert len(plan.seeds) >= (2 if arg else 3)
        assert any(variant.reference for variant in plan.variants)
    if arg:
        assert all("smoke" in variant.config for variant in plan.variants)
    if plan.x_label:
        assert any(variant.x is not None for variant in plan.variants)


def test_a_sweeps_length_is_that_of_all_but_the_untrained():
    config = config_lib.load(f"{ROOT / 'configs/ablations/methods.py'}:contrast=3,steps=900")
    for name, variant in config.variants.items():
        steps = [word for word in variant.overrides if word.startswith("train.steps=")]
        assert steps == ["train.steps=1" if name == "untrained" else "train.steps=900"], name
        assert "data.source.contrast=3.0" in variant.overrides


TABLES = "configs/cooperative/tables.py"


@pytest.mark.parametrize("arg", ["protocol=paper", "data=egd_cxr,root=DIR"])
def test_the_papers_tables_can_be_run_as_the_paper_did(arg, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = make_plan(config_lib.load(f"{TABLES}:{arg}"))
    assert all(arg.partition(",")[0] in variant.config for variant in plan.variants)


def test_the_papers_tables_say_who_begins_with_imagenets_weights():
    said = {
        "": ("All begin with random weights.",) * 2,
        "inception=b": (
            "With ImageNet's weights begin IRNetv2; the others with random ones.",
            "All begin with random weights.",
        ),
        "weights=a,inception=b": (
            "With ImageNet's weights begin Ours, DNet201-CL, DNet201, IRNetv2; the others with "
            "random ones.",
            "With ImageNet's weights begin Ours; the others with random ones.",
        ),
    }
    for arg, notes in said.items():
        tables = config_lib.load(f"{ROOT / TABLES}:{arg}").tables
        for table, note in zip((tables.classification, tables.saliency), notes, strict=True):
            assert note in table.notes


def test_means_that_the_paper_does_not_print_are_those_of_its_classes():
    """‡: its one AUC a system is the mean of the classes for Ours and GazeGNN alone."""
    config = config_lib.load(str(ROOT / TABLES))
    rows = dict(config.tables.classification.published)
    classes = [row for name, row in rows.items() if name.startswith("classifier/auc/")]
    assert len(classes) == 3
    for system, text in rows["classifier/auc_macro"].items():
        mean = np.mean([float(row[system]) for row in classes])
        assert abs(float(text.rstrip("‡")) - mean) <= 0.00051, system
        assert text.endswith("‡") == (system in rows["classifier/auc_micro"])


def test_a_workdir_hands_on_its_model_its_size_and_its_data(tmp_path):
    source = config_lib.load(f"{ROOT / 'configs/gazat_resnet.py'}:smoke")
    (tmp_path / "config.json").write_text(json.dumps({"config": source.to_dict()}))
    spec = f"{ROOT / 'configs/eval/finetune_classification.py'}:init_from={tmp_path}"
    config = config_lib.load(spec)
    assert config.model == source.model
    assert config.data.size == source.data.size == (32, 32)
    assert config.data.source == source.data.source
    assert config.init_from.path == str(tmp_path)
    assert config_lib.load(f"{spec},random").init_from.path == ""
    both = config_lib.load(f"{spec},head_first")
    assert list(both.stages) == ["head", "all"]
    assert (both.stages.head.freeze, both.stages.all.freeze) == (("backbone/.*",), ())
    for arg in (
        f"{spec},model=vit",
        f"{spec},random,head_first",
        f"{spec.partition(':')[0]}:head_first",
    ):
        with pytest.raises(InputError, match="model|head_first"):
            config_lib.load(arg)
    other = config_lib.load(f"{ROOT / 'configs/eval/rsna_probe.py'}:init_from={tmp_path}")
    assert (other.data.name, other.data.size) == ("rsna_pneumonia", (32, 32))
    assert other.data.labels == ("Pneumonia",)


def test_a_checkpoint_stands_for_its_workdir_and_a_file_of_weights_does_not(tmp_path):
    source = config_lib.load(f"{ROOT / 'configs/gazat_vit.py'}:smoke")
    (tmp_path / "config.json").write_text(json.dumps({"config": source.to_dict()}))
    assert config_lib.of_run(f"{tmp_path}/checkpoints/30").to_dict() == source.to_dict()
    with pytest.raises(InputError, match="has weights and no model.*--config.init_from.path="):
        config_lib.of_run("weights.safetensors")


def test_a_default_workdir_can_be_an_argument_of_another_config():
    name = default_workdir("configs/gazat_vit.py:data=phantom,study", {"seed": 1})
    assert config_lib.parse_arg(f"init_from={name},smoke", init_from="", smoke=False).to_dict() == {
        "init_from": name,
        "smoke": True,
    }


def test_what_is_no_workdir_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no config.json"):
        config_lib.of_run(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not the config of a run"):
        config_lib.of_run(str(tmp_path))
    (tmp_path / "config.json").write_text('{"config": {"stages": ["a", "b"]}}')
    with pytest.raises(InputError, match=f"give one of them: {tmp_path}/a, {tmp_path}/b"):
        config_lib.of_run(str(tmp_path))


def test_reflacx_is_the_proposals_recipe():
    config = config_lib.load(f"{ROOT / 'configs/gazat_vit.py'}:data=reflacx")
    spec = config_lib.batch_spec(config)
    assert spec["image"].shape == (128, 224, 224, 1)
    assert spec["label"].shape == (128, 15)
    assert (config.model.width, config.model.depth, config.model.patch_size) == (768, 12, 16)
    assert config.optim.learning_rate == 1e-4
    assert config.train.epochs == 200
    assert config.method.projector.to_dict() | {"hidden_dim": 0} == {
        "num_layers": 2,
        "hidden_dim": 0,
        "out_dim": 256,
        "norm": "none",
    }
    assert config.views.standard.to_dict() == {
        "crop": (0.8, 1.0),
        "rotation_degrees": 10.0,
        "brightness": 0.2,
        "contrast": 0.2,
    }


def test_unknown_argument_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"'smok' is unknown \(did you mean 'smoke'\?\).*data"):
        config_lib.load(f"{ROOT / 'configs/gazat_vit.py'}:smok")


def test_unknown_data_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"data='reflax'.*did you mean 'reflacx'"):
        config_lib.load(f"{ROOT / 'configs/gazat_vit.py'}:data=reflax")


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("steps", "needs a value, such as steps=3"),
        ("steps=many", "expected int"),
        ("smoke=perhaps", "write smoke or smoke=false"),
        ("smoke,smoke", "given twice"),
    ],
)
def test_parse_arg_says_what_is_wrong(arg, message):
    with pytest.raises(InputError, match=message):
        config_lib.parse_arg(arg, steps=3, smoke=False)


def test_parse_arg_is_typed_by_its_defaults():
    parsed = config_lib.parse_arg(
        "steps=7,smoke,rate=1,name=x", steps=3, smoke=False, rate=0.1, name=""
    )
    assert parsed.to_dict() == {"steps": 7, "smoke": True, "rate": 1.0, "name": "x"}
    assert isinstance(parsed.rate, float)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Cardiomegaly,No Finding", ("Cardiomegaly", "No Finding")),
        ("Edema", ("Edema",)),
        ("'a', 'b'", ("a", "b")),
        ("()", ()),
    ],
)
def test_names_are_separated_by_commas_and_may_have_spaces(text, labels):
    config = config_lib.load(f"{ROOT / 'configs/gazat_vit.py'}:data=mimic_cxr")
    config_lib.override(config, "x", [f"data.labels={text}"])
    assert config.data.labels == labels


def test_a_stage_takes_over_the_data_of_the_run_that_it_follows(tmp_path):
    """And the recipe of that data; another data set or protocol beside it is refused."""
    before = config_lib.load(f"{COOPERATIVE}/stage1_classify.py:data=egd_cxr,protocol=paper")
    (tmp_path / "config.json").write_text(json.dumps({"config": before.to_dict()}))
    spec = f"{COOPERATIVE}/stage2_saliency.py:init_from={tmp_path}"
    config = config_lib.load(spec)
    alone = config_lib.load(f"{COOPERATIVE}/stage2_saliency.py:data=egd_cxr,protocol=paper")
    for block in ("data", "optim", "train", "eval"):
        expected = alone[block].to_dict() | ({"cache_frozen": True} if block == "train" else {})
        assert config[block].to_dict() == expected
    assert config.guide.to_dict() == before.model.to_dict()
    for given in ("data=phantom", "protocol=strict"):
        with pytest.raises(InputError, match=f"{given}: that run is of"):
            config_lib.load(f"{spec},{given}")
    with pytest.raises(InputError, match=r"of the method 'saliency', and that one is of"):
        config_lib.load(f"{COOPERATIVE}/stage3_fusion.py:init_from={tmp_path}")


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_a_file_of_weights_is_no_workdir(name):
    config = config_lib.load(f"{COOPERATIVE}/all.py:weights={name}")
    assert config.stages.stage1_triplet.init_from.path == name


def test_the_config_of_an_earlier_version_gets_what_that_version_did(tmp_path):
    source = config_lib.load(f"{ROOT / 'configs/gazat_vit.py'}:smoke")
    old = source.to_dict()
    del old["data"]["protocol"], old["optim"]["schedule"], old["train"]["cache_frozen"]
    del old["method"]["look_first"]
    (tmp_path / "config.json").write_text(json.dumps({"config": old}))
    assert config_lib.of_run(str(tmp_path)).to_dict() == source.to_dict()


def test_a_simclr_of_an_earlier_version_has_its_own_views_and_no_partners(tmp_path):
    source = config_lib.load(f"{ROOT / 'configs/baselines/simclr.py'}:smoke")
    old = source.to_dict()
    del old["views"]["maker"], old["method"]["partners"], old["method"]["projector"]["norm"]
    del old["optim"]["name"]
    (tmp_path / "config.json").write_text(json.dumps({"config": old}))
    assert config_lib.of_run(str(tmp_path)).to_dict() == source.to_dict()
