"""MT-UNet: one U-Net that learns both tasks at once (Zhu, Rohling and Salcudean 2022).

    python -m gazax.main --config=configs/baselines/mt_unet.py           # the phantom
    ...:study    ...:smoke    ...:data=egd_cxr --config.data.root=DIR    ...:protocol=paper
    ...:balance=kendall    # or gradnorm, or fixed; uncertainty is the published code's

What came out on the phantom: `configs/cooperative/tables.py`. `:data=egd_cxr` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import baselines, parse_arg

LEARNED = {"kendall": ("classification", "saliency")}
"""Log sigmas that a balance learns, where it is not the published one."""


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(
        arg, data="phantom", protocol="strict", balance="uncertainty", study=False, smoke=False
    )
    config = baselines.begin(data=arg.data, protocol=arg.protocol, study=arg.study, smoke=arg.smoke)
    config.model = baselines.mt_unet(config, smoke=arg.smoke)
    baselines.joint(config)
    config.method.balance = arg.balance
    if arg.balance != "uncertainty":
        config.model.learned_sigmas = LEARNED.get(arg.balance, ())
    return config
