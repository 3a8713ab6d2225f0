"""Cooperative learning, stage 1b: DenseNet learns to classify (III.A).

    python -m gazax.main --config=configs/cooperative/stage1_classify.py   # without stage 1a
    ...:init_from=runs/stage1_triplet
    ...:init_from=densenet201.safetensors,data=egd_cxr     # ImageNet weights, without stage 1a
    ...:study    ...:smoke    ...:protocol=paper

2026-11-23, in `all.py:study`, three seeds, phantom numbers, test split: accuracy .701 [.652, .751],
macro AUC .881 [.849, .910].

On a TPU v5e chip a batch of 48 fits with `model.remat` and 20 without (XLA's account, no chip).
"""

from ml_collections import ConfigDict

from gazax.config import cooperative, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="", init_from="", protocol="", study=False, smoke=False)
    config, found = cooperative.stage(
        data=arg.data,
        protocol=arg.protocol,
        init_from=arg.init_from,
        follows="triplet",
        study=arg.study,
        smoke=arg.smoke,
    )
    config.model = cooperative.densenet(config, smoke=arg.smoke)
    if found:
        config.model = ConfigDict(found.model.to_dict())
    if arg.init_from:
        config.init_from.scopes, config.init_from.fresh = ("backbone",), ("head",)
    config.method = ConfigDict()
    config.method.name = "supervised"
    config.method.attention = "grad_cam"  # figure 2
    config.method.levels = (-1,)
    cooperative.classes(config)
    return config
