"""Fine-tunes a pretrained backbone to segment images (proposal §2.4, second phase).

    python -m gazax.main --config=configs/eval/finetune_segmentation.py:init_from=runs/gazat_vit
    ...:init_from=runs/gazat_vit,random        # the same model from random weights: the comparison
    ...:init_from=runs/gazat_vit,decoder=linear
    ...:init_from=runs/gazat_vit,data=gaze_folder --config.data.root=DIR

A plane a label: what of the image belongs to it, from the data's masks. Model, image size and data
are those of the workdir, unless `data` is given.

not yet run
"""

from ml_collections import ConfigDict

from gazax.config import blocks, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(
        arg,
        init_from="",
        random=False,
        decoder="unet",
        data="",
        model="",
        smoke=False,
    )
    config = blocks.transfer(
        data=arg.data, init_from=arg.init_from, random=arg.random, model=arg.model
    )
    blocks.segmentation(config)
    config.method.decoder = arg.decoder
    if config.data.name == "phantom":
        config.data.labels = ("pneumonia", "heart_failure")  # nothing is to be marked in a normal
    if arg.smoke:
        blocks.tiny_transfer(config, pretrained=bool(arg.init_from))
    return config
