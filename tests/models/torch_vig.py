"""A plain torch twin of GazeGNN under the same names, written from the description of its blocks.

Import it where torch is known to be there.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gazax.models import gaze_gnn
from tests.models import torch_nets


def conv_norm(c_in, c_out, side=1, stride=1):
    return nn.Conv2d(c_in, c_out, side, stride, side // 2), nn.BatchNorm2d(c_out)


class Stem(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.norm1 = conv_norm(3, c // 2, 3, 2)
        self.conv2, self.norm2 = conv_norm(c // 2, c, 3, 2)
        self.conv3, self.norm3 = conv_norm(c, c, 3)

    def forward(self, x):
        x = F.gelu(self.norm1(self.conv1(x)))
        return self.norm3(self.conv3(F.gelu(self.norm2(self.conv2(x)))))


class Downsample(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv, self.norm = conv_norm(c_in, c_out, 3, 2)

    def forward(self, x):
        return self.norm(self.conv(x))


def position_bias(channels, height, width, reduction):
    """-2/d e e^T, its columns (one a cell of the grid) resized by bicubic interpolation."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    quarter = channels // 4
    rates = 1 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    waves = [f(at.reshape(-1, 1) * rates) for at in (rows, columns) for f in (torch.sin, torch.cos)]
    embedding = torch.cat(waves, dim=1)
    likeness = (2 * embedding @ embedding.T / channels).float()
    n = height * width
    size = (n, n // reduction**2)
    return -F.interpolate(likeness[None, None], size=size, mode="bicubic", align_corners=False)[0]


class Grapher(nn.Module):
    def __init__(self, c, *, k, dilation, reduction):
        super().__init__()
        self.k, self.dilation, self.reduction = k, dilation, reduction
        self.fc1, self.norm1 = conv_norm(c, c)
        self.graph, self.graph_norm = nn.Conv2d(2 * c, 2 * c, 1, groups=4), nn.BatchNorm2d(2 * c)
        self.fc2, self.norm2 = conv_norm(2 * c, c)

    def neighbours(self, nodes, others, bias):
        """Places among the others, for nodes [b, c, n] and others [b, c, m]."""
        directions = [F.normalize(x.detach(), dim=1).transpose(1, 2) for x in (nodes, others)]
        distances = torch.cdist(*directions).square() + bias
        count = others.shape[2]
        k = min(self.k, count)
        dilation = min(self.dilation, count // k)
        _, order = torch.topk(distances, k * dilation, largest=False, sorted=True)
        return order[:, :, ::dilation]

    def forward(self, x):
        y = self.norm1(self.fc1(x))
        b, c, height, width = y.shape
        nodes = y.flatten(2)
        others = F.avg_pool2d(y, self.reduction).flatten(2)
        found = self.neighbours(nodes, others, position_bias(c, height, width, self.reduction))
        n, k = found.shape[1:]
        theirs = torch.gather(others, 2, found.reshape(b, 1, n * k).expand(b, c, n * k))
        rise = (theirs.reshape(b, c, n, k) - nodes[..., None]).max(dim=3).values
        both = torch.stack([nodes, rise], dim=2).reshape(b, 2 * c, height, width)
        return x + self.norm2(self.fc2(F.gelu(self.graph_norm(self.graph(both)))))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1, self.norm1 = conv_norm(c, 4 * c)
        self.fc2, self.norm2 = conv_norm(4 * c, c)

    def forward(self, x):
        return x + self.norm2(self.fc2(F.gelu(self.norm1(self.fc1(x)))))


class Block(nn.Module):
    def __init__(self, c, **graph):
        super().__init__()
        self.grapher, self.ffn = Grapher(c, **graph), FeedForward(c)

    def forward(self, x):
        return self.ffn(self.grapher(x))


class GazeGNN(nn.Module):
    """Image [b, 3, h, w] and gaze [b, h, w] -> logits, features, stages."""

    def __init__(self, channels, blocks, *, k, reduce_ratios, hidden, classes, size, gaze=True):
        super().__init__()
        self.stem = Stem(channels[0])
        self.position = nn.Parameter(torch.zeros(1, channels[0], size[0] // 4, size[1] // 4))
        if gaze:
            self.gaze_norm = nn.BatchNorm2d(1)
        self.names, count = [], 0
        for stage, (c, depth) in enumerate(zip(channels, blocks, strict=True)):
            names = []
            if stage:
                names.append(f"downsample{stage}")
                setattr(self, names[-1], Downsample(channels[stage - 1], c))
            for i in range(depth):
                names.append(f"stage{stage + 1}_block{i + 1}")
                graph = dict(k=k, dilation=count // 4 + 1, reduction=reduce_ratios[stage])
                setattr(self, names[-1], Block(c, **graph))
                count += 1
            self.names.append(names)
        self.hidden, self.hidden_norm = conv_norm(channels[-1], hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, image, gaze):
        window = image.shape[-1] // self.position.shape[-1]
        seen = F.avg_pool2d(gaze[:, None], window)
        lowest, highest = seen.amin(dim=(2, 3), keepdim=True), seen.amax(dim=(2, 3), keepdim=True)
        seen = torch.nan_to_num((seen - lowest) / (highest - lowest))
        x = self.stem(image) + self.position + self.gaze_norm(seen)
        stages = []
        for names in self.names:
            for name in names:
                x = getattr(self, name)(x)
            stages.append(x)
        pooled = x.mean(dim=(2, 3), keepdim=True)
        features = F.gelu(self.hidden_norm(self.hidden(pooled))).flatten(1)
        return self.head(features), features, stages


def variables_of(net):
    """`torch_nets.variables_of`, which takes the position, the one nameless array, for a kernel."""
    variables = torch_nets.variables_of(net)
    variables["params"]["position"] = variables["params"].pop("kernel")[..., 0]
    return variables


def randomize(net):
    """Norms, their statistics and positions, which start as ones and zeros."""
    torch_nets.randomize(net)
    numbers = np.random.default_rng(0)
    with torch.no_grad():
        net.position.copy_(torch.tensor(numbers.normal(0, 0.5, net.position.shape)))
    return net


def twins(sizes, given):
    """Ours and the twin with drawn weights, for 3 classes, and what each is given.

    Args:
      sizes: what both take.
      given: (image [b, h, w, 3], gaze).
    """
    torch.manual_seed(0)
    sizes = {"reduce_ratios": gaze_gnn.GazeGNN.reduce_ratios, **sizes}
    image, gaze = given
    net = randomize(GazeGNN(**sizes, classes=3, size=image.shape[1:3]))
    theirs = torch_nets.nchw(image), torch.tensor(np.asarray(gaze))
    return gaze_gnn.GazeGNN(**sizes, num_classes=3), net, given, theirs


def assert_same_outputs(ours, theirs):
    """Logits, features and all levels are torch's, to 1e-4 of their size."""
    (logits, out), (expected_logits, expected_features, stages) = ours, theirs
    pairs = [(logits, expected_logits.detach().numpy())]
    pairs += [(out["features"], expected_features.detach().numpy())]
    pairs += zip(out["feature_maps"], map(torch_nets.nhwc, stages), strict=True)
    for found, expected in pairs:
        assert expected.std() > 1e-3
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
