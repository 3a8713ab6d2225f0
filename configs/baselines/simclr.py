"""SimCLR on a ViT, with its own augmentation: the baseline that knows no gaze.

    python -m gazax.main --config=configs/baselines/simclr.py:study
    python -m gazax.main --config=configs/baselines/simclr.py:data=reflacx --config.data.root=DIR

`:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import blocks, load_beside, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="phantom", smoke=False, study=False)
    words = [f"data={arg.data}"] + [word for word in ("smoke", "study") if arg[word]]
    config = ConfigDict(load_beside(__file__, f"../gazat_vit.py:{','.join(words)}").to_dict())
    blocks.simclr(config)
    return config
