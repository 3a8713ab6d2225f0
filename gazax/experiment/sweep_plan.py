"""What a sweep will run: variants of configs x seeds, each different one once.

A sweep's config is none of a training run: it has ``variants``, each with the spec of a config, the
overrides and what it is compared against (see `configs/ablations/`).
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.experiment import parts
from gazax.experiment.check import check
from gazax.experiment.evaluation import SUITES
from gazax.experiment.results import FOLDERS
from gazax.typing import InputError

KEYS = ("reference", "seeds", "suites", "split", "metrics", "variants", "x_label")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the table.

    Attributes:
      name: letters, digits, '_', '.' and '-'.
      config: ``FILE[:arguments]``.
      overrides: ``a.b=value``, as behind ``--config.`` on a command line.
      reference: the variant that it is compared against; '' = the sweep's. Itself = none.
      x: its place on the figure's axis, where that has one.
      line: of the figure, which of its lines it is a point of; '' = the name.
    """

    name: str
    config: str
    overrides: Sequence[str] = ()
    reference: str = ""
    x: float | None = None
    line: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training run and its evaluation.

    Attributes:
      key: a hash of the config with everything in it, which names the folder.
      config: ``FILE[:arguments]``.
      overrides: the seed and the variant's.
      evaluated: the folder in the workdir that is evaluated, that of the last stage; '' = itself.
      uses: the (variant, seed) pairs whose numbers it gives.
    """

    key: str
    config: str
    overrides: tuple[str, ...]
    evaluated: str
    uses: tuple[tuple[str, int], ...]

    @property
    def title(self) -> str:
        """For people."""
        return " = ".join(f"{variant}, seed {seed}" for variant, seed in self.uses)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """All of a sweep, checked.

    Attributes:
      variants: in the table's order, with `reference` and `line` filled in; '' = no reference.
      runs: in the order of running: the first seed of every variant, then the second.
      seeds, suites, split, metrics, x_label: the config's; the split is 'test', or 'validation' to
        choose by.
    """

    variants: tuple[Variant, ...]
    runs: tuple[PlannedRun, ...]
    seeds: tuple[int, ...]
    suites: tuple[str, ...]
    split: str
    metrics: tuple[str, ...]
    x_label: str

    def chosen(self, names: Collection[str]) -> tuple[PlannedRun, ...]:
        """The runs of these variants.

        Raises:
          InputError: a name that no variant has.
        """
        known = [variant.name for variant in self.variants]
        for name in names:
            config_lib.choose("variant", name, known)
        return tuple(run for run in self.runs if any(name in names for name, _ in run.uses))


def make_plan(config: ConfigDict) -> Plan:
    """Reads a sweep's config, and every config that it names, and checks them all.

    Raises:
      InputError: a key, a variant, a reference, a config or an override that does not exist; a
        value of the wrong type or out of its range. Nothing has been run then.
    """
    if "variants" not in config:
        raise InputError(
            "this config has no variants: it is no sweep. python -m gazax.main trains it; for a "
            "sweep see configs/ablations/."
        )
    _check_keys("config", config, KEYS)
    settings = {key: config[key] for key in KEYS if key in config}
    seeds = _items("seeds", settings, int)
    if wrong := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise InputError(f"config.seeds has {wrong[0]} twice.")
    suites, metrics = (_items(key, settings, str) for key in ("suites", "metrics"))
    for suite in suites:
        config_lib.choose("config.suites", suite, SUITES)
    for metric in metrics:
        if not re.fullmatch(r"[^/]+/[^/]+", metric):
            raise InputError(f"config.metrics has '{metric}'; write row/column: probe/accuracy.")
    split = settings.get("split", "test")
    config_lib.choose("config.split", split, FOLDERS)
    variants = _read_variants(config.variants, settings.get("reference", ""))
    return Plan(
        variants=variants,
        runs=_plan_runs(variants, seeds),
        seeds=seeds,
        suites=suites,
        split=split,
        metrics=metrics,
        x_label=settings.get("x_label", ""),
    )


def _items(key: str, settings: Mapping[str, Any], kind: type) -> tuple[Any, ...]:
    found = settings.get(key, ())
    fits = isinstance(found, tuple | list) and all(type(item) is kind for item in found)
    if not fits or not found:
        raise InputError(f"config.{key} is {found!r}; it must be a tuple of {kind.__name__}.")
    return tuple(found)


def _check_keys(where: str, found: Mapping[str, Any] | ConfigDict, known: Sequence[str]) -> None:
    for key in found:
        if key not in known:
            raise InputError(
                f"{where} has '{key}'{config_lib.did_you_mean(key, known)}; "
                f"known: {', '.join(known)}."
            )


def _read_variants(found: ConfigDict, default: str) -> tuple[Variant, ...]:
    """Checks each by itself and fills in reference and line."""
    if not found:
        raise InputError("config.variants is empty.")
    names = tuple(found)
    if default:
        config_lib.choose("config.reference", default, names)
    variants = []
    for name, settings in found.items():
        where = f"config.variants.{name}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise InputError(f"{where}: a name has letters, digits, '_', '.' and '-' only.")
        _check_keys(where, settings, [field.name for field in dataclasses.fields(Variant)][1:])
        if not isinstance(settings.get("config"), str):
            raise InputError(f"{where}.config is {settings.get('config')!r}; write FILE:arguments.")
        variant = Variant(name=name, **settings)
        if isinstance(variant.overrides, str):
            raise InputError(
                f"{where}.overrides is a text; write a tuple, ('{variant.overrides}',)."
            )
        reference = variant.reference or default
        if reference:
            config_lib.choose(f"{where}.reference", reference, names)
        variants.append(
            dataclasses.replace(
                variant,
                overrides=tuple(variant.overrides),
                reference="" if reference == name else reference,
                line=variant.line or name,
            )
        )
    return tuple(variants)


def _plan_runs(variants: Sequence[Variant], seeds: Sequence[int]) -> tuple[PlannedRun, ...]:
    resolved = {}
    for variant in variants:
        try:
            resolved[variant.name] = _resolve(variant)
        except InputError as error:
            raise InputError(f"variant '{variant.name}': {error}") from None
    runs: dict[str, PlannedRun] = {}
    for seed in seeds:
        for variant in variants:
            leaves, stages = resolved[variant.name]
            seed_keys = [f"stages.{name}.seed" for name in stages] or ["seed"]
            everything = {**leaves, **dict.fromkeys(seed_keys, seed)}
            text = json.dumps(everything, sort_keys=True, default=list)
            key = hashlib.sha256(text.encode()).hexdigest()[:12]
            uses = runs[key].uses if key in runs else ()
            runs[key] = PlannedRun(
                key=key,
                config=variant.config,
                overrides=(*(f"{one}={seed}" for one in seed_keys), *variant.overrides),
                evaluated=stages[-1] if stages else "",
                uses=(*uses, (variant.name, seed)),
            )
    return tuple(runs.values())


def _resolve(variant: Variant) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The leaves of the variant's config, checked, and the names of its stages."""
    config = config_lib.load(variant.config)
    if "variants" in config:
        raise InputError(f"'{variant.config}' is a sweep itself; name a config that trains.")
    stages = tuple(config.stages) if "stages" in config else ()
    overridden = config_lib.override(config, variant.config, variant.overrides)
    if seeds := [key for key in overridden if key == "seed" or re.match(r"stages\..*\.seed$", key)]:
        raise InputError(f"the override of config.{seeds[0]} is the sweep's: config.seeds has it.")
    for one in [config.stages[name] for name in stages] or [config]:
        check(one)
        parts.gaze_settings(one)
    return dict(config_lib.flatten(config)), stages
