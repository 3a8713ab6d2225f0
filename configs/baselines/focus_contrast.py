"""FocusContrast: the views keep what was looked at.

    python -m gazax.main --config=configs/baselines/focus_contrast.py:study
    python -m gazax.main --config=configs/baselines/focus_contrast.py:on=byol,study
    python -m gazax.main --config=configs/baselines/focus_contrast.py:study \\
        --config.data.gaze=predicted:WORKDIR

on: simclr, byol, moco, moco_v3 or simsiam. What was looked at is people's gaze, or what a model of
gaze predicts, as published. `:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import parse_arg, siamese


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="phantom", backbone="vit", on="simclr", smoke=False, study=False)
    config = siamese.begin(__file__, arg)
    siamese.focus_contrast(config, on=arg.on)
    return config
