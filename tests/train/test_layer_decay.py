import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gazax.export.vit import to_timm
from gazax.models import build
from gazax.train import freeze, optim
from gazax.typing import InputError

PARAMS = {
    "backbone": {"stem": {"kernel": jnp.ones((2, 2))}, "norm": {"scale": jnp.ones(2)}},
    "head": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
}
LAYERS = {"stem": 0, "norm": 1}
GRADIENTS = jax.tree.map(lambda x: x / 4, PARAMS)


def adamw(**changes):
    return optim.adamw(lambda _: 0.1, **{"weight_decay": 0.5, "clip_norm": 0.0, **changes})


def updates(tx, params, gradients):
    return tx.update(gradients, tx.init(params), params)[0]


def test_two_layers_by_hand():
    """Adam's first update is -.1 and the decay of a kernel of ones -.1 * .5, both times .3."""
    tx = adamw(layer_decay=0.3, layer_of=LAYERS.__getitem__, num_layers=2)
    found = updates(tx, PARAMS, GRADIENTS)
    np.testing.assert_allclose(found["backbone"]["stem"]["kernel"], -0.15 * 0.3, rtol=1e-5)
    np.testing.assert_allclose(found["backbone"]["norm"]["scale"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(found["head"]["kernel"], -0.15, rtol=1e-5)
    np.testing.assert_allclose(found["head"]["bias"], -0.1, rtol=1e-5)


def test_it_scales_what_is_left_when_parts_are_frozen():
    tx = adamw(layer_decay=0.3, layer_of=LAYERS.__getitem__, num_layers=2)
    whole = updates(tx, PARAMS, GRADIENTS)
    left, _ = freeze.split(PARAMS, ("backbone/norm/.*", "head/bias"))
    gradients, _ = freeze.split(GRADIENTS, ("backbone/norm/.*", "head/bias"))
    expected, _ = freeze.split(whole, ("backbone/norm/.*", "head/bias"))
    jax.tree.map(np.testing.assert_array_equal, updates(tx, left, gradients), expected)


def test_a_decay_of_1_is_plain_adamw():
    plain = updates(adamw(), PARAMS, GRADIENTS)
    found = updates(adamw(layer_decay=1.0, layer_of=LAYERS.__getitem__), PARAMS, GRADIENTS)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.01, float("nan")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(InputError, match=r"config\.optim\.layer_decay is .* above 0 and not"):
        adamw(layer_decay=decay, layer_of=LAYERS.__getitem__, num_layers=2)


def test_a_model_whose_layers_have_no_numbers_is_refused():
    with pytest.raises(InputError, match="layers have no numbers"):
        adamw(layer_decay=0.9)


def vit_scales(decay):
    vit = build("vit", width=16, depth=3, num_heads=2, patch_size=8, num_classes=3)
    shapes = jax.eval_shape(vit.init, jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]
    params = {"backbone": shapes, "projector": {"layers_0": {"kernel": 0.0}}}
    return shapes, optim.layer_scales(params, vit.layer_of, vit.num_layers, decay)


def test_vit_follows_beit():
    """Embeddings 0, block i at i + 1, what follows the blocks last, of depth + 2 layers."""
    _, scales = vit_scales(0.5)
    backbone = scales["backbone"]
    assert backbone["cls_token"] == backbone["pos_embed"] == 1 / 16
    assert backbone["patch_embed"] == {"kernel": 1 / 16, "bias": 1 / 16}
    for i, expected in enumerate((1 / 8, 1 / 4, 1 / 2)):
        assert set(jax.tree.leaves(backbone[f"blocks_{i}"])) == {expected}
    assert backbone["norm"] == {"scale": 1.0, "bias": 1.0}
    assert scales["projector"] == {"layers_0": {"kernel": 1.0}}


@pytest.mark.torch
def test_vit_gets_the_rates_of_timm(timm):
    """By timm's own code; it counts the last norm to the last block, BEiT to the head."""
    from timm.optim import param_groups_layer_decay

    net = timm.models.VisionTransformer(
        img_size=16, patch_size=8, in_chans=1, num_classes=3, embed_dim=16, depth=3, num_heads=2
    )
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    expected = {
        names[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(net, layer_decay=0.5)
        for parameter in group["params"]
    }
    shapes, scales = vit_scales(0.5)
    filled = jax.tree.map(lambda x, scale: np.full(x.shape, scale), shapes, scales["backbone"])
    found = {name: array.max() for name, array in to_timm(filled).items()}
    assert found.keys() == expected.keys()
    differing = {name for name in found if found[name] != expected[name]}
    assert differing == {"norm.weight", "norm.bias"}


def test_updates_add_up_under_jit():
    tx = adamw(layer_decay=0.3, layer_of=LAYERS.__getitem__, num_layers=2)
    moved = jax.jit(lambda p, g: optax.apply_updates(p, updates(tx, p, g)))(PARAMS, GRADIENTS)
    np.testing.assert_allclose(moved["backbone"]["stem"]["kernel"], 1 - 0.045, rtol=1e-6)
