"""SimCLR: two views of an image are told from those of all others; it knows no gaze.

    python -m gazax.main --config=configs/baselines/simclr.py:study
    python -m gazax.main --config=configs/baselines/simclr.py:views=published,study
    python -m gazax.main --config=configs/baselines/simclr.py:data=reflacx --config.data.root=DIR

Views are ours for radiographs, or the published ones. `backbone=resnet` takes GazAT's ResNet.
`:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import siamese


def get_config(arg: str = "") -> ConfigDict:
    return siamese.baseline(__file__, arg, siamese.simclr)
