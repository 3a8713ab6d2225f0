"""What a sweep will run: variants of configs x seeds, each different one once.

A sweep's config is none of a training run: it has ``variants``, each with the spec of a config, the
overrides and what it is compared against (see `configs/ablations/`). A variant whose config begins
with ``stage:NAME`` begins with the run of the variant NAME of the same seed, which is trained once
for all that begin with it (see `configs/cooperative/tables.py`). Likewise the gaze of
``data.gaze=predicted:stage:NAME`` is predicted by that run (`configs/ablations/predicted_gaze.py`).
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.data.gaze_settings import PREDICTED
from gazax.eval.contrasts import Contrast
from gazax.eval.paper_table import Layout
from gazax.experiment import parts
from gazax.experiment.check import RANGES, check
from gazax.experiment.evaluation import SUITES
from gazax.experiment.results import FOLDERS
from gazax.experiment.sweep_tables import check_metric, read_contrasts, read_tables, texts
from gazax.train.stages import PREFIX
from gazax.typing import InputError

KEYS = ("reference", "seeds", "suites", "split", "metrics", "variants", "x_label")
KEYS += ("tables", "contrasts")
GAINED = {"method.look_first": 0.0}
"""Keys that configs got after sweeps of theirs had been run, at what runs without them did: left
out of a run's key at that value, so that what is finished stays finished."""
GAZE_BY = f"{PREDICTED}{PREFIX}"
"""Stands in `data.gaze` before the variant whose run predicts it."""


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
      suites: that its runs are evaluated with; None = the sweep's, () = none: it is only there for
        others to begin with, and has no row.
    """

    name: str
    config: str
    overrides: Sequence[str] = ()
    reference: str = ""
    x: float | None = None
    line: str = ""
    suites: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training run and its evaluation.

    Attributes:
      key: a hash of the config with everything in it, which names the folder.
      config: ``FILE[:arguments]``.
      overrides: the seed and the variant's.
      evaluated: the folder in the workdir that is evaluated, that of the last stage; '' = itself.
      suites: that it is evaluated with; () = it is not.
      begins_with: the key of the run whose best weights it begins with; '' = of none.
      gaze_by: the key of the run whose best weights predict its gaze; '' = of none.
      uses: the (variant, seed) pairs whose numbers it gives.
    """

    key: str
    config: str
    overrides: tuple[str, ...]
    evaluated: str
    suites: tuple[str, ...]
    begins_with: str
    gaze_by: str
    uses: tuple[tuple[str, int], ...]

    @property
    def title(self) -> str:
        """For people."""
        return " = ".join(f"{variant}, seed {seed}" for variant, seed in self.uses)

    @property
    def after(self) -> tuple[str, ...]:
        """The keys of the runs that have to be trained before it."""
        return tuple(filter(None, (self.begins_with, self.gaze_by)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """All of a sweep, checked.

    Attributes:
      variants: in the table's order, with `reference`, `line` and `suites` filled in; a reference
        of '' is none.
      runs: in the order of running: the first seed of every variant, then the second; a run comes
        behind those that it needs (`PlannedRun.after`).
      tables: in layouts of their own, beside the table of all variants.
      contrasts: questions that two variants answer.
      seeds, split, metrics, x_label: the config's; the split is 'test', or 'validation' to choose
        by.
    """

    variants: tuple[Variant, ...]
    runs: tuple[PlannedRun, ...]
    tables: tuple[Layout, ...]
    contrasts: tuple[Contrast, ...]
    seeds: tuple[int, ...]
    split: str
    metrics: tuple[str, ...]
    x_label: str

    def chosen(self, names: Collection[str]) -> tuple[PlannedRun, ...]:
        """The runs of these variants, and those that they need.

        Raises:
          InputError: a name that no variant has.
        """
        known = [variant.name for variant in self.variants]
        for name in names:
            config_lib.choose("variant", name, known)
        wanted = {run.key for run in self.runs if any(name in names for name, _ in run.uses)}
        for run in reversed(self.runs):  # what a run needs comes before it
            if run.key in wanted:
                wanted.update(run.after)
        return tuple(run for run in self.runs if run.key in wanted)

    @property
    def compared(self) -> tuple[Variant, ...]:
        """The variants that are evaluated."""
        return tuple(variant for variant in self.variants if variant.suites)


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
    for key in ("reference", "split", "x_label"):
        _check_text(f"config.{key}", settings.get(key, ""))
    seeds = _items("seeds", settings, int)
    if wrong := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise InputError(f"config.seeds has {wrong[0]} twice.")
    what, fits = RANGES["seed"]
    if wrong := [seed for seed in seeds if not fits(seed)]:
        raise InputError(f"config.seeds has {wrong[0]}; a seed is {what}.")
    suites, metrics = (_items(key, settings, str) for key in ("suites", "metrics"))
    for metric in metrics:
        check_metric("config.metrics", metric)
    split = settings.get("split", "test")
    config_lib.choose("config.split", split, FOLDERS)
    variants = _read_variants(config.variants, settings.get("reference", ""), suites)
    compared = [variant.name for variant in variants if variant.suites]
    return Plan(
        variants=variants,
        runs=_plan_runs(variants, seeds),
        tables=read_tables(settings.get("tables", ConfigDict()), compared),
        contrasts=read_contrasts(settings.get("contrasts", ConfigDict()), compared),
        seeds=seeds,
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


def _read_variants(found: Any, default: str, suites: tuple[str, ...]) -> tuple[Variant, ...]:
    """Checks each by itself and fills in reference, line and suites."""
    if not isinstance(found, ConfigDict):
        raise InputError(
            f"config.variants is {found!r}; it must be a ConfigDict: name -> settings."
        )
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
        if not isinstance(settings, ConfigDict):
            raise InputError(f"{where} is {settings!r}; it must be a ConfigDict with a config.")
        _check_keys(where, settings, [field.name for field in dataclasses.fields(Variant)][1:])
        if not isinstance(settings.get("config"), str):
            raise InputError(f"{where}.config is {settings.get('config')!r}; write FILE:arguments.")
        _check_kinds(where, settings)
        overrides = texts(f"{where}.overrides", settings.get("overrides", ()))
        given = settings.get("suites", None)
        own = suites if given is None else texts(f"{where}.suites", given)
        made: dict[str, Any] = {**settings, "overrides": overrides, "suites": own}
        variant = Variant(name=name, **made)
        for suite in own:
            key = "config.suites" if given is None else f"{where}.suites"
            config_lib.choose(key, suite, SUITES)
        reference = (variant.reference or default) if own else ""
        if reference:
            config_lib.choose(f"{where}.reference", reference, names)
        variants.append(
            dataclasses.replace(
                variant,
                reference="" if reference == name else reference,
                line=variant.line or name,
            )
        )
    evaluated = [variant.name for variant in variants if variant.suites]
    for variant in variants:
        if variant.reference and variant.reference not in evaluated:
            raise InputError(
                f"config.variants.{variant.name}.reference='{variant.reference}' is a variant "
                "without suites, which has no numbers to compare with."
            )
    if not evaluated:
        raise InputError("no variant of config.variants has suites: nothing would be compared.")
    return tuple(variants)


def _check_kinds(where: str, settings: ConfigDict) -> None:
    """Of what is neither a config nor several texts."""
    for key in ("reference", "line"):
        _check_text(f"{where}.{key}", settings.get(key, ""))
    x = settings.get("x", None)
    if x is not None and (type(x) not in (int, float) or not abs(x) < math.inf):
        raise InputError(f"{where}.x is {x!r}; write a finite number.")


def _check_text(where: str, found: Any) -> None:
    if not isinstance(found, str):
        raise InputError(f"{where} is {found!r}; write a text.")


def _plan_runs(variants: Sequence[Variant], seeds: Sequence[int]) -> tuple[PlannedRun, ...]:
    resolved: dict[str, _Resolved] = {}
    for variant in variants:
        try:
            resolved[variant.name] = _resolve(variant, before=tuple(resolved))
        except InputError as error:
            raise InputError(f"variant '{variant.name}': {error}") from None
    runs: dict[str, PlannedRun] = {}
    for seed in seeds:
        keys: dict[str, str] = {}
        for variant in variants:
            found = resolved[variant.name]
            begins_with = keys[found.begins_with] if found.begins_with else ""
            gaze_by = keys[found.gaze_by] if found.gaze_by else ""
            key = keys[variant.name] = found.key(seed, begins_with, gaze_by)
            seeds_first = (*(f"{name}={seed}" for name in found.seed_keys), *variant.overrides)
            one = runs.get(key) or PlannedRun(
                key=key,
                config=variant.config,
                overrides=tuple(text for text in seeds_first if not _names_predictor(text)),
                evaluated=found.stages[-1] if found.stages else "",
                suites=(),
                begins_with=begins_with,
                gaze_by=gaze_by,
                uses=(),
            )
            runs[key] = dataclasses.replace(
                one,
                suites=tuple(dict.fromkeys((*one.suites, *(variant.suites or ())))),
                uses=(*one.uses, (variant.name, seed)),
            )
    return tuple(runs.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Resolved:
    """A variant's config, read and checked.

    Attributes:
      leaves: (``a.b.c``, value) of all of it.
      stages: their names; () = it is one run.
      begins_with: the variant whose weights it begins with; '' = none.
      gaze_by: the variant that predicts its gaze; '' = none.
    """

    leaves: Mapping[str, Any]
    stages: tuple[str, ...]
    begins_with: str
    gaze_by: str

    @property
    def seed_keys(self) -> list[str]:
        """Of the config."""
        return [f"stages.{name}.seed" for name in self.stages] or ["seed"]

    def key(self, seed: int, begins_with: str, gaze_by: str) -> str:
        """The hash of everything in the config, and of the runs that it needs."""
        everything = {leaf: one for leaf, one in self.leaves.items() if not _is_gained(leaf, one)}
        everything |= dict.fromkeys(self.seed_keys, seed)
        if begins_with:
            everything["init_from.path"] = f"{PREFIX}{begins_with}"
        if gaze_by:
            everything["data.gaze"] = f"{GAZE_BY}{gaze_by}"
        text = json.dumps(everything, sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_gained(leaf: str, value: Any) -> bool:
    """Whether a run of before the key was there is the same run; also in a stage's block."""
    return any(f".{leaf}".endswith(f".{key}") and value == GAINED[key] for key in GAINED)


def _resolve(variant: Variant, *, before: Sequence[str]) -> _Resolved:
    """Reads a variant's config; ``before`` are the variants that it may begin with."""
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
    leaves = dict(config_lib.flatten(config))
    begins_with = gaze_by = ""
    if not stages:
        begins_with = _variant(str(leaves["init_from.path"]), PREFIX, before)
        gaze_by = _variant(str(leaves["data.gaze"]), GAZE_BY, before)
    return _Resolved(leaves=leaves, stages=stages, begins_with=begins_with, gaze_by=gaze_by)


def _variant(value: str, prefix: str, before: Sequence[str]) -> str:
    """The variant that stands behind a prefix; '' = none does."""
    if not value.startswith(prefix):
        return ""
    name = value.removeprefix(prefix)
    if name not in before:
        does = "begins with" if prefix == PREFIX else "takes its gaze from"
        raise InputError(
            f"it {does} the run of the variant '{name}' ({value}), and no variant of that name "
            f"comes before it; before it come {', '.join(before) or 'none'}."
        )
    return name


def _names_predictor(override: str) -> bool:
    """Whether it is for the plan alone: what runs is given the folder."""
    return override.startswith(f"data.gaze={GAZE_BY}")
