"""GG-CAM: the class activation of DenseNet is to resemble gaze (Zhu et al. 2022).

    python -m gazax.main --config=configs/baselines/gg_cam.py           # the phantom
    ...:study    ...:smoke    ...:data=egd_cxr --config.data.root=DIR    ...:protocol=paper

At 64 px the map that is held against gaze has 2x2 cells, at 640x512 20x16. `:study` and
`:data=egd_cxr` are not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import baselines, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="phantom", protocol="strict", study=False, smoke=False)
    config = baselines.begin(data=arg.data, protocol=arg.protocol, study=arg.study, smoke=arg.smoke)
    baselines.guided_classifier(config, smoke=arg.smoke)
    config.method.name = "gg_cam"
    config.method.log_sigma_classification = 0.0  # ours; the published code's 7
    config.method.log_sigma_gaze = 0.0  # ours; its -23 leaves the labels no say
    config.method.log_scale = 0.0  # the code's, of the map before the sigmoid
    config.method.shift = 0.0  # the code's
    return config
