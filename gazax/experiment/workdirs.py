"""Which run of a workdir is meant."""

from etils import epath

from gazax import config as config_lib
from gazax.train import stages
from gazax.train.workdir import read_config
from gazax.typing import InputError


def run_folder(path: epath.Path, stage: str | None) -> epath.Path:
    """The workdir of one run: the folder itself, or of a workdir of several stages one of them.

    Args:
      path: a workdir, or one ``checkpoints/<step>`` of it.
      stage: of several; None = the last.

    Raises:
      InputError: there is no such stage, or it has not begun.
    """
    names = []
    if (path / "config.json").exists():
        names = list(read_config(path)["config"].get("stages") or ())
    if not names:
        if stage:
            raise InputError(
                f"--stage={stage}: '{path}' is no run of several stages; leave it out."
            )
        return path
    if stage:
        config_lib.choose("--stage", stage, names)
    name = stage or names[-1]
    chosen = stages.stage_folder(path, name)
    if not (chosen / "config.json").exists():
        begun = [one for one in names if (stages.stage_folder(path, one) / "checkpoints").exists()]
        so_far = f", or take --stage={begun[-1]}" if begun else ""
        raise InputError(f"stage '{name}' of '{path}' has not begun. Let its run go on{so_far}.")
    return chosen
