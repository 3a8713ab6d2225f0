"""A linear classifier on frozen features: MIMIC-CXR, the 14 labels of CheXpert (proposal §2.5.1).

    python -m gazax.main --config=configs/eval/mimic_cxr_probe.py:init_from=runs/gazat_vit \\
        --config.data.root=DIR
    ...:init_from=runs/gazat_vit,random        # the same from random weights: the comparison

It is not yet run on the data itself, which need an account; on a tree of their layout, by the
tests.
"""

from ml_collections import ConfigDict

from gazax.config import blocks, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, init_from="", random=False, model="", smoke=False)
    config = blocks.transfer(
        data="mimic_cxr", init_from=arg.init_from, random=arg.random, model=arg.model
    )
    blocks.classification(config)
    blocks.probe(config)
    blocks.large_transfer(config)
    if arg.smoke:
        blocks.tiny_transfer(config, pretrained=bool(arg.init_from))
    return config
