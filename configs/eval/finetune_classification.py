"""Fine-tunes a pretrained backbone to classify images (proposal §2.4, second phase).

    python -m gazax.main --config=configs/eval/finetune_classification.py:init_from=runs/gazat_vit
    ...:init_from=runs/gazat_vit,random        # the same model from random weights: the comparison
    ...:init_from=runs/gazat_vit,head_first    # the head alone first, then everything
    ...:init_from=runs/gazat_vit,data=gaze_folder --config.data.root=DIR
    ...:model=resnet                           # a small model without pretraining, on the phantom

Model, image size and data are those of the workdir, unless `data` is given. Labels: one question
with one answer each (softmax) where the data is so, else independent ones (sigmoid), those that
are unknown left out of the loss.

2026-11-22, two cores of an AMD EPYC, other jobs beside it, 8 min. Phantom numbers, test split, 95 %
intervals over patients, one seed: `gazat_vit.py:study` fine-tuned, macro AUC .706 [.656, .750],
accuracy .519 [.460, .579]; from random weights .488 [.437, .540], .337 [.280, .394] (not tuned).
"""

from ml_collections import ConfigDict

from gazax.config import InputError, blocks, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(
        arg,
        init_from="",
        random=False,
        head_first=False,
        data="",
        model="",
        smoke=False,
    )
    config = finetune(arg)
    if not arg.head_first:
        return config
    if not config.init_from.path:
        raise InputError("head_first is for pretrained weights; give init_from=WORKDIR with it.")
    head = finetune(arg)
    head.freeze = ("backbone/.*",)
    head.optim.learning_rate = 1e-2  # ours: the head alone bears more
    head.train.epochs = 0 if arg.smoke else 10  # ours
    config.init_from.path = "stage:head"
    config.init_from.scopes, config.init_from.fresh = (), ()
    return blocks.in_stages(head=head, all=config)


def finetune(arg: ConfigDict) -> ConfigDict:
    config = blocks.transfer(
        data=arg.data, init_from=arg.init_from, random=arg.random, model=arg.model
    )
    blocks.classification(config)
    if arg.smoke:
        blocks.tiny_transfer(config, pretrained=bool(arg.init_from))
    return config
