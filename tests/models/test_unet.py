"""Properties of the plain U-Net, and of what all U-Nets share; its numbers against torch's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from gazax.models import build
from gazax.models.unet import UNet
from gazax.models.unet_blocks import check_size
from gazax.typing import InputError
from tests.models.conftest import count, randomized, spec_of

SHAPE = (2, 32, 64, 1)  # not square, so that h and w cannot be swapped


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)


@pytest.fixture(scope="module")
def tiny():
    """The network, its variables and the compiled (variables, image) -> (log density, out)."""
    model = UNet(width=8)
    variables = randomized(model, SHAPE)
    params = flatten_dict(variables["params"])
    # near 1, so that an image still makes a difference after 19 norms
    params = {path: x + 1 if path[-1] == "scale" else x for path, x in params.items()}
    variables = {**variables, "params": unflatten_dict(params)}
    return model, variables, jax.jit(model.apply)


def test_unet_parameter_counts_follow_from_mt_unets():
    # MT-UNet is this network with a class head on 1024 + 64 features, of 64 hidden units and
    # 3 classes, and one learnable sigma: 34,632,837 in all.
    class_head = (1024 + 64) * 64 + 64 + 64 * 3 + 3
    params = spec_of(build("unet"), (1, 16, 32, 1))["params"]
    assert count(params) == 34_632_837 - 1 - class_head == 34_562_945
    # two 3x3 convolutions with bias and their norms; a step up has one more
    wide = [64, 128, 256, 512, 1024]

    def double(c_in, c_out):
        return 9 * c_in * c_out + 9 * c_out**2 + 2 * c_out + 4 * c_out

    def up(c_in, c_out):
        return 9 * c_in * c_out + c_out + 2 * c_out

    expected = {f"encoder{i + 1}": double([1, *wide][i], wide[i]) for i in range(5)}
    expected |= {f"up{i + 1}": up(wide[i + 1], wide[i]) for i in range(4)}
    expected |= {f"decoder{i + 1}": double(2 * wide[i], wide[i]) for i in range(4)}
    assert {name: count(tree) for name, tree in params.items()} == {**expected, "head": 37_121}


def test_unet_names_are_the_checkpoints_keys():
    spec = spec_of(UNet(width=8), SHAPE)
    assert set(spec) == {"params", "batch_stats"}
    ups = [f"up{i}/1" for i in (1, 2, 3, 4)]
    doubles = [
        f"{side}{i}" for side, n in (("encoder", 5), ("decoder", 4)) for i in range(1, n + 1)
    ]
    pairs = [*ups, *(f"{name}/{n}" for name in doubles for n in (1, 2)), "head/1"]
    convs = {pair.replace("/", "/conv") for pair in pairs} | {"head/logits"}
    norms = {pair.replace("/", "/bn") for pair in pairs}
    assert set(flatten_dict(spec["params"], sep="/")) == {
        *(f"{name}/{leaf}" for name in convs for leaf in ("kernel", "bias")),
        *(f"{name}/{leaf}" for name in norms for leaf in ("scale", "bias")),
    }
    assert set(flatten_dict(spec["batch_stats"], sep="/")) == {
        f"{name}/{leaf}" for name in norms for leaf in ("mean", "var")
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unet_intermediates_are_named_and_float32(dtype):
    model = UNet(width=8, dtype=dtype)
    variables = spec_of(model, SHAPE)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    output, out = jax.eval_shape(model.apply, variables, jnp.zeros(SHAPE))
    assert output.shape == (2, 32, 64)
    levels = [(2, 32, 64, 8), (2, 16, 32, 16), (2, 8, 16, 32), (2, 4, 8, 64), (2, 2, 4, 128)]
    assert jax.tree.map(jnp.shape, out) == {
        "log_density": (2, 32, 64),
        "features": (2, 8),
        "feature_map": (2, 32, 64, 8),
        "feature_maps": levels,
        "attention": [level[:3] for level in levels],
    }
    assert {leaf.dtype for leaf in jax.tree.leaves((output, out))} == {jnp.dtype("float32")}


def test_unet_features_pool_the_last_map_and_attention_is_energy(tiny, image):
    _, variables, apply = tiny
    output, out = apply(variables, image)
    np.testing.assert_array_equal(output, out["log_density"])
    np.testing.assert_allclose(
        out["features"], out["feature_map"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-5
    )
    for energy, level in zip(out["attention"], out["feature_maps"], strict=True):
        np.testing.assert_allclose(energy, (np.asarray(level) ** 2).mean(axis=-1), rtol=1e-5)


def test_unet_density_sums_to_one_and_is_near_in_bfloat16(tiny, image):
    model, variables, apply = tiny
    log_density, _ = apply(variables, image)
    half, _ = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, image)
    for found in (log_density, half):
        np.testing.assert_allclose(np.exp(np.asarray(found, float)).sum(axis=(1, 2)), 1, rtol=1e-5)
    assert 0 < np.abs(half - log_density).mean() < 0.05 * log_density.std()


@pytest.mark.torch
def test_unet_is_torchs():
    """With the other head: tests/models/test_res_se_unet.py."""
    pytest.importorskip("torch")
    from tests.models import torch_nets

    model = UNet(width=4)
    image = jnp.asarray(np.random.default_rng(2).normal(size=(4, 16, 32, 1)), jnp.float32)
    net = torch_nets.twin(model, image.shape)
    torch_nets.assert_same_inference(model, net, image)
    torch_nets.assert_same_step(model, net, image)


def test_unet_training_updates_every_statistic(tiny, image):
    model, variables, _ = tiny
    train = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
    _, updated = train(variables, image)
    before = flatten_dict(variables["batch_stats"])
    for name, after in flatten_dict(updated["batch_stats"]).items():
        assert (after != before[name]).all(), name


def test_unet_perturbation_moves_its_level_and_what_follows(tiny, image):
    model, variables, _ = tiny
    specs = jax.eval_shape(lambda: model.apply(variables, image, mutable=["perturbations"])[1])
    zeros = jax.tree.map(lambda spec: jnp.zeros(spec.shape), specs["perturbations"])
    assert set(zeros) == {f"level_{i}" for i in range(5)}

    def score(perturbations):
        log_density, out = model.apply({**variables, "perturbations": perturbations}, image)
        return log_density[:, 3, 5].sum(), out["feature_maps"]

    scored = jax.jit(jax.grad(score, has_aux=True))
    gradient, levels = scored(zeros)
    _, after = scored({**zeros, "level_3": zeros["level_3"] + 0.5})
    np.testing.assert_allclose(after[3], levels[3] + 0.5, rtol=1e-5)
    for i in range(3):
        np.testing.assert_array_equal(after[i], levels[i])
    assert np.abs(after[4] - levels[4]).max() > 1e-3
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((630, 512), r"630x512.*config\.data\.size.*\(624, 512\) or \(640, 512\)"),
        ((48, 40), r"48x40.*config\.data\.size.*\(48, 32\) or \(48, 48\)"),
        ((16, 8), r"16x8.*config\.data\.size to \(16, 16\)(\n|$)"),
    ],
)
def test_unet_sides_that_do_not_divide_are_refused_with_the_next_that_do(size, sizes):
    with pytest.raises(InputError, match=sizes):
        spec_of(UNet(width=8), (1, *size, 1))
    assert check_size(jnp.zeros((1, 48, 32, 1)), multiple=16) == (48, 32)


def test_unet_mistakes_are_named(image):
    with pytest.raises(InputError, match=r"takes no guide.*config\.guide"):
        jax.eval_shape(UNet(width=8).init, jax.random.key(0), image, jnp.zeros((2, 1, 2, 3)))
    with pytest.raises(InputError, match=r"head 'fig'.*code, figure"):
        spec_of(UNet(width=8, head="fig"), SHAPE)


def test_unet_layers_are_counted_from_the_input():
    model = UNet(width=8)
    names = spec_of(model, SHAPE)["params"]
    assert {name: model.layer_of(name) for name in names} == {
        **{f"encoder{i + 1}": i for i in range(5)},
        **{f"{part}{i}": 9 - i for i in (4, 3, 2, 1) for part in ("up", "decoder")},
        "head": 9,
    }
    assert model.num_layers == 10
    with pytest.raises(KeyError, match="up5"):
        model.layer_of("up5")
