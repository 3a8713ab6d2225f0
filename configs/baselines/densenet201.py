"""DNet201: DenseNet-201 classifies, without contrastive pretraining, or with it (DNet201-CL).

    python -m gazax.main --config=configs/baselines/densenet201.py           # the phantom
    ...:init_from=runs/stage1_triplet                                        # DNet201-CL
    ...:study    ...:smoke    ...:data=egd_cxr --config.data.root=DIR    ...:protocol=paper

It is stage 1b of cooperative learning by itself, and takes its arguments.

What came out on the phantom: `configs/cooperative/tables.py`. `:data=egd_cxr` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import load_beside


def get_config(arg: str = "") -> ConfigDict:
    return load_beside(__file__, f"../cooperative/stage1_classify.py:{arg}")
