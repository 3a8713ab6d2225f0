"""Does it depend on the backbone? GazAT and its controls on each (§2.5.4, 4).

    python -m gazax.sweep --config=configs/ablations/backbones.py --out=runs/backbones
    python -m gazax.sweep --config=configs/ablations/backbones.py:contrast=3 --out=runs/backbones_3
    python -m gazax.sweep --config=configs/ablations/backbones.py:smoke --out=runs/backbones_smoke

A ViT with a stem of convolutions, which the others are compared with, a ViT that cuts patches, and
a ResNet-18 with Grad-CAM; each with its own gaze, with that of other images (`_shuffled`), and
SimCLR (`_simclr`). Backbones differ in more than their kind: in size, in rates and in how many
steps `:study` gives them. The gain of gaze is to be read within one. `:study` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import ablations, parse_arg

RESNET = "configs/gazat_resnet.py:{size}"
SIMCLR = "configs/baselines/simclr.py:{size}"
PATCHES, SHUFFLED = "model.stem=patch", "data.gaze=shuffled"
VARIANTS: dict[str, ablations.Variant] = {
    "vit": (ablations.GAZAT, ()),
    "vit_shuffled": (ablations.GAZAT, (SHUFFLED,)),
    "vit_simclr": (SIMCLR, ()),
    "patches": (ablations.GAZAT, (PATCHES,)),
    "patches_shuffled": (ablations.GAZAT, (PATCHES, SHUFFLED)),
    "patches_simclr": (SIMCLR, (PATCHES,)),
    "resnet": (RESNET, ()),
    "resnet_shuffled": (RESNET, (SHUFFLED,)),
    "resnet_simclr": ("configs/baselines/simclr.py:backbone=resnet,{size}", ()),
}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, contrast=1.0, smoke=False)
    return ablations.pretraining_sweep(
        VARIANTS, reference="vit", smoke=arg.smoke, contrast=arg.contrast
    )
