"""The networks that go with the weights: they compute what the methods do, and nothing is lost."""

import ast
import dataclasses
import inspect
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gazax import export
from gazax.export.architectures import ARCHITECTURES, settings_of
from gazax.export.forms import FORMS
from gazax.export.full import from_full_state, full_state
from gazax.export.network import LICENCE
from gazax.methods import (
    BYOL,
    GGCAM,
    AttentionConsistency,
    Fusion,
    GazAT,
    MoCo,
    MoCoV3,
    MTUNet,
    Saliency,
    Segmentation,
    SimCLR,
    SimSiam,
    Supervised,
    Triplet,
)
from gazax.methods.base import Classifies, PredictsSaliency
from gazax.methods.views import UNDISTURBED, AugmentedViews, own_gaze
from gazax.models import build
from gazax.models.decoders import LinearDecoder, UNetDecoder
from gazax.models.fusion import FusionClassifier
from gazax.models.heads import AttentionModule, Classifier, Projector
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.encoders import TinyGuide
from tests.runs import ROOT

SLOW = pytest.mark.slow
VIT = build("vit", patch_size=8, width=16, depth=2, num_heads=2)
AVERAGED = VIT.clone(pool="avg")
DENSENET = build("densenet", blocks=(1, 1), growth_rate=4, init_features=8)
GUIDE = build("densenet", blocks=(1, 1, 1, 1), growth_rate=4, init_features=8, tap="before")
GRAPH = build("gaze_gnn", channels=(8, 12), blocks=(1, 1), k=3, reduce_ratios=(2, 1), hidden=8)
ALONE = build("res_se_unet", guide_channels=0, width=2, reduction=2)
GUIDED = ALONE.clone(guide_channels=GUIDE.tapped_channels)
VIEWS = AugmentedViews(standard={}, strong={})

# model, size of the image; no side of it is the other, and strides do not divide the odd ones
BACKBONES = {
    "vit": (VIT.clone(attention="full"), (24, 40)),
    "vit of a conv stem": (AVERAGED.clone(stem="conv", attention="full"), (16, 40)),
    "resnet": (build("resnet10"), (37, 51)),
    "bottleneck": (
        build("resnet10").clone(bottleneck=True, stage_sizes=(1, 2, 1, 1)),
        (33, 21),
    ),
    "densenet": (GUIDE, (45, 58)),
    "densenet after": (DENSENET, (33, 27)),
    "inception": (
        build("inception_resnet_v2", width_multiplier=0.1, blocks=(1, 2, 1), padding="same"),
        (33, 50),
    ),
    "inception valid": (
        build("inception_resnet_v2", width_multiplier=0.1, blocks=(1, 1, 1)),
        (99, 75),
    ),
    "unet": (build("unet", width=2, head="figure"), (16, 48)),
    "res_se_unet": (ALONE.clone(shortcut="figure"), (48, 16)),
    "mt_unet": (build("mt_unet", width=2, hidden=4, num_classes=5), (16, 48)),
    "gaze_gnn": (GRAPH, (32, 48)),
    "gaze_gnn pooled": (GRAPH.clone(relative_position="pooled"), (16, 32)),
}
# U-Nets and GazeGNN: each level is compared in tests/models as well
QUICK_BACKBONES = ("vit of a conv stem", "densenet after")
IMAGES = dict(standard=UNDISTURBED, mean=0.4, std=0.3)
LABELS = dict(head=Classifier(3), task="multiclass", **IMAGES)
METHODS = {
    "supervised": Supervised(
        VIT, **LABELS | {"task": "multilabel"}, attention="rollout", levels=(0, -1)
    ),
    "supervised by gaze": Supervised(GRAPH, **LABELS, attention="energy", gaze_input=True),
    "gg_cam": GGCAM(AVERAGED, **LABELS),
    "attention_consistency": AttentionConsistency(
        DENSENET, **LABELS, attention="energy", levels=(0, -1)
    ),
    "segmentation": Segmentation(VIT, LinearDecoder(3), "box", **IMAGES),
    "segmentation by a U-Net": Segmentation(
        DENSENET, UNetDecoder(3, widths=(16, 8, 8)), "box", **IMAGES
    ),
    "saliency": Saliency(build("unet", width=2), None, **IMAGES),
    "saliency with a guide": Saliency(GUIDED, GUIDE, **IMAGES),
    "fusion": Fusion(GUIDED, GUIDE, FusionClassifier(3, hidden=5), task="multilabel", **IMAGES),
    "mt_unet": MTUNet(build("mt_unet", width=2, hidden=4), task="multiclass", **IMAGES),
    "gazat by its module": GazAT(
        backbone=DENSENET,
        projector=Projector(out_dim=6),
        attention_module=AttentionModule(hidden_dim=4),
        attention="module",
        pooling="both",
        temperature=0.1,
        alpha=1.0,
        beta=1.0,
        levels=(0, -1),
        level_weights=(0.5, 0.5),
        distance="kl",
        regional_temperature=0.1,
        strong={},
        **IMAGES,
    ),
    "simclr": SimCLR(
        backbone=VIT,
        projector=Projector(num_layers=3, out_dim=6, norm="all"),
        views=VIEWS,
        temperature=0.1,
        levels=(0, -1),
        pooling="attention",
        mean=0.4,
        std=0.3,
    ),
    "byol": BYOL(
        backbone=VIT,
        projector=Projector(out_dim=6, norm="hidden"),
        predictor=Projector(out_dim=6, hidden_dim=5),
        views=VIEWS,
        levels=(-1,),
        momentum=0.9,
        total_steps=10,
        mean=0.4,
        std=0.3,
    ),
    "moco": MoCo(
        backbone=DENSENET,
        projector=Projector(out_dim=6, norm="hidden"),
        views=VIEWS,
        levels=(-1,),
        attention="energy",
        pooling="both",
        temperature=0.1,
        momentum=0.9,
        queue_size=8,
        mean=0.4,
        std=0.3,
    ),
    "moco_v3": MoCoV3(
        backbone=VIT,
        projector=Projector(out_dim=6, norm="all"),
        predictor=Projector(out_dim=6, hidden_dim=5, norm="all"),
        views=VIEWS,
        levels=(-1,),
        temperature=0.2,
        momentum=0.9,
        total_steps=10,
        mean=0.4,
        std=0.3,
    ),
    "simsiam": SimSiam(
        backbone=DENSENET,
        projector=Projector(num_layers=3, out_dim=6, norm="all"),
        predictor=Projector(out_dim=6, hidden_dim=5, norm="hidden"),
        views=VIEWS,
        levels=(-1,),
        attention="energy",
        mean=0.4,
        std=0.3,
    ),
    "triplet": Triplet(AVERAGED, None, margin=1.0, temperature=0.1, **IMAGES),
}
# others, as they are compared when they are written, in tests/export/test_network.py
QUICK_METHODS = ("supervised", "gazat by its module", "simclr")


def each(cases, quick):
    """One test a case; those not named are left to the slow lane: what costs is compiling."""
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=SLOW) for name in cases]
    )


def drawn(spec, seed=0):
    """Arrays without the zeros, ones and near-zeros of the initial values."""
    numbers = np.random.default_rng(seed)

    def draw(path, leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        name = path[-1].key
        if name == "var":
            return numbers.uniform(0.5, 2, leaf.shape).astype(np.float32)
        # what a layer gives out is as large as what it takes in
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if name == "kernel" else 0.3
        values = numbers.normal(1.0 if name == "scale" else 0.0, scale, leaf.shape)
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, spec)


def batch_of(size):
    """Of images of another height than width."""
    batch = tiny_batch(2, size=32, has_gaze=np.ones(2, bool))
    image = np.random.default_rng(1).integers(0, 256, (2, *size, 1)).astype(np.uint8)
    return {**batch, "image": image}


def made(method):
    """Parameters, state and a batch."""
    batch = batch_of((32, 64))
    return *drawn(jax.eval_shape(method.init, jax.random.key(0), batch)), batch


def load(class_name, kwargs, arrays):
    """The torch network as somebody who has no JAX makes it."""
    torch = pytest.importorskip("torch")
    from gazax.export import modeling_gazax

    net = vars(modeling_gazax)[class_name](**json.loads(json.dumps(kwargs)))
    net.load_state_dict({key: torch.from_numpy(x) for key, x in arrays.items()}, strict=True)
    return net.eval()


def as_ours(found):
    """Torch's arrays with the channels last."""
    if isinstance(found, (list, tuple)):
        return [as_ours(one) for one in found]
    array = found.numpy()
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def assert_close(found, expected, name):
    expected = np.asarray(expected)
    assert found.shape == expected.shape, name
    assert np.isfinite(expected).all(), name
    difference = np.abs(found - expected).max()
    assert difference <= 1e-4 * np.abs(expected).max(), (name, difference)


def assert_same_arrays(back, before):
    back, before = flatten_dict(back, sep="/"), flatten_dict(before, sep="/")
    assert back.keys() == before.keys()
    for path, array in before.items():
        np.testing.assert_array_equal(back[path], array, err_msg=path)
        assert back[path].dtype == array.dtype, path


def backbone_inputs(model, size):
    numbers = np.random.default_rng(2)
    image = numbers.normal(size=(2, *size, 1)).astype(np.float32)
    takes_gaze = "gaze_gnn" in type(model).__module__
    return [image, *([numbers.uniform(size=(2, *size)).astype(np.float32)] if takes_gaze else [])]


def backbone_variables(model, size):
    inputs = backbone_inputs(model, size)
    variables = drawn(jax.eval_shape(model.init, jax.random.key(0), *inputs))
    return inputs, variables["params"], variables.get("batch_stats", {})


@pytest.mark.torch
@each(BACKBONES, QUICK_BACKBONES)
def test_backbone_gives_out_what_torchs_does(name):
    torch = pytest.importorskip("torch")
    from gazax.export import modeling_gazax

    model, size = BACKBONES[name]
    inputs, params, stats = backbone_variables(model, size)
    variables = {"params": params, "batch_stats": stats}
    output, out = jax.device_get(jax.jit(model.apply)(variables, *inputs))
    settings = json.loads(json.dumps(settings_of(model, params)))
    net = modeling_gazax.build(modeling_gazax.BACKBONES, settings).eval()
    arrays = ARCHITECTURES[type(model)].to(model, params, stats)
    net.load_state_dict({key: torch.from_numpy(x) for key, x in arrays.items()}, strict=True)
    with torch.no_grad():
        image, *gaze = map(torch.from_numpy, inputs)
        found = net(image.permute(0, 3, 1, 2), *gaze)
    out.pop("log_sigma", None)
    if "attention_full" in found:  # these have heads where maps have channels
        full = zip(found.pop("attention_full"), out.pop("attention_full"), strict=True)
        for ours, theirs in full:
            assert_close(ours.numpy(), theirs, "attention_full")
    found = as_ours_by_name(found)
    assert found.keys() == out.keys()
    for name, expected in out.items():
        if isinstance(expected, (list, tuple)):
            for level, (one, other) in enumerate(zip(found[name], expected, strict=True)):
                assert other.std() > 1e-4
                assert_close(one, other, f"{name} {level}")
        else:
            assert expected.std() > 1e-4, name
            assert_close(found[name], expected, name)
    assert any(np.array_equal(output, one) for one in out.values() if not isinstance(one, list))


def as_ours_by_name(found):
    return {name: as_ours(value) for name, value in found.items()}


# the others stand under a method, see below
@each(BACKBONES, ("vit of a conv stem", "resnet", "inception", "res_se_unet"))
def test_backbone_there_and_back_is_the_same(name):
    model, size = BACKBONES[name]
    _, params, stats = backbone_variables(model, size)
    known = ARCHITECTURES[type(model)]
    arrays = known.to(model, params, stats)
    assert all(array.flags.c_contiguous for array in arrays.values())  # safetensors wants it
    back, back_stats = known.back(model, arrays)
    assert_same_arrays(back, params)
    assert_same_arrays(back_stats, stats)


@pytest.mark.torch
@each(METHODS, QUICK_METHODS)
def test_network_gives_out_what_the_method_does(name):
    torch = pytest.importorskip("torch")
    method = METHODS[name]
    params, state, batch = made(method)
    net = load(*full_state(method, params, state))

    @jax.jit
    def ours(params, state, batch):
        features, density = method.encode(params, state, batch)
        found = {"features": features}
        if isinstance(method, PredictsSaliency):
            found["log_density"] = jnp.log(density)
        else:
            found["attention_density"] = density
        if isinstance(method, (Classifies, Segmentation)):
            found["probabilities"] = method.predict(params, state, batch)
        return found

    image = torch.from_numpy(batch["image"]).permute(0, 3, 1, 2) / 255
    inputs = [image]
    if getattr(method, "gaze_input", False):
        inputs.append(torch.from_numpy(np.array(jax.jit(own_gaze)(batch))))
    with torch.no_grad():
        found = net(*inputs)
    for name, expected in jax.device_get(ours(params, state, batch)).items():
        assert expected.std() > 1e-5, name
        assert_close(as_ours(found[name]), expected, name)


def test_every_method_that_has_a_form_is_tested():
    assert {type(method) for method in METHODS.values()} == set(FORMS)


@each(METHODS, set(METHODS) - {"saliency with a guide", "triplet", "moco_v3", "simsiam"})
def test_method_there_and_back_is_the_same(name):
    method = METHODS[name]
    params, state, _ = made(method)
    name, kwargs, arrays = full_state(method, params, state)
    assert json.loads(json.dumps(kwargs)) == kwargs
    back, back_state, images = from_full_state(arrays, name, kwargs)
    assert images == {"mean": np.float32(0.4), "std": np.float32(0.3)}
    assert_same_arrays(back, params)
    # a target follows the network, and nothing that is given out depends on it
    kept = {scope: tree for scope, tree in state.items() if scope in params}
    assert_same_arrays(back_state, kept)


def test_what_weighs_the_tasks_is_left_out():
    method = MTUNet(
        build("mt_unet", width=2, hidden=4, learned_sigmas=()),
        task="multiclass",
        balance="gradnorm",
        **IMAGES,
    )
    params, state, _ = made(method)
    assert set(params) == {"backbone", "balance"}
    name, kwargs, arrays = full_state(method, params, state)
    assert {key.partition(".")[0] for key in arrays} == {"backbone", "mean", "std"}
    assert set(from_full_state(arrays, name, kwargs)[0]) == {"backbone"}


@pytest.mark.torch
def test_full_sizes_have_the_published_numbers_of_parameters():
    torch = pytest.importorskip("torch")
    from gazax.export import modeling_gazax

    densenet = {
        "name": "DenseNet",
        "blocks": [6, 12, 48, 32],
        "growth_rate": 32,
        "init_features": 64,
    }
    unet = {"name": "ResSEUNet", "guide_channels": 1920}
    with torch.device("meta"):
        alone = modeling_gazax.SaliencyNet(unet={"name": "ResSEUNet"})
        fusion = modeling_gazax.FusionNet(
            unet=unet, densenet=densenet, widths=[1984, 64, 3], task="multiclass"
        )
        both = modeling_gazax.MultiTaskNet(backbone={"name": "MTUNet"}, task="multiclass")
    assert numbers_of(alone) == 41_006_977
    assert numbers_of(fusion) == 66_637_380
    assert numbers_of(both) == 34_632_837


def numbers_of(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_file_that_goes_along_needs_torch_alone():
    folder = pathlib.Path(inspect.getfile(export)).parent
    tree = ast.parse((folder / "modeling_gazax.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    assert found - set(sys.stdlib_module_names) == {"torch"}


def test_its_licence_is_the_projects():
    folder = pathlib.Path(inspect.getfile(export)).parent
    assert (folder / LICENCE).read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(backbone=TinyGuide()), "no TinyGuide as a backbone; it has ViT, ResNet"),
        (dict(backbone=VIT.clone(num_classes=3)), "ViT has a head of its own, num_classes=3"),
        (dict(head=Projector()), "the head is a Projector; the PyTorch file has a Classifier"),
    ],
)
def test_parts_without_a_counterpart_are_named(changes, message):
    method = dataclasses.replace(METHODS["supervised"], attention="grad_cam", **changes)
    with pytest.raises(InputError, match=message):
        full_state(method, {"backbone": {}, "head": {}}, {})


def test_a_method_without_a_counterpart_is_named():
    class Own(Supervised):
        pass

    with pytest.raises(InputError, match="method Own has no PyTorch form.*Supervised"):
        full_state(Own(VIT, **LABELS), {}, {})


def test_variables_without_a_place_are_named():
    method = METHODS["supervised"]
    params, state, _ = made(method)

    def refused(message, params, state):
        with pytest.raises(InputError, match=message):
            full_state(method, params, state)

    head = {"kernel": params["head"]["kernel"], "scale": np.zeros(3)}
    refused("Classifier.*place: params/scale; missing: params/bias", params | {"head": head}, state)
    without = {"backbone": params["backbone"]}
    refused("ImageClassifier.*place: none; missing: head", without, state)
    more = params | {"predictor": {}}
    refused("parameters and the ImageClassifier.*place: predictor; missing: none", more, state)
    refused("state and the ImageClassifier.*place: queue", params, {"queue": {}})
    refused("have no 'kernel': they are of another model", params | {"head": {}}, state)


def test_variables_of_another_model_are_named():
    method = METHODS["saliency"]
    params, state, _ = made(method)
    wider = Saliency(build("res_se_unet", guide_channels=0, width=2, reduction=2), None, **IMAGES)
    with pytest.raises(InputError, match=r"ResSEUNet.*missing: .*encoder1/se_expand/kernel"):
        full_state(wider, params, state)
    del state["unet"]["up2"]["bn1"]["var"]
    with pytest.raises(InputError, match="UNet.*missing: batch_stats/up2/bn1/var"):
        full_state(method, params, state)


def test_state_dicts_that_do_not_fit_are_named():
    method = METHODS["supervised"]
    params, state, _ = made(method)
    name, kwargs, arrays = full_state(method, params, state)

    def refused(message, **changes):
        changed = {key: value for key, value in (arrays | changes).items() if value is not None}
        with pytest.raises(InputError, match=message):
            from_full_state(changed, name, kwargs)

    refused(r"ViT.*missing: norm.bias \(keys behind 'backbone\.'\)", **{"backbone.norm.bias": None})
    refused("Classifier.*place: scale; missing: none", **{"head.scale": np.zeros(3)})
    refused("place: projector.weight; missing: std", std=None, **{"projector.weight": np.zeros(3)})
    refused("ImageClassifier.*missing: mean", mean=np.zeros(3))
