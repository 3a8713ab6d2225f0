"""Cooperative learning: its stages 1a, 1b, 2 and 3, one after the other (Qiu, Rivaz and Xiao).

    python -m gazax.main --config=configs/cooperative/all.py                 # the phantom
    python -m gazax.main --config=configs/cooperative/all.py:smoke           # seconds a stage
    python -m gazax.main --config=configs/cooperative/all.py:study           # for comparisons
    python -m gazax.main --config=configs/cooperative/all.py:data=egd_cxr,root=DIR
    ...:weights=densenet201.safetensors    # begin with ImageNet's, as the paper's code does
    ...:protocol=paper                     # its split and its selection, for comparison only

Each stage has its folder in the workdir, begins with the best step of the one before, and goes on
by itself where it was stopped.

2026-11-23, two cores of an AMD EPYC, other jobs beside it, `:study` with seeds 0, 1 and 2, phantom
numbers, test split: saliency KL .446 (training-mean map .948), CC .787 (.495); stage 3's accuracy
.720 against .701 of stage 1b, difference .019 [-.016, .057]: a null. Tables in the README.
`:data=egd_cxr` was run as `:smoke` on an invented tree of its layout, and not on the data.
"""

from ml_collections import ConfigDict

from gazax.config import blocks, load_beside, parse_arg

STAGES = ("stage1_triplet", "stage1_classify", "stage2_saliency", "stage3_fusion")


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(
        arg,
        data="phantom",
        root="",
        weights="",
        protocol="strict",
        seed=0,
        study=False,
        smoke=False,
    )
    stages, begins_with = {}, arg.weights
    for name in STAGES:
        size = f"study={arg.study},smoke={arg.smoke}"
        spec = f"{name}.py:data={arg.data},protocol={arg.protocol},{size}"
        stages[name] = load_beside(__file__, f"{spec},init_from={begins_with}")
        stages[name].data.root = arg.root
        stages[name].seed = arg.seed
        begins_with = f"stage:{name}"
    return blocks.in_stages(**stages)
