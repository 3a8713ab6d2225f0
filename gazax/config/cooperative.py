"""What the configs of cooperative learning share: data, networks, optimizer, and the three sizes.

The phantom is the default, at a size that two cores train in minutes; `egd_cxr` has the paper's
size, network and lengths. Numbers marked III.x are sections of the paper.
"""

from etils import epath
from ml_collections import ConfigDict

from gazax.config import blocks
from gazax.config.arguments import of_run
from gazax.config.datasets import CREDENTIALED, use_data
from gazax.typing import InputError

WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")
"""Endings of files that hold weights and no config."""


def stage(
    *, data: str, protocol: str, init_from: str, follows: str, study: bool, smoke: bool
) -> tuple[ConfigDict, ConfigDict | None]:
    """A stage without model and method: images as they are, Adam at one rate, early stopping.

    Args:
      data, protocol: '' = those of the workdir that it begins with, else the phantom and strict.
      init_from: a workdir, ``stage:NAME``, or a file of weights; '' = random weights.
      follows: the method that the workdir's run must be of.
      study, smoke: sizes.

    Returns:
      The config, and that of the workdir, whose networks are to be taken; None without a workdir.
    """
    found = _taken_up(init_from, follows)
    for name, given in (("data", data), ("protocol", protocol)):
        there = found and (found.data.name if name == "data" else found.data.protocol)
        if given and there and given != there:
            raise InputError(
                f"config arguments init_from={init_from} and {name}={given}: that run is of "
                f"{name}={there}, which the next stage takes over; leave {name} out."
            )
    data = found.data.name if found else data or "phantom"
    config = blocks.base()
    use_data(config, data)
    config.data.protocol = protocol or "strict"
    config.views.mean, config.views.std = 0.0, 1.0  # III.D: grey values in [0, 1], and no more
    config.views.standard.update(
        crop=(1.0, 1.0), rotation_degrees=0.0, brightness=0.0, contrast=0.0
    )  # no augmentation anywhere in the paper or its code
    config.optim.schedule = "constant"  # III.E
    config.optim.warmup_fraction = 0.0
    config.optim.weight_decay = 0.0
    config.optim.clip_norm = 0.0
    config.optim.learning_rate = 1e-3  # ours: small nets; III.E gives 1e-4 for the large ones
    config.train.epochs = 50  # III.E
    config.train.patience = 10  # ours: epochs; the published code's 83 exceed its 50 epochs
    config.train.batch_size = 32
    config.train.eval_every = config.train.checkpoint_every = 0  # once an epoch
    if data in CREDENTIALED:
        _paper(config)
    elif study and data == "phantom":
        config.data.source.contrast = 3.0  # ours: at 1 so small a net learns nothing of 840 images
    if smoke:
        blocks.tiny(config)
        # the smallest of which a DenseNet leaves more than a cell; the aspect of EGD-CXR's canvas
        config.data.size = (160, 128) if data == "egd_cxr" else (64, 64)
        config.train.patience = 2
    if found:
        blocks.same_data(config, found)
    config.init_from.path = init_from
    return config, found


def _paper(config: ConfigDict) -> None:
    config.data.size = (640, 512)  # III.D
    if config.data.name == "egd_cxr":
        config.data.source.gaze = "cxrgazelearn"  # the frame and gaze map of the paper's code
        config.data.max_fixations = 4096  # ours: it takes raw samples, about 1,400 an image
    config.optim.learning_rate = 1e-4  # III.E
    config.train.batch_size = 16  # the code's
    config.eval.batch_size = 16
    config.train.log_every = 10


def densenet(config: ConfigDict, *, smoke: bool) -> ConfigDict:
    """The classifier's encoder: DenseNet-201, or a small one of its kind for small images."""
    model = ConfigDict()
    model.name = "densenet"
    large = config.data.name in CREDENTIALED and not smoke
    if large:
        model.depth = 201  # III.A
    else:
        model.blocks = (1, 1, 1, 1) if smoke else (3, 6, 8, 6)  # ours
        model.growth_rate = 8 if smoke else 16  # ours; 32 in DenseNet-201
        model.init_features = 16 if smoke else 32  # ours; 64
    model.tap = "after"  # the code and figure 1; 'before' the last block is the text of III.A
    model.dtype = "bfloat16" if large else "float32"
    model.remat = large
    return model


def unet(config: ConfigDict, *, smoke: bool) -> ConfigDict:
    """Res_SE-UNet; its decoder starts from the guide, if there is one."""
    model = ConfigDict()
    model.name = "res_se_unet"
    large = config.data.name in CREDENTIALED and not smoke
    model.width = 64 if large else 8 if smoke else 16  # figure 1: 64
    model.reduction = 16 if large else 4
    model.shortcut = "code"  # code, 3x3 | figure, identity
    model.head = "code"  # code, 3x3 and 1x1 | figure, 1x1
    model.dtype = "bfloat16" if large else "float32"
    model.remat = large
    return model


def classes(config: ConfigDict) -> None:
    """Which class an image has: the settings of a loss on labels, and its evaluation."""
    config.method.task = ""  # multiclass | multilabel; '' = as the labels are
    config.method.label_smoothing = 0.0
    config.method.balance_classes = True
    config.method.class_weight = ()
    config.method.positive_weight = ()
    config.eval.suite = "classification"
    config.eval.monitor = ("validation/auc_macro",)


def _taken_up(init_from: str, method: str) -> ConfigDict | None:
    """The config of the workdir that a stage begins with; None where it begins with none."""
    if not init_from or init_from.startswith("stage:") or epath.Path(init_from).suffix in WEIGHTS:
        return None
    found = of_run(init_from)
    if found.method.name != method:
        raise InputError(
            f"config argument init_from={init_from}: this stage begins with a run of the method "
            f"'{method}', and that one is of '{found.method.name}'."
        )
    return found
