"""Plain torch twins of the U-Nets under the same names, and what copies and compares numbers.

Written from the description of the blocks, in torch's own layers. Import it where torch is known to
be there.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax.traverse_util import flatten_dict, unflatten_dict
from torch import nn
from torch.nn import functional as F


class DoubleConv(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, padding=1), nn.BatchNorm2d(c_out)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class ResSE(DoubleConv):
    def __init__(self, c_in, c_out, *, reduction, shortcut):
        super().__init__(c_in, c_out)
        side = {"code": 3, "figure": 1}[shortcut]
        self.shortcut = nn.Conv2d(c_in, c_out, side, padding=side // 2)
        self.se_reduce = nn.Linear(c_out, c_out // reduction, bias=False)
        self.se_expand = nn.Linear(c_out // reduction, c_out, bias=False)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))
        gate = torch.sigmoid(self.se_expand(F.relu(self.se_reduce(y.mean(dim=(2, 3))))))
        return y * gate[:, :, None, None]


class Up(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out)

    def forward(self, x):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return F.relu(self.bn1(self.conv1(x)))


class Head(nn.Module):
    def __init__(self, channels, form):
        super().__init__()
        if form == "code":
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
            self.bn1 = nn.BatchNorm2d(channels)
        self.form = form
        self.logits = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        if self.form == "code":
            x = F.relu(self.bn1(self.conv1(x)))
        return self.logits(x)


class UNet(nn.Module):
    """Image (and guide) -> log density [b, h, w], last decoder map, encoder levels."""

    def __init__(self, width, *, level=DoubleConv, guide_channels=0, head="code"):
        super().__init__()
        channels = [1, *(width * 2**i for i in range(5))]
        for i in range(5):
            setattr(self, f"encoder{i + 1}", level(channels[i], channels[i + 1]))
        self.steps = 5 if guide_channels else 4
        outs = [width * n for n in ((1, 1, 2, 4, 8) if guide_channels else (1, 2, 4, 8))]
        below = guide_channels or channels[5]
        for number in range(self.steps, 0, -1):
            c_out = outs[number - 1]
            setattr(self, f"up{number}", Up(below, c_out))
            setattr(self, f"decoder{number}", DoubleConv(channels[number] + c_out, c_out))
            below = c_out
        self.head = Head(below, head)

    def forward(self, image, guide=None):
        x, levels = image, []
        for i in range(5):
            x = getattr(self, f"encoder{i + 1}")(F.max_pool2d(x, 2) if i else x)
            levels.append(x)
        x = levels[4] if guide is None else guide
        for number in range(self.steps, 0, -1):
            x = getattr(self, f"up{number}")(x)
            x = torch.cat([levels[number - 1], x], dim=1)
            x = getattr(self, f"decoder{number}")(x)
        logits = self.head(x)
        return F.log_softmax(logits.flatten(1), dim=1).reshape(logits.shape)[:, 0], x, levels


def res_se_unet(guide_channels, width, *, reduction, shortcut, head):
    def level(c_in, c_out):
        return ResSE(c_in, c_out, reduction=reduction, shortcut=shortcut)

    return UNet(width, level=level, guide_channels=guide_channels, head=head)


class MTUNet(UNet):
    """Image -> logits, what the classifier takes, and what the U-Net gives."""

    def __init__(self, width, *, hidden, num_classes=3, head="code"):
        super().__init__(width, head=head)
        self.classifier = nn.ModuleDict(
            {
                "layers_0": nn.Linear(17 * width, hidden),
                "layers_1": nn.Linear(hidden, num_classes),
            }
        )

    def forward(self, image):
        log_density, last, levels = super().forward(image)
        features = torch.cat([x.mean(dim=(2, 3)) for x in (levels[-1], last)], dim=1)
        hidden = F.relu(self.classifier["layers_0"](features))
        return self.classifier["layers_1"](hidden), features, log_density, last, levels

    def loss(self, outputs, label, target, log_sigma):
        """Lc / s^2 + ln(s + 1) + Ls / 2 + ln 2, of one-hot labels and target densities."""
        logits, _, log_density, *_ = outputs
        s = log_sigma.exp()
        of_class = F.cross_entropy(logits, torch.tensor(label).argmax(dim=1))
        of_saliency = F.kl_div(log_density, torch.tensor(target), reduction="batchmean")
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


def variables_of(net):
    """The state dict as our variables."""
    found = {}
    for key, value in net.state_dict().items():
        *path, leaf = key.split(".")
        array = value.numpy().copy()
        if leaf == "num_batches_tracked":
            continue
        if leaf.startswith("running_"):
            found["batch_stats", *path, leaf.removeprefix("running_")] = array
        elif leaf == "bias":
            found["params", *path, "bias"] = array
        elif array.ndim == 1:
            found["params", *path, "scale"] = array
        else:
            order = (2, 3, 1, 0) if array.ndim == 4 else (1, 0)
            found["params", *path, "kernel"] = array.transpose(order)
    return jax.tree.map(jnp.asarray, unflatten_dict(found))


def nchw(x):
    return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)


def nhwc(y):
    return y.detach().permute(0, 2, 3, 1).numpy()


def assert_same_inference(model, net, image, guide=()):
    """`assert_same_outputs` of both with running statistics; arguments as in `assert_same_step`."""
    _, out = jax.jit(model.apply)(variables_of(net), image, *guide)
    assert_same_outputs(out, net.eval()(nchw(image), *map(nchw, guide)))


def assert_same_outputs(out, theirs):
    """Log density, last decoder map and encoder levels are torch's, to 1e-4 of their size."""
    log_density, last, levels = theirs
    pairs = [(out["log_density"], log_density.detach().numpy()), (out["feature_map"], nhwc(last))]
    pairs += zip(out["feature_maps"], map(nhwc, levels), strict=True)
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
      model: ours, with the names of net.
      net: whose weights both start from; has made the step afterwards.
      image: [b, h, w, 1].
      guide: () or (guide,).
    """
    before = variables_of(net)
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
    expected_kl = F.kl_div(theirs[0], torch.tensor(np.asarray(target)), reduction="batchmean")
    optimizer = torch.optim.SGD(net.parameters(), rate)
    expected_kl.backward()
    optimizer.step()

    assert_same_outputs(out, theirs)
    assert kl > 0.01
    np.testing.assert_allclose(kl, expected_kl.detach().numpy(), rtol=1e-4)
    ours, theirs, before = (flatten_dict(tree) for tree in (after, variables_of(net), before))
    assert set(ours) == set(theirs) == set(before)
    moved = 0
    for path, expected in theirs.items():
        expected = np.asarray(expected)
        atol = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(ours[path], expected, rtol=1e-4, atol=atol, err_msg=path)
        # The step itself. A bias in front of a norm has none: what is left of it is rounding.
        stride = expected - np.asarray(before[path])
        size = np.sqrt(np.square(stride).mean())
        error = np.sqrt(np.square(np.asarray(ours[path]) - expected).mean())
        assert error <= 1e-3 * size + 2e-7 * np.abs(expected).max(), (path, error, size)
        moved += size > 1e-5
    assert moved > 0.7 * len(theirs)
