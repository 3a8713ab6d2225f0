"""Properties of GazeGNN, and its numbers against those of a twin in torch."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from gazax.models.gaze_gnn import GazeGNN, on_nodes
from gazax.typing import InputError
from tests.models.conftest import count, randomized, spec_of

# the fifth block has dilation 2, and the last stage 2 nodes of which 3 are wanted
TINY = dict(channels=(8, 12, 12, 16), blocks=(1, 1, 3, 1), k=3, hidden=16)
SHORT = dict(channels=(8, 12), blocks=(1, 1), k=3, reduce_ratios=(2, 1), hidden=10)
SINGLE = dict(channels=(8,), blocks=(1,), k=3, reduce_ratios=(2,), hidden=8)
SHAPE = (2, 64, 32, 1)  # not square, so that h and w cannot be swapped
SMALL = (2, 32, 16, 1)


def inputs(shape, seed=1):
    numbers = np.random.default_rng(seed)
    image, gaze = numbers.normal(size=shape), numbers.uniform(size=shape[:3])
    return jnp.asarray(image, jnp.float32), jnp.asarray(gaze, jnp.float32)


def drawn(model, shape):
    """Variables near ones at which an image and its gaze make a difference."""
    with_gaze = SimpleNamespace(init=lambda key, image: model.init(key, image, image[..., 0]))
    variables = randomized(with_gaze, shape)
    params = flatten_dict(variables["params"])
    params = {path: x + 1 if path[-1] == "scale" else x for path, x in params.items()}
    return {**variables, "params": unflatten_dict(params)}


@pytest.fixture(scope="module")
def short():
    """The network, its variables and the compiled (variables, image, gaze) -> (output, out)."""
    model = GazeGNN(**SHORT)
    return model, drawn(model, SMALL), jax.jit(model.apply)


def test_gaze_gnn_parameter_counts_are_vigs_and_the_norm_of_gaze():
    """Pyramid ViG-Ti, 10.7 M with 1000 classes, and a scale and a bias for gaze."""
    params = spec_of(GazeGNN(num_classes=3), (1, 224, 224, 1), (1, 224, 224))["params"]
    assert count(params) == 9_692_453 == 10_714_376 + 2 - 997 * (1024 + 1)
    assert params["position"].shape == (56, 56, 48)
    assert params["stem"]["conv1"]["kernel"].shape == (3, 3, 3, 24)  # of a grey image too
    # fc1, twice the channels in four groups, fc2; and four times the channels
    c = 48
    grapher = c * c + c + (2 * c) ** 2 // 4 + 2 * c + 2 * c * c + c + 2 * (c + 2 * c + c)
    ffn = 2 * 4 * c * c + 5 * c + 2 * 5 * c
    found = params["stage1_block2"]
    assert (count(found["grapher"]), count(found["ffn"])) == (grapher, ffn)


@pytest.mark.torch
def test_vig_ti_in_torch_has_as_many_parameters():
    pytest.importorskip("torch")
    from gazax.export import modeling_gazax

    model = GazeGNN()
    net = modeling_gazax.GazeGNN(
        channels=model.channels,
        blocks=model.blocks,
        k=model.k,
        reduce_ratios=model.reduce_ratios,
        hidden=model.hidden,
        grid=(56, 56),
    )
    of_gaze, of_1000_classes = 2, 1000 * (1024 + 1)
    found = sum(p.numel() for p in net.parameters())
    assert found - of_gaze + of_1000_classes == 10_714_376


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gaze_gnn_intermediates_are_named_and_float32(dtype):
    model = GazeGNN(**TINY, num_classes=3, dtype=dtype)
    variables = spec_of(model, SHAPE, SHAPE[:3])
    assert set(variables) == {"params", "batch_stats"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    output, out = jax.eval_shape(model.apply, variables, *inputs(SHAPE))
    assert output.shape == (2, 3)
    levels = [(2, 16, 8, 8), (2, 8, 4, 12), (2, 4, 2, 12), (2, 2, 1, 16)]
    assert jax.tree.map(jnp.shape, out) == {
        "features": (2, 16),
        "feature_map": levels[-1],
        "feature_maps": levels,
        "attention": [level[:3] for level in levels],
    }
    assert {leaf.dtype for leaf in jax.tree.leaves((output, out))} == {jnp.dtype("float32")}


@pytest.mark.torch
def test_gaze_gnn_in_use_is_torchs():
    pytest.importorskip("torch")
    from tests.models import torch_nets, torch_vig

    model, net, ours, given = torch_vig.twins(TINY, inputs((4, *SHAPE[1:3], 3)))
    _, out = jax.jit(model.apply)(torch_nets.variables_of(model, net), *ours)
    torch_vig.assert_same_outputs(out, net.eval()(*given))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("sizes", "shape"), [(SINGLE, (2, 16, 8, 1)), pytest.param(TINY, SHAPE, marks=pytest.mark.slow)]
)
def test_gaze_gnn_in_training_is_torchs(sizes, shape):
    """Outputs, the gradient of every parameter and every statistic."""
    torch = pytest.importorskip("torch")
    from tests.models import torch_nets, torch_vig

    model, net, ours, given = torch_vig.twins(sizes, inputs((4, *shape[1:3], 3)))
    variables, label = torch_nets.variables_of(model, net), np.array([0, 2, 1, 2])

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def step(params):
        (features, out), updated = model.apply(
            {**variables, "params": params}, *ours, train=True, mutable=["batch_stats"]
        )
        loss = -jax.nn.log_softmax(features)[np.arange(4), label].mean()
        return loss, (out, updated["batch_stats"])

    gradient, (out, statistics) = step(variables["params"])
    theirs = net.train()(*given)
    torch.nn.functional.cross_entropy(theirs["features"], torch.tensor(label)).backward()
    torch_vig.assert_same_outputs(out, theirs)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.grad)
    expected = torch_nets.variables_of(model, net)
    for found, tree in ((gradient, expected["params"]), (statistics, expected["batch_stats"])):
        found, tree = flatten_dict(found), flatten_dict(tree)
        assert set(found) == set(tree)
        for path, value in tree.items():
            # A bias in front of a norm has no gradient: what is left of it is rounding.
            atol = 1e-3 * float(np.abs(value).max()) + 1e-5
            np.testing.assert_allclose(found[path], value, atol=atol, err_msg="/".join(path))


def test_gaze_moves_the_features_and_its_scale_does_not(short):
    _, variables, apply = short
    image, gaze = inputs(SMALL)
    features, out = apply(variables, image, gaze)
    np.testing.assert_array_equal(features, out["features"])
    for energy, level in zip(out["attention"], out["feature_maps"], strict=True):
        np.testing.assert_allclose(energy, (np.asarray(level) ** 2).mean(axis=-1), rtol=1e-5)
    other, _ = apply(variables, image, gaze[:, ::-1])
    nowhere, _ = apply(variables, image, jnp.zeros_like(gaze))
    even, _ = apply(variables, image, jnp.full_like(gaze, 0.3))
    half, _ = apply(variables, image, gaze / 2)
    assert np.abs(other - features).max() > 1e-2
    assert np.abs(nowhere - features).max() > 1e-2
    np.testing.assert_allclose(half, features, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(even, nowhere)


def test_gaze_on_nodes_is_pooled_and_stretched_in_each_image():
    gaze = jnp.zeros((3, 4, 8)).at[0, :2, :2].set(0.5).at[0, 2, 4].set(0.4).at[2].set(0.7)
    pooled = jax.jit(functools.partial(on_nodes, size=(2, 4)))
    found = pooled(gaze)
    assert found.shape == (3, 2, 4, 1)
    np.testing.assert_allclose(found[0, ..., 0], [[1, 0, 0, 0], [0, 0, 0.2, 0]], atol=1e-6)
    np.testing.assert_array_equal(found[1:], 0)
    steep = jax.jit(jax.grad(lambda gaze: jnp.square(pooled(gaze)).sum()))(gaze)
    assert np.isfinite(steep).all()


def test_gaze_gnn_of_fewer_nodes_than_neighbours_takes_them_all():
    """A 64 px image has 2x2 nodes in the last stage, and k is 9: any k from 4 on is the same."""
    model = GazeGNN(blocks=(1, 1, 1, 1))
    spec = jax.ShapeDtypeStruct((2, 64, 64, 1), jnp.float32)
    _, out = jax.eval_shape(
        lambda image: model.init_with_output(jax.random.key(0), image, image[..., 0])[0], spec
    )
    assert [level.shape[1:3] for level in out["feature_maps"]] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    last = GazeGNN(**{**SINGLE, "reduce_ratios": (1,)})
    variables, given = drawn(last, (2, 8, 8, 1)), inputs((2, 8, 8, 1))
    found = {k: jax.jit(last.clone(k=k).apply)(variables, *given)[0] for k in (1, 4, 9)}
    np.testing.assert_array_equal(found[4], found[9])
    assert np.abs(found[1] - found[4]).max() > 1e-3


def test_gaze_gnn_without_a_gaze_is_refused(short):
    model, variables, _ = short
    image, _ = inputs(SMALL)
    assert GazeGNN.takes_gaze
    for call in (model.init, model.apply):
        first = jax.random.key(0) if call == model.init else variables
        with pytest.raises(InputError, match=r"in use as in training.*config\.method\.gaze_input"):
            call(first, image)


def test_gaze_gnn_gradients_are_finite_and_the_same_with_remat():
    """And a training step updates every statistic."""
    model = GazeGNN(**SINGLE)
    image, gaze = inputs((4, 16, 8, 1))
    variables = drawn(model, image.shape)

    def compiled(model):
        def loss(params, image, gaze):
            (features, _), updated = model.apply(
                {**variables, "params": params}, image, gaze, train=True, mutable=["batch_stats"]
            )
            return jnp.square(features - 1).mean(), updated["batch_stats"]

        gradient = jax.jit(jax.grad(loss, argnums=(0, 2), has_aux=True))
        return functools.partial(gradient, variables["params"])

    plain = compiled(model)
    found, statistics = plain(image, gaze)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert np.abs(found[0]["gaze_norm"]["scale"]).min() > 1e-5
    assert np.abs(found[0]["position"]).max() > 1e-5
    again, _ = compiled(model.clone(remat=True))(image, gaze)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(b).max() + 1e-5),
        again,
        found,
    )
    before = flatten_dict(variables["batch_stats"])
    for name, after in flatten_dict(statistics).items():
        assert (after != before[name]).all(), name
    # all nodes but those at the edges are equal
    nothing, _ = plain(jnp.zeros_like(image), jnp.zeros_like(gaze))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(nothing))


def test_gaze_gnn_perturbation_moves_its_level_and_what_follows(short):
    model, variables, _ = short
    given = inputs(SMALL)
    specs = jax.eval_shape(lambda: model.apply(variables, *given, mutable=["perturbations"])[1])
    zeros = jax.tree.map(lambda spec: jnp.zeros(spec.shape), specs["perturbations"])
    assert set(zeros) == {"level_0", "level_1"}

    def score(perturbations):
        features, out = model.apply({**variables, "perturbations": perturbations}, *given)
        return features.sum(), out["feature_maps"]

    scored = jax.jit(jax.grad(score, has_aux=True))
    gradient, levels = scored(zeros)
    _, after = scored({**zeros, "level_0": zeros["level_0"] + 0.5})
    np.testing.assert_allclose(after[0], levels[0] + 0.5, rtol=1e-5, atol=1e-5)
    assert np.abs(after[1] - levels[1]).max() > 1e-3
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_relative_positions_of_either_form_choose_other_neighbours(short):
    model, variables, apply = short
    given = inputs(SMALL)
    pooled, _ = jax.jit(model.clone(relative_position="pooled").apply)(variables, *given)
    assert np.abs(pooled - apply(variables, *given)[0]).max() > 1e-4


def test_gaze_gnn_mistakes_are_named(short):
    model, variables, _ = short

    def refused(match, shape=SHAPE, **changes):
        with pytest.raises(InputError, match=match):
            spec_of(GazeGNN(**{**TINY, **changes}), shape, shape[:3])

    refused(
        r"multiples of 32 px, and these are 64x40.*config\.data\.size to \(64, 64\)", (2, 64, 40, 1)
    )
    refused("one channel or of 3, not of 2", (2, 64, 32, 2))
    refused("give as many of each", blocks=(1, 1))
    refused("multiples of 4, and k", channels=(8, 12, 12, 18))
    refused("multiples of 4, and k", k=0)
    refused("3 does not divide the 16x8 nodes of stage 1", reduce_ratios=(3, 1, 1, 1))
    refused("relative position 'paper'", relative_position="paper")
    image, gaze = inputs((2, 32, 32, 1))
    with pytest.raises(
        InputError, match=r"positions for 8x4 nodes.*config\.data\.size to \(32, 16\)"
    ):
        model.apply(variables, image, gaze)


def test_gaze_gnn_layers_are_counted_from_the_input():
    model = GazeGNN(**SHORT, num_classes=3)
    names = spec_of(model, SMALL, SMALL[:3])["params"]
    assert {name: model.layer_of(name) for name in names} == {
        **dict.fromkeys(("stem", "position", "gaze_norm"), 0),
        "stage1_block1": 1,
        "downsample1": 2,
        "stage2_block1": 3,
        **dict.fromkeys(("hidden", "hidden_norm", "head"), 4),
    }
    assert model.num_layers == 5
    with pytest.raises(KeyError, match="stage2_block2"):
        model.layer_of("stage2_block2")
