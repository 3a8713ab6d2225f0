"""Properties of the network of two tasks, and its numbers against torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from gazax.losses.multitask import uncertainty_weighted
from gazax.models.mt_unet import LAST_SHARED, MTUNet
from gazax.models.unet import UNet
from gazax.typing import InputError
from tests.models.conftest import count, randomized, spec_of, zero_levels

SHAPE = (4, 16, 32, 1)  # not square, so that h and w cannot be swapped


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)


@pytest.fixture(scope="module")
def tiny():
    """The network, its variables and the compiled (variables, image, keys) -> (logits, out)."""
    model = MTUNet(width=2, hidden=8)
    variables = randomized(model, SHAPE)
    params = flatten_dict(variables["params"])
    # near 1, so that an image still makes a difference after 19 norms
    params = {path: x + 1 if path[-1] == "scale" else x for path, x in params.items()}
    return model, {**variables, "params": unflatten_dict(params)}, jax.jit(model.apply)


def test_mt_unet_has_the_published_number_of_parameters():
    params = spec_of(MTUNet(), (1, 16, 32, 1))["params"]
    assert count(params) == 34_632_837
    unet = spec_of(UNet(), (1, 16, 32, 1))["params"]
    assert params["log_sigma_classification"].shape == ()
    assert params["log_sigma_classification"].dtype == jnp.float32
    assert count(params["classifier"]) == (1024 + 64) * 64 + 64 + 64 * 3 + 3
    assert {name: count(tree) for name, tree in params.items() if name in unet} == {
        name: count(tree) for name, tree in unet.items()
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mt_unet_intermediates_are_named_and_float32(dtype):
    model = MTUNet(num_classes=5, width=8, dtype=dtype)
    variables = spec_of(model, SHAPE)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits, out = jax.eval_shape(model.apply, variables, jnp.zeros(SHAPE))
    assert logits.shape == (4, 5)
    levels = [(4, 16, 32, 8), (4, 8, 16, 16), (4, 4, 8, 32), (4, 2, 4, 64), (4, 1, 2, 128)]
    assert jax.tree.map(jnp.shape, out) == {
        "logits": (4, 5),
        "log_density": (4, 16, 32),
        "features": (4, 128 + 8),
        "feature_map": levels[-1],
        "feature_maps": levels,
        "attention": [level[:3] for level in levels],
        "log_sigma": {"classification": (), "saliency": ()},
    }
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, out))} == {jnp.dtype("float32")}


def test_mt_unet_classifies_by_the_means_of_two_maps(tiny, image):
    """What comes before is the U-Net of torch, see below."""
    _, variables, apply = tiny
    logits, out = apply(variables, image)
    np.testing.assert_array_equal(logits, out["logits"])
    np.testing.assert_array_equal(out["feature_map"], out["feature_maps"][-1])
    params = jax.device_get(variables["params"])
    assert out["log_sigma"] == {
        "classification": params["log_sigma_classification"],
        "saliency": 0.0,
    }
    features = np.asarray(out["features"])
    np.testing.assert_allclose(
        features[:, :32], out["feature_map"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-5
    )
    first, last = (params["classifier"][name] for name in ("layers_0", "layers_1"))
    hidden = np.maximum(features @ first["kernel"] + first["bias"], 0)
    expected = hidden @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.exp(out["log_density"]).sum(axis=(1, 2)), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    "learned", [(), ("classification",), ("saliency",), ("saliency", "classification")]
)
def test_mt_unet_learns_the_sigmas_that_are_named(learned):
    model = MTUNet(width=2, learned_sigmas=learned)
    params = spec_of(model, SHAPE)["params"]
    sigmas = {name for name in params if name.startswith("log_sigma")}
    assert sigmas == {f"log_sigma_{task}" for task in learned}
    for name in sigmas:
        assert model.layer_of(name) == model.num_layers - 1


def test_mt_unet_sigmas_start_at_one():
    class Sigmas(MTUNet):
        @nn.compact
        def __call__(self):
            return self._log_sigma()

    log_sigma, variables = Sigmas().init_with_output(jax.random.key(0))
    assert variables == {"params": {"log_sigma_classification": 0.0}}
    assert log_sigma == {"classification": 0.0, "saliency": 0.0}


def test_mt_unet_drops_out_by_key_in_its_classifier_alone(tiny, image):
    _, variables, apply = tiny
    keys = jax.random.split(jax.random.key(0), 4)
    plain, out = apply(variables, image)
    dropped, dropped_out = apply(variables, image, keys)
    swapped, _ = apply(variables, image[::-1], keys[::-1])
    assert np.abs(dropped - plain).max() > 1e-3
    np.testing.assert_allclose(swapped[::-1], dropped, rtol=1e-5, atol=1e-5)
    for name in ("log_density", "features"):
        np.testing.assert_allclose(dropped_out[name], out[name], rtol=1e-5, atol=1e-6)


def test_mt_unet_last_shared_weights_are_the_last_of_most_of_both_tasks(tiny, image):
    """Both losses reach them; of the decoder behind them the class has a small part alone."""
    model, variables, _ = tiny
    scopes = ("encoder5", "decoder1", "head", "classifier")
    late = {name: variables["params"][name] for name in scopes}

    @jax.jit
    def gradients(late):
        def losses(late):
            params = {**variables["params"], **late}
            logits, out = model.apply({**variables, "params": params}, image)
            wanted = out["log_density"][:, 3, 5]
            return jnp.stack([-jax.nn.log_softmax(logits)[:, 0].mean(), -wanted.mean()])

        return jax.jacrev(losses)(late)

    norms = {
        path: [float(np.linalg.norm(one)) for one in leaf]
        for path, leaf in flatten_dict(gradients(late)).items()
    }
    for path, (by_class, by_saliency) in norms.items():
        assert (by_saliency == 0) == (path[0] == "classifier"), path
        assert (by_class == 0) == (path[0] == "head"), path

    def share(path):
        return norms[path][0] / norms[path][1]

    assert share(LAST_SHARED) > 5 * share(("decoder1", "conv2", "kernel"))


def test_mt_unet_levels_can_be_perturbed(tiny, image):
    model, variables, apply = tiny
    zeros = zero_levels(model, variables, image)
    assert set(zeros) == {f"level_{i}" for i in range(5)}
    _, out = apply(variables, image)
    added = {**zeros, "level_4": zeros["level_4"] + 0.5}
    logits, moved = apply({**variables, "perturbations": added}, image)
    np.testing.assert_allclose(moved["feature_map"], out["feature_map"] + 0.5, rtol=1e-5)
    # Before the level nothing moves, but by what another program rounds otherwise.
    np.testing.assert_allclose(
        moved["feature_maps"][3], out["feature_maps"][3], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        moved["features"][:, :32], out["features"][:, :32] + 0.5, rtol=1e-5, atol=1e-5
    )
    assert np.abs(logits - out["logits"]).max() > 1e-3


def test_mt_unet_layers_are_counted_from_the_input():
    model = MTUNet(width=2)
    assert {name: model.layer_of(name) for name in spec_of(model, SHAPE)["params"]} == {
        **{f"encoder{i + 1}": i for i in range(5)},
        **{f"{part}{i}": 9 - i for i in (4, 3, 2, 1) for part in ("up", "decoder")},
        **dict.fromkeys(("head", "classifier", "log_sigma_classification"), 9),
    }
    assert model.num_layers == 10
    with pytest.raises(KeyError, match="log_sigma_saliency"):
        model.layer_of("log_sigma_saliency")


def test_mt_unet_mistakes_are_named():
    for settings, message in (
        (dict(learned_sigmas=("segmentation",)), r"'segmentation'.*classification, saliency"),
        (dict(head="fig"), r"head 'fig'.*code, figure"),
        (dict(dropout=1.0), r"dropout.*\[0, 1\)"),
    ):
        with pytest.raises(InputError, match=message):
            spec_of(MTUNet(width=2, **settings), SHAPE)
    with pytest.raises(InputError, match=r"48x40.*config\.data\.size"):
        spec_of(MTUNet(width=2), (1, 48, 40, 1))


@pytest.mark.torch
def test_mt_unet_is_torchs():
    """Inference, and in training the losses, their weighted sum and all its gradients."""
    torch = pytest.importorskip("torch")
    from tests.models import torch_nets

    model = MTUNet(width=2, hidden=8, dropout=0.0)
    net = torch_nets.twin(model, SHAPE)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:  # so that an image still makes a difference at the end
                parameter.mul_(2.5)
        net.log_sigma["classification"].fill_(-0.4)
    draws = np.random.default_rng(2)
    image = jnp.asarray(draws.normal(size=SHAPE), jnp.float32)
    variables = torch_nets.variables_of(model, net)

    def same(out, theirs):
        pairs = [
            (out[name], theirs[name].detach().numpy())
            for name in ("logits", "features", "log_density")
        ]
        levels = map(torch_nets.nhwc, theirs["feature_maps"])
        pairs += zip(out["feature_maps"], levels, strict=True)
        for ours, expected in pairs:
            assert expected.std(axis=0).max() > 0.02  # from image to image
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * expected.std())

    _, out = jax.jit(model.apply)(variables, image)
    same(out, net.eval()(torch_nets.nchw(image)))

    label = jnp.eye(3)[jnp.array([0, 2, 1, 1])]
    heat = draws.uniform(size=image.shape[:3])
    target = jnp.asarray(heat / heat.sum(axis=(1, 2), keepdims=True), jnp.float32)

    @jax.jit
    def step(params):
        def loss(params):
            applied = model.apply(
                {**variables, "params": params}, image, train=True, mutable=["batch_stats"]
            )
            (logits, out), _ = applied
            kl = (target * (jnp.log(target) - out["log_density"])).sum(axis=(1, 2)).mean()
            losses = jnp.stack([optax.softmax_cross_entropy(logits, label).mean(), kl])
            log_sigma = jnp.stack(list(out["log_sigma"].values()))
            return uncertainty_weighted(losses, log_sigma, scale=jnp.array([1.0, 0.5])), out

        return jax.value_and_grad(loss, has_aux=True)(params)

    (total, out), gradient = step(variables["params"])
    theirs = net.train()(torch_nets.nchw(image))
    same(out, theirs)
    log_sigma = net.log_sigma["classification"]
    expected = torch_nets.multitask_loss(theirs, np.asarray(label), np.asarray(target), log_sigma)
    expected.backward()
    np.testing.assert_allclose(total, expected.item(), rtol=1e-5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.grad)
    wanted = flatten_dict(torch_nets.variables_of(model, net)["params"])
    found = flatten_dict(gradient)
    assert set(found) == set(wanted)
    moved = 0
    for path, slope in wanted.items():
        # A bias in front of a norm has no gradient: what is left of it is rounding, of terms that
        # cancel, and depends on the draw.
        size = float(jnp.sqrt(jnp.square(slope).mean()))
        error = float(jnp.sqrt(jnp.square(found[path] - slope).mean()))
        assert error <= 1e-3 * size + 3e-5, (path, error, size)
        moved += size > 1e-4
    assert moved > 0.6 * len(wanted)
