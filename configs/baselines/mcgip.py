"""McGIP: images that were looked at alike are positives of each other too.

    python -m gazax.main --config=configs/baselines/mcgip.py:study
    python -m gazax.main --config=configs/baselines/mcgip.py:on=byol,measure=dhash,study
    python -m gazax.main --config=configs/baselines/mcgip.py:data=reflacx --config.data.root=DIR

on: simclr, byol or moco. measure: of how alike two images were looked at, moments or dhash of the
gaze map, multimatch or tima of the scanpath. GzPT keeps such a pair with a probability:
`--config.method.partners.keep=0.5`. Scanpaths are costly to compare, some 45,000
pairs a second on one core: with `on=moco` take a short queue. `:data=reflacx` is not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import parse_arg, siamese


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(
        arg,
        data="phantom",
        backbone="vit",
        on="simclr",
        measure="moments",
        smoke=False,
        study=False,
    )
    config = siamese.begin(__file__, arg)
    siamese.mcgip(config, on=arg.on, measure=arg.measure)
    return config
