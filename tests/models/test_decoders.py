"""Decoders on both backbones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.models import build
from gazax.models.decoders import LinearDecoder, UNetDecoder, skip_places
from gazax.models.resnet import ResNet
from gazax.typing import InputError

SIZE = (32, 64)
IMAGE = (2, *SIZE, 1)
BACKBONES = {
    "resnet": ResNet((1, 1, 1, 1), bottleneck=False),
    "vit": build("vit", patch_size=8, width=16, depth=4, num_heads=2, mlp_dim=24),
}
DECODERS = {
    "linear": LinearDecoder(3),
    "unet": UNetDecoder(3, widths=(32, 24, 16, 8)),
}


def spec_of_out(backbone, shape=IMAGE):
    (_, out), _ = jax.eval_shape(backbone.init_with_output, jax.random.key(0), jnp.zeros(shape))
    return out


@functools.cache
def random_out(name):
    """What a backbone gives out, with numbers that are not its own."""
    numbers = np.random.default_rng(0)
    return jax.tree.map(
        lambda spec: jnp.asarray(numbers.normal(size=spec.shape), jnp.float32),
        spec_of_out(BACKBONES[name]),
    )


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "vit"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_decoder_scores_every_pixel(backbone, decoder):
    sizes = dict(variant="S/16") if backbone == "vit" else {}
    for shape in ((2, 64, 96, 1), (1, 48, 80, 3)):
        out = spec_of_out(build(backbone, **sizes), shape)
        logits, variables = jax.eval_shape(
            functools.partial(DECODERS[decoder].init_with_output, size=shape[1:3]),
            jax.random.key(0),
            out,
        )
        assert logits.shape == (*shape[:3], 3)
        assert logits.dtype == jnp.float32
        assert set(variables) == {"params"}  # no batch statistics


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("decoder", DECODERS)
def test_decoder_gradient_reaches_every_map_that_it_uses(backbone, decoder, rng):
    out, model = random_out(backbone), DECODERS[decoder]
    variables = jax.jit(functools.partial(model.init, size=SIZE))(rng, out)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradient(variables, out):
        return jnp.square(model.apply(variables, out, size=SIZE, train=True)).mean()

    of_variables, of_out = gradient(variables, out)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(of_variables))
    reached = {
        "feature_map": bool(jnp.any(of_out["feature_map"])),
        "feature_maps": [bool(jnp.any(level)) for level in of_out["feature_maps"]],
    }
    if decoder == "linear":
        assert reached == {"feature_map": True, "feature_maps": [False] * 4}
    else:
        # the last is the coarsest map itself, or what is left of it before the last block
        assert reached == {"feature_map": True, "feature_maps": [True, True, True, False]}
        if backbone == "resnet":
            assert jnp.any(of_out["stem"])


def test_linear_decoder_is_a_product_and_a_bilinear_resize(rng):
    out = random_out("vit")
    model = LinearDecoder(3)
    variables = model.init(rng, out, size=SIZE)
    variables["params"]["linear"]["bias"] = jnp.arange(3.0)
    kernel = variables["params"]["linear"]["kernel"][0, 0]
    cells = out["feature_map"] @ kernel + jnp.arange(3.0)[None, None, None]
    on_grid = model.apply(variables, out, size=(4, 8))
    np.testing.assert_allclose(on_grid, cells, rtol=1e-5, atol=1e-5)
    # between the centres of two cells, 1 : 3
    logits = model.apply(variables, out, size=(8, 16))
    row = 0.75 * cells[:, 1] + 0.25 * cells[:, 2]
    expected = 0.75 * row[:, 2] + 0.25 * row[:, 1]
    np.testing.assert_allclose(logits[:, 3, 4], expected, rtol=1e-4, atol=1e-5)


def test_unet_decoder_skips_are_spread_from_deep_to_shallow():
    assert skip_places(4, 4) == [3, 2, 1, 0]  # a ResNet: layer3, layer2, layer1, stem
    assert skip_places(11, 4) == [10, 7, 3, 0]  # a ViT of 12 blocks
    assert skip_places(1, 4) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("backbone", "grids"),
    [
        ("resnet", [(2, 4), (4, 8), (8, 16), (16, 32)]),  # those of the skips
        ("vit", [(8, 16), (16, 32), (32, 64), (32, 64)]),  # doubled up to the image
    ],
)
def test_unet_decoder_grids(backbone, grids):
    model = DECODERS["unet"]
    _, found = jax.eval_shape(
        functools.partial(
            model.init_with_output,
            size=SIZE,
            mutable=["params", "intermediates"],
            capture_intermediates=True,
        ),
        jax.random.key(0),
        random_out(backbone),
    )
    inside = found["intermediates"]
    assert [inside[f"conv_{s}_1"]["__call__"][0].shape[1:3] for s in range(4)] == grids


def test_unet_decoder_examples_do_not_see_each_other(rng):
    out, model = random_out("vit"), DECODERS["unet"]
    apply = jax.jit(functools.partial(model.apply, size=SIZE, train=True))
    variables = jax.jit(functools.partial(model.init, size=SIZE))(rng, out)
    both = apply(variables, out)
    one = apply(variables, jax.tree.map(lambda leaf: leaf[:1], out))
    np.testing.assert_allclose(both[:1], one, rtol=1e-4, atol=1e-5)


def test_unet_decoder_bfloat16_has_float32_parameters_and_logits():
    model = UNetDecoder(3, widths=(16, 8), dtype="bfloat16")
    logits, variables = jax.eval_shape(
        functools.partial(model.init_with_output, size=SIZE), jax.random.key(0), random_out("vit")
    )
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_unet_decoder_of_a_single_map_is_refused(rng):
    level = jnp.zeros((1, 4, 4, 8))
    with pytest.raises(InputError, match="two levels or more"):
        UNetDecoder(2).init(rng, {"feature_map": level, "feature_maps": [level]}, size=(8, 8))
