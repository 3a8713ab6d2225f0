"""Numbers that no run can have are refused before anything is made."""

import math
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.typing import InputError

Range = tuple[str, Callable[[Any], bool]]
"""What a number must be, in words, and whether it is."""

AT_LEAST_0: Range = ("0 or more", lambda x: 0 <= x < math.inf)
AT_LEAST_1: Range = ("1 or more", lambda x: 1 <= x < math.inf)
POSITIVE: Range = ("above 0", lambda x: 0 < x < math.inf)
SHARE: Range = ("between 0 and 1", lambda x: 0 <= x <= 1)
POSITIVE_SHARE: Range = ("above 0 and at most 1", lambda x: 0 < x <= 1)
BELOW_1: Range = ("0 or more and below 1", lambda x: 0 <= x < 1)
INTERVAL: Range = (
    "two numbers in (0, 1], the smaller one first",
    lambda x: len(x) == 2 and 0 < x[0] <= x[1] <= 1,
)
TWO_SHARES: Range = (
    "two numbers between 0 and 1",
    lambda x: len(x) == 2 and all(0 <= one <= 1 for one in x),
)
TWO_POSITIVE: Range = (
    "two numbers above 0, the smaller one first",
    lambda x: len(x) == 2 and 0 < x[0] <= x[1] < math.inf,
)
ZOOM: Range = (
    "two numbers of 1 or more, the smaller one first",
    lambda x: len(x) == 2 and 1 <= x[0] <= x[1] < math.inf,
)
FINITE: Range = ("a finite number", math.isfinite)
WINDOW: Range = (
    "empty, or the first and the last step of a window, such as 20,29",
    lambda x: not x or ([type(step) for step in x] == [int, int] and 1 <= x[0] <= x[1]),
)
SIZE: Range = (
    "height and width in pixels, such as 64,64",
    lambda x: len(x) == 2 and min(x) >= 1,
)

RANGES: dict[str, Range] = {
    "seed": ("between 0 and 2^31 - 1", lambda x: 0 <= x < 2**31),
    "data.size": SIZE,
    "data.max_boxes": AT_LEAST_1,
    "data.max_fixations": AT_LEAST_1,
    "data.max_readers": AT_LEAST_1,
    "data.max_bad_fraction": SHARE,
    "data.num_threads": AT_LEAST_1,
    "data.num_workers": AT_LEAST_0,
    "data.gaze_fraction": SHARE,
    "data.gaze_rate": SHARE,
    "data.sigma_fraction": POSITIVE,
    "data.source.contrast": AT_LEAST_0,
    "views.std": POSITIVE,
    "views.standard.crop": INTERVAL,
    "views.standard.rotation_degrees": AT_LEAST_0,
    "views.standard.brightness": SHARE,
    "views.standard.contrast": SHARE,
    "views.crop": INTERVAL,
    "views.ratio": TWO_POSITIVE,
    "views.flip": SHARE,
    "views.jitter": SHARE,
    "views.brightness": SHARE,
    "views.contrast": SHARE,
    "views.blur": TWO_SHARES,
    "views.blur_sigma": TWO_POSITIVE,
    "views.solarize": TWO_SHARES,
    "views.crop_probability": SHARE,
    "views.cutout_probability": SHARE,
    "views.drop_probability": SHARE,
    "views.zoom": ZOOM,
    "views.plain_zoom": ZOOM,
    "views.keep": SHARE,
    "views.crop_redraws": AT_LEAST_0,
    "views.cutout_side": INTERVAL,
    "views.cutout_mass": AT_LEAST_0,
    "views.cutout_redraws": AT_LEAST_0,
    "views.drop_blur": POSITIVE,
    "views.drop_floor": SHARE,
    "views.rotation_degrees": AT_LEAST_0,
    "views.strong.brightness": SHARE,
    "views.strong.contrast": SHARE,
    "views.strong.gamma": AT_LEAST_0,
    "views.strong.blur": AT_LEAST_0,
    "views.strong.noise": AT_LEAST_0,
    "views.strong.cutout_count": AT_LEAST_0,
    "views.strong.cutout_side": INTERVAL,
    "model.depth": AT_LEAST_1,
    "model.growth_rate": AT_LEAST_1,
    "model.init_features": AT_LEAST_1,
    "model.reduction": AT_LEAST_1,
    "guide.depth": AT_LEAST_1,
    "guide.growth_rate": AT_LEAST_1,
    "guide.init_features": AT_LEAST_1,
    "model.num_heads": AT_LEAST_1,
    "model.patch_size": AT_LEAST_1,
    "model.width": AT_LEAST_1,
    "model.width_multiplier": POSITIVE,
    "model.hidden": AT_LEAST_1,
    "model.dropout": BELOW_1,
    "model.k": AT_LEAST_1,
    "method.margin": POSITIVE,
    "method.weight": AT_LEAST_0,
    "method.log_sigma_classification": FINITE,
    "method.log_sigma_gaze": FINITE,
    "method.log_scale": FINITE,
    "method.shift": FINITE,
    "method.weights": ("0 or more, one of them above 0", lambda x: min(x) >= 0 < max(x)),
    "method.dropout": BELOW_1,
    "method.hidden_dim": AT_LEAST_1,
    "method.projector_dim": AT_LEAST_0,
    "method.look_first": SHARE,
    "method.alpha": AT_LEAST_0,
    "method.beta": AT_LEAST_0,
    "method.temperature": POSITIVE,
    "method.regional_temperature": POSITIVE,
    "method.module_dim": AT_LEAST_1,
    "method.top_fraction": POSITIVE_SHARE,
    "method.gaze_similarity": ("above -1 and at most 1", lambda x: -1 < x <= 1),
    "method.label_smoothing": BELOW_1,
    "method.bce_weight": AT_LEAST_0,
    "method.dice_weight": AT_LEAST_0,
    "method.projector.num_layers": AT_LEAST_1,
    "method.projector.hidden_dim": AT_LEAST_1,
    "method.projector.out_dim": AT_LEAST_1,
    "method.predictor.num_layers": AT_LEAST_1,
    "method.predictor.hidden_dim": AT_LEAST_1,
    "method.predictor.out_dim": AT_LEAST_1,
    "method.momentum": SHARE,
    "method.queue_size": AT_LEAST_1,
    "method.partners.threshold": BELOW_1,
    "method.partners.keep": POSITIVE_SHARE,
    "method.partners.length": AT_LEAST_0,
    "optim.learning_rate": POSITIVE,
    "optim.layer_decay": POSITIVE_SHARE,
    "optim.weight_decay": AT_LEAST_0,
    "optim.warmup_fraction": BELOW_1,
    "optim.clip_norm": AT_LEAST_0,
    "train.batch_size": AT_LEAST_1,
    "train.steps": AT_LEAST_0,
    "train.epochs": AT_LEAST_0,
    "train.patience": AT_LEAST_0,
    "train.fsdp": AT_LEAST_1,
    "train.log_every": AT_LEAST_1,
    "train.eval_every": AT_LEAST_0,
    "train.checkpoint_every": AT_LEAST_0,
    "train.keep": AT_LEAST_1,
    "train.profile": WINDOW,
    "eval.batch_size": AT_LEAST_1,
    "eval.sigma_fraction": POSITIVE,
    "eval.overlays": AT_LEAST_0,
}
"""Of every number of a config; a key that the config does not have is not looked for."""


def check(config: ConfigDict) -> None:
    """Refuses numbers out of their range, and settings that exclude each other.

    Raises:
      InputError: names the key, what it is and what it must be.
    """
    for key, value in config_lib.flatten(config):
        words, fits = RANGES.get(key, ("", lambda _: True))
        if not fits(value):
            raise InputError(f"config.{key} is {value}; it must be {words}.")
    config_lib.choose("train.parallel", config.train.parallel, ("jit", "shard_map", "pmap"))
    if config.train.parallel != "jit" and config.train.fsdp > 1:
        raise InputError(
            f"config.train.parallel='{config.train.parallel}' repeats every parameter and "
            f"config.train.fsdp={config.train.fsdp} cuts them: take parallel=jit or fsdp=1."
        )
