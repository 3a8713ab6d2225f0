"""Networks and methods that cooperative learning is compared with, on the same terms.

Data, optimizer, lengths and the rule of stopping are those of `gazax.config.cooperative`; sizes of
networks fit the two sizes of images there.
"""

from etils import epath
from ml_collections import ConfigDict

from gazax.config import cooperative
from gazax.config.datasets import CREDENTIALED
from gazax.typing import InputError


def begin(*, data: str, protocol: str, study: bool, smoke: bool, weights: str = "") -> ConfigDict:
    """A baseline without model and method.

    Args:
      data, protocol: '' = the phantom and strict.
      study, smoke: sizes.
      weights: a file of the backbone's, such as ImageNet's; '' = random ones.
    """
    if weights and epath.Path(weights).suffix not in cooperative.WEIGHTS:
        raise InputError(
            f"config argument weights={weights}: give a file of weights, "
            f"{', '.join(cooperative.WEIGHTS)}."
        )
    config, _ = cooperative.stage(
        data=data, protocol=protocol, init_from=weights, follows="", study=study, smoke=smoke
    )
    if weights:
        config.init_from.scopes, config.init_from.fresh = ("backbone",), ("head",)
    return config


def classifier(config: ConfigDict) -> None:
    """A linear head on the backbone, as in stage 1b."""
    config.method = ConfigDict()
    config.method.name = "supervised"
    config.method.attention = "grad_cam"
    config.method.levels = (-1,)
    config.method.gaze_input = False
    cooperative.classes(config)


def guided_classifier(config: ConfigDict, *, smoke: bool) -> None:
    """DenseNet, as in stage 1b, for a method that holds its attention against gaze."""
    config.model = cooperative.densenet(config, smoke=smoke)
    classifier(config)
    del config.method.gaze_input


def joint(config: ConfigDict) -> None:
    """Both tasks at once, as MT-UNet learns them."""
    config.method = ConfigDict()
    config.method.name = "mt_unet"
    config.method.balance = "uncertainty"  # uncertainty, the code's | kendall | gradnorm | fixed
    config.method.weights = (1.0, 1.0)  # of classification and saliency, for balance=fixed
    config.method.alpha = 1.5  # for balance=gradnorm, as its authors have it
    cooperative.classes(config)
    config.eval.suite = "multitask"
    config.eval.monitor = ("validation/joint",)  # ours: (macro AUC + CC) / 2


def mt_unet(config: ConfigDict, *, smoke: bool) -> ConfigDict:
    """The U-Net with a classifier on its deepest and its last maps."""
    model = unet(config, smoke=smoke)
    model.name = "mt_unet"
    model.hidden = 64  # the code's, like the rest
    model.dropout = 0.25
    model.learned_sigmas = ("classification",)  # the code's: that of saliency stays 1
    return model


def unet(config: ConfigDict, *, smoke: bool) -> ConfigDict:
    """The standard U-Net."""
    large = _large(config, smoke)
    model = ConfigDict()
    model.name = "unet"
    model.width = 64 if large else 8 if smoke else 16  # ours below 64
    model.head = "code"  # code, 3x3 and 1x1 | figure, 1x1
    return _common(model, large=large)


def inception_resnet_v2(config: ConfigDict, *, smoke: bool) -> ConfigDict:
    """Inception-ResNet-v2, or a narrow one with fewer blocks for small images."""
    large = _large(config, smoke)
    model = ConfigDict()
    model.name = "inception_resnet_v2"
    model.width_multiplier = 1.0 if large else 0.0625 if smoke else 0.25  # ours below 1
    model.blocks = (10, 20, 9) if large else (1, 1, 1) if smoke else (2, 4, 2)  # ours: the small
    model.padding = "valid" if large else "same"  # ours: of 64 px, 'valid' leaves no cell
    return _common(model, large=large)


def gaze_gnn(config: ConfigDict, *, smoke: bool) -> ConfigDict:
    """GazeGNN on ViG-Ti's pyramid, or a small one of its kind for small images."""
    large = _large(config, smoke)
    model = ConfigDict()
    model.name = "gaze_gnn"
    model.channels = (48, 96, 240, 384) if large else (8,) * 4 if smoke else (24, 48, 96, 128)
    model.blocks = (2, 2, 6, 2) if large else (1,) * 4 if smoke else (1, 1, 3, 1)
    model.hidden = 1024 if large else 16 if smoke else 256
    model.k = 9
    model.reduce_ratios = (4, 2, 1, 1)
    model.relative_position = "code"  # code | pooled: which of a reduced node's cells it is at
    return _common(model, large=large)


def _large(config: ConfigDict, smoke: bool) -> bool:
    return config.data.name in CREDENTIALED and not smoke


def _common(model: ConfigDict, *, large: bool) -> ConfigDict:
    model.dtype = "bfloat16" if large else "float32"
    model.remat = large
    return model
