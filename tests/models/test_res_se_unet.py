"""Properties of the Res_SE-UNet, guided and alone; its numbers against torch's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import AxisType, PartitionSpec

from gazax.models import build
from gazax.models.res_se_unet import ResSEBlock, ResSEUNet
from gazax.typing import InputError
from tests.models.conftest import count, randomized, spec_of

SHAPE = (4, 32, 64, 1)  # not square, so that h and w cannot be swapped
GUIDE = (4, 1, 2, 6)
TINY = dict(width=8, reduction=4)


def draw(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def inputs():
    return draw(SHAPE, 1), draw(GUIDE, 2)


@pytest.fixture(scope="module")
def variables(inputs):
    """Of the guided network."""

    class Guided:
        def init(self, key, image):
            return ResSEUNet(6, **TINY).init(key, image, jnp.zeros(GUIDE))

    variables = randomized(Guided(), SHAPE)
    params = flatten_dict(variables["params"])
    # near 1, so that an image still makes a difference after 21 norms
    params = {path: x + 1 if path[-1] == "scale" else x for path, x in params.items()}
    return {**variables, "params": unflatten_dict(params)}


@pytest.fixture(scope="module")
def seen(inputs, variables):
    """(with the guide, with the guide negated), each (log density, out)."""
    image, guide = inputs
    apply = jax.jit(ResSEUNet(6, **TINY).apply)
    return [apply(variables, image, g) for g in (guide, -guide)]


@pytest.fixture(scope="module")
def guided():
    """The published network's parameters, as shapes."""
    return spec_of(build("res_se_unet"), (1, 32, 64, 1), (1, 1, 2, 1920))["params"]


@pytest.fixture(scope="module")
def alone():
    return spec_of(build("res_se_unet", guide_channels=0), (1, 16, 32, 1))["params"]


def test_res_se_unet_parameter_counts_are_the_published_ones(guided, alone):
    levels = [38_976, 297_856, 1_189_632, 4_754_944, 19_012_608]
    steps = [148_032, 221_760, 885_888, 3_541_248, 18_289_152]
    assert [count(guided[f"encoder{i}"]) for i in range(1, 6)] == levels
    assert [count([guided[f"up{i}"], guided[f"decoder{i}"]]) for i in range(1, 6)] == steps
    assert count(guided["head"]) == 37_121
    assert count(guided) == 48_417_217
    assert [count(alone[f"encoder{i}"]) for i in range(1, 6)] == levels
    assert count(alone) == 41_006_977


def test_res_se_unet_alone_has_the_plain_unets_decoder(alone):
    plain = spec_of(build("unet"), (1, 16, 32, 1))["params"]
    for name in ("head", *(f"{part}{i}" for part in ("up", "decoder") for i in (1, 2, 3, 4))):
        assert jax.tree.map(jnp.shape, alone[name]) == jax.tree.map(jnp.shape, plain[name]), name
    assert "up5" not in alone


def test_res_se_unet_names_are_the_checkpoints_keys(guided):
    assert set(guided) == {
        *(f"{part}{i}" for part in ("encoder", "up", "decoder") for i in range(1, 6)),
        "head",
    }
    assert set(flatten_dict(guided["encoder3"], sep="/")) == {
        *(
            f"{conv}/{leaf}"
            for conv in ("conv1", "conv2", "shortcut")
            for leaf in ("kernel", "bias")
        ),
        *(f"bn{n}/{leaf}" for n in (1, 2) for leaf in ("scale", "bias")),
        "se_reduce/kernel",
        "se_expand/kernel",
    }


@pytest.mark.parametrize(("shortcut", "side"), [("code", 3), ("figure", 1)])
def test_res_se_shortcut_is_a_convolution_where_the_channels_change(shortcut, side):
    block = ResSEBlock(8, reduction=2, shortcut=shortcut)
    shapes = [(1, 4, 6, channels) for channels in (4, 8)]
    changes, same = (
        jax.eval_shape(functools.partial(block.init, train=False), jax.random.key(0), x)["params"]
        for x in map(jnp.zeros, shapes)
    )
    assert changes["shortcut"]["kernel"].shape == (side, side, 4, 8)
    assert ("shortcut" in same) == (shortcut == "code")


def test_res_se_gate_scales_channels_by_hand():
    # Convolutions and norms give 0, the shortcut is x itself, the second channel negated.
    block = ResSEBlock(2, reduction=2)
    x = jnp.array([[1.0, -2.0], [3.0, -4.0]]).reshape(1, 2, 1, 2)
    identity = jnp.zeros((3, 3, 2, 2)).at[1, 1].set(jnp.diag(jnp.array([1.0, -1.0])))
    # relu: means of the channels 2 and 3; se_reduce .5 * 2 + 1 * 3 = 4; se_expand .25 * 4, -.5 * 4
    params = {
        **{f"conv{n}": {"kernel": jnp.zeros((3, 3, 2, 2)), "bias": jnp.zeros(2)} for n in (1, 2)},
        **{f"bn{n}": {"scale": jnp.ones(2), "bias": jnp.zeros(2)} for n in (1, 2)},
        "shortcut": {"kernel": identity, "bias": jnp.zeros(2)},
        "se_reduce": {"kernel": jnp.array([[0.5], [1.0]])},
        "se_expand": {"kernel": jnp.array([[0.25, -0.5]])},
    }
    stats = {f"bn{n}": {"mean": jnp.zeros(2), "var": jnp.ones(2)} for n in (1, 2)}
    y = block.apply({"params": params, "batch_stats": stats}, x, False)
    gate = 1 / (1 + np.exp([-1.0, 2.0]))  # .731 and .119, each in (0, 1)
    np.testing.assert_allclose(y, np.abs(x) * gate, rtol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("guide_channels", "head", "shortcut", "shape"),
    [
        (6, "code", "code", (2, 32, 64, 1)),
        pytest.param(0, "figure", "figure", (4, 32, 16, 1), marks=pytest.mark.slow),
    ],
)
def test_res_se_unet_is_torchs(guide_channels, head, shortcut, shape):
    pytest.importorskip("torch")
    from tests.models import torch_nets

    model = ResSEUNet(guide_channels, width=4, reduction=2, head=head, shortcut=shortcut)
    image = draw(shape, 1)
    guide = (draw((2, 1, 2, guide_channels), 2),) if guide_channels else ()
    net = torch_nets.twin(model, image.shape, *(one.shape for one in guide))
    torch_nets.assert_same_inference(model, net, image, guide)
    torch_nets.assert_same_step(model, net, image, guide)


def test_res_se_unet_density_sums_to_one_and_is_near_in_bfloat16(inputs, variables, seen):
    log_density, out = seen[0]
    model = ResSEUNet(6, **TINY, dtype=jnp.bfloat16)
    half, half_out = jax.jit(model.apply)(variables, *inputs)
    for found in (log_density, half):
        np.testing.assert_allclose(np.exp(np.asarray(found, float)).sum(axis=(1, 2)), 1, rtol=1e-5)
    assert {leaf.dtype for leaf in jax.tree.leaves((half, half_out))} == {jnp.dtype("float32")}
    assert jax.tree.map(jnp.shape, half_out) == jax.tree.map(jnp.shape, out)
    assert 0 < np.abs(half - log_density).mean() < 0.05 * log_density.std()


def test_res_se_unet_looks_at_its_guide(seen):
    (_, one), (_, other) = seen
    for here, there in zip(one["feature_maps"], other["feature_maps"], strict=True):
        np.testing.assert_array_equal(here, there)
    assert np.abs(one["log_density"] - other["log_density"]).max() > 1e-3


def train(model, variables, params, inputs):
    """(loss with a weight a pixel, (log density, new statistics))."""
    (log_density, _), updated = model.apply(
        {**variables, "params": params}, *inputs, train=True, mutable=["batch_stats"]
    )
    weight = jnp.cos(jnp.arange(log_density[0].size)).reshape(1, *log_density.shape[1:])
    loss = (log_density * weight).sum(axis=(1, 2)).mean()
    return loss, (log_density, updated["batch_stats"])


def assert_close(one, other, atol):
    """Leaf by leaf, to `atol` of the largest number of all."""
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(other))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=atol * scale), one, other
    )


@pytest.fixture(scope="module")
def reference(inputs, variables):
    """((loss, (log density, statistics)), gradient) on one device, nothing computed twice."""
    run = functools.partial(train, ResSEUNet(6, **TINY), variables)
    return jax.jit(jax.value_and_grad(run, has_aux=True))(variables["params"], inputs)


@pytest.mark.slow
def test_res_se_unet_remat_changes_no_number(inputs, variables, reference):
    run = functools.partial(train, ResSEUNet(6, **TINY, remat=True), variables)
    again = jax.value_and_grad(run, has_aux=True)
    traced = jax.jit(again).trace(variables["params"], inputs)
    # 5 levels, 5 steps up and the head
    assert str(traced.jaxpr).count("= remat2[") == 5 + 5 + 1
    found = traced.lower().compile()(variables["params"], inputs)
    (_, (log_density, stats)), gradient = found
    (_, (expected, expected_stats)), expected_gradient = reference
    assert_close(log_density, expected, 1e-5)
    assert_close(stats, expected_stats, 1e-5)
    assert_close(gradient, expected_gradient, 1e-5)


def test_res_se_unet_on_two_devices_is_that_on_one(inputs, variables, reference):
    model = ResSEUNet(6, **TINY, axis_name="data")
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    whole, split = PartitionSpec(), PartitionSpec("data")

    def run(params, inputs):
        return train(model, variables, params, inputs)[1]

    mapped = jax.shard_map(run, mesh=mesh, in_specs=(whole, split), out_specs=(split, whole))
    log_density, stats = jax.jit(mapped)(variables["params"], inputs)
    _, (expected, expected_stats) = reference[0]
    assert_close(log_density, expected, 1e-5)
    assert_close(stats, expected_stats, 1e-5)


def test_res_se_unet_every_parameter_is_learnt(reference):
    _, gradient = reference
    for path, leaf in flatten_dict(gradient, sep="/").items():
        # what is constant over a batch has no effect in front of a norm, or under the softmax
        if (path.endswith("bias") and "conv" in path) or path == "head/logits/bias":
            continue
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize("remat", [False, True])
def test_res_se_unet_every_level_can_be_perturbed(remat):
    model = ResSEUNet(6, **TINY, remat=remat)
    spec = spec_of(model, SHAPE, GUIDE)
    run = functools.partial(model.apply, mutable=["perturbations"])
    (_, out), made = jax.eval_shape(run, spec, jnp.zeros(SHAPE), jnp.zeros(GUIDE))
    assert jax.tree.map(jnp.shape, made["perturbations"]) == {
        f"level_{i}": level.shape for i, level in enumerate(out["feature_maps"])
    }


@pytest.mark.parametrize(
    ("guide_channels", "shapes", "message"),
    [
        (6, [(1, 32, 64, 1)], r"guide_channels=6 needs a guide of .*\(1, 2, 6\)"),
        (0, [(1, 32, 64, 1), (1, 1, 2, 6)], r"guide_channels=0 stands alone.*config\.guide"),
        (6, [(1, 32, 64, 1), (1, 1, 2, 5)], r"the guide is .*\(1, 2, 5\).*\(1, 2, 6\)"),
        (6, [(1, 32, 64, 1), (1, 2, 1, 6)], r"the guide is .*\(2, 1, 6\).*\(1, 2, 6\)"),
        (6, [(1, 48, 64, 1), (1, 1, 2, 6)], r"48x64.*data\.size to \(32, 64\) or \(64, 64\)"),
        (0, [(1, 48, 40, 1)], r"48x40.*data\.size to \(48, 32\) or \(48, 48\)"),
    ],
)
def test_res_se_unet_wrong_inputs_are_named(guide_channels, shapes, message):
    with pytest.raises(InputError, match=message):
        spec_of(ResSEUNet(guide_channels, **TINY), *shapes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(shortcut="conv"), r"shortcut 'conv'.*code, figure"),
        (dict(head="conv"), r"head 'conv'.*code, figure"),
        (dict(reduction=16), r"8 channels, reduced 16 times"),
        (dict(reduction=0), r"8 channels, reduced 0 times"),
    ],
)
def test_res_se_unet_wrong_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        spec_of(ResSEUNet(0, **{**TINY, **settings}), (1, 32, 64, 1))


@pytest.mark.parametrize(("guide_channels", "steps"), [(6, 5), (0, 4)])
def test_res_se_unet_layers_are_counted_from_the_input(guide_channels, steps):
    model = ResSEUNet(guide_channels, **TINY)
    shapes = [SHAPE, GUIDE] if guide_channels else [SHAPE]
    names = spec_of(model, *shapes)["params"]
    places = {f"encoder{i + 1}": i for i in range(5)}
    for i in range(steps):
        places |= {f"{part}{steps - i}": 5 + i for part in ("up", "decoder")}
    assert {name: model.layer_of(name) for name in names} == {**places, "head": 5 + steps}
    assert model.num_layers == 6 + steps
