"""The scanpaths that a method compares images by, where it does."""

from typing import Any

from ml_collections import ConfigDict

from gazax.data import pipeline
from gazax.data.records import Records
from gazax.data.scanpaths import Describe
from gazax.experiment import parts
from gazax.typing import SCANPATH_COLUMNS, InputError


def describe_scanpaths(config: ConfigDict, records: Records) -> Describe | None:
    """What makes the scanpath of a training example; None where none is compared.

    Fills in ``config.method.partners.length`` where it is 0, from all training images.

    Raises:
      InputError: the gaze of training is a map that fixations only draw, which has no order.
    """
    partners: Any = config.method.get("partners")
    if not partners or partners.measure not in SCANPATH_COLUMNS:
        return None
    settings = parts.gaze_settings(config)
    if settings.gaze == "mean" or settings.predictor:
        raise InputError(
            f"config.method.partners.measure={partners.measure} compares the order in which was "
            f"looked, and config.data.gaze={settings.gaze} is a map without one: take measure="
            "moments or dhash."
        )
    if not partners.length:
        partners.length = pipeline.longest_scanpath(
            records.source("train"),
            partners.measure,
            seed=config.seed,
            gaze=settings,
            sigma_fraction=config.data.sigma_fraction,
            **parts.sizes(config),
        )
    return Describe(partners.measure, partners.length, records.image_ids)
