"""MoCo v2: a view is told from the keys of earlier batches.

    python -m gazax.main --config=configs/baselines/moco.py:study
    python -m gazax.main --config=configs/baselines/moco.py:views=published,study
    python -m gazax.main --config=configs/baselines/moco.py:data=reflacx --config.data.root=DIR

Views are ours for radiographs, or the published ones. `backbone=resnet` takes GazAT's ResNet.
`:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import siamese


def get_config(arg: str = "") -> ConfigDict:
    return siamese.baseline(__file__, arg, siamese.moco)
