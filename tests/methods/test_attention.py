"""Every source of attention: what it is, and that its loss moves it through the backbone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gazax.losses import attention_alignment
from gazax.methods.attention import check_source, grad_cam_maps, mean_density, plain_maps
from gazax.methods.backbone import Backbone
from gazax.methods.gazat import GazAT
from gazax.models import build as build_model
from gazax.models.heads import AttentionModule, Projector
from gazax.models.resnet import ResNet
from gazax.ops.attention import activation_energy, grad_cam, rollout
from gazax.ops.gaze import render_gaze
from gazax.typing import InputError
from tests.batches import tiny_batch

STILL = dict(crop=(1.0, 1.0), rotation_degrees=0.0, brightness=0.0, contrast=0.0)
VIT = build_model("vit", width=16, depth=2, num_heads=2, patch_size=8)
RESNET = ResNet((1, 1), bottleneck=False)  # of two levels, which compiles soon
BACKBONES = {"vit": (VIT, (0, 1)), "resnet": (RESNET, (0, 1))}
SOURCES = [
    ("vit", "rows", "constant"),
    ("vit", "rollout", "constant"),
    ("vit", "energy", "constant"),
    ("vit", "grad_cam", "constant"),
    ("vit", "grad_cam", "differentiated"),
    ("vit", "module", "constant"),
    ("resnet", "energy", "constant"),
    ("resnet", "grad_cam", "constant"),
    ("resnet", "grad_cam", "differentiated"),
    ("resnet", "module", "constant"),
]
COSTLY = (SOURCES[4], *SOURCES[6:])
"""Left to the slow lane: each is a backbone or an order of which another case is tried."""


def make(backbone: str, source: str, weights: str, **changes) -> GazAT:
    module, levels = BACKBONES[backbone]
    settings = dict(
        backbone=module,
        projector=Projector(hidden_dim=16, out_dim=8),
        temperature=0.1,
        alpha=1.0,
        beta=0.0,
        levels=levels,
        level_weights=(0.5, 0.5),
        distance="kl",
        regional_temperature=0.1,
        standard=STILL,
        strong={},
        mean=0.5,
        std=0.25,
        attention=source,
        grad_cam_weights=weights,
        attention_module=AttentionModule(hidden_dim=8) if source == "module" else None,
    )
    return GazAT(**{**settings, **changes})


@pytest.mark.parametrize(
    ("backbone", "source", "weights"),
    [pytest.param(*case, marks=pytest.mark.slow if case in COSTLY else ()) for case in SOURCES],
)
def test_the_alignment_alone_moves_the_attention_onto_a_given_map(rng, backbone, source, weights):
    """Descent of the alignment only: it falls, by a gradient that reaches the backbone."""
    method = make(backbone, source, weights, standard={})
    batch = tiny_batch(4)
    given = jax.vmap(lambda xy: render_gaze(xy, jnp.ones(1), sigma_px=6.0, size=(32, 32)))(
        jax.random.uniform(rng, (4, 1, 2), minval=6.0, maxval=26.0)
    )
    params, state = jax.jit(method.init)(rng, batch)

    def distance(params):
        _, attention = method.encode(params, state, batch)
        aligned = attention_alignment([attention], given, distance="kl", level_weights=[1.0])
        return aligned.mean()

    tx = optax.adam(3e-3)

    @jax.jit
    def descend(params, moments):
        def one(carry, _):
            params, moments = carry
            value, grads = jax.value_and_grad(distance)(params)
            updates, moments = tx.update(grads, moments)
            reached = optax.tree.norm(grads["backbone"])
            return (optax.apply_updates(params, updates), moments), (value, reached)

        return jax.lax.scan(one, (params, moments), None, length=60)[1]

    values, reached = descend(params, tx.init(params))
    assert reached[0] > 0
    assert np.isfinite(reached).all()
    assert values[-10:].mean() < 0.7 * values[0], (values[0], values[-10:])


@pytest.mark.parametrize("backbone", [pytest.param("vit", marks=pytest.mark.slow), "resnet"])
def test_the_gradient_behind_grad_cam_is_that_of_finite_differences(rng, backbone):
    """Each level's features moved a little: the score changes by the gradient times the move."""
    model, levels = BACKBONES[backbone]
    image = jnp.asarray(tiny_batch(2)["image"], jnp.float32) / 255
    backbone = Backbone(model)
    params, state, out = jax.jit(backbone.init)(rng, image)
    direction = jax.random.normal(rng, out["features"].shape)

    def score(perturbations):
        out, _ = backbone.look(params, state, image, train=False, perturbations=perturbations)
        return (out["features"] * direction).sum(axis=1), (out, None)

    zeros = backbone.zero_perturbations(params, state, image)
    total = jax.jit(lambda perturbations: score(perturbations)[0].sum())
    gradients = jax.jit(jax.grad(total))(zeros)
    for level in levels:
        name = f"level_{level}"
        move = gradients[name] / jnp.linalg.norm(gradients[name])
        ahead, behind = (total({**zeros, name: step * move}) for step in (2e-3, -2e-3))
        slope = (ahead - behind) / 4e-3
        np.testing.assert_allclose(slope, jnp.linalg.norm(gradients[name]), rtol=0.02)
    maps, out, _ = grad_cam_maps(score, zeros, levels=levels, gradient="constant")
    for level, found in zip(levels, maps, strict=True):
        features = out["feature_maps"][level]
        b, height, width, channels = features.shape
        cells = gradients[f"level_{level}"].reshape(b, -1, channels)[:, -height * width :]
        expected = [
            grad_cam(one, slope.reshape(height, width, channels), softness=0.5)
            for one, slope in zip(features, cells, strict=True)
        ]
        np.testing.assert_allclose(found, jnp.stack(expected), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("order", ["constant", "differentiated"])
def test_the_order_of_grad_cam_is_that_of_finite_differences(rng, order):
    """A network of one product: features = s F, score = sum (s F)^2 / 2, weights = mean of s F."""
    features = np.abs(jax.random.normal(rng, (1, 3, 3, 2))).astype(np.float64)

    def total(s):
        def score(perturbations):
            moved = s * jnp.asarray(features, jnp.float32) + perturbations["level_0"]
            scores = 0.5 * jnp.square(moved).sum(axis=(1, 2, 3))
            return scores, ({"feature_maps": [moved]}, None)

        zeros = {"level_0": jnp.zeros(features.shape)}
        maps, _, _ = grad_cam_maps(score, zeros, levels=[0], gradient=order)
        return maps[0].sum()

    t = 0.5 * (features.mean(axis=(1, 2), keepdims=True) * features).sum(axis=3).mean()

    def by_hand(s):
        weights = features.mean(axis=(1, 2)) * (s if order == "differentiated" else 1.0)
        x = np.einsum("bhwc,bc->bhw", s * features, weights)
        return (t * np.log1p(np.exp(x / t))).sum()

    np.testing.assert_allclose(total(1.0), by_hand(1.0), rtol=1e-5)
    slope = (by_hand(1.0 + 1e-5) - by_hand(1.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(total)(1.0), slope, rtol=1e-4)


def test_perturbations_of_zero_change_nothing(rng):
    image = jnp.asarray(tiny_batch(2)["image"], jnp.float32) / 255
    backbone = Backbone(VIT)
    params, state, _ = backbone.init(rng, image)
    look = functools.partial(backbone.look, params, state, image, train=False)
    plain, _ = look()
    zeros = backbone.zero_perturbations(params, state, image)
    moved, _ = look(perturbations=zeros)
    np.testing.assert_array_equal(plain["features"], moved["features"])


def test_plain_maps_are_those_of_the_backbone(rng):
    image = jnp.asarray(tiny_batch(2)["image"], jnp.float32) / 255
    full = VIT.clone(attention="full")
    variables = full.init(rng, image)
    _, out = full.apply(variables, image)
    np.testing.assert_array_equal(plain_maps(out, "rows", (-1,))[0], out["attention"][1])
    first = np.asarray(plain_maps(out, "energy", (0,))[0])
    np.testing.assert_allclose(first[1], activation_energy(out["feature_maps"][0][1]), rtol=1e-6)
    rolled = plain_maps(out, "rollout", (0, 1))
    for level, blocks in ((0, 1), (1, 2)):
        matrices = jnp.stack([one[1] for one in out["attention_full"][:blocks]])
        np.testing.assert_allclose(
            rolled[level][1].reshape(-1), rollout(matrices), rtol=1e-5, atol=1e-7
        )


def test_a_source_or_a_level_that_the_backbone_lacks_is_named(rng):
    image = jnp.zeros((1, 32, 32, 1))
    _, _, out = Backbone(RESNET).init(rng, image)
    with pytest.raises(InputError, match="method.attention='rows' needs a transformer"):
        check_source(out, "rows", (0,))
    with pytest.raises(InputError, match=r"names level 2; the backbone has 2 levels, 0 to 1"):
        check_source(out, "energy", (0, 2))


def test_mean_density_joins_grids_of_several_sizes():
    """A map of one cell is uniform on any grid; a density stays one."""
    fine = jnp.zeros((1, 4, 4)).at[0, 1, 2].set(3.0)
    found = mean_density([fine, jnp.ones((1, 1, 1))])
    np.testing.assert_allclose(found.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found[0, 1, 2], 0.5 + 0.5 / 16, rtol=1e-5)
    np.testing.assert_allclose(found[0, 0, 0], 0.5 / 16, rtol=1e-5)


@pytest.mark.parametrize("source", ["grad_cam", "module"])
def test_encode_gives_an_images_own_attention_whatever_its_neighbours(rng, source):
    method = make("resnet", source, "constant", standard={})
    batch = tiny_batch(4)
    params, state = jax.jit(method.init)(rng, batch)
    encode = jax.jit(method.encode)
    features, attention = encode(params, state, batch)
    alone = jax.tree.map(lambda x: x[2:3], batch)
    of_one = encode(params, state, {**alone, "place": alone["place"] + 7})
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(of_one[0][0], features[2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_one[1][0], attention[2], rtol=1e-3, atol=1e-5)
