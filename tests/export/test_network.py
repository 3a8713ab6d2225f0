"""What is compared of a whole model when it is written: all that it makes on its way, too."""

import json

import jax
import pytest

from gazax.export.full import from_full_state
from gazax.export.network import WholeModel
from gazax.export.parity import EARLY_LIMIT, LIMIT, compare
from gazax.typing import RunError
from tests.batches import spec_of
from tests.export.test_modeling_gazax import METHODS, assert_same_arrays, batch_of, drawn, each

INSIDE = {"stem", "block", "level_0", "attention_0", "feature_map", "features"}
OF = {
    "supervised by gaze": {"attention_density", "logits", "probabilities", "level_1"},
    "gg_cam": {"attention_density", "class_maps", "logits", "probabilities"},
    "segmentation": {"attention_density", "logits", "probabilities"},
    "segmentation by a U-Net": {"attention_density", "logits", "probabilities"},
    "saliency": {"density", "level_4"},
    "mt_unet": {"density", "logits", "probabilities", "level_4"},
    "byol": {"projection", "prediction"},
}
"""Tensors of some methods besides `INSIDE`."""
TWO = ("saliency with a guide", "fusion")


def written(name, folder):
    """A method of tests, written; and what is needed to look at it."""
    method = METHODS[name]
    batch = batch_of((32, 64))
    params, state = drawn(jax.eval_shape(method.init, jax.random.key(0), batch))
    model = WholeModel(method, params, state, spec_of(batch))
    (folder / "config.json").write_text(json.dumps(model.config((32, 64))))
    model.write(folder)
    return model, dict(zip(("one", "other"), batch["image"][..., 0], strict=True))


def assert_comes_back(model, folder):
    """What torch's network holds is what the method has, but for what is left out."""
    config = model.config((32, 64))
    weights = model.torch_network(folder).state_dict()
    params, state, _ = from_full_state(weights, config["architecture"], config["model_args"])
    assert_same_arrays(params, {scope: model.params[scope] for scope in params})
    assert_same_arrays(
        state, {scope: model.state[scope] for scope in model.state if scope in params}
    )
    assert {*model.params, *model.state} - {*params} == set(model.left_out)


@pytest.mark.torch
@each(METHODS, ("gg_cam", "segmentation by a U-Net", "fusion"))
def test_every_network_is_compared_from_its_stem_to_its_end(name, tmp_path):
    pytest.importorskip("torch")
    model, images = written(name, tmp_path)
    found = compare(model.look(tmp_path), images, packages=("torch",))
    limits = {one["tensor"]: one["limit"] for one in found["compared"]}
    if name in TWO:
        inner = INSIDE - {"features"}
        assert limits.keys() >= {
            f"{scope}.{one}" for scope in ("unet", "densenet") for one in inner
        }
        assert limits.keys() >= {"features", "density"}
    else:
        assert limits.keys() >= INSIDE | OF.get(name, set())
    assert_comes_back(model, tmp_path)
    for tensor, limit in limits.items():
        early = tensor.endswith(("stem", "block"))
        assert limit == (EARLY_LIMIT if early else LIMIT), tensor


@pytest.mark.torch
def test_a_fault_is_found_where_it_begins(tmp_path):
    pytest.importorskip("torch")
    model, images = written("fusion", tmp_path)
    model._made[2]["unet.encoder.1.bn2.bias"][0] += 1e-3
    model.write(tmp_path)
    with pytest.raises(RunError, match=r"tensors differ.*\n  unet\.block of one: .*limit 1e-05"):
        compare(model.look(tmp_path), images, packages=())
