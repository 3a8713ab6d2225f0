"""Inception-ResNet-v2 classifies, without gaze (IRNetv2 of the paper's table 1).

    python -m gazax.main --config=configs/baselines/inception_resnet_v2.py           # the phantom
    ...:study    ...:smoke    ...:data=egd_cxr --config.data.root=DIR    ...:protocol=paper
    ...:weights=inception_resnet_v2.safetensors    # begin with timm's weights of ImageNet

What came out on the phantom: `configs/cooperative/tables.py`. `:data=egd_cxr` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import baselines, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="phantom", protocol="strict", weights="", study=False, smoke=False)
    config = baselines.begin(
        data=arg.data, protocol=arg.protocol, weights=arg.weights, study=arg.study, smoke=arg.smoke
    )
    config.model = baselines.inception_resnet_v2(config, smoke=arg.smoke)
    baselines.classifier(config)
    if arg.weights:
        config.views.mean, config.views.std = 0.5, 0.5  # what timm's weights were trained on
    return config
