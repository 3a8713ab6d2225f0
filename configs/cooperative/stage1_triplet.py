"""Cooperative learning, stage 1a: DenseNet learns to tell the classes apart by triplets (III.A).

    python -m gazax.main --config=configs/cooperative/stage1_triplet.py
    ...:init_from=densenet201.safetensors,data=egd_cxr     # ImageNet weights, as the paper's code
    ...:objective=sup_con                                     # the modern alternative
    ...:data=egd_cxr --config.data.root=DIR                # the paper's size and network
    ...:study    ...:smoke    ...:protocol=paper

Positives are the batch's images of the same class; each batch has as many of every class. Chosen by
a linear probe on validation.

2026-11-23, in `all.py:study`, phantom numbers, test split: macro AUC of a linear probe .841, .881
and .859 with seeds 0, 1 and 2; of the random weights .817, .815 and .825.

On a TPU v5e chip a batch of 48 fits with `model.remat` and 20 without (XLA's account, no chip).
"""

from ml_collections import ConfigDict

from gazax.config import cooperative, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(
        arg,
        data="",
        init_from="",
        objective="triplet",
        protocol="",
        study=False,
        smoke=False,
    )
    config, found = cooperative.stage(
        data=arg.data,
        protocol=arg.protocol,
        init_from=arg.init_from,
        follows="triplet",
        study=arg.study,
        smoke=arg.smoke,
    )
    config.data.balanced = True
    config.model = cooperative.densenet(config, smoke=arg.smoke)
    if found:
        config.model = ConfigDict(found.model.to_dict())
    config.init_from.scopes = ("backbone",) if arg.init_from else ()
    config.method = ConfigDict()
    config.method.name = "triplet"
    config.method.objective = arg.objective  # triplet | sup_con
    config.method.mining = "all"  # as the paper's code | hard | semi_hard
    config.method.distance = "embedding"  # ours | published, over the width axis of the maps
    config.method.margin = 0.2  # ours, of distances on the unit sphere; the code's is 1.0 of others
    config.method.temperature = 0.1  # of sup_con; ours
    config.method.projector_dim = 0  # no projector, as the paper
    config.method.levels = (-1,)
    config.eval.suite = "pretraining"
    config.eval.monitor = ("validation/probe_auc",)
    return config
