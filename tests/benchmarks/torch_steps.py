"""The steps of `gazax.train.step` in PyTorch: the same networks, losses and optimizer.

Networks and weights are those of an export (`gazax.export.full`), so that both sides begin with the
same numbers.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch.nn import functional

from gazax.export import modeling_gazax
from gazax.export.full import full_state
from gazax.methods.attention import SOFTNESS
from gazax.methods.gazat import GazAT
from gazax.methods.saliency import Saliency
from gazax.methods.supervised import Supervised
from tests.benchmarks.torch_views import Draws, Tensors, Views, gaze_maps, gaze_views

Loss = Callable[[nn.Module, Tensors, Draws | None], Tensor]


class RowAttention(modeling_gazax.Attention):
    """Torch's fused product, and the class token's row beside it: nothing else is asked for."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        b, n, width = x.shape
        parts = self.qkv(x).reshape(b, n, 3, self.num_heads, width // self.num_heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        row = torch.softmax(q[:, :, :1] @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, n, width)), row


class TorchStep:
    """One training step: views, forward, backward, clipping, AdamW.

    Args:
      method, params, state: of gazax.
      variant: 'eager', 'channels_last', or 'compile', which is of the network, in channels last
        where it convolves.
      dtype: 'float32', or 'bfloat16' by autocast.
      learning_rate, weight_decay, clip_norm: as `gazax.train.optim.adamw` takes them.
      make_draws: draws the views of a batch; None where there are none.
    """

    def __init__(
        self,
        method: Any,
        params: Any,
        state: Any,
        *,
        variant: str,
        dtype: str,
        learning_rate: float,
        weight_decay: float,
        clip_norm: float,
        make_draws: Callable[[], Draws] | None,
    ) -> None:
        name, settings, arrays = full_state(method, params, state)
        net = vars(modeling_gazax)[name](**settings)
        net.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
        for module in net.modules():
            if type(module) is modeling_gazax.Attention:
                module.__class__ = RowAttention
        for scope in FROZEN.get(type(method), ()):
            net.get_submodule(scope).requires_grad_(False)
        transformer = any(type(module) is RowAttention for module in net.modules())
        if variant != "eager" and not transformer:
            net = net.to(memory_format=torch.channels_last)
        if variant == "compile":
            compile_parts(net)
        self.net = net.train()
        for scope in FROZEN.get(type(method), ()):
            net.get_submodule(scope).eval()
        self.loss_of, self.make_draws = LOSSES[type(method)](method), make_draws
        self.autocast: Any = contextlib.nullcontext
        if dtype == "bfloat16":
            self.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
        trained = [(key, one) for key, one in net.named_parameters() if one.requires_grad]
        decayed = [one for key, one in trained if one.ndim > 1 and not _is_position(key)]
        others = [one for key, one in trained if one.ndim < 2 or _is_position(key)]
        self.trained, self.clip_norm = [one for _, one in trained], clip_norm
        self.optimizer = torch.optim.AdamW(
            [dict(params=decayed, weight_decay=weight_decay), dict(params=others, weight_decay=0)],
            lr=learning_rate,
            fused=True,
        )

    def __call__(self, batch: Tensors, draws: Draws | None = None) -> dict[str, float]:
        """The loss before the update and the norm of its gradient."""
        if draws is None and self.make_draws is not None:
            draws = self.make_draws()
        loss = self.loss_of(self.net, self.autocast, batch, draws)
        loss.backward()
        # a norm of 0 clips nothing, as in gazax
        norm = nn.utils.clip_grad_norm_(self.trained, self.clip_norm or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"loss": loss.item(), "grad_norm": norm.item()}


def compile_parts(net: nn.Module) -> None:
    """Compiles a transformer, a DenseNet or a U-Net as one, of a ResNet each level.

    Grad-CAM asks for the gradient with respect to what is between the levels of a ResNet, which a
    graph of all of them would not give out. It goes backward through them twice, so that none may
    give up its memory after the first.
    """
    functorch_config.donated_buffer = False
    for module in net.modules():
        if isinstance(module, modeling_gazax.ResNet):
            for level in (module.layer1, module.layer2, module.layer3, module.layer4):
                level.compile()
        elif isinstance(
            module, modeling_gazax.ViT | modeling_gazax.DenseNet | modeling_gazax.ResSEUNet
        ):
            module.compile()


def _is_position(key: str) -> bool:
    return key.endswith(("cls_token", "pos_embed"))


# GazAT --------------------------------------------------------------------------------------------


def _gazat(method: GazAT) -> Callable[..., Tensor]:
    """InfoNCE of the two views, KL of attention from gaze, contrast of regions."""

    def loss(net: Any, autocast: Any, batch: Tensors, draws: Draws) -> Tensor:
        with torch.no_grad():
            size = tuple(batch["image"].shape[2:])
            views = gaze_views(batch, gaze_maps(batch, size), draws)
        with autocast():
            out = net.backbone(net.normalize(views.image))
            z = net.projector(out["features"])
        z = functional.normalize(z.float(), dim=1)
        if method.attention == "grad_cam":
            maps = _grad_cam(z, out["feature_maps"], method.levels)
        else:
            maps = [out["attention"][level].float() for level in method.levels]
        aligned = sum(
            weight * _alignment(one, views)
            for weight, one in zip(method.level_weights, maps, strict=True)
        )
        return (
            _info_nce(z, method.temperature)
            + method.alpha * _mean(aligned, views.valid)
            + method.beta * _regional(out["feature_map"].float(), views, method)
        )

    return loss


def _grad_cam(z: Tensor, levels: list[Tensor], chosen: tuple[int, ...]) -> list[Tensor]:
    """Of the similarity of each pair; the channels' weights are constants."""
    features = [levels[level] for level in chosen]
    similarity = (z[::2] * z[1::2]).sum()
    gradients = torch.autograd.grad(similarity, features, retain_graph=True)
    maps = []
    for one, gradient in zip(features, gradients, strict=True):
        x = torch.einsum("bchw,bc->bhw", one.float(), gradient.float().mean(dim=(2, 3)))
        t = (SOFTNESS * x.abs().mean(dim=(1, 2), keepdim=True)).detach()
        maps.append(t * functional.softplus(x / torch.where(t > 0, t, 1.0)))
    return maps


def _info_nce(z: Tensor, temperature: float) -> Tensor:
    """NT-Xent of unit rows, whose pairs are neighbours; no image is in the batch twice."""
    logits = z @ z.T / temperature
    logits.fill_diagonal_(float("-inf"))
    return functional.cross_entropy(logits, torch.arange(len(z)) ^ 1)


def _alignment(attention: Tensor, views: Views) -> Tensor:
    """KL of the attention's density from that of the gaze, [b2]; 0 without gaze."""
    row = views.valid[:, None, None]
    attention = torch.where(row, attention, 1.0)
    gaze = modeling_gazax.area_pool(torch.where(row, views.gaze, 1.0), attention.shape[1:])
    gaze = modeling_gazax.to_density(gaze)
    attention = modeling_gazax.to_density(attention).clamp(min=1e-8)
    divergence = torch.special.xlogy(gaze, gaze) - gaze * attention.log()
    return divergence.sum(dim=(1, 2)).where(views.valid, 0.0)


def _mean(losses: Tensor, valid: Tensor) -> Tensor:
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def _regional(features: Tensor, views: Views, method: GazAT) -> Tensor:
    grid = features.shape[2:]
    gaze = modeling_gazax.area_pool(views.gaze, grid)
    content = modeling_gazax.area_pool(views.content, grid)

    def region(weight: Tensor) -> Tensor:
        total = weight.sum(dim=(1, 2), keepdim=True)
        weight = weight / torch.where(total > 0, total, 1.0)
        return functional.normalize(torch.einsum("bhw,bdhw->bd", weight, features), dim=1)

    high, low = region(content * gaze), region(content * (1 - gaze))
    valid = views.valid[::2] & views.valid[1::2]
    absent = ~valid[None] | torch.eye(len(valid), dtype=torch.bool)

    def contrast(high: Tensor, positive: Tensor, low: Tensor) -> Tensor:
        logits = (high @ low.T).masked_fill(absent, float("-inf"))
        logits = torch.cat([(high * positive).sum(dim=1, keepdim=True), logits], dim=1)
        target = torch.zeros(len(high), dtype=torch.long)
        return functional.cross_entropy(
            logits / method.regional_temperature, target, reduction="none"
        )

    both = contrast(high[::2], high[1::2], low[1::2]) + contrast(high[1::2], high[::2], low[::2])
    return _mean(both / 2, valid)


# Classification and saliency ----------------------------------------------------------------------


def _supervised(method: Supervised) -> Callable[..., Tensor]:
    """Cross-entropy of undisturbed images."""

    def loss(net: Any, autocast: Any, batch: Tensors, draws: None) -> Tensor:
        with autocast():
            features = net.backbone(net.normalize(batch["image"].float() / 255))["features"]
        return functional.cross_entropy(net.head(features.float()), batch["label"])

    return loss


def _saliency(method: Saliency) -> Callable[..., Tensor]:
    """KL of the predicted density from that of gaze; the frozen guide looks at each batch."""

    def loss(net: Any, autocast: Any, batch: Tensors, draws: None) -> Tensor:
        gaze = gaze_maps(batch, tuple(batch["image"].shape[2:]))
        valid = gaze.amax(dim=(1, 2)) > 0
        image = net.normalize(batch["image"].float() / 255)
        with autocast():
            with torch.no_grad():
                guide = net.densenet(image)["tapped"]
            log_density = net.unet(image, guide)["log_density"].float()
        target = modeling_gazax.to_density(gaze)
        divergence = torch.special.xlogy(target, target) - target * log_density
        return _mean(divergence.sum(dim=(1, 2)), valid)

    return loss


LOSSES: dict[type, Callable[[Any], Callable[..., Tensor]]] = {
    GazAT: _gazat,
    Supervised: _supervised,
    Saliency: _saliency,
}
FROZEN: dict[type, tuple[str, ...]] = {Saliency: ("densenet",)}
