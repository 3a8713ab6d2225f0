"""The U-Nets of `gazax.export.modeling_gazax` as twins of ours, and what compares numbers.

That file is written in torch's own layers from the description of the blocks; its state dict comes
to our variables through the mapping tables. Import this where torch is known to be there.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import nn
from torch.nn import functional as F

from gazax.export.architectures import ARCHITECTURES, settings_of
from gazax.export.modeling_gazax import BACKBONES, build


def twin(model, *shapes):
    """The network of `modeling_gazax` of a model of ours, for inputs of these shapes.

    Its weights, norms and statistics are drawn.
    """
    spec = jax.eval_shape(model.init, jax.random.key(0), *map(jnp.zeros, shapes))
    torch.manual_seed(0)
    return randomize(build(BACKBONES, settings_of(model, spec["params"])))


def multitask_loss(outputs, label, target, log_sigma):
    """Lc / s^2 + ln(s + 1) + Ls / 2 + ln 2, of one-hot labels and target densities."""
    s = log_sigma.exp()
    of_class = F.cross_entropy(outputs["logits"], torch.tensor(label).argmax(dim=1))
    log_density, target = outputs["log_density"], torch.tensor(target)
    of_saliency = F.kl_div(log_density, target, reduction="batchmean")
    return of_class / s**2 + torch.log(s + 1) + of_saliency / 2 + np.log(2)


def randomize(net):
    """Draws the norms and their statistics too, which start as ones and zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.3, 0.3),
                    (module.running_mean, -0.3, 0.3),
                    (module.running_var, 0.5, 2.0),
                ):
                    tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return net


def variables_of(model, net):
    """The state dict as our variables."""
    params, stats = ARCHITECTURES[type(model)].back(model, net.state_dict())
    return jax.tree.map(jnp.asarray, {"params": params, "batch_stats": stats})


def nchw(x):
    return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)


def nhwc(y):
    return y.detach().permute(0, 2, 3, 1).numpy()


def assert_same_inference(model, net, image, guide=()):
    """`assert_same_outputs` of both with running statistics; arguments as in `assert_same_step`."""
    _, out = jax.jit(model.apply)(variables_of(model, net), image, *guide)
    assert_same_outputs(out, net.eval()(nchw(image), *map(nchw, guide)))


def assert_same_outputs(out, theirs):
    """Log density, last decoder map and encoder levels are torch's, to 1e-4 of their size."""
    pairs = [
        (out["log_density"], theirs["log_density"].detach().numpy()),
        (out["feature_map"], nhwc(theirs["feature_map"])),
    ]
    pairs += zip(out["feature_maps"], map(nhwc, theirs["feature_maps"]), strict=True)
    for ours, expected in pairs:
        assert expected.std() > 1e-3
        atol = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=atol)


def assert_same_step(model, net, image, guide=()):
    """In training, the outputs and one step of gradient descent on the KL are torch's.

    The step itself is compared to a thousandth of its size; some 1e-5 was measured. Give it few
    cells: where a number in front of a relu is within rounding of 0, the two sides may switch it
    differently; torch's own gradients in float32 and float64 then differ by up to 4 %.

    Args:
      model: ours.
      net: its twin, whose weights both start from; has made the step afterwards.
      image: [b, h, w, 1].
      guide: () or (guide,).
    """
    before = variables_of(model, net)
    rate = 0.05
    heat = np.random.default_rng(5).uniform(size=image.shape[:3])
    target = jnp.asarray(heat / heat.sum(axis=(1, 2), keepdims=True), jnp.float32)

    @jax.jit
    def step(variables):
        def loss(params):
            (log_density, out), updated = model.apply(
                {**variables, "params": params}, image, *guide, train=True, mutable=["batch_stats"]
            )
            kl = (target * (jnp.log(target) - log_density)).sum(axis=(1, 2)).mean()
            return kl, (out, updated["batch_stats"])

        params = variables["params"]
        (kl, (out, stats)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
        return kl, out, {"params": params, "batch_stats": stats}

    kl, out, after = jax.device_get(step(before))

    theirs = net.train()(nchw(image), *map(nchw, guide))
    expected_kl = F.kl_div(
        theirs["log_density"], torch.tensor(np.asarray(target)), reduction="batchmean"
    )
    optimizer = torch.optim.SGD(net.parameters(), rate)
    expected_kl.backward()
    optimizer.step()

    assert_same_outputs(out, theirs)
    assert kl > 0.01
    np.testing.assert_allclose(kl, expected_kl.detach().numpy(), rtol=1e-4)
    ours, theirs, before = (
        flatten_dict(tree) for tree in (after, variables_of(model, net), before)
    )
    assert set(ours) == set(theirs) == set(before)
    moved = 0
    for path, expected in theirs.items():
        expected = np.asarray(expected)
        atol = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(ours[path], expected, rtol=1e-4, atol=atol, err_msg=path)
        # The step itself. A bias in front of a norm has none: what is left of it is rounding, of
        # its value and of a gradient whose terms cancel.
        stride = expected - np.asarray(before[path])
        size = np.sqrt(np.square(stride).mean())
        error = np.sqrt(np.square(np.asarray(ours[path]) - expected).mean())
        assert error <= 1e-3 * size + 2e-7 * np.abs(expected).max() + 5e-8, (path, error, size)
        moved += size > 1e-5
    assert moved > 0.7 * len(theirs)
