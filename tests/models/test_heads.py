import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.models.heads import AttentionModule, Classifier, Projector
from gazax.typing import InputError
from tests.models.conftest import count, spec_of


def test_projector_is_linear_relu_linear(rng):
    model = Projector(hidden_dim=5, out_dim=3)
    features = jax.random.normal(rng, (4, 6))
    variables = jax.jit(model.init)(rng, features)
    first, second = variables["params"]["layers_0"], variables["params"]["layers_1"]
    first["bias"], second["bias"] = jnp.full(5, 0.1), jnp.full(3, -0.2)
    hidden = np.maximum(np.asarray(features) @ first["kernel"] + 0.1, 0)
    expected = hidden @ second["kernel"] - 0.2
    np.testing.assert_allclose(model.apply(variables, features), expected, atol=1e-5)
    assert expected.min() < 0 < expected.max()  # nothing after the last layer


def test_projector_default_is_two_layers_to_256():
    spec = jax.eval_shape(Projector().init, jax.random.key(0), jnp.zeros((2, 384)))
    assert jax.tree.map(jnp.shape, spec["params"]) == {
        "layers_0": {"kernel": (384, 384), "bias": (384,)},
        "layers_1": {"kernel": (384, 256), "bias": (256,)},
    }


def test_projector_counts_layers():
    for num_layers in (1, 3):
        model = Projector(num_layers=num_layers, hidden_dim=5, out_dim=3)
        spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 6)))
        assert set(spec["params"]) == {f"layers_{i}" for i in range(num_layers)}


def test_projector_bfloat16_has_float32_parameters_and_output(rng):
    model = Projector(dtype="bfloat16", out_dim=4)
    features = jax.random.normal(rng, (2, 8))
    variables = jax.jit(model.init)(rng, features)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    output = model.apply(variables, features)
    assert output.dtype == jnp.float32
    exact = Projector(out_dim=4).apply(variables, features)
    np.testing.assert_allclose(output, exact, atol=0.05)
    assert jnp.abs(output - exact).max() > 1e-5


# What normalises each of three layers: a norm with scale and bias, one without, none
AFFINE = {"hidden": (True, True, None), "all": (True, True, False)}


def torch_projector(torch, norm, *, widths=(6, 5, 5, 3)):
    """The same head of torch's own layers."""
    layers = []
    for i, affine in enumerate(AFFINE[norm]):
        layers.append(torch.nn.Linear(widths[i], widths[i + 1], bias=affine is None))
        if affine is not None:
            layers.append(torch.nn.BatchNorm1d(widths[i + 1], affine=affine))
        if i < 2:
            layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers)


@pytest.mark.torch
@pytest.mark.parametrize("norm", ["hidden", "all"])
def test_projector_batch_norm_is_torchs(rng, norm):
    """In training, in the statistics that a step leaves, and in inference on them."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch_projector(torch, norm)
    model = Projector(num_layers=3, hidden_dim=5, out_dim=3, norm=norm)
    features = 3 + 2 * jax.random.normal(rng, (7, 6))
    params, stats, norms = {}, {}, {}
    linears = [layer for layer in theirs if isinstance(layer, torch.nn.Linear)]
    for i, layer in enumerate(linears):
        params[f"layers_{i}"] = {"kernel": layer.weight.detach().numpy().T}
        if layer.bias is not None:
            params[f"layers_{i}"]["bias"] = layer.bias.detach().numpy()
    for i, layer in enumerate(x for x in theirs if isinstance(x, torch.nn.BatchNorm1d)):
        name = f"norms_{i}"
        norms[name] = layer
        if layer.affine:
            with torch.no_grad():
                layer.weight.copy_(torch.linspace(0.5, 1.5, 5))
                layer.bias.copy_(torch.linspace(-1, 1, 5))
            params[name] = {
                "scale": layer.weight.detach().numpy(),
                "bias": layer.bias.detach().numpy(),
            }
        width = len(layer.running_mean)
        stats[name] = {"mean": jnp.zeros(width), "var": jnp.ones(width)}
    spec = spec_of(model, (7, 6))
    given = {"params": params, "batch_stats": stats}
    assert jax.tree.map(jnp.shape, spec) == jax.tree.map(jnp.shape, given)

    given_torch = torch.from_numpy(np.array(features))
    expected = theirs(given_torch).detach().numpy()
    output, updated = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        given, features
    )
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for name, layer in norms.items():
        found = updated["batch_stats"][name]
        np.testing.assert_allclose(found["mean"], layer.running_mean, atol=1e-5)
        np.testing.assert_allclose(found["var"], layer.running_var, rtol=1e-5)

    theirs.eval()
    output = model.apply({**given, **updated}, features)
    np.testing.assert_allclose(output, theirs(given_torch).detach().numpy(), atol=1e-5)
    assert np.abs(output - expected).max() > 0.1


def test_projector_last_norm_has_no_parameters_and_no_layer_before_a_norm_a_bias():
    spec = spec_of(Projector(hidden_dim=5, out_dim=3, norm="all"), (2, 6))
    assert jax.tree.map(jnp.shape, spec) == {
        "params": {
            "layers_0": {"kernel": (6, 5)},
            "norms_0": {"scale": (5,), "bias": (5,)},
            "layers_1": {"kernel": (5, 3)},
        },
        "batch_stats": {
            "norms_0": {"mean": (5,), "var": (5,)},
            "norms_1": {"mean": (3,), "var": (3,)},
        },
    }


def test_simsiam_heads_have_the_published_sizes():
    """Of a ResNet-50's 2048 features, counted from the paper's shapes."""
    projector = Projector(num_layers=3, hidden_dim=2048, out_dim=2048, norm="all")
    predictor = Projector(hidden_dim=512, out_dim=2048, norm="hidden")
    # Three square kernels, and scale and bias of two norms: 3 * 2048^2 + 2 * 2 * 2048.
    assert count(spec_of(projector, (2, 2048))["params"]) == 12_591_104
    # Down, up with a bias, and scale and bias of one norm.
    expected = 2 * 2048 * 512 + 2048 + 2 * 512
    assert count(spec_of(predictor, (2, 2048))["params"]) == expected == 2_100_224


def test_projector_statistics_are_those_of_all_devices(rng):
    model = Projector(hidden_dim=5, out_dim=3, norm="all")
    features = jax.random.normal(rng, (8, 6)) + jnp.arange(8.0)[:, None]
    variables = jax.jit(model.init)(rng, features)

    def step(x, axis_name=None):
        mapped = model.clone(axis_name=axis_name)
        return mapped.apply(variables, x, train=True, mutable=["batch_stats"])

    output, updated = jax.jit(step)(features)
    mapped = jax.pmap(lambda x: step(x, "data"), axis_name="data")
    outputs, copies = mapped(features.reshape(4, 2, 6))
    np.testing.assert_allclose(outputs.reshape(8, 3), output, atol=1e-5)
    for found, expected in zip(jax.tree.leaves(copies), jax.tree.leaves(updated), strict=True):
        np.testing.assert_allclose(found[3], expected, rtol=1e-5, atol=1e-6)


def test_projector_of_an_unknown_norm_is_refused():
    with pytest.raises(InputError, match=r"'batch'; the known ones are none, hidden, all"):
        spec_of(Projector(norm="batch"), (2, 6))


def test_classifier_is_one_product_under_its_own_scope(rng):
    model = Classifier(3)
    features = jax.random.normal(rng, (4, 400)).astype(jnp.bfloat16)
    variables = model.init(rng, features)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert kernel.shape == (400, 3)
    assert float(jnp.abs(kernel).max()) == pytest.approx(0.05, rel=0.02)  # 1 / sqrt(400)
    assert float(kernel.std()) == pytest.approx(0.05 / 3**0.5, rel=0.05)
    np.testing.assert_array_equal(bias, 0)
    variables["params"]["bias"] = jnp.array([1.0, 2.0, 3.0])
    logits = model.apply(variables, features)
    assert logits.dtype == jnp.float32
    expected = np.asarray(features, np.float64) @ np.asarray(kernel, np.float64) + [1, 2, 3]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


LEVELS = [(2, 8, 12, 5), (2, 5, 7, 6), (2, 2, 3, 7)]


@pytest.fixture
def attention(rng):
    """An attention module with random parameters, its levels, and the last map."""
    keys = jax.random.split(rng, len(LEVELS))
    levels = [jax.random.normal(key, shape) for key, shape in zip(keys, LEVELS, strict=True)]
    model = AttentionModule(hidden_dim=4)
    variables = jax.jit(model.init)(rng, levels, levels[-1])
    return model, jax.tree.map(lambda leaf: leaf * 5 + 0.1, variables), levels


def test_attention_module_gates_what_is_pooled(attention):
    model, variables, levels = attention
    densities, features = model.apply(variables, levels, levels[-1])
    assert [density.shape for density in densities] == [shape[:3] for shape in LEVELS]
    for density in densities:
        np.testing.assert_allclose(density.sum(axis=(1, 2)), 1, rtol=1e-5)
        assert float(density.max() / density.min()) > 2
    # by hand, from the maps on: the levels cover the same area
    halves = np.asarray(densities[0]).reshape(2, 2, 4, 3, 4).sum(axis=(2, 4))
    rows = np.array([[1, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 1]])
    thirds = [[1, 1, 1 / 3, 0, 0, 0, 0], [0, 0, 2 / 3, 1, 2 / 3, 0, 0], [0, 0, 0, 0, 1 / 3, 1, 1]]
    fifths = np.einsum("yh,bhw,xw->byx", rows, densities[1], np.array(thirds))
    gate = (halves + fifths + densities[2]) / 3
    expected = np.einsum("bhw,bhwd->bd", gate, levels[-1])
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_attention_module_maps_are_softmax_of_a_small_net(attention):
    model, variables, levels = attention
    densities, _ = model.apply(variables, levels, levels[-1])
    for i, level in enumerate(levels):
        hidden, out = (
            jax.device_get(variables["params"][f"level_{i}_{part}"]) for part in ("hidden", "out")
        )
        assert set(out) == {"kernel"}
        x = np.maximum(np.asarray(level) @ hidden["kernel"][0, 0] + hidden["bias"], 0)
        weights = np.exp((x @ out["kernel"][0, 0])[..., 0])
        expected = weights / weights.sum(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(densities[i], expected, rtol=1e-4)


def test_attention_module_features_move_every_map(attention):
    model, variables, levels = attention

    @jax.jit
    @jax.grad
    def gradient(variables):
        return jnp.square(model.apply(variables, levels, levels[-1])[1]).sum()

    found = gradient(variables)["params"]
    assert set(found) == {f"level_{i}_{part}" for i in range(3) for part in ("hidden", "out")}
    for name, layer in found.items():
        for leaf in jax.tree.leaves(layer):
            assert float(jnp.abs(leaf).max()) > 1e-4, name


def test_attention_module_starts_near_the_plain_mean(rng):
    level = jax.random.normal(rng, (2, 4, 4, 64))
    model = AttentionModule()
    (densities, features), _ = model.init_with_output(rng, [level], level)
    np.testing.assert_allclose(densities[0], 1 / 16, rtol=0.6)
    np.testing.assert_allclose(features, level.mean(axis=(1, 2)), atol=0.15)
