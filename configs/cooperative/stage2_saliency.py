"""Cooperative learning, stage 2: Res_SE-UNet learns where radiologists look (III.B).

    python -m gazax.main --config=configs/cooperative/stage2_saliency.py    # nothing pretrained
    ...:init_from=runs/stage1_classify
    ...:guided=false                                       # Res_SE-UNet alone, the paper's ablation
    ...:study    ...:smoke    ...:protocol=paper

DenseNet is frozen, and what it says of the images is computed once. Without `init_from` there is
nothing to freeze: both encoders learn from random weights, by the loss of this stage.

2026-11-23, in `all.py:study`, three seeds, phantom numbers, test split: KL .446 [.424, .468], CC
.787 [.773, .799]; training-mean map .948 and .495.

On a TPU v5e chip a batch of 16 fits with `model.remat` and 4 without (XLA's account, no chip).
"""

from ml_collections import ConfigDict

from gazax.config import InputError, cooperative, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(
        arg,
        data="",
        init_from="",
        guided=True,
        protocol="",
        study=False,
        smoke=False,
    )
    if arg.init_from and not arg.guided:
        raise InputError("guided=false has no use for init_from; leave one of them out.")
    config, found = cooperative.stage(
        data=arg.data,
        protocol=arg.protocol,
        init_from=arg.init_from,
        follows="supervised",
        study=arg.study,
        smoke=arg.smoke,
    )
    config.guide = cooperative.densenet(config, smoke=arg.smoke)
    if found:
        config.guide = ConfigDict(found.model.to_dict())
    config.model = cooperative.unet(config, smoke=arg.smoke)
    if not arg.guided:
        config.guide.name = ""
    if arg.init_from:
        config.init_from.scopes, config.init_from.fresh = ("backbone:densenet",), ("unet",)
        config.freeze = ("densenet/.*",)
        config.train.cache_frozen = True
    config.method = ConfigDict()
    config.method.name = "saliency"
    config.eval.suite = "saliency"
    config.eval.monitor = ("-validation/saliency/kl",)
    return config
