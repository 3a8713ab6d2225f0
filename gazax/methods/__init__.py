"""What is learned, from which views, with which losses: one method a file."""

from typing import Any

from gazax.config import choose
from gazax.methods.attention_consistency import AttentionConsistency
from gazax.methods.base import Method
from gazax.methods.byol import BYOL
from gazax.methods.fusion import Fusion
from gazax.methods.gazat import GazAT
from gazax.methods.gg_cam import GGCAM
from gazax.methods.moco import MoCo
from gazax.methods.moco_v3 import MoCoV3
from gazax.methods.mt_unet import MTUNet
from gazax.methods.saliency import Saliency
from gazax.methods.segmentation import Segmentation
from gazax.methods.simclr import SimCLR
from gazax.methods.simsiam import SimSiam
from gazax.methods.supervised import Supervised
from gazax.methods.triplet import Triplet

METHODS = {
    "attention_consistency": AttentionConsistency,
    "byol": BYOL,
    "fusion": Fusion,
    "gazat": GazAT,
    "gg_cam": GGCAM,
    "moco": MoCo,
    "moco_v3": MoCoV3,
    "mt_unet": MTUNet,
    "saliency": Saliency,
    "segmentation": Segmentation,
    "simclr": SimCLR,
    "simsiam": SimSiam,
    "supervised": Supervised,
    "triplet": Triplet,
}

__all__ = [
    "BYOL",
    "GGCAM",
    "METHODS",
    "AttentionConsistency",
    "Fusion",
    "GazAT",
    "MTUNet",
    "Method",
    "MoCo",
    "MoCoV3",
    "Saliency",
    "Segmentation",
    "SimCLR",
    "SimSiam",
    "Supervised",
    "Triplet",
    "build",
]


def build(name: str, **kwargs: Any) -> Method:
    """The method of that name; an unknown name is an `InputError` that lists the known ones."""
    return choose("method", name, METHODS)(**kwargs)
