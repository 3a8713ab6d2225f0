"""GazAT from beginning to end: pretraining, then fine-tuning to classify (proposal §2.4).

    python -m gazax.main --config=configs/gazat_transfer.py                 # a ViT, the phantom
    python -m gazax.main --config=configs/gazat_transfer.py:model=resnet
    python -m gazax.main --config=configs/gazat_transfer.py:smoke
    python -m gazax.main --config=configs/gazat_transfer.py:study
    python -m gazax.main --config=configs/gazat_transfer.py:data=reflacx \\
        --config.stages.pretrain.data.root=DIR --config.stages.finetune.data.root=DIR

Each stage has its folder in the workdir, and goes on by itself where it was stopped.

not yet run
"""

from ml_collections import ConfigDict

from gazax.config import blocks, choose, datasets, load_beside, parse_arg

FILES = {"vit": "gazat_vit.py", "resnet": "gazat_resnet.py"}


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(arg, model="vit", data="phantom", smoke=False, study=False)
    file = choose("model", arg.model, FILES)
    size = "".join(f",{name}" for name in ("smoke", "study") if arg[name])
    pretrain = load_beside(__file__, f"{file}:data={arg.data}{size}")
    finetune = blocks.follow(pretrain)
    blocks.classification(finetune)
    finetune.init_from.path = "stage:pretrain"
    if arg.data in datasets.CREDENTIALED:
        finetune.optim.learning_rate = 1e-4  # §2.4
        finetune.train.batch_size = 128  # §2.4
    if arg.smoke:
        blocks.tiny_transfer(finetune, pretrained=True)
    return blocks.in_stages(pretrain=pretrain, finetune=finetune)
