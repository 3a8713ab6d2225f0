"""Baselines that learn from two views of an image, over GazAT's data, backbone and lengths.

Heads are as published where the backbone is; on the small ones they keep the published layers and
normalisation at a width that fits.
"""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from gazax.config.arguments import choose, load_beside, parse_arg
from gazax.config.datasets import CREDENTIALED

BACKBONES = ("vit", "resnet")
VIEWS = ("augmented", "published")

_OF_PHOTOGRAPHS = dict(
    ratio=(3 / 4, 4 / 3),
    flip=0.5,
    jitter=0.8,
    blur_sigma=(0.1 / 224, 2.0 / 224),  # px of the published 224
)
_BYOL = dict(
    _OF_PHOTOGRAPHS,
    crop=(0.08, 1.0),
    brightness=0.4,
    contrast=0.4,
    blur=(1.0, 0.1),
    solarize=(0.0, 0.2),
)
_MOCO = dict(
    _OF_PHOTOGRAPHS,
    crop=(0.2, 1.0),
    brightness=0.4,
    contrast=0.4,
    blur=(0.5, 0.5),
    solarize=(0.0, 0.0),
)
PUBLISHED_VIEWS: dict[str, dict[str, Any]] = {
    # arXiv:2002.05709, appendix A, colour strength 1
    "simclr": dict(_MOCO, crop=(0.08, 1.0), brightness=0.8, contrast=0.8),
    "byol": _BYOL,  # arXiv:2006.07733, appendix B, table 6
    "moco": _MOCO,  # v2, arXiv:2003.04297, as the authors' code has it
    "moco_v3": _BYOL,  # arXiv:2104.02057, appendix A; their code crops from .2 for a ResNet
    "simsiam": _MOCO,  # arXiv:2011.10566, appendix A
}
"""The published augmentations, without what needs colour."""

MCGIP_ON = ("simclr", "byol", "moco")
THRESHOLDS = {
    # similarity above which two images are partners; the share of the phantom's pairs that is
    "moments": 0.95,  # as published for mammography and knees; .026
    "dhash": 0.7,  # as published for teeth; .060
    "multimatch": 0.8,  # ours: the mean of five scores hardly varies; .092
    "tima": 0.85,  # ours; .028
}
FOCUS_VIEWS = dict(
    # Probabilities: ours, the published ones are not known.
    crop_probability=1.0,
    cutout_probability=0.5,
    drop_probability=0.5,
    # arXiv:2305.08826, the authors' example code; sides and sigma as shares of its 224 px.
    zoom=(1.0, 2.0),
    plain_zoom=(1.2, 2.0),
    keep=0.9,
    crop_redraws=200,
    cutout_side=(48 / 224, 1.0),
    cutout_mass=400 / 224**2,
    cutout_redraws=100,
    drop_blur=30.2 / 224,
    drop_floor=0.1,
    brightness=0.2,
    contrast=0.8,
    # Ours, for chest radiographs; published for knees: 45 and 0.5.
    rotation_degrees=10.0,
    flip=0.0,
)


def baseline(file: str, arg: str, method: Callable[[ConfigDict], None]) -> ConfigDict:
    """The config of one of the methods below, with the arguments that all of them take.

    Args:
      file: of the config, in ``configs/baselines``.
      arg: data, backbone, views, smoke, study.
      method: sets it up.
    """
    given = parse_arg(
        arg, data="phantom", backbone="vit", views="augmented", smoke=False, study=False
    )
    config = begin(file, given)
    method(config)
    use_views(config, given.views)
    return config


def begin(file: str, arg: ConfigDict) -> ConfigDict:
    """GazAT's config, whose method is yet to be replaced.

    Args:
      file: of the config, in ``configs/baselines``.
      arg: data, backbone, smoke, study.
    """
    backbone = choose("config argument backbone", arg.backbone, BACKBONES)
    words = [f"data={arg.data}", *(word for word in ("smoke", "study") if arg[word])]
    found = load_beside(file, f"../gazat_{backbone}.py:{','.join(words)}")
    return ConfigDict(found.to_dict())


def simclr(config: ConfigDict) -> None:
    """NT-Xent of both views in the batch."""
    _begin(config, "simclr")
    config.method.projector.update(num_layers=2, norm="none")  # the paper's g(h); 256 from §2.4
    config.method.temperature = 0.1  # ours


def byol(config: ConfigDict) -> None:
    """A predictor and a target that follows."""
    _begin(config, "byol")
    heads = _heads(config, hidden_dim=4096, out_dim=256)
    config.method.projector.update(heads, num_layers=2, norm="hidden")
    config.method.predictor = dict(heads, num_layers=2, norm="hidden")
    config.method.momentum = 0.996  # as published; it rises to 1
    if not _large(config):
        config.method.momentum = 0.97  # ours: runs of some 300 steps


def moco(config: ConfigDict) -> None:
    """A target that follows, and a queue of its keys."""
    _begin(config, "moco")
    heads = _heads(config, hidden_dim=2048, out_dim=128)
    # As published, where the backbone has batch norm. Nothing in a ViT centres what it gives: its
    # projections lie in one direction, and a query is told from older keys by their age.
    norm = "hidden" if config.model.name == "vit" else "none"
    config.method.projector.update(heads, num_layers=2, norm=norm)
    config.method.temperature = 0.2  # v2
    config.method.momentum = 0.999  # as published
    config.method.queue_size = 65536  # as published
    if not _large(config):
        config.method.momentum = 0.97  # ours: runs of some 300 steps
        config.method.queue_size = 512  # ours: of some 1,000 images


def moco_v3(config: ConfigDict) -> None:
    """A predictor and a target that follows, whose keys of the batch are told apart."""
    _begin(config, "moco_v3")
    layers = 3 if config.model.name == "vit" else 2
    heads = _heads(config, hidden_dim=4096, out_dim=256)
    config.method.projector.update(heads, num_layers=layers, norm="all")
    config.method.predictor = dict(heads, num_layers=2, norm="all")
    config.method.temperature = 0.2 if config.model.name == "vit" else 1.0  # as published
    config.method.momentum = 0.99  # as published; it rises to 1
    if not _large(config):
        config.method.momentum = 0.97  # ours: runs of some 300 steps


def simsiam(config: ConfigDict) -> None:
    """A predictor, and a gradient that stops."""
    _begin(config, "simsiam")
    wide = _heads(config, hidden_dim=2048, out_dim=2048)
    narrow = dict(wide, hidden_dim=wide["hidden_dim"] // 4)
    config.method.projector.update(wide, num_layers=3, norm="all")
    config.method.predictor = dict(narrow, num_layers=2, norm="hidden")


SIAMESE = {
    "simclr": simclr,
    "byol": byol,
    "moco": moco,
    "moco_v3": moco_v3,
    "simsiam": simsiam,
}


def use_views(config: ConfigDict, views: str) -> None:
    """Our views of radiographs, or the method's own published augmentation.

    Args:
      views: 'augmented', as the config has them, or 'published'.
    """
    if choose("config argument views", views, VIEWS) == "published":
        _set_views(config, "published", PUBLISHED_VIEWS[config.method.name])


def mcgip(config: ConfigDict, *, measure: str, on: str) -> None:
    """Images of similar gaze are positives too, on any of `MCGIP_ON`."""
    threshold = choose("config argument measure", measure, THRESHOLDS)
    SIAMESE[choose("config argument on", on, MCGIP_ON)](config)
    config.data.gaze = "own"
    config.method.partners.update(measure=measure, threshold=threshold)


def focus_contrast(config: ConfigDict, *, on: str) -> None:
    """Views that keep what was looked at."""
    choose("config argument on", on, SIAMESE)(config)
    config.data.gaze = "own"
    _set_views(config, "focus", FOCUS_VIEWS)


def _begin(config: ConfigDict, name: str) -> None:
    """The method's block, with what all of them have, in the place of GazAT's."""
    gazat, attention = config.method, "rows" if config.model.name == "vit" else "energy"
    config.data.gaze = "none"
    # ours, as the learning rate: to be chosen on validation by configs/baselines/tuning.py, which
    # has what was tried
    config.views.maker = "augmented"  # augmented | published | focus
    config.views.standard.update(crop=(0.5, 1.0))
    config.views.strong.update(cutout_count=0)  # as published: no cut-out
    config.optim.learning_rate = 3e-4  # at 2e-3 SimCLR's features collapse
    config.method = ConfigDict()
    config.method.name = name
    config.method.projector = ConfigDict(gazat.projector.to_dict())
    config.method.partners = dict(
        measure="",  # of similar gaze: '' = none is asked | moments | dhash | multimatch | tima
        threshold=0.9,  # similarity above which two images are partners
        keep=1.0,  # probability with which such a pair is kept
        length=0,  # rows of a scanpath, for multimatch and tima; 0 = as the data needs
    )
    config.method.attention = attention  # rows | energy
    config.method.pooling = gazat.pooling  # the same features are compared
    config.method.levels = gazat.levels


def _large(config: ConfigDict) -> bool:
    return config.data.name in CREDENTIALED


def _heads(config: ConfigDict, **published: int) -> dict[str, int]:
    if _large(config):
        return published
    gazat = config.method.projector  # as wide as GazAT's, which the smoke size makes narrow
    return dict(hidden_dim=gazat.hidden_dim, out_dim=gazat.out_dim)


def _set_views(config: ConfigDict, maker: str, settings: dict[str, Any]) -> None:
    kept = {key: config.views[key] for key in ("mean", "std")}
    config.views = ConfigDict(dict(kept, maker=maker, **settings))
