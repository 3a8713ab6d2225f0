"""A classifier whose Grad-CAM of the image's own class is to resemble gaze.

    python -m gazax.main --config=configs/baselines/attention_consistency.py           # the phantom
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
    config.method.name = "attention_consistency"
    config.method.weight = 1.0  # ours
    config.method.distance = "l2"  # l2 | kl, which wants a weight near 0.1
    config.method.grad_cam_weights = "differentiated"  # ours: second order | constant
    return config
