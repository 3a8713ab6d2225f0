"""Supervised learning with every label, from random weights: what pretraining is held against.

    python -m gazax.main --config=configs/baselines/supervised.py:study

The backbone, images, steps and views of GazAT's, a linear head, the best step on validation.
`:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import blocks, parse_arg, siamese


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="phantom", backbone="vit", smoke=False, study=False)
    config = siamese.begin(__file__, arg)
    del config.views.strong
    config.data.gaze = "none"
    config.optim.learning_rate = 1e-3  # ours
    blocks.classification(config)
    return config
