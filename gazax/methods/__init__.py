"""What is learned, from which views, with which losses: one method a file."""

from typing import Any

from gazax.config import choose
from gazax.methods.attention_consistency import AttentionConsistency
from gazax.methods.base import Method
from gazax.methods.fusion import Fusion
from gazax.methods.gazat import GazAT
from gazax.methods.gg_cam import GGCAM
from gazax.methods.mt_unet import MTUNet
from gazax.methods.saliency import Saliency
from gazax.methods.segmentation import Segmentation
from gazax.methods.simclr import SimCLR
from gazax.methods.supervised import Supervised
from gazax.methods.triplet import Triplet

METHODS = {
    "attention_consistency": AttentionConsistency,
    "fusion": Fusion,
    "gazat": GazAT,
    "gg_cam": GGCAM,
    "mt_unet": MTUNet,
    "saliency": Saliency,
    "segmentation": Segmentation,
    "simclr": SimCLR,
    "supervised": Supervised,
    "triplet": Triplet,
}

__all__ = [
    "GGCAM",
    "METHODS",
    "AttentionConsistency",
    "Fusion",
    "GazAT",
    "MTUNet",
    "Method",
    "Saliency",
    "Segmentation",
    "SimCLR",
    "Supervised",
    "Triplet",
    "build",
]


def build(name: str, **kwargs: Any) -> Method:
    """The method of that name; an unknown name is an `InputError` that lists the known ones."""
    return choose("method", name, METHODS)(**kwargs)
