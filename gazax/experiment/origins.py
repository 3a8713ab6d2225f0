"""What a run begins with besides its data: the weights of another, and who predicts its gaze."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.experiment import parts
from gazax.experiment.predicted_gaze import GazePredictor, find_predictor
from gazax.export import foreign
from gazax.train import workdir
from gazax.train.source import Source, load_source
from gazax.typing import InputError

_Found = TypeVar("_Found")


@dataclasses.dataclass(frozen=True)
class Origins:
    """Either may be gone after a run has ended, which can be shown without them."""

    source: Source | None
    """Whose weights it begins with."""
    predictor: GazePredictor | None
    source_gone: InputError | None = None
    """Why the weights that a finished run began with cannot be read."""
    predictor_gone: InputError | None = None

    def require(self) -> None:
        """Raises what says that one is gone."""
        for gone in filter(None, (self.source_gone, self.predictor_gone)):
            raise gone

    def fingerprints(self, folder: epath.Path) -> tuple[str | None, str | None]:
        """Of the source's weights and of the predictor's; other weights have another.

        Args:
          folder: the run's workdir, which knows them of what is gone.
        """
        weights = self.source.identity if self.source else None
        if self.source_gone:
            weights = workdir.read_config(folder)["weights_fingerprint"]
        predicts = self.predictor.source.identity if self.predictor else None
        if self.predictor_gone:
            predicts = workdir.read_config(folder).get("gaze_fingerprint")
        return weights, predicts


def find_origins(config: ConfigDict, folder: epath.Path, *, source: str | Source) -> Origins:
    """Finds both, and refuses weights that do not belong to this run's data.

    Args:
      config: of one stage.
      folder: the workdir; where it holds a finished run, what is gone is kept and not raised.
      source: as `load_source` takes it, '' = none, or the weights themselves.

    Raises:
      InputError: one of a run that has not ended is not there, does not fit, or may have been
        trained on this run's test images.
    """
    found, source_gone = (
        _unless_gone(lambda: _load(config, source), folder)
        if isinstance(source, str)
        else (source, None)
    )
    if found is not None:
        _check_protocol("config.init_from", config, found)
        _check_images(config, found)
    path = parts.gaze_settings(config).predictor
    predictor, predictor_gone = _unless_gone(lambda: find_predictor(path) if path else None, folder)
    if predictor is not None:
        _check_protocol("config.data.gaze", config, predictor.source)
    return Origins(found, predictor, source_gone, predictor_gone)


def _unless_gone(
    find: Callable[[], _Found], folder: epath.Path
) -> tuple[_Found | None, InputError | None]:
    try:
        return find(), None
    except InputError as error:
        if not workdir.read_summary(folder):
            raise
        return None, error


def _load(config: ConfigDict, path: str) -> Source | None:
    which = config_lib.choose("init_from.which", config.init_from.which, ("best", "last"))
    if not path:
        return None
    return load_source(
        path,
        which=which,
        read_foreign=foreign.read,
        allow_pickle=config.init_from.allow_pickle,
    )


def _check_protocol(key: str, config: ConfigDict, source: Source) -> None:
    """Refuses weights that may have been trained on this run's test images."""
    there, data = source.config.get("data", {}), config.data
    protocol = there.get("protocol", "strict")
    if there.get("name") == data.name and protocol != data.protocol:
        raise InputError(
            f"{key}: {source.name} was trained under the protocol "
            f"'{protocol}', and this run is under '{data.protocol}': what one trains on, the "
            f"other tests. Take config.data.protocol={protocol}."
        )


def _check_images(config: ConfigDict, source: Source) -> None:
    """Refuses weights for images that were normalised in another way, where they say how."""
    there = source.config.get("views", {})
    for key in ("mean", "std"):
        theirs, mine = there.get(key), config.views[key]
        # a file has them as float32
        if theirs is not None and np.float32(theirs) != np.float32(mine):
            raise InputError(
                f"config.init_from: the weights of {source.name} are for images of {key} "
                f"{theirs:.7g}, and config.views.{key} is {mine:.7g}: they would see other "
                f"values than they learned from. Take config.views.{key}={theirs:.7g}."
            )
