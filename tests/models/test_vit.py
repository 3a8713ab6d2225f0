"""Properties of the vision transformer; its numbers against timm's are in tests/export."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gazax.models import MODELS, build
from gazax.typing import InputError
from tests.models.conftest import randomized

TINY = dict(patch_size=4, width=16, depth=2, num_heads=2, mlp_dim=24)
SHAPE = (2, 8, 12, 1)  # a grid of 2 x 3: not square, so that h and w cannot be swapped

# timm 1.0.31, vit_<size>_patch16_224, 1000 classes; also the counts of the papers
PARAMETERS = {"Ti/16": 5_717_416, "S/16": 22_050_664, "B/16": 86_567_656, "L/16": 304_326_632}


def run(model, variables, image):
    return jax.jit(model.apply)(variables, image)


@pytest.fixture
def image():
    return jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)


def count(spec):
    return sum(leaf.size for leaf in jax.tree.leaves(spec))


@pytest.mark.parametrize("variant", PARAMETERS)
def test_vit_parameter_counts_are_timms(variant):
    model = build("vit", variant=variant, num_classes=1000)
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert count(spec) == PARAMETERS[variant]


@pytest.mark.torch
@pytest.mark.parametrize("variant", PARAMETERS)
def test_vit_parameter_counts_were_read_off_timm(timm, variant):
    import torch

    size = dict(Ti="tiny", S="small", B="base", L="large")[variant.split("/")[0]]
    with torch.device("meta"):
        net = timm.create_model(f"vit_{size}_patch16_224")
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[variant]


def test_vit_parameter_names_are_the_checkpoints_keys():
    spec = jax.eval_shape(
        build("vit", **TINY, num_classes=3).init, jax.random.key(0), jnp.zeros(SHAPE)
    )
    assert set(spec) == {"params"}
    assert {k: v.shape for k, v in flatten_dict(spec["params"], sep="/").items()} == {
        "patch_embed/kernel": (4, 4, 1, 16),
        "patch_embed/bias": (16,),
        "cls_token": (1, 1, 16),
        "pos_embed": (1, 7, 16),
        **{
            f"blocks_{i}/{name}": shape
            for i in range(2)
            for name, shape in {
                "norm1/scale": (16,),
                "norm1/bias": (16,),
                "attn/qkv/kernel": (16, 48),
                "attn/qkv/bias": (48,),
                "attn/proj/kernel": (16, 16),
                "attn/proj/bias": (16,),
                "norm2/scale": (16,),
                "norm2/bias": (16,),
                "mlp/fc1/kernel": (16, 24),
                "mlp/fc1/bias": (24,),
                "mlp/fc2/kernel": (24, 16),
                "mlp/fc2/bias": (16,),
            }.items()
        },
        "norm/scale": (16,),
        "norm/bias": (16,),
        "head/kernel": (16, 3),
        "head/bias": (3,),
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vit_intermediates_are_named_and_float32(image, dtype):
    model = build("vit", **TINY, num_classes=3, attention="full", dtype=dtype)
    output, out = run(model, randomized(model, SHAPE), image)
    assert output.shape == (2, 3)
    assert output.dtype == jnp.float32
    assert jax.tree.map(jnp.shape, out) == {
        "features": (2, 16),
        "tokens": (2, 7, 16),
        "feature_map": (2, 2, 3, 16),
        "feature_maps": [(2, 2, 3, 16)] * 2,
        "attention": [(2, 2, 3)] * 2,
        "attention_full": [(2, 2, 7, 7)] * 2,
    }
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype("float32")}


def test_vit_rows_leaves_the_whole_matrices_out(image):
    model = build("vit", **TINY)
    _, out = run(model, randomized(model, SHAPE), image)
    assert set(out) == {"features", "tokens", "feature_map", "feature_maps", "attention"}


def test_vit_without_classes_returns_the_features(image):
    model = build("vit", **TINY)
    output, out = run(model, randomized(model, SHAPE), image)
    np.testing.assert_array_equal(output, out["features"])


def test_vit_pools_the_tokens_after_the_norm(image):
    model = build("vit", **TINY)
    variables = randomized(model, SHAPE)
    for pool in ("cls", "avg"):
        _, out = run(model.clone(pool=pool), variables, image)
        expected = out["tokens"][:, 0] if pool == "cls" else out["feature_map"].mean((1, 2))
        np.testing.assert_allclose(out["features"], expected, rtol=1e-5, atol=1e-6)


def test_vit_feature_map_follows_the_patches(image):
    # With no block and no positions a token depends on its own patch alone.
    model = build("vit", **TINY | dict(depth=0))
    variables = randomized(model, SHAPE)
    variables["params"]["pos_embed"] *= 0
    _, before = run(model, variables, image)
    _, after = run(model, variables, image.at[:, 5, 1].add(1.0))  # row 1, column 0 of the grid
    changed = jnp.abs(after["feature_map"] - before["feature_map"]).max((0, 3)) > 1e-4
    np.testing.assert_array_equal(changed, [[False, False, False], [True, False, False]])


def test_vit_attention_rows_are_the_class_rows_of_the_whole_matrices(image):
    model = build("vit", **TINY)
    variables = randomized(model, SHAPE)
    output, rows = run(model, variables, image)
    full_output, full = run(model.clone(attention="full"), variables, image)
    np.testing.assert_allclose(output, full_output, rtol=1e-5, atol=1e-5)
    for row, full_row, matrix in zip(
        rows["attention"], full["attention"], full["attention_full"], strict=True
    ):
        expected = matrix[:, :, 0, 1:].mean(1).reshape(2, 2, 3)
        np.testing.assert_allclose(row, expected, rtol=1e-5)
        np.testing.assert_allclose(full_row, expected, rtol=1e-6)
        np.testing.assert_allclose(matrix.sum(-1), 1, rtol=1e-5)
        own = matrix[:, :, 0, 0].mean(1)
        np.testing.assert_allclose(row.sum((1, 2)), 1 - own, rtol=1e-5)
        assert own.min() > 1e-3  # or the line above says nothing


def test_vit_every_parameter_receives_a_gradient(image):
    model = build("vit", **TINY, num_classes=3)
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3)))
    gradient = jax.jit(jax.grad(lambda v: (model.apply(v, image)[0] * weights).sum()))(
        randomized(model, SHAPE)
    )
    for name, leaf in flatten_dict(gradient["params"], sep="/").items():
        assert jnp.abs(leaf).max() > 1e-6, name


def test_vit_alignment_of_attention_rows_reaches_queries_and_keys(image):
    model = build("vit", **TINY)
    gaze = jax.nn.softmax(jnp.arange(6.0)).reshape(2, 3)

    def alignment(params):  # KL of the last block's attention from a gaze density
        row = model.apply({"params": params}, image)[1]["attention"][1]
        density = row / row.sum((1, 2), keepdims=True)
        return (gaze[None] * (jnp.log(gaze)[None] - jnp.log(density))).sum((1, 2)).mean()

    params = randomized(model, SHAPE)["params"]
    last = jax.jit(jax.grad(alignment))(params)["blocks_1"]
    query, key, value = jnp.split(last["attn"]["qkv"]["kernel"], 3, axis=1)
    assert jnp.abs(query).max() > 1e-4
    assert jnp.abs(key).max() > 1e-4
    # what comes after the softmax of the last aligned block cannot matter
    assert jnp.abs(value).max() == 0
    assert jnp.abs(last["mlp"]["fc1"]["kernel"]).max() == 0


def test_vit_remat_changes_neither_value_nor_gradient(image):
    model = build("vit", **TINY, num_classes=3)
    variables = randomized(model, SHAPE)

    def value_and_gradient(model):
        def loss(variables):
            output, out = model.apply(variables, image)
            return (output**2).sum() + sum(jnp.std(row) for row in out["attention"])

        return jax.jit(jax.value_and_grad(loss))(variables)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        value_and_gradient(model.clone(remat=True)),
        value_and_gradient(model),
    )


def test_vit_remat_keeps_less_for_the_backward_pass(image):
    def blocks_recomputed(model):
        variables = randomized(model, SHAPE)
        loss = jax.grad(lambda v: model.apply(v, image)[0].sum())
        return str(jax.make_jaxpr(loss)(variables)).count("remat")

    model = build("vit", **TINY)
    assert blocks_recomputed(model) == 0
    assert blocks_recomputed(model.clone(remat=True)) > 0


def test_vit_bfloat16_computes_the_same_within_its_precision(image):
    model = build("vit", **TINY, num_classes=3)
    half = build("vit", **TINY, num_classes=3, dtype="bfloat16")
    spec = jax.eval_shape(half.init, jax.random.key(0), jnp.zeros(SHAPE))
    assert {leaf.dtype for leaf in jax.tree.leaves(spec)} == {jnp.dtype("float32")}
    variables = jax.jit(model.init)(jax.random.key(0), image)
    output, out = run(model, variables, image)
    half_output, half_out = run(half, variables, image)
    # bfloat16 has 8 bits: 2^-8 = .004 an operation
    np.testing.assert_allclose(half_out["features"], out["features"], atol=0.06)
    np.testing.assert_allclose(half_output, output, atol=0.01)
    np.testing.assert_allclose(half_out["attention"][1], out["attention"][1], rtol=0.02)
    assert jnp.abs(half_out["features"] - out["features"]).max() > 1e-4  # bfloat16 was used


def test_vit_bfloat16_products_take_bfloat16_only(image):
    model = build("vit", **TINY, attention="full", dtype="bfloat16")
    program = jax.jit(model.apply).lower(randomized(model, SHAPE), image).as_text()
    products = re.findall(r"stablehlo\.(?:dot_general|convolution).* : \((.*)\) ->", program)
    assert len(products) == 1 + 2 * 6  # the patches; qkv, two of attention, proj, fc1, fc2 a block
    assert all(re.findall(r"x([a-z]+\d+)>", operands) == ["bf16", "bf16"] for operands in products)


def test_vit_starts_where_timm_starts(rng):
    model = build("vit", patch_size=8, width=64, depth=1, num_heads=2, num_classes=10)
    params = jax.jit(model.init)(rng, jnp.zeros((1, 32, 32, 3)))["params"]
    block = params["blocks_0"]
    for kernel in (
        params["pos_embed"],
        params["head"]["kernel"],
        block["attn"]["qkv"]["kernel"],
        block["attn"]["proj"]["kernel"],
        block["mlp"]["fc1"]["kernel"],
        block["mlp"]["fc2"]["kernel"],
    ):
        assert float(kernel.std()) == pytest.approx(0.02, rel=0.1)
    bound = (8 * 8 * 3) ** -0.5
    kernel = params["patch_embed"]["kernel"]
    assert float(jnp.abs(kernel).max()) == pytest.approx(bound, rel=0.01)
    assert float(kernel.std()) == pytest.approx(bound / 3**0.5, rel=0.03)
    assert 0 < float(jnp.abs(params["cls_token"]).max()) < 1e-5
    biases = [leaf for name, leaf in flatten_dict(params, sep="/").items() if name[-4:] == "bias"]
    assert max(float(jnp.abs(leaf).max()) for leaf in biases) == 0


def test_vit_training_changes_nothing(image):
    model = build("vit", **TINY)
    variables = randomized(model, SHAPE)
    programs = [
        str(jax.make_jaxpr(lambda v, train=train: model.apply(v, image, train=train))(variables))
        for train in (False, True)
    ]
    assert programs[0] == programs[1]


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 12, 4, 3), (2, 4, 4, 2)])
def test_vit_takes_any_size_and_channel_count(shape):
    model = build("vit", **TINY)
    (output, out), _ = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros(shape))
    )
    assert output.shape == (2, 16)
    assert [row.shape for row in out["attention"]] == [(2, shape[1] // 4, shape[2] // 4)] * 2


def test_vit_takes_patches_that_are_not_square():
    model = build("vit", **TINY | dict(patch_size=(4, 2)))
    (_, out), _ = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 1)))
    )
    assert out["feature_map"].shape == (2, 2, 4, 16)


def test_vit_variant_gives_sizes_that_arguments_change():
    model = build("vit", variant="S/16")
    assert dataclasses.astuple(model)[:5] == ((16, 16), 384, 12, 6, 1536)
    model = build("vit", variant="S/16", patch_size=8, depth=4)
    assert dataclasses.astuple(model)[:5] == ((8, 8), 384, 4, 6, 1536)
    model = build("vit", variant="S/16", width=96)
    assert (model.width, model.mlp_dim) == (96, 384)
    model = build("vit", variant="S/16", width=96, mlp_dim=100)
    assert (model.width, model.mlp_dim) == (96, 100)


@pytest.mark.parametrize("shape", [(1, 8, 10, 1), (1, 9, 12, 1)])
def test_vit_image_that_does_not_divide_is_refused(shape):
    with pytest.raises(InputError, match=rf"{shape[1]}x{shape[2]} px.*4x4 px"):
        build("vit", **TINY).init(jax.random.key(0), jnp.zeros(shape))


def test_vit_image_of_another_size_than_the_weights_is_refused():
    model = build("vit", **TINY)
    with pytest.raises(InputError, match=r"6 patches.*2x2 = 4"):
        run(model, randomized(model, SHAPE), jnp.zeros((1, 8, 8, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(variant="S16"), "'S16'.*Ti, S, B, L"),
        (dict(variant="XL/16"), "'XL/16'.*Ti, S, B, L"),
        (dict(width=16), "also needs patch_size, depth, num_heads"),
        (TINY | dict(num_heads=3), "width 16.*3 heads"),
        (TINY | dict(pool="max"), "pool is 'max'.*cls, avg"),
        (TINY | dict(attention="none"), "attention is 'none'.*rows, full"),
    ],
)
def test_vit_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        build("vit", **arguments)


def test_build_unknown_model_lists_the_known_ones():
    with pytest.raises(InputError, match="unknown model 'vot'") as error:
        build("vot")
    assert all(name in str(error.value) for name in MODELS)


def test_vit_feature_maps_are_the_tokens_that_enter_each_block(image):
    model = build("vit", **TINY)
    variables = randomized(model, SHAPE)
    _, out = run(model, variables, image)
    # without its last block, the last level goes into the final norm
    shorter = {k: v for k, v in variables["params"].items() if k != "blocks_1"}
    _, shorter_out = run(model.clone(depth=1), {"params": shorter}, image)
    level = out["feature_maps"][1]
    centred = level - level.mean(axis=-1, keepdims=True)
    normed = centred / jnp.sqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 1e-6)
    norm = variables["params"]["norm"]
    np.testing.assert_allclose(
        normed * norm["scale"][None, None, None] + norm["bias"][None, None, None],
        shorter_out["feature_map"],
        rtol=1e-4,
        atol=1e-4,
    )


def zero_levels(model, variables, image):
    made = jax.eval_shape(lambda: model.apply(variables, image, mutable=["perturbations"])[1])
    return jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), made["perturbations"])


@pytest.mark.parametrize("remat", [False, True])
def test_vit_perturbation_gradient_is_that_of_finite_differences(image, remat):
    model = build("vit", **TINY, remat=remat)
    variables = randomized(model, SHAPE)
    weight = jnp.asarray(np.random.default_rng(3).normal(size=(2, 16)), jnp.float32)
    zeros = zero_levels(model, variables, image)
    assert jax.tree.map(jnp.shape, zeros) == {f"level_{i}": (2, 7, 16) for i in range(2)}

    def score(perturbations):
        features, out = model.apply({**variables, "perturbations": perturbations}, image)
        return (features * weight).sum(), out["feature_maps"]

    value_and_gradient = jax.jit(jax.value_and_grad(score, has_aux=True))
    (_, levels), gradient = value_and_gradient(zeros)
    for name in zeros:
        numbers = np.random.default_rng(4)
        step = jnp.asarray(1e-2 * numbers.normal(size=zeros[name].shape), jnp.float32)
        (up, moved), _ = value_and_gradient({**zeros, name: step})
        (down, _), _ = value_and_gradient({**zeros, name: -step})
        expected = float((gradient[name] * step).sum())
        assert float(up - down) / 2 == pytest.approx(expected, rel=2e-3)
        assert jnp.abs(gradient[name][:, 0]).max() > 1e-3  # the class token can be perturbed too
        i = int(name[-1])
        grid_step = step[:, 1:].reshape(2, 2, 3, 16)
        np.testing.assert_allclose(moved[i] - levels[i], grid_step, atol=1e-5)


def test_vit_without_perturbations_is_the_same_program(image):
    model = build("vit", **TINY)
    variables = randomized(model, SHAPE)
    assert set(variables) == {"params"}
    zeros = zero_levels(model, variables, image)

    def added(given):
        return str(jax.make_jaxpr(model.apply)(given, image)).count(" add ")

    assert added({**variables, "perturbations": zeros}) == added(variables) + len(zeros)


def test_vit_layers_are_counted_from_the_input():
    model = build("vit", **TINY, num_classes=3)
    names = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(SHAPE))["params"]
    places = {name: model.layer_of(name) for name in names}
    assert places == {
        **dict.fromkeys(("cls_token", "pos_embed", "patch_embed"), 0),
        "blocks_0": 1,
        "blocks_1": 2,
        **dict.fromkeys(("norm", "head"), 3),
    }
    assert model.num_layers == 4
    for name in ("blocks_2", "projector"):
        with pytest.raises(KeyError, match=name):
            model.layer_of(name)
