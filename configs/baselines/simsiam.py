"""SimSiam: one view predicts the other's projection; no negatives and no target.

    python -m gazax.main --config=configs/baselines/simsiam.py:study
    python -m gazax.main --config=configs/baselines/simsiam.py:views=published,study
    python -m gazax.main --config=configs/baselines/simsiam.py:data=reflacx --config.data.root=DIR

Views are ours for radiographs, or the published ones. `backbone=resnet` takes GazAT's ResNet.
`:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import siamese


def get_config(arg: str = "") -> ConfigDict:
    return siamese.baseline(__file__, arg, siamese.simsiam)
