"""Vision transformer, with the weights, the names and the numbers of timm's.

Attention maps are the class token's rows: for each block, how much the class token looks at each
patch, averaged over heads.
"""

import re
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.gelu import gelu
from gazax.models.stem import ConvStem
from gazax.typing import InputError, Size

VARIANTS: dict[str, dict[str, int]] = {
    "Ti": dict(width=192, depth=12, num_heads=3, mlp_dim=768),
    "S": dict(width=384, depth=12, num_heads=6, mlp_dim=1536),
    "B": dict(width=768, depth=12, num_heads=12, mlp_dim=3072),
    "L": dict(width=1024, depth=24, num_heads=16, mlp_dim=4096),
}

# What every linear layer starts from in timm; its truncation at +-2 is 100 deviations away.
_LINEAR_INIT = nn.initializers.normal(0.02)


def _layer_norm(name: str, dtype: Dtype) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, name=name)


def _linear(x: Array, features: int, name: str, dtype: Dtype) -> Array:
    """A dense layer on all tokens as one matrix.

    XLA:CPU runs the weight's gradient, a product over examples and tokens, a fifth faster so.
    """
    rows = x.reshape(-1, x.shape[-1])
    rows = nn.Dense(features, kernel_init=_LINEAR_INIT, dtype=dtype, name=name)(rows)
    return rows.reshape(*x.shape[:-1], features)


class Attention(nn.Module):
    """Multi-head self-attention that also says what the class token (token 0) looks at.

    a = softmax(q k^T / sqrt(head_dim)),  y = proj(a v)

    Attributes:
      num_heads: divides the width.
      full: whether whole matrices are returned; otherwise only the class token's rows are formed,
        beside a fused product that never writes a matrix.
      dtype: of the computation; a's softmax is float32.

    Returns:
      y; the class token's row for the n tokens, mean over heads, sums to 1; and a, or None.
    """

    num_heads: int
    full: bool
    dtype: Dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"]
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b n"], Float[Array, "b heads n n"] | None]:
        """Attend among the n tokens of each example."""
        width = x.shape[-1]
        qkv = _linear(x, 3 * width, "qkv", self.dtype)
        q, k, v = einops.rearrange(
            qkv, "b n (three h d) -> three b n h d", three=3, h=self.num_heads
        )
        scale = q.shape[-1] ** -0.5

        def attend(queries: Array) -> Array:
            logits = jnp.einsum("bqhd,bkhd->bhqk", queries, k, preferred_element_type=jnp.float32)
            return nn.softmax(logits * scale)

        if self.full:
            weights = attend(q)
            row = weights[:, :, 0]
            y = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(v.dtype), v)
        else:
            weights = None
            row = attend(q[:, :1])[:, :, 0]
            y = jax.nn.dot_product_attention(q, k, v, scale=scale)
        y = einops.rearrange(y, "b n h d -> b n (h d)")
        return _linear(y, width, "proj", self.dtype), row.mean(axis=1), weights


class Mlp(nn.Module):
    """y = fc2(gelu(fc1(x))), with the exact GELU."""

    hidden_dim: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Transform each token by itself."""
        # All of it on one matrix: on a TPU, whose tiles have 8 rows, to part the rows by images
        # of 197 tokens copies them, and between the layers they are four times as wide.
        rows = x.reshape(-1, x.shape[-1])
        hidden = gelu(_linear(rows, self.hidden_dim, "fc1", self.dtype))
        return _linear(hidden, x.shape[-1], "fc2", self.dtype).reshape(x.shape)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); returns what `Attention` does."""

    num_heads: int
    mlp_dim: int
    full: bool
    dtype: Dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"]
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b n"], Float[Array, "b heads n n"] | None]:
        """Mix the tokens, then transform each."""
        attention = Attention(self.num_heads, self.full, self.dtype, name="attn")
        y, row, weights = attention(_layer_norm("norm1", self.dtype)(x))
        x = x + y
        x = x + Mlp(self.mlp_dim, self.dtype, name="mlp")(_layer_norm("norm2", self.dtype)(x))
        return x, row, weights


class ViT(nn.Module):
    """Vision transformer with a class token and learnt positions.

    The first image that `init` sees fixes the grid gh x gw = (h / patch height, w / patch width)
    and the number of channels. Parameters: `patch_embed`, `cls_token`, `pos_embed` (class token
    first, then the grid row by row), `blocks_0` ..., `norm`, `head`.

    Attributes:
      patch_size: (h, w), px.
      width: d, a multiple of `num_heads`.
      depth: number of blocks.
      num_heads: of each block.
      mlp_dim: hidden width of each block's MLP.
      num_classes: columns of the output; 0 = no head, the output is the features.
      pool: what the features are: "cls", the class token, or "avg", the mean of the patch tokens;
        of the tokens after the final norm in both.
      stem: "patch", one convolution of a patch, or "conv", `ConvStem`, under the same name.
      attention: "rows", or "full" to get the whole matrices too (b heads n n each block).
      dtype: of the computation. Parameters, softmax, attention maps, final norm, head and
        everything returned are float32.
      remat: whether a block's inside is computed again in the backward pass and not kept.

    Returns:
      output and out. output: logits [b, num_classes], or the features. out:
        features       [b, d]
        tokens         [b, n, d]        after the final norm, class token first, n = 1 + gh * gw
        feature_map    [b, gh, gw, d]   the patch tokens among them
        feature_maps   list of [b, gh, gw, d], one a block: the patch tokens that enter it. All
                       tokens that enter block i, the class token too, can be perturbed as
                       `level_i`.
        attention      list of [b, gh, gw], one a block: the class token's row of the softmax, mean
                       over heads, patch columns only. Not normalised again: entries are >= 0 and
                       sum to 1 less the weight of the class token on itself.
        attention_full list of [b, heads, n, n], rows sum to 1; with attention="full" only.

    Raises:
      InputError: h or w is not a multiple of the patch's, or the image's grid is not the one that
        the weights have positions for.

    Numerics: LayerNorm epsilon 1e-6, exact GELU. `train` changes nothing: there is no dropout.
    Source: Dosovitskiy et al. 2021 (arXiv:2010.11929); initial values from timm's
    `VisionTransformer`, but the patch embedding's bias starts at 0. pool="avg" is timm's with
    `global_pool="avg", fc_norm=False` (its default pools before the norm).
    """

    patch_size: Size
    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    num_classes: int = 0
    pool: str = "cls"
    stem: str = "patch"
    attention: str = "rows"
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b k"], dict[str, Array | list[Array]]]:
        """Map images, of any grey values, to the output and the dict `out`."""
        del train
        x = self._embed(image)
        _, grid_h, grid_w, _ = x.shape
        x = einops.rearrange(x, "b gh gw d -> b (gh gw) d")
        cls_token = self.param("cls_token", nn.initializers.normal(1e-6), (1, 1, self.width))
        cls_token = jnp.broadcast_to(cls_token.astype(x.dtype), (x.shape[0], 1, self.width))
        x = jnp.concatenate([cls_token, x], axis=1)
        x = x + self._positions(grid_h, grid_w).astype(x.dtype)

        block_class = nn.remat(Block) if self.remat else Block
        levels, rows, matrices = [], [], []
        for i in range(self.depth):
            if not self.is_initializing():  # no perturbation among the parameters
                x = self.perturb(f"level_{i}", x)
            level = x[:, 1:].astype(jnp.float32)
            levels.append(einops.rearrange(level, "b (gh gw) d -> b gh gw d", gh=grid_h))
            block = block_class(
                self.num_heads,
                self.mlp_dim,
                self.attention == "full",
                self.dtype,
                name=f"blocks_{i}",
            )
            x, row, weights = block(x)
            rows.append(einops.rearrange(row[:, 1:], "b (gh gw) -> b gh gw", gh=grid_h))
            matrices.append(weights)

        tokens = _layer_norm("norm", jnp.float32)(x)
        features = tokens[:, 0] if self.pool == "cls" else tokens[:, 1:].mean(axis=1)
        out = {
            "features": features,
            "tokens": tokens,
            "feature_map": einops.rearrange(tokens[:, 1:], "b (gh gw) d -> b gh gw d", gh=grid_h),
            "feature_maps": levels,
            "attention": rows,
        }
        if self.attention == "full":
            out["attention_full"] = matrices
        if self.num_classes == 0:
            return features, out
        return _linear(features, self.num_classes, "head", jnp.float32), out

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level parameter: embeddings 0, `blocks_i` i + 1, then `norm` and `head`.

        Raises:
          KeyError: the model has nothing of this name.
        """
        first = dict.fromkeys(("cls_token", "pos_embed", "patch_embed"), 0)
        last = dict.fromkeys(("norm", "head"), self.depth + 1)
        return (first | {f"blocks_{i}": i + 1 for i in range(self.depth)} | last)[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return self.depth + 2

    def _embed(self, image: Array) -> Array:
        _, height, width, _ = image.shape
        patch_h, patch_w = self.patch_size
        if height % patch_h or width % patch_w:
            raise InputError(
                f"an image of {height}x{width} px does not divide into patches of "
                f"{patch_h}x{patch_w} px; choose an image size that is a multiple of the patch"
            )
        if self.stem == "conv":
            return ConvStem(self.width, self.patch_size, self.dtype, name="patch_embed")(image)
        return nn.Conv(
            self.width,
            self.patch_size,
            strides=self.patch_size,
            padding="VALID",
            # uniform within 1 / sqrt(fan in), as torch starts its convolutions
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
            dtype=self.dtype,
            name="patch_embed",
        )(image)

    def _positions(self, grid_h: int, grid_w: int) -> Array:
        shape = (1, 1 + grid_h * grid_w, self.width)
        if self.has_variable("params", "pos_embed"):
            found = self.get_variable("params", "pos_embed").shape
            if found != shape:
                raise InputError(
                    f"the weights have positions for {found[1] - 1} patches, the image has "
                    f"{grid_h}x{grid_w} = {shape[1] - 1}; use the image size and the patch size "
                    "that the weights were trained with"
                )
        return self.param("pos_embed", nn.initializers.normal(0.02), shape)


def make_vit(
    *,
    variant: str | None = None,
    patch_size: int | Size | None = None,
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_dim: int | None = None,
    num_classes: int = 0,
    pool: str = "cls",
    stem: str = "patch",
    attention: str = "rows",
    dtype: Dtype = jnp.float32,
    remat: bool = False,
) -> ViT:
    """A `ViT` from a name such as "S/16", from explicit sizes, or from a name and changes to it.

    Args:
      variant: "<size>/<patch size in px>" with a size of `VARIANTS`; None = all sizes are given.
      patch_size: px, or (h, w); like the four below, it overrides the variant's.
      width, depth, num_heads, mlp_dim: see `ViT`; mlp_dim is 4 * width where nothing says it.
      num_classes, pool, stem, attention, dtype, remat: see `ViT`.

    Raises:
      InputError: the variant is unknown, a size is missing, or the values do not fit together.
    """
    sizes: dict[str, Any] = {}
    if variant is not None:
        match = re.fullmatch(r"(\w+)/(\d+)", variant)
        if match is None or match[1] not in VARIANTS:
            raise InputError(
                f"unknown ViT variant {variant!r}; give <size>/<patch size in px>, such as 'S/16', "
                f"with a size of {', '.join(VARIANTS)}"
            )
        sizes.update(VARIANTS[match[1]], patch_size=int(match[2]))
    given = dict(
        patch_size=patch_size, width=width, depth=depth, num_heads=num_heads, mlp_dim=mlp_dim
    )
    if width is not None:
        sizes["mlp_dim"] = 4 * width
    sizes.update((name, value) for name, value in given.items() if value is not None)
    missing = [name for name in given if name not in sizes]
    if missing:
        raise InputError(f"a ViT without a variant also needs {', '.join(missing)}")
    if isinstance(sizes["patch_size"], int):
        sizes["patch_size"] = (sizes["patch_size"], sizes["patch_size"])
    if sizes["width"] % sizes["num_heads"]:
        raise InputError(
            f"width {sizes['width']} does not divide into {sizes['num_heads']} heads; "
            "choose a width that is a multiple of num_heads"
        )
    for name, value, known in (
        ("pool", pool, ("cls", "avg")),
        ("stem", stem, ("patch", "conv")),
        ("attention", attention, ("rows", "full")),
    ):
        if value not in known:
            raise InputError(f"{name} is {value!r}; give one of {', '.join(known)}")
    return ViT(
        **sizes,
        num_classes=num_classes,
        pool=pool,
        stem=stem,
        attention=attention,
        dtype=dtype,
        remat=remat,
    )
