"""Torch's nets with weights in which a wrong mapping cannot hide, and how to run them."""

import jax.numpy as jnp
import numpy as np

from tests.models.conftest import timm, torchvision  # noqa: F401


def randomize_vit(net):
    """timm's vision transformer without the zeros and ones of its initial values."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.3 if parameter.ndim == 1 else 2 * parameter.shape[-1] ** -0.5
            offset = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(offset + scale * noise)
    return net.eval()


def randomize_norms(net):
    """Batch norms and their statistics drawn, in place of ones and zeros."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.3, 0.3),
                    (module.running_mean, -0.3, 0.3),
                    (module.running_var, 0.5, 2.0),
                ):
                    tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return net


def randomize_resnet(models, depth, *, channels):
    """A ResNet of `torchvision.models`, of 5 classes, its norms and their statistics drawn too."""
    import torch

    torch.manual_seed(0)
    net = models.get_model(f"resnet{depth}", weights=None, num_classes=5)
    net.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return randomize_norms(net)


def tiny_densenet(models):
    """A DenseNet of `torchvision.models` with few channels, of 5 classes, all of it drawn."""
    import torch

    torch.manual_seed(0)
    net = models.DenseNet(
        growth_rate=8, block_config=(2, 2, 2, 2), num_init_features=16, num_classes=5
    )
    return randomize_norms(net)


def resnet_image(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def nchw(image):
    import torch

    return torch.tensor(np.asarray(image)).permute(0, 3, 1, 2)


def run_torch(net, image):
    import torch

    with torch.no_grad():
        return net(nchw(image)).numpy()
