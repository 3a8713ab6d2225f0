"""A linear classifier on the frozen features of a pretrained backbone (proposal §2.5.3).

    python -m gazax.main --config=configs/eval/linear_probe.py:init_from=runs/gazat_vit
    ...:init_from=runs/gazat_vit,random        # on random features: the comparison
    ...:init_from=runs/gazat_vit,data=gaze_folder --config.data.root=DIR

Trained by gradient, which scales to any data set; the table of a pretraining run has the same probe
fitted by logistic regression.

not yet run
"""

from ml_collections import ConfigDict

from gazax.config import blocks, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, init_from="", random=False, data="", model="", smoke=False)
    config = blocks.transfer(
        data=arg.data, init_from=arg.init_from, random=arg.random, model=arg.model
    )
    blocks.classification(config)
    blocks.probe(config)
    if arg.smoke:
        blocks.tiny_transfer(config, pretrained=bool(arg.init_from))
    return config
