"""Which model of timm or torchvision a backbone is: the real ones, by their keys and shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.export import layouts
from gazax.models import build
from gazax.typing import InputError


def describe(model, library, *, size=(64, 64), channels=1, num_classes=0):
    return layouts.torch_model(
        model, library, size=size, channels=channels, num_classes=num_classes
    )


SLOW = pytest.mark.slow
VIT = build("vit", variant="S/16")
SMALL_VIT = build("vit", patch_size=(4, 8), width=32, depth=2, num_heads=2, mlp_dim=50, pool="avg")
SMALL_DENSENET = build("densenet", blocks=(1, 2), growth_rate=4, init_features=8)


@pytest.mark.parametrize(
    ("model", "given", "architecture", "args"),
    [
        (VIT, dict(size=(224, 224), channels=3), "vit_small_patch16_224", {}),
        (VIT, dict(size=(64, 96)), "vit_small_patch16_224", dict(img_size=[64, 96], in_chans=1)),
        (build("vit", variant="B/8"), dict(size=(224, 224), channels=3), "vit_base_patch8_224", {}),
        (
            build("vit", variant="Ti/8"),
            dict(size=(224, 224), channels=3),
            "vit_tiny_patch16_224",
            dict(patch_size=[8, 8]),
        ),
        (
            SMALL_VIT,
            dict(),
            "vit_tiny_patch16_224",
            dict(
                img_size=[64, 64],
                patch_size=[4, 8],
                in_chans=1,
                embed_dim=32,
                depth=2,
                num_heads=2,
                mlp_ratio=50.5 / 32,
                global_pool="avg",
                fc_norm=False,
            ),
        ),
        (build("resnet50"), dict(), "resnet50", dict(in_chans=1)),
        (build("resnet10"), dict(channels=3), "resnet18", dict(layers=[1, 1, 1, 1])),
        (build("densenet201"), dict(channels=3), "densenet201", {}),
        (SMALL_DENSENET, dict(), "densenet121", dict(growth_rate=4, block_config=[1, 2])),
        (build("inception_resnet_v2"), dict(channels=3), "inception_resnet_v2", {}),
    ],
)
def test_timm_has_it_by_its_name_and_what_differs(model, given, architecture, args):
    found = describe(model, "timm", **given)
    assert (found.architecture, found.model_args) == (architecture, args)


@pytest.mark.parametrize(
    ("model", "library", "message"),
    [
        (VIT, "torchvision", "names the weights of its ViT otherwise: take --layout=timm."),
        (
            build("vit", variant="S/16", stem="conv"),
            "timm",
            "no ViT with model.stem='conv': take --layout=gazax --part=full.",
        ),
        (build("resnet10"), "torchvision", r"no ResNet of blocks \(1, 1, 1, 1\): .*=timm\."),
        (
            SMALL_DENSENET,
            "torchvision",
            "growth_rate=4 and init_features=8 by name: take --layout=timm.",
        ),
        (
            build("densenet", blocks=(1, 1), growth_rate=4, init_features=4),
            "timm",
            "init_features=4: its stem has twice the growth rate: take --layout=gazax",
        ),
        (build("inception_resnet_v2"), "torchvision", "no Inception-ResNet-v2: .*=timm"),
        (
            build("inception_resnet_v2", padding="same"),
            "timm",
            "padding=valid only, and this one's is same: take --layout=gazax --part=full",
        ),
        (build("unet"), "timm", "has no UNet: take --layout=gazax --part=full"),
        (VIT, "tim", "did you mean 'timm'"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused_with_the_one_that_can(model, library, message):
    with pytest.raises(InputError, match=message):
        describe(model, library)


def shapes_of_ours(model, library, *, size, num_classes):
    """Shapes by torch's keys, without numbers: a tensor is one byte, shown many times."""
    model = model.clone(num_classes=num_classes)
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *size, 1)))
    empty = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(1), leaf.shape), spec)
    params, stats = empty["params"], empty.get("batch_stats", {})
    described = describe(
        model,
        library,
        size=size,
        channels=layouts.stem_channels(model, params),
        num_classes=num_classes,
    )
    tensors = layouts.state_dict(model, params, stats, described)
    return described, {key: value.shape for key, value in tensors.items()}


@pytest.mark.torch
@pytest.mark.parametrize("num_classes", [0, 5])
@pytest.mark.parametrize(
    ("library", "model", "size"),
    [
        ("timm", SMALL_VIT, (32, 64)),
        ("timm", build("resnet10"), (64, 64)),
        ("timm", SMALL_DENSENET, (64, 64)),
        ("torchvision", build("resnet18"), (64, 64)),
        pytest.param("timm", build("resnet50"), (64, 64), marks=SLOW),
        pytest.param("torchvision", build("densenet121"), (64, 64), marks=SLOW),
        pytest.param("timm", build("inception_resnet_v2"), (80, 80), marks=SLOW),
    ],
)
def test_every_key_of_the_library_has_its_shape(timm, library, model, size, num_classes):
    import torch

    described, ours = shapes_of_ours(model, library, size=size, num_classes=num_classes)
    with torch.device("meta"):
        # torchvision's backbones are timm's too: its config.json is read by timm.create_model
        net = timm.create_model(
            described.architecture, num_classes=num_classes, **described.model_args
        )
    theirs = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert ours == theirs
    assert net.num_features == described.num_features
    assert f"{described.first_conv}.weight" in theirs
    assert (f"{described.classifier}.weight" in theirs) == (num_classes > 0)


def test_a_grey_stem_for_colours_says_the_same_of_a_repeated_image():
    model = build("resnet10")
    numbers = np.random.default_rng(0)
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    leaves, tree = jax.tree.flatten(spec)
    variables = tree.unflatten([numbers.normal(size=x.shape).astype(np.float32) for x in leaves])
    params, stats = variables["params"], variables["batch_stats"]
    described = layouts.TorchModel("torchvision", "resnet18", {}, 0, 512, 3, "conv1", "fc")
    stem = layouts.state_dict(model, params, stats, described)["conv1.weight"]
    assert stem.shape == (64, 3, 7, 7)
    assert stem.flags.c_contiguous
    grey = params["conv1"]["kernel"][:, :, 0].transpose(2, 0, 1)
    np.testing.assert_allclose(stem, np.repeat(grey[:, None] / 3, 3, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(stem.sum(axis=1), grey)
