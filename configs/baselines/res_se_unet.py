"""Res_SE-UNet alone, without DenseNet's guidance, predicts where radiologists look.

    python -m gazax.main --config=configs/baselines/res_se_unet.py           # the phantom
    ...:study    ...:smoke    ...:data=egd_cxr --config.data.root=DIR    ...:protocol=paper

It is stage 2 of cooperative learning with `guided=false`.

What came out on the phantom: `configs/cooperative/tables.py`. `:data=egd_cxr` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import load_beside


def get_config(arg: str = "") -> ConfigDict:
    separator = "," if arg else ""
    return load_beside(__file__, f"../cooperative/stage2_saliency.py:guided=false{separator}{arg}")
