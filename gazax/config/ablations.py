"""Sweeps over pretraining: variants of configs, measured alike on the test split.

A variant is a config and overrides of it; the same overrides, such as the phantom's difficulty, are
added to all that do not set them.
"""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

Variant = tuple[str, Sequence[str]]
"""A config file with its argument for the size left open (``configs/gazat_vit.py:{size}``), and
overrides."""

GAZAT = "configs/gazat_vit.py:{size}"
FEATURES = (
    "few_shot_1/accuracy",
    "few_shot_10/accuracy",
    "probe/accuracy",
    "probe/auc_macro",
)
ATTENTION = ("attention/cc", "attention-mean_map/cc")


def pretraining_sweep(
    variants: Mapping[str, Variant],
    *,
    reference: str,
    smoke: bool,
    contrast: float,
    steps: int = 0,
    metrics: Sequence[str] = (*FEATURES, *ATTENTION),
    suites: Sequence[str] = ("representation", "alignment"),
) -> ConfigDict:
    """Three seeds of each at the size of `:study`, two at that of tests.

    Args:
      variants: by name, in the table's order.
      reference: the variant that the others are compared with.
      smoke: the size of tests.
      contrast: of the phantom's lesions; 1 is the default difficulty.
      steps: of training; 0 = as long as `:study`, or the size of tests, is.
      metrics: of the table.
      suites: of `gazax.evaluate`.
    """
    common = {"data.source.contrast": contrast} | ({"train.steps": steps} if steps else {})
    config = ConfigDict()
    config.reference = reference
    config.seeds = (0, 1) if smoke else (0, 1, 2)
    config.suites = tuple(suites)
    config.metrics = tuple(metrics)
    config.x_label = ""
    config.variants = ConfigDict(sort_keys=False)
    for name, (file, overrides) in variants.items():
        own = {override.partition("=")[0] for override in overrides}
        shared = (f"{key}={value}" for key, value in common.items() if key not in own)
        config.variants[name] = ConfigDict(
            dict(
                config=file.format(size="smoke" if smoke else "study"),
                overrides=(*overrides, *shared),
            )
        )
    return config


def of_gazat(changes: Mapping[str, Sequence[str]]) -> dict[str, Variant]:
    """Variants of GazAT on a ViT, each with the overrides given."""
    return {name: (GAZAT, overrides) for name, overrides in changes.items()}
