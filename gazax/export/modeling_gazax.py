"""The networks of gazax in plain PyTorch. This file needs torch and nothing else.

It is a part of gazax, under the Apache License 2.0, and is copied beside the weights with the text
of that, modeling_gazax.LICENSE. Pass both on together.

    from safetensors.torch import load_file
    from modeling_gazax import ImageClassifier

    net = ImageClassifier(**kwargs)
    net.load_state_dict(load_file("model.safetensors"), strict=True)
    out = net.eval()(image)

`image` is [b, 1, h, w], grey values in [0, 1]: mean and standard deviation are buffers of the
networks at the end of this file and are applied inside. The backbones before them take what comes
out of that. All of them return a dict; feature maps are [b, c, h, w], maps [b, h, w]:

    features           [b, d]        what a head takes
    feature_map        [b, d, h, w]  what the features are pooled from, or Grad-CAM looks at
    feature_maps       list          one a level, the finest first (of a transformer: one a block)
    attention          list          where the network looks, one map a level; see each class
    attention_density  [b, h, w]     the mean of the levels' maps as a density, where there is one
    logits             [b, k]        of the classes; of a segmentation [b, k, h, w]
    probabilities      as logits     softmax or sigmoid of them
    log_density        [b, h, w]     predicted gaze; the exponentials of an image's sum to 1
    projection         [b, e]        what was contrasted in pretraining, not normalised
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Out = dict[str, Any]


# Maps ---------------------------------------------------------------------------------------------


def energy(features: Tensor) -> Tensor:
    """Activation energy: the mean over channels of the squared features."""
    return features.square().mean(dim=1)


def to_density(maps: Tensor) -> Tensor:
    """Maps divided by their sums; a map of zeros becomes the uniform density."""
    total = maps.sum(dim=(1, 2), keepdim=True)
    seen = total > 0
    even = torch.ones_like(maps) / (maps.shape[1] * maps.shape[2])
    return torch.where(seen, maps / torch.where(seen, total, torch.ones_like(total)), even)


def resize(features: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, with the outer edges of the grids on each other."""
    if tuple(features.shape[2:]) == tuple(size):
        return features
    return functional.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)


def mean_density(maps: Sequence[Tensor]) -> Tensor:
    """The maps as one density an image, on the finest of their grids; each counts alike."""
    grid = max((tuple(one.shape[1:]) for one in maps), key=lambda size: size[0] * size[1])
    return torch.stack([to_density(resize(one[:, None], grid)[:, 0]) for one in maps]).mean(dim=0)


def area_pool(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps on another grid: each cell gets the mean of the area that it covers."""
    rows, columns = (
        _overlap(length, cells).to(maps) for length, cells in zip(maps.shape[1:], size, strict=True)
    )
    return rows @ maps @ columns.T


def _overlap(length: int, cells: int) -> Tensor:
    """[cells, length]: the share of each cell that each pixel of a line covers."""
    # in 1 / (length * cells) of the line, where both grids have whole-number edges
    cell = torch.arange(cells)[:, None] * length
    pixel = torch.arange(length)[None] * cells
    shared = torch.minimum(cell + length, pixel + cells) - torch.maximum(cell, pixel)
    return shared.clamp(min=0) / length


def rollout(matrices: Sequence[Tensor], grid: Sequence[int]) -> Tensor:
    """Attention rollout of blocks of [b, heads, n, n]: what of each patch reaches token 0."""
    row = torch.zeros_like(matrices[0][:, 0, :1])
    row[:, :, 0] = 1
    for matrix in reversed(matrices):
        row = (row + row @ matrix.mean(dim=1)) / 2
    return row[:, 0, 1:].unflatten(1, tuple(grid))


def _pooled(levels: list[Tensor]) -> Out:
    """What a convolutional network gives out whose features are the mean of its last level."""
    return {
        "features": levels[-1].mean(dim=(2, 3)),
        "feature_map": levels[-1],
        "feature_maps": levels,
        "attention": [energy(level) for level in levels],
    }


# ResNet -------------------------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    """relu(x + convolutions of x): two of 3x3, or a bottleneck of 1x1, 3x3 and 1x1."""

    def __init__(self, c_in: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        c_out = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(c_out)
        else:
            self.conv1 = nn.Conv2d(c_in, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, c_out, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.bottleneck = bottleneck
        self.downsample = nn.Identity()
        if stride > 1 or c_in != c_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to x."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(self.downsample(x) + y)


class ResNet(nn.Module):
    """Residual network, with torchvision's keys; `attention` is the levels' energy."""

    def __init__(
        self, *, stage_sizes: Sequence[int], bottleneck: bool, in_channels: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        c, stages = 64, []
        for stage, blocks in enumerate(stage_sizes):
            width, layers = 64 * 2**stage, []
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                layers.append(ResidualBlock(c, width, stride, bottleneck))
                c = 4 * width if bottleneck else width
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def forward(self, image: Tensor) -> Out:
        """Besides what all give: `stem` [b, 64, h/2, w/2], before the max-pool."""
        stem = torch.relu(self.bn1(self.conv1(image)))
        x, levels = functional.max_pool2d(stem, 3, 2, 1), []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            levels.append(x)
        return {**_pooled(levels), "stem": stem}


# DenseNet -----------------------------------------------------------------------------------------


class DenseLayer(nn.Module):
    """What is put behind x: conv2(relu(norm2(conv1(relu(norm1(x))))))."""

    def __init__(self, c_in: int, growth_rate: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, 4 * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth_rate)
        self.conv2 = nn.Conv2d(4 * growth_rate, growth_rate, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """New channels behind those of x."""
        y = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(y)))], dim=1)


class Transition(nn.Module):
    """Half the channels on half the grid."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(c_in)
        self.conv = nn.Conv2d(c_in, c_in // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve; a last odd row or column is left out."""
        return functional.avg_pool2d(self.conv(torch.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """Densely connected network, with torchvision's keys; `attention` is the levels' energy.

    The stem has three channels: a grey image is repeated for them.
    """

    def __init__(
        self, *, blocks: Sequence[int], growth_rate: int, init_features: int, tap: str = "after"
    ) -> None:
        super().__init__()
        self.depth, self.tap = len(blocks), tap
        c = before = init_features
        parts: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(3, c, 7, 2, 3, bias=False),
            "norm0": nn.BatchNorm2d(c),
        }
        for number, layers in enumerate(blocks, start=1):
            if number > 1:
                parts[f"transition{number - 1}"] = Transition(c)
                c //= 2
            before, block = c, nn.Sequential()
            for i in range(1, layers + 1):
                block.add_module(f"denselayer{i}", DenseLayer(c, growth_rate))
                c += growth_rate
            parts[f"denseblock{number}"] = block
        parts["norm5"] = nn.BatchNorm2d(c)
        self.features = nn.ModuleDict(parts)
        self.tapped_channels = c if tap == "after" else before

    def forward(self, image: Tensor) -> Out:
        """Besides what all give: `stem`, and `tapped`, the map that a U-Net starts from."""
        parts = self.features
        x = parts["conv0"](image.expand(-1, 3, -1, -1))
        stem = torch.relu(parts["norm0"](x))
        x, levels = functional.max_pool2d(stem, 3, 2, 1), []
        before = x
        for number in range(1, self.depth + 1):
            if number > 1:
                x = before = parts[f"transition{number - 1}"](x)
            x = parts[f"denseblock{number}"](x)
            levels.append(x)
        x = torch.relu(parts["norm5"](x))
        out = {**_pooled(levels), "features": x.mean(dim=(2, 3)), "feature_map": x, "stem": stem}
        return {**out, "tapped": levels[-1] if self.tap == "after" else before}


# Inception-ResNet-v2 ------------------------------------------------------------------------------

# (channels at width 1, side of the window, stride) of each convolution; poolings are 3x3
_MIXED_5B = (
    ((96, 1, 1),),
    ((48, 1, 1), (64, 5, 1)),
    ((64, 1, 1), (96, 3, 1), (96, 3, 1)),
    ("mean", (64, 1, 1)),
)
_BLOCK_35 = (
    ((32, 1, 1),),
    ((32, 1, 1), (32, 3, 1)),
    ((32, 1, 1), (48, 3, 1), (64, 3, 1)),
)
_MIXED_6A = (((384, 3, 2),), ((256, 1, 1), (256, 3, 1), (384, 3, 2)), ("max",))
_BLOCK_17 = (((192, 1, 1),), ((128, 1, 1), (160, (1, 7), 1), (192, (7, 1), 1)))
_MIXED_7A = (
    ((256, 1, 1), (384, 3, 2)),
    ((256, 1, 1), (288, 3, 2)),
    ((256, 1, 1), (288, 3, 1), (320, 3, 2)),
    ("max",),
)
_BLOCK_8 = (((192, 1, 1),), ((192, 1, 1), (224, (1, 3), 1), (256, (3, 1), 1)))


class ConvNorm(nn.Module):
    """relu(bn(conv(x))), the norm with an epsilon of 1e-3."""

    def __init__(
        self, c_in: int, c_out: int, side: int | tuple[int, int], stride: int, padding: Any
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, side, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each map."""
        return torch.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches from the same map, joined along the channels: `branch0`, `branch1`, ..."""

    def __init__(self, c_in: int, branches: Sequence, width: float, edge: int) -> None:
        super().__init__()
        self.c_out = 0
        for number, branch in enumerate(branches):
            c, layers = c_in, []
            for layer in branch:
                if layer == "max":
                    layers.append(nn.MaxPool2d(3, 2, edge))
                elif layer == "mean":
                    layers.append(nn.AvgPool2d(3, 1, 1, count_include_pad=False))
                else:
                    channels, side, stride = layer
                    sides = (side, side) if isinstance(side, int) else side
                    padding = edge if stride == 2 else tuple(one // 2 for one in sides)
                    layers.append(ConvNorm(c, scaled(channels, width), side, stride, padding))
                    c = scaled(channels, width)
            one = len(layers) == 1
            self.add_module(f"branch{number}", layers[0] if one else nn.Sequential(*layers))
            self.c_out += c

    def forward(self, x: Tensor) -> Tensor:
        """Transform each map."""
        branches = [part for name, part in self.named_children() if name.startswith("branch")]
        return torch.cat([branch(x) for branch in branches], dim=1)


class Residual(Mixed):
    """relu(x + scale * conv2d(branches of x))."""

    def __init__(
        self, c_in: int, branches: Sequence, width: float, scale: float, *, relu: bool = True
    ) -> None:
        super().__init__(c_in, branches, width, 0)
        self.conv2d = nn.Conv2d(self.c_out, c_in, 1)
        self.scale, self.relu = scale, relu

    def forward(self, x: Tensor) -> Tensor:
        """Add what the branches find to x."""
        y = x + self.scale * self.conv2d(super().forward(x))
        return torch.relu(y) if self.relu else y


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to a positive multiple of 8."""
    return 8 * max(1, int(channels * width / 8 + 0.5))


class InceptionResNetV2(nn.Module):
    """Inception-ResNet-v2, with timm's keys; `attention` is the levels' energy.

    The stem has three channels: a grey image is repeated for them.
    """

    def __init__(
        self,
        *,
        width_multiplier: float = 1.0,
        blocks: Sequence[int] = (10, 20, 9),
        padding: str = "valid",
    ) -> None:
        super().__init__()
        width, edge = width_multiplier, {"valid": 0, "same": 1}[padding]
        c1, c2, c3, c4, last = (scaled(c, width) for c in (32, 64, 80, 192, 1536))
        self.edge = edge
        self.conv2d_1a = ConvNorm(3, c1, 3, 2, edge)
        self.conv2d_2a = ConvNorm(c1, c1, 3, 1, edge)
        self.conv2d_2b = ConvNorm(c1, c2, 3, 1, 1)
        self.conv2d_3b = ConvNorm(c2, c3, 1, 1, 0)
        self.conv2d_4a = ConvNorm(c3, c4, 3, 1, edge)
        self.mixed_5b = Mixed(c4, _MIXED_5B, width, edge)
        c = self.mixed_5b.c_out
        self.repeat = nn.Sequential(
            *(Residual(c, _BLOCK_35, width, 0.17) for _ in range(blocks[0]))
        )
        self.mixed_6a = Mixed(c, _MIXED_6A, width, edge)
        c = self.mixed_6a.c_out
        self.repeat_1 = nn.Sequential(
            *(Residual(c, _BLOCK_17, width, 0.10) for _ in range(blocks[1]))
        )
        self.mixed_7a = Mixed(c, _MIXED_7A, width, edge)
        c = self.mixed_7a.c_out
        self.repeat_2 = nn.Sequential(
            *(Residual(c, _BLOCK_8, width, 0.20) for _ in range(blocks[2]))
        )
        self.block8 = Residual(c, _BLOCK_8, width, 1.0, relu=False)
        self.conv2d_7b = ConvNorm(c, last, 1, 1, 0)

    def forward(self, image: Tensor) -> Out:
        """Besides what all give: `stem`, before the first max-pool."""
        x = self.conv2d_2a(self.conv2d_1a(image.expand(-1, 3, -1, -1)))
        stem = self.conv2d_2b(x)
        x = self.conv2d_3b(functional.max_pool2d(stem, 3, 2, self.edge))
        x = functional.max_pool2d(self.conv2d_4a(x), 3, 2, self.edge)
        first = self.repeat(self.mixed_5b(x))
        second = self.repeat_1(self.mixed_6a(first))
        third = self.block8(self.repeat_2(self.mixed_7a(second)))
        return {**_pooled([first, second, third, self.conv2d_7b(third)]), "stem": stem}


# ViT ----------------------------------------------------------------------------------------------


class PatchEmbed(nn.Module):
    """One convolution of a patch."""

    def __init__(self, in_channels: int, width: int, patch_size: Sequence[int]) -> None:
        super().__init__()
        high, wide = patch_size
        self.proj = nn.Conv2d(in_channels, width, (high, wide), (high, wide))

    def forward(self, image: Tensor) -> Tensor:
        """Embed each patch."""
        return self.proj(image)


class ConvStem(nn.Module):
    """3x3 convolutions of stride 2 with layer norm over channels and relu, then a 1x1 one."""

    def __init__(self, in_channels: int, width: int, patch_size: Sequence[int]) -> None:
        super().__init__()
        halvings = patch_size[0].bit_length() - 1
        sizes = [max(8, width // 2 ** (halvings - 1 - i)) for i in range(halvings)]
        self.conv, self.norm = nn.ModuleList(), nn.ModuleList()
        for c_in, c_out in pairwise([in_channels, *sizes]):
            self.conv.append(nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False))
            self.norm.append(nn.LayerNorm(c_out, eps=1e-6))
        self.proj = nn.Conv2d(sizes[-1], width, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Embed each patch and what lies around it."""
        x = image
        for conv, norm in zip(self.conv, self.norm, strict=True):
            x = torch.relu(norm(conv(x).movedim(1, -1)).movedim(-1, 1))
        return self.proj(x)


class Attention(nn.Module):
    """Multi-head self-attention; returns the tokens and the matrices [b, heads, n, n]."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attend among the tokens of each example."""
        b, n, width = x.shape
        parts = self.qkv(x).reshape(b, n, 3, self.num_heads, width // self.num_heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, width)), weights


class Mlp(nn.Module):
    """fc2(gelu(fc1(x))), with the exact GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token by itself."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); returns the matrices too."""

    def __init__(self, width: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, num_heads), Mlp(width, mlp_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the tokens, then transform each."""
        y, weights = self.attn(self.norm1(x))
        x = x + y
        return x + self.mlp(self.norm2(x)), weights


class ViT(nn.Module):
    """Vision transformer, with timm's keys.

    `attention`: of each block, the class token's row of the softmax, mean over heads, without its
    own entry. `feature_maps`: the patch tokens that enter each block.
    """

    def __init__(
        self,
        *,
        patch_size: Sequence[int],
        width: int,
        depth: int,
        num_heads: int,
        mlp_dim: int,
        num_patches: int,
        in_channels: int = 1,
        pool: str = "cls",
        stem: str = "patch",
    ) -> None:
        super().__init__()
        self.patch_size, self.pool = tuple(patch_size), pool
        embed = {"patch": PatchEmbed, "conv": ConvStem}[stem]
        self.patch_embed = embed(in_channels, width, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + num_patches, width))
        self.blocks = nn.ModuleList(Block(width, num_heads, mlp_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, image: Tensor) -> Out:
        """Besides what all give: `tokens` [b, n, d] and `attention_full`, [b, heads, n, n] each."""
        grid = [side // patch for side, patch in zip(image.shape[2:], self.patch_size, strict=True)]
        whole = [cells * patch for cells, patch in zip(grid, self.patch_size, strict=True)]
        patches = self.pos_embed.shape[1] - 1
        if whole != list(image.shape[2:]) or grid[0] * grid[1] != patches:
            raise ValueError(
                f"an image of {image.shape[2]}x{image.shape[3]} px is not the {patches} patches "
                f"of {self.patch_size[0]}x{self.patch_size[1]} px that the weights are for"
            )
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed

        def on_grid(tokens: Tensor) -> Tensor:
            return tokens[:, 1:].transpose(1, 2).unflatten(2, tuple(grid))

        levels, rows, matrices = [], [], []
        for block in self.blocks:
            levels.append(on_grid(x))
            x, weights = block(x)
            rows.append(weights[:, :, 0, 1:].mean(dim=1).unflatten(1, tuple(grid)))
            matrices.append(weights)
        tokens = self.norm(x)
        return {
            "features": tokens[:, 0] if self.pool == "cls" else tokens[:, 1:].mean(dim=1),
            "tokens": tokens,
            "feature_map": on_grid(tokens),
            "feature_maps": levels,
            "attention": rows,
            "attention_full": matrices,
        }


# U-Nets -------------------------------------------------------------------------------------------


class DoubleConv(nn.Module):
    """Twice (3x3 convolution, norm, relu)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, padding=1), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each map."""
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)))


class ResSEBlock(DoubleConv):
    """relu(convolutions of x + shortcut of x), its channels weighed by squeeze-and-excitation.

    The shortcut is a 3x3 convolution ("code"), or x itself, through a 1x1 convolution only where
    the number of channels changes ("figure").
    """

    def __init__(self, c_in: int, c_out: int, *, reduction: int, shortcut: str) -> None:
        super().__init__(c_in, c_out)
        side = {"code": 3, "figure": 1}[shortcut]
        self.shortcut = nn.Identity()
        if shortcut == "code" or c_in != c_out:
            self.shortcut = nn.Conv2d(c_in, c_out, side, padding=side // 2)
        self.se_reduce = nn.Linear(c_out, c_out // reduction, bias=False)
        self.se_expand = nn.Linear(c_out // reduction, c_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each map."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        y = torch.relu(y + self.shortcut(x))
        gate = self.se_expand(torch.relu(self.se_reduce(y.mean(dim=(2, 3)))))
        return y * torch.sigmoid(gate)[:, :, None, None]


class Up(nn.Module):
    """Each cell as 2x2 cells, then 3x3 convolution, norm, relu."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Double the grid."""
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return torch.relu(self.bn1(self.conv1(x)))


class SaliencyHead(nn.Module):
    """One number a pixel: a 1x1 convolution, behind a 3x3 one with norm and relu if "code"."""

    def __init__(self, channels: int, form: str) -> None:
        super().__init__()
        self.form = form
        if form == "code":
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
            self.bn1 = nn.BatchNorm2d(channels)
        self.logits = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[b, h, w]."""
        if self.form == "code":
            x = torch.relu(self.bn1(self.conv1(x)))
        return self.logits(x)[:, 0]


class FiveLevels(nn.Module):
    """What the U-Nets are: five levels, then steps up with a skip, then a head.

    The decoder starts from the fifth level, in four steps, or from a guide on half its grid, in
    five. Sides of the image are multiples of 16 px, with a guide of 32. `attention` is the encoder
    levels' energy.
    """

    def __init__(
        self,
        *,
        width: int,
        head: str,
        in_channels: int,
        guide_channels: int,
        level: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        levels = [in_channels, *(width * 2**i for i in range(5))]
        steps = [width * times for times in ((1, 1, 2, 4, 8) if guide_channels else (1, 2, 4, 8))]
        self.encoder, self.up, self.decoder = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for i in range(1, 6):
            self.encoder[str(i)] = level(levels[i - 1], levels[i])
        self.guide_channels = guide_channels
        below = guide_channels or levels[5]
        for i in range(len(steps), 0, -1):
            self.up[str(i)] = Up(below, steps[i - 1])
            self.decoder[str(i)] = DoubleConv(levels[i] + steps[i - 1], steps[i - 1])
            below = steps[i - 1]
        self.head = SaliencyHead(below, head)

    def draw(self, image: Tensor, guide: Tensor | None = None) -> Out:
        """What all give, and `log_density`."""
        multiple = 32 if self.guide_channels else 16
        if any(side % multiple for side in image.shape[2:]):
            raise ValueError(f"sides of {tuple(image.shape[2:])} px; give multiples of {multiple}")
        x, levels = image, []
        for name, level in self.encoder.items():
            x = level(x if name == "1" else functional.max_pool2d(x, 2))
            levels.append(x)
        if guide is not None:
            x = guide
        for name, up in self.up.items():
            x = self.decoder[name](torch.cat([levels[int(name) - 1], up(x)], dim=1))
        logits = self.head(x)
        log_density = torch.log_softmax(logits.flatten(1), dim=1).reshape(logits.shape)
        return {
            "log_density": log_density,
            "features": x.mean(dim=(2, 3)),
            "feature_map": x,
            "feature_maps": levels,
            "attention": [energy(level) for level in levels],
        }


class UNet(FiveLevels):
    """U-Net of twice (convolution, norm, relu) a level."""

    def __init__(self, *, width: int = 64, head: str = "code", in_channels: int = 1) -> None:
        super().__init__(
            width=width, head=head, in_channels=in_channels, guide_channels=0, level=DoubleConv
        )

    def forward(self, image: Tensor) -> Out:
        """Besides what all give: `log_density`."""
        return self.draw(image)


class ResSEUNet(FiveLevels):
    """U-Net whose levels are residual with squeeze-and-excitation, guided or alone."""

    def __init__(
        self,
        *,
        guide_channels: int = 0,
        width: int = 64,
        reduction: int = 16,
        shortcut: str = "code",
        head: str = "code",
        in_channels: int = 1,
    ) -> None:
        def level(c_in: int, c_out: int) -> nn.Module:
            return ResSEBlock(c_in, c_out, reduction=reduction, shortcut=shortcut)

        super().__init__(
            width=width,
            head=head,
            in_channels=in_channels,
            guide_channels=guide_channels,
            level=level,
        )

    def forward(self, image: Tensor, guide: Tensor | None = None) -> Out:
        """Besides what all give: `log_density`; `guide` [b, c, h/32, w/32] for a guided one."""
        return self.draw(image, guide)


class Layers(nn.Module):
    """Linear layers with relu between them, and dropout before each relu in training."""

    def __init__(self, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(c_in, c_out) for c_in, c_out in pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each example's features."""
        for layer in self.layers[:-1]:
            x = torch.relu(self.dropout(layer(x)))
        return self.layers[-1](x)


class MTUNet(FiveLevels):
    """U-Net with a classifier on the means of its fifth level and of its last decoder map."""

    def __init__(
        self,
        *,
        num_classes: int = 3,
        width: int = 64,
        hidden: int = 64,
        dropout: float = 0.25,
        head: str = "code",
        learned_sigmas: Sequence[str] = ("classification",),
        in_channels: int = 1,
    ) -> None:
        super().__init__(
            width=width, head=head, in_channels=in_channels, guide_channels=0, level=DoubleConv
        )
        self.classifier = Layers([17 * width, hidden, num_classes], dropout)
        # of the losses' weights in training; nothing else depends on them
        self.log_sigma = nn.ParameterDict({task: torch.zeros(()) for task in learned_sigmas})

    def forward(self, image: Tensor) -> Out:
        """Besides what all give: `log_density` and `logits`; `feature_map` is the fifth level."""
        out = self.draw(image)
        deepest = out["feature_maps"][-1]
        features = torch.cat([deepest.mean(dim=(2, 3)), out["features"]], dim=1)
        logits = self.classifier(features)
        return {**out, "features": features, "feature_map": deepest, "logits": logits}


# GazeGNN ------------------------------------------------------------------------------------------


class ConvBN(nn.Module):
    """Convolution with bias, then batch norm."""

    def __init__(self, c_in: int, c_out: int, side: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, side, stride, side // 2)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each map."""
        return self.norm(self.conv(x))


class Grapher(nn.Module):
    """x + fc2(gelu(norm(graph([y, max_j (z_j - y)])))), y = fc1(x), z = means of y's blocks.

    j runs over the nodes z whose direction is nearest to y's, with a bias for those near on the
    grid. The two halves that `graph` takes alternate channel by channel.
    """

    def __init__(
        self,
        width: int,
        *,
        k: int,
        dilation: int,
        reduction: int,
        relative_position: str,
        grid: Sequence[int],
    ) -> None:
        super().__init__()
        self.k, self.dilation, self.reduction = k, dilation, reduction
        self.fc1 = ConvBN(width, width)
        self.graph = nn.Conv2d(2 * width, 2 * width, 1, groups=4)
        self.graph_norm = nn.BatchNorm2d(2 * width)
        self.fc2 = ConvBN(2 * width, width)
        cells = sine_cosine(grid, width)
        if reduction == 1:
            blocks = cells
        elif relative_position == "code":  # along the list of all cells, as ViG's public code
            size = (width, len(cells) // reduction**2)
            blocks = functional.interpolate(cells.T[None, None], size=size, mode="bicubic")[0, 0].T
        else:
            on_grid = cells.T.unflatten(1, tuple(grid))
            blocks = functional.avg_pool2d(on_grid[None], reduction)[0].flatten(1).T
        self.register_buffer("cells", cells.float(), persistent=False)
        self.register_buffer("blocks", blocks.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Let each node take from its neighbours."""
        y = self.fc1(x)
        b, c, height, width = y.shape
        nodes, others = y.flatten(2), functional.avg_pool2d(y, self.reduction).flatten(2)
        near = self.neighbours(nodes, others).flatten(1)[:, None].expand(-1, c, -1)
        rise = others.gather(2, near).unflatten(2, (height * width, -1)).amax(dim=3) - nodes
        both = torch.stack([nodes, rise], dim=2).reshape(b, 2 * c, height, width)
        return x + self.fc2(functional.gelu(self.graph_norm(self.graph(both))))

    def neighbours(self, nodes: Tensor, others: Tensor) -> Tensor:
        """Places [b, n, k] among the others; of equally near nodes, any."""
        x, y = (functional.normalize(z.detach(), dim=1) for z in (nodes, others))
        squares = x.square().sum(dim=1)[:, :, None] + y.square().sum(dim=1)[:, None]
        bias = -2 / self.cells.shape[1] * self.cells @ self.blocks.T
        distances = squares - 2 * x.transpose(1, 2) @ y + bias
        count = others.shape[2]
        k = min(self.k, count)
        dilation = min(self.dilation, count // k)
        reach = (k - 1) * dilation + 1
        return distances.topk(reach, dim=2, largest=False, sorted=True).indices[:, :, ::dilation]


def sine_cosine(grid: Sequence[int], width: int) -> Tensor:
    """[h * w, d], float64: sines and cosines of the column and of the row of each cell."""
    frequencies = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    places = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    waves = [wave(at.reshape(-1, 1) * frequencies) for at in places for wave in _WAVES]
    return torch.cat(waves, dim=1)


_WAVES = (torch.sin, torch.cos)


class FeedForward(nn.Module):
    """x + fc2(gelu(fc1(x))), four times the channels between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = ConvBN(width, 4 * width), ConvBN(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each node by itself."""
        return x + self.fc2(functional.gelu(self.fc1(x)))


class GraphBlock(nn.Module):
    """Exchange between nodes, then within each."""

    def __init__(self, width: int, **graph: Any) -> None:
        super().__init__()
        self.grapher, self.ffn = Grapher(width, **graph), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform all nodes."""
        return self.ffn(self.grapher(x))


class GazeGNN(nn.Module):
    """Pyramid vision graph network on an image and where somebody looked at it.

    It sees gaze in use as in training. `attention` is the levels' energy. The image is
    4 grid[0] x 4 grid[1] px; a grey one is repeated for the stem's three channels.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        blocks: Sequence[int],
        k: int,
        reduce_ratios: Sequence[int],
        hidden: int,
        grid: Sequence[int],
        relative_position: str = "code",
    ) -> None:
        super().__init__()
        c = channels[0]
        self.stem = nn.ModuleList(
            [ConvBN(3, c // 2, 3, 2), ConvBN(c // 2, c, 3, 2), ConvBN(c, c, 3)]
        )
        self.position = nn.Parameter(torch.zeros(c, *grid))
        self.gaze_norm = nn.BatchNorm2d(1)
        self.downsample, self.stages, count = nn.ModuleDict(), nn.ModuleList(), 0
        for stage, (c, depth) in enumerate(zip(channels, blocks, strict=True)):
            if stage > 0:
                self.downsample[str(stage)] = ConvBN(channels[stage - 1], c, 3, 2)
            made = nn.Sequential()
            for _ in range(depth):
                block = GraphBlock(
                    c,
                    k=k,
                    dilation=count // 4 + 1,
                    reduction=reduce_ratios[stage],
                    relative_position=relative_position,
                    grid=[side >> stage for side in grid],
                )
                made.append(block)
                count += 1
            self.stages.append(made)
        self.hidden = ConvBN(channels[-1], hidden)

    def forward(self, image: Tensor, gaze: Tensor) -> Out:
        """`gaze` [b, h, w] in [0, 1], in the image's frame; zeros where nobody looked."""
        size = [4 * side for side in self.position.shape[1:]]
        if list(image.shape[2:]) != size:
            raise ValueError(f"an image of {tuple(image.shape[2:])} px; the weights are for {size}")
        x = image.expand(-1, 3, -1, -1)
        for number, layer in enumerate(self.stem):
            x = layer(functional.gelu(x) if number else x)
        x = x + self.position + self.gaze_norm(on_nodes(gaze))
        levels = []
        for stage, blocks in enumerate(self.stages):
            x = blocks(self.downsample[str(stage)](x) if stage else x)
            levels.append(x)
        pooled = x.mean(dim=(2, 3), keepdim=True)
        return {**_pooled(levels), "features": functional.gelu(self.hidden(pooled)).flatten(1)}


def on_nodes(gaze: Tensor) -> Tensor:
    """Mean gaze of each 4x4 px, brought to [0, 1] in each image; zeros for a constant map."""
    pooled = functional.avg_pool2d(gaze[:, None], 4)
    lowest = pooled.amin(dim=(2, 3), keepdim=True)
    span = pooled.amax(dim=(2, 3), keepdim=True) - lowest
    constant = span <= 1e-5 * lowest.abs()
    scaled = (pooled - lowest) / torch.where(constant, torch.ones_like(span), span)
    return torch.where(constant, torch.zeros_like(scaled), scaled)


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "ResNet": ResNet,
    "DenseNet": DenseNet,
    "InceptionResNetV2": InceptionResNetV2,
    "ViT": ViT,
    "UNet": UNet,
    "ResSEUNet": ResSEUNet,
    "MTUNet": MTUNet,
    "GazeGNN": GazeGNN,
}


# What stands on a backbone ------------------------------------------------------------------------


class Projector(nn.Module):
    """Linear layers with relu between them; batch norm follows none, the 'hidden' ones or 'all'.

    A layer that a norm follows has no bias, and the last norm neither scale nor bias.
    """

    def __init__(self, *, widths: Sequence[int], norm: str = "none") -> None:
        super().__init__()
        self.layers, self.norms = nn.ModuleList(), nn.ModuleDict()
        for i, (c_in, c_out) in enumerate(pairwise(widths)):
            last = i == len(widths) - 2
            normed = norm == "all" or (norm == "hidden" and not last)
            self.layers.append(nn.Linear(c_in, c_out, bias=not normed))
            if normed:
                self.norms[str(i)] = nn.BatchNorm1d(c_out, affine=not last)

    def forward(self, x: Tensor) -> Tensor:
        """Project each example's features."""
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if str(i) in self.norms:
                x = self.norms[str(i)](x)
            if i < len(self.layers) - 1:
                x = torch.relu(x)
        return x


class AttentionLevel(nn.Module):
    """softmax over cells of out(relu(hidden(x))), both 1x1 convolutions."""

    def __init__(self, c_in: int, hidden: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Conv2d(c_in, hidden, 1), nn.Conv2d(hidden, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """A density [b, h, w]."""
        logits = self.out(torch.relu(self.hidden(x)))[:, 0]
        return torch.softmax(logits.flatten(1), dim=1).reshape(logits.shape)


class AttentionModule(nn.Module):
    """Learnt attention on several levels, whose mean gates the features that are pooled."""

    def __init__(self, *, channels: Sequence[int], hidden_dim: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(AttentionLevel(c, hidden_dim) for c in channels)

    def forward(
        self, feature_maps: Sequence[Tensor], feature_map: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The levels' densities, and the features [b, d] of the last map."""
        densities, gates = [], []
        for level, features in zip(self.levels, feature_maps, strict=True):
            density = level(features)
            densities.append(density)
            gates.append(to_density(area_pool(density, feature_map.shape[2:])))
        gate = torch.stack(gates).mean(dim=0)
        return densities, torch.einsum("bhw,bdhw->bd", gate, feature_map)


class LinearDecoder(nn.Module):
    """One linear map of each cell of the last feature map, resized to the image."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, out: Out, size: Sequence[int]) -> Tensor:
        """Logits [b, k, h, w]."""
        return resize(self.linear(out["feature_map"]), size)


class DecoderStage(nn.Module):
    """x and a skip, joined on one grid, then twice (3x3 convolution, group norm, relu)."""

    def __init__(self, c_in: int, skipped: int, width: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(skipped, width, 1)
        self.conv1 = nn.Conv2d(c_in + width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)

    def forward(self, x: Tensor, skip: Tensor, grid: Sequence[int]) -> Tensor:
        """A map on that grid."""
        x = torch.cat([resize(x, grid), resize(self.skip(skip), grid)], dim=1)
        x = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(x)))


class UNetDecoder(nn.Module):
    """From the coarsest map up to the image, with a skip from a finer map in every stage."""

    def __init__(
        self,
        *,
        in_channels: int,
        skip_channels: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
    ) -> None:
        super().__init__()
        before = [in_channels, *widths]
        sizes = zip(before, skip_channels, widths, strict=False)
        self.stages = nn.ModuleList(DecoderStage(*one) for one in sizes)
        self.logits = nn.Conv2d(before[-1], num_classes, 1)

    def forward(self, out: Out, size: Sequence[int]) -> Tensor:
        """Logits [b, k, h, w]."""
        maps = [*([out["stem"]] if "stem" in out else []), *out["feature_maps"][:-1]]
        x, last = out["feature_map"], len(maps) - 1
        for number, stage in enumerate(self.stages):
            # evenly from the last map to the first
            skip = maps[round(last - number * last / max(1, len(self.stages) - 1))]
            grid = list(skip.shape[2:])
            if grid[0] <= x.shape[2]:
                grid = [min(2 * x.shape[2], size[0]), min(2 * x.shape[3], size[1])]
            x = stage(x, skip, grid)
        return resize(self.logits(x), size)


DECODERS: dict[str, Callable[..., nn.Module]] = {
    "LinearDecoder": LinearDecoder,
    "UNetDecoder": UNetDecoder,
}


def attention_maps(out: Out, source: str, levels: Sequence[int]) -> list[Tensor]:
    """Maps of some levels: the transformer's 'rows', their 'rollout', or the levels' 'energy'."""
    if source == "energy":
        return [energy(out["feature_maps"][level]) for level in levels]
    if source == "rows":
        return [out["attention"][level] for level in levels]
    matrices, grid = out["attention_full"], out["attention"][0].shape[1:]
    return [rollout(matrices[: level % len(matrices) + 1], grid) for level in levels]


def build(known: Mapping[str, Callable[..., nn.Module]], settings: Mapping[str, Any]) -> nn.Module:
    """The one of `known` that the settings name, with the other settings."""
    others = {key: value for key, value in settings.items() if key != "name"}
    return known[settings["name"]](**others)


# Networks on images in [0, 1] ---------------------------------------------------------------------


class Network(nn.Module):
    """What the others have in common: the network sees (image - mean) / std.

    Both come with the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def normalize(self, image: Tensor) -> Tensor:
        """Images [b, 1, h, w] in [0, 1] as the network sees them."""
        return (image - self.mean) / self.std


def probabilities(logits: Tensor, task: str) -> Tensor:
    """Softmax for task 'multiclass', one label an image; sigmoid for 'multilabel'."""
    return torch.softmax(logits, dim=1) if task == "multiclass" else torch.sigmoid(logits)


class ImageClassifier(Network):
    """A backbone and a linear head.

    Args:
      backbone: `name`, a key of `BACKBONES`, and what that takes.
      num_features, num_classes: of the head.
      task: 'multiclass' or 'multilabel'.
      attention: 'rows', 'rollout' or 'energy': `attention_density` is of it; 'grad_cam' gives none.
      levels: of the attention.
    """

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any],
        num_features: int,
        num_classes: int,
        task: str,
        attention: str = "grad_cam",
        levels: Sequence[int] = (-1,),
    ) -> None:
        super().__init__()
        self.task, self.attention, self.levels = task, attention, tuple(levels)
        self.backbone = build(BACKBONES, backbone)
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, image: Tensor, gaze: Tensor | None = None) -> Out:
        """`gaze` [b, h, w] in [0, 1] for a GazeGNN, and for no other."""
        inputs = [self.normalize(image)] if gaze is None else [self.normalize(image), gaze]
        out = self.backbone(*inputs)
        logits = self.head(out["features"])
        out = {**out, "logits": logits, "probabilities": probabilities(logits, self.task)}
        if self.attention != "grad_cam":
            maps = attention_maps(out, self.attention, self.levels)
            out["attention_density"] = mean_density(maps)
        return out


class GGCAM(ImageClassifier):
    """A classifier whose class activation maps were guided by gaze.

    Besides: `class_maps` [b, k, h, w], whose means are the logits. `attention_density` is that of
    the highest logit's map, as it was held against gaze.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # the first two weigh losses in training; nothing depends on them
        names = ("log_sigma_classification", "log_sigma_gaze", "log_scale", "shift")
        self.balance = nn.ParameterDict({name: torch.zeros(()) for name in names})

    def forward(self, image: Tensor, gaze: Tensor | None = None) -> Out:
        """See the class."""
        out = super().forward(image, gaze)
        maps = torch.einsum("bdhw,kd->bkhw", out["feature_map"], self.head.weight)
        maps = maps + self.head.bias[None, :, None, None]
        as_gaze = torch.sigmoid(maps * self.balance["log_scale"].exp() + self.balance["shift"])
        highest = out["logits"].argmax(dim=1)[:, None, None, None]
        shown = as_gaze.gather(1, highest.expand(-1, 1, *maps.shape[2:]))[:, 0]
        return {**out, "class_maps": maps, "attention_density": to_density(shown)}


class Segmenter(Network):
    """A backbone and a decoder; `probabilities` [b, k, h, w] of each label at each pixel.

    Args:
      backbone: see `ImageClassifier`.
      decoder: `name`, a key of `DECODERS`, and what that takes.
    """

    def __init__(self, *, backbone: Mapping[str, Any], decoder: Mapping[str, Any]) -> None:
        super().__init__()
        self.backbone, self.head = build(BACKBONES, backbone), build(DECODERS, decoder)

    def forward(self, image: Tensor) -> Out:
        """`attention_density` is that of the last level."""
        out = self.backbone(self.normalize(image))
        logits = self.head(out, image.shape[2:])
        density = to_density(out["attention"][-1])
        found = {"logits": logits, "probabilities": torch.sigmoid(logits)}
        return {**out, **found, "attention_density": density}


class SaliencyNet(Network):
    """Where people will look: a U-Net, guided by a DenseNet or alone.

    Args:
      unet, densenet: see `ImageClassifier.backbone`; without a densenet the U-Net stands alone.
    """

    def __init__(
        self, *, unet: Mapping[str, Any], densenet: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.unet = build(BACKBONES, unet)
        self.densenet = build(BACKBONES, densenet) if densenet else None

    def forward(self, image: Tensor) -> Out:
        """What the U-Net gives out."""
        image = self.normalize(image)
        if self.densenet is None:
            return self.unet(image)
        return self.unet(image, self.densenet(image)["tapped"])


class FusionNet(Network):
    """Diagnosis from a DenseNet and the U-Net that it guides: two encoders, one classifier.

    Args:
      unet, densenet: see `ImageClassifier.backbone`.
      widths: of the classifier: fused features, between, classes.
      dropout: of the classifier, in training.
      task: 'multiclass' or 'multilabel'.
    """

    def __init__(
        self,
        *,
        unet: Mapping[str, Any],
        densenet: Mapping[str, Any],
        widths: Sequence[int],
        task: str,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.task = task
        self.densenet, self.unet = build(BACKBONES, densenet), build(BACKBONES, unet)
        self.classifier = Layers(widths, dropout)

    def forward(self, image: Tensor) -> Out:
        """`features`: DenseNet's, then the U-Net's; maps and attention are DenseNet's."""
        image = self.normalize(image)
        seen = self.densenet(image)
        drawn = self.unet(image, seen["tapped"])
        features = torch.cat([seen["features"], drawn["features"]], dim=1)
        logits = self.classifier(features)
        return {
            **seen,
            "features": features,
            "log_density": drawn["log_density"],
            "logits": logits,
            "probabilities": probabilities(logits, self.task),
        }


class MultiTaskNet(Network):
    """Class and gaze at once.

    Args:
      backbone: see `ImageClassifier`: an MTUNet.
      task: 'multiclass' or 'multilabel'.
    """

    def __init__(self, *, backbone: Mapping[str, Any], task: str) -> None:
        super().__init__()
        self.task, self.backbone = task, build(BACKBONES, backbone)

    def forward(self, image: Tensor) -> Out:
        """See `MTUNet`."""
        out = self.backbone(self.normalize(image))
        return {**out, "probabilities": probabilities(out["logits"], self.task)}


class Encoder(Network):
    """A pretrained backbone with what stood on it: attention module and projector.

    Args:
      backbone: see `ImageClassifier`.
      projector, predictor: what `Projector` takes; the predictor is behind the projector.
      attention_module: what `AttentionModule` takes, for attention 'module'.
      attention: 'rows', 'rollout', 'energy' or 'module': `attention` and `attention_density` are
        of it. 'grad_cam' was of the similarity of two views: `attention` is then the backbone's
        own, and there is no density.
      levels: of the attention.
      pooling: of the features: the 'backbone''s own, its last map pooled by the 'attention', or
        'both' side by side.
    """

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any],
        projector: Mapping[str, Any] | None = None,
        predictor: Mapping[str, Any] | None = None,
        attention_module: Mapping[str, Any] | None = None,
        attention: str = "energy",
        levels: Sequence[int] = (-1,),
        pooling: str = "backbone",
    ) -> None:
        super().__init__()
        self.attention, self.levels, self.pooling = attention, tuple(levels), pooling
        self.backbone = build(BACKBONES, backbone)
        self.projector = Projector(**projector) if projector else None
        self.predictor = Projector(**predictor) if predictor else None
        self.attention_module = AttentionModule(**attention_module) if attention_module else None

    def forward(self, image: Tensor) -> Out:
        """Besides what all give: `projection` and `prediction`, not normalised."""
        out = dict(self.backbone(self.normalize(image)))
        if self.attention != "grad_cam":
            out["attention"], pooled = self.attend(out)
            out["attention_density"] = mean_density(out["attention"])
            if self.pooling == "both":
                pooled = torch.cat([out["features"], pooled], dim=1)
            out["features"] = pooled
        if self.projector is not None:
            out["projection"] = self.projector(out["features"])
        if self.predictor is not None:
            out["prediction"] = self.predictor(out["projection"])
        return out

    def attend(self, out: Out) -> tuple[list[Tensor], Tensor]:
        """The levels' maps, and the features that they pool."""
        if self.attention_module is not None:
            levels = [out["feature_maps"][level] for level in self.levels]
            return self.attention_module(levels, out["feature_map"])
        maps = attention_maps(out, self.attention, self.levels)
        if self.pooling == "backbone":
            return maps, out["features"]
        features = out["feature_map"]
        weight = to_density(area_pool(mean_density(maps), features.shape[2:]))
        return maps, torch.einsum("bhw,bdhw->bd", weight, features)
