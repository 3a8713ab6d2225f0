"""UNet_S: the standard U-Net predicts where radiologists look.

    python -m gazax.main --config=configs/baselines/unet_s.py           # the phantom
    ...:study    ...:smoke    ...:data=egd_cxr --config.data.root=DIR    ...:protocol=paper

What came out on the phantom: `configs/cooperative/tables.py`. `:data=egd_cxr` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import baselines, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="phantom", protocol="strict", study=False, smoke=False)
    config = baselines.begin(data=arg.data, protocol=arg.protocol, study=arg.study, smoke=arg.smoke)
    config.model = baselines.unet(config, smoke=arg.smoke)
    config.guide = ConfigDict(dict(name=""))
    config.method = ConfigDict(dict(name="saliency"))
    config.eval.suite = "saliency"
    config.eval.monitor = ("-validation/saliency/kl",)
    return config
