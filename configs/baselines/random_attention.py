"""GazAT whose gaze lies at random places: what is left of it without anybody's attention (§2.5.2).

    python -m gazax.main --config=configs/baselines/random_attention.py:study

As many fixations as people made on each image, as long, at places drawn uniformly, the same in
every epoch. `:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import parse_arg, siamese


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="phantom", backbone="vit", smoke=False, study=False)
    config = siamese.begin(__file__, arg)
    config.data.gaze = "random"
    return config
