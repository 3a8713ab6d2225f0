"""Whose gaze a model trains with, and how much of it: readers, weights, controls, partial gaze.

Training alone is changed, record by record and on the host (`gazax.data.change_gaze`). What a model
is evaluated against is always the people's own gaze as it is, so that runs are measured alike.
"""

from dataclasses import dataclass

from gazax.config import choose
from gazax.typing import InputError

GAZE = ("own", "shuffled", "random", "mean", "none")
PREDICTED = "predicted:"
"""Stands before the folder of the run that predicts gaze."""
PARTS = ("all", "early", "late")


@dataclass(frozen=True, kw_only=True)
class GazeSettings:
    """The keys of ``config.data`` about gaze; `gazax.data.change_gaze` has the order they act in.

    Args:
      gaze: ``own``, or a control that keeps everything but the gaze the same. ``shuffled``: that
        of another training image, in proportion to the content. ``random``: its own fixations at
        positions drawn uniformly over the content, the same in every epoch. ``mean``: the mean
        gaze map of training. ``none``. Or ``predicted:WORKDIR``: the images that nobody's gaze is
        left of, under `readers` and `gaze_fraction`, get what this run's model predicts of them,
        which the other settings, those of people's gaze, leave as it is.
      readers: ids of those who are kept; () = all.
      reader_weights: ``given`` by the data, or ``equal``.
      weight_by: ``duration``, or ``count``: every fixation lasts 1.
      sigma: ``given`` where the data gives one, or ``fraction``: config.data.sigma_fraction for
        every fixation.
      normalize_readers: False adds up the readers' heat maps by weight as they are; whoever looked
        longer counts for more.
      window: False ignores what the reader could see: a fixation is drawn on the whole content.
      part: of the time that each reader looked, the whole, the ``early`` or the ``late`` half. The
        fixation that lasts over the middle belongs to both, each with its share of the duration
        (under ``count`` with that share of 1), so that the halves add up to the whole.
      gaze_fraction: of the training images that have gaze, the share that keeps it, at least one
        where it is above 0; a larger share contains a smaller one.
      gaze_rate: of each batch, the share that comes from the images with gaze, each kind in epochs
        of its own; 0 takes the images as they come. Predicted gaze does not count.

    Raises:
      InputError: a value that is none of these, naming its key.
    """

    gaze: str = "own"
    readers: tuple[str, ...] = ()
    reader_weights: str = "given"
    weight_by: str = "duration"
    sigma: str = "given"
    normalize_readers: bool = True
    window: bool = True
    part: str = "all"
    gaze_fraction: float = 1.0
    gaze_rate: float = 0.0

    def __post_init__(self):
        """Values are typed by people, in configs."""
        if not self.gaze.startswith(PREDICTED):
            choose("config.data.gaze", self.gaze, (*GAZE, f"{PREDICTED}WORKDIR"))
        elif not self.predictor:
            raise InputError(
                f"config.data.gaze='{self.gaze}' names no run; write {PREDICTED}WORKDIR, the "
                "folder of a run whose model predicts saliency"
            )
        choose("config.data.reader_weights", self.reader_weights, ("given", "equal"))
        choose("config.data.weight_by", self.weight_by, ("duration", "count"))
        choose("config.data.sigma", self.sigma, ("given", "fraction"))
        choose("config.data.part", self.part, PARTS)
        for key in ("gaze_fraction", "gaze_rate"):
            value = vars(self)[key]
            if not 0 <= value <= 1:
                raise InputError(f"config.data.{key} is {value}; it lies between 0 and 1")

    @property
    def predictor(self) -> str:
        """The run that predicts gaze; '' = none."""
        return self.gaze.removeprefix(PREDICTED) if self.gaze.startswith(PREDICTED) else ""


OWN = GazeSettings()
"""Everybody's own gaze, as it is."""
