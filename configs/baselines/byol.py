"""BYOL: one view predicts what a slowly following copy of the network makes of the other.

    python -m gazax.main --config=configs/baselines/byol.py:study
    python -m gazax.main --config=configs/baselines/byol.py:views=published,study
    python -m gazax.main --config=configs/baselines/byol.py:data=reflacx --config.data.root=DIR

Views are ours for radiographs, or the published ones. `backbone=resnet` takes GazAT's ResNet.
`:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import siamese


def get_config(arg: str = "") -> ConfigDict:
    return siamese.baseline(__file__, arg, siamese.byol)
