"""GazeGNN classifies an image and where somebody looked at it (Wang et al. 2023).

    python -m gazax.main --config=configs/baselines/gaze_gnn.py           # the phantom
    ...:study    ...:smoke    ...:data=egd_cxr --config.data.root=DIR    ...:protocol=paper

It sees gaze at test time, which no other baseline does. It learns as the others do here: its own
recipe has augmentation, and chooses its step on the test images.

What came out on the phantom: `configs/cooperative/tables.py`. `:data=egd_cxr` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import baselines, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="phantom", protocol="strict", study=False, smoke=False)
    config = baselines.begin(data=arg.data, protocol=arg.protocol, study=arg.study, smoke=arg.smoke)
    config.model = baselines.gaze_gnn(config, smoke=arg.smoke)
    baselines.classifier(config)
    config.method.gaze_input = True
    return config
