"""Cooperative learning, stage 3: a classifier on the features of both encoders (III.C).

    python -m gazax.main --config=configs/cooperative/stage3_fusion.py      # nothing pretrained
    ...:init_from=runs/stage2_saliency
    ...:study    ...:smoke    ...:protocol=paper

Both encoders are frozen, and what they say of the images is computed once. Without `init_from`
there is nothing to freeze: all parts learn together from random weights, by cross-entropy alone.

2026-11-23, in `all.py:study`, three seeds, phantom numbers, test split: accuracy .720 [.668, .771],
macro AUC .882 [.848, .914]; not clearly more than stage 1b.
"""

from ml_collections import ConfigDict

from gazax.config import cooperative, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, data="", init_from="", protocol="", study=False, smoke=False)
    config, found = cooperative.stage(
        data=arg.data,
        protocol=arg.protocol,
        init_from=arg.init_from,
        follows="saliency",
        study=arg.study,
        smoke=arg.smoke,
    )
    config.guide = cooperative.densenet(config, smoke=arg.smoke)
    config.model = cooperative.unet(config, smoke=arg.smoke)
    if found:
        config.guide = ConfigDict(found.guide.to_dict())
        config.model = ConfigDict(found.model.to_dict())
    if arg.init_from:
        config.init_from.fresh = ("classifier",)
        config.freeze = ("densenet/.*", "unet/.*")
        config.train.cache_frozen = True
    config.method = ConfigDict()
    config.method.name = "fusion"
    config.method.hidden_dim = 64  # figure 1
    config.method.dropout = 0.25  # the code
    cooperative.classes(config)
    return config
