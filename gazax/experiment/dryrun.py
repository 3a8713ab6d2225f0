"""A config's training step, compiled for a slice that is not there, from shapes alone."""

import math
from typing import Any, NamedTuple

import jax
from clu.parameter_overview import count_parameters
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.config.datasets import DATA, EXCLUSIVE, IMAGES
from gazax.data.splits import TEST_FRACTION, VALIDATION_FRACTION
from gazax.experiment import parts
from gazax.experiment.check import check
from gazax.experiment.frozen import describe_frozen
from gazax.experiment.method import build_method
from gazax.hardware.compiled import Compiled, TooLarge, compile_for_slice
from gazax.hardware.estimate import Estimate
from gazax.hardware.largest_batch import find_largest
from gazax.hardware.topology import CPU, Slice
from gazax.train import freeze, sharding
from gazax.train.start import make_start
from gazax.train.step import jit_step
from gazax.typing import InputError

UNKNOWN_STEPS = 1000
"""Where only the data knows how many: they change the learning rate and no shape."""


class DryRun(NamedTuple):
    """A stage on a slice."""

    estimate: Estimate
    remarks: list[str]
    """What was assumed, and why the batch is what it is."""


class Step(NamedTuple):
    """A training step that can be lowered, and what it is called with."""

    step: jax.stages.Wrapped
    state: Any
    batch: Any
    trained: int
    """Parameters."""


def make_step(config: ConfigDict, devices: Any) -> Step:
    """The step that `gazax.train.loop` runs, on a mesh of these devices, with shapes for arrays.

    Args:
      config: of one stage; `fill_in` has said what the data would.
      devices: of a slice; None: those that are there.

    Raises:
      InputError: as a run of this config would.
    """
    mesh = sharding.make_mesh(fsdp=config.train.fsdp, devices=devices)
    sharding.check_divisible("train.batch_size", config.train.batch_size, mesh)
    method = build_method(config)
    schedule, tx = parts.build_optimizer(config, method.backbone)
    batch: Any = config_lib.batch_spec(config)
    state = make_start(method, tx, batch, mesh=mesh, seed=config.seed).described
    if config.train.cache_frozen:
        batch["cached"] = describe_frozen(
            config, method, state.params, state.method_state, pretrained=bool(config.init_from.path)
        )
    batch = jax.tree.map(lambda leaf: leaf.update(sharding=sharding.batch_sharding(mesh)), batch)
    parallel = config.train.parallel
    if parallel == "pmap":
        raise InputError(
            "config.train.parallel='pmap' has no program that can be compiled ahead; take jit or "
            "shard_map."
        )
    step = jit_step(method, tx, schedule, mesh=mesh, parallel=parallel, seed=config.seed)
    trained, _ = freeze.split(state.params, method.freeze)
    return Step(step, state, batch, int(count_parameters(trained)))


def dry_run(
    config: ConfigDict,
    where: Slice,
    *,
    stage: str = "",
    batch: int | None = None,
    images: int | None = None,
    find_batch: bool = False,
) -> DryRun:
    """What a stage's training step takes of a slice.

    Args:
      config: of the stage; stays as it is.
      where: the slice.
      stage: its name.
      batch: global; None: see `choose_batch`.
      images: for training; None: what is known of the data set.
      find_batch: look for the largest batch that fits, and begin with that.

    Raises:
      InputError: as a run of this config would; or only the data knows a shape.
    """
    chosen, remark = choose_batch(batch, config.train.batch_size, len(where.devices))
    if find_batch and where.chip is None:
        raise InputError("--find_batch asks what fits a chip's memory; take a TPU's --topology.")
    compiled: dict[int, tuple[Compiled | TooLarge, Step, ConfigDict, int | None, list[str]]] = {}

    def try_batch(size: int) -> bool:
        if size not in compiled:
            settings = ConfigDict(config.to_dict())
            settings.train.batch_size = size
            known, remarks = fill_in(settings, images)
            step = make_step(settings, where.devices)
            lowered = step.step.trace(step.state, step.batch).lower(
                lowering_platforms=(CPU if where.chip is None else "tpu",)
            )
            found = compile_for_slice(lowered, devices=len(where.devices))
            compiled[size] = found, step, settings, known, remarks
        return isinstance(compiled[size][0], Compiled)

    notes = [remark] if remark else []
    if find_batch:
        count = len(where.devices)
        largest = find_largest(lambda each: try_batch(each * count), start=chosen // count or 1)
        chosen = (largest.fits or 1) * count
        notes = [
            f"batch {largest.fits * count:,} is the largest found to fit: "
            f"{largest.too_large * count:,} does not."
            if largest.fits
            else "not even one image a chip fits."
        ]
    try_batch(chosen)
    found, step, settings, known, remarks = compiled[chosen]
    if isinstance(found, TooLarge):
        notes.append(f"the compiler says: {found.said}")
    counted = known is not None or not config.train.epochs
    estimate = Estimate(
        stage=stage,
        slice=where,
        batch=chosen,
        parameters=int(count_parameters(step.state.params)),
        trained=step.trained,
        steps=settings.train.steps if counted else None,
        images=known,
        found=found,
    )
    return DryRun(estimate, [f"{stage}: {one}" if stage else one for one in (*notes, *remarks)])


def choose_batch(asked: int | None, configured: int, devices: int) -> tuple[int, str]:
    """The global batch, and why it is not the config's where it is not.

    The config's batch where there are no more devices than images in it, otherwise that batch on
    each device: it cannot be cut further.
    """
    if asked is not None:
        return asked, ""
    if devices <= configured:
        return configured, ""
    return configured * devices, (
        f"config.train.batch_size={configured} cannot be cut over {devices} devices, so each has "
        f"{configured}: a batch of {configured * devices:,}, another recipe. --batch=N takes N."
    )


def fill_in(config: ConfigDict, images: int | None = None) -> tuple[int | None, list[str]]:
    """Sets what `gazax.experiment.parts.resolve` takes from the data, by what is known of it.

    Args:
      config: of one stage, changed in place.
      images: for training; None: as the data set is described.

    Returns:
      How many images train, None where nobody knows; and what was assumed, in words.

    Raises:
      InputError: a number out of its range; or a shape that only the data knows.
    """
    check(config)
    remarks = []
    data, train = config.data, config.train
    if not data.labels:
        raise InputError(
            f"config.data.labels is empty: which labels {data.name} has, only its files say, and "
            "none are read here; name them, --config.data.labels=A,B."
        )
    partners = config.method.get("partners")
    if config_lib.batch_spec(config).get("scanpath") and not partners.length:
        raise InputError(
            "config.method.partners.length=0: how long the longest scanpath is, only the data "
            "says; give a length, --config.method.partners.length=64."
        )
    if config.method.get("task") == "":
        config.method.task = _task(config)
        remarks.append(f"labels are taken to be {config.method.task}.")
    if config.method.get("balance_classes", False) and not config.method.class_weight:
        config.method.class_weight = (1.0,) * len(data.labels)
    if images is None and (images := _training_images(config)):
        remarks.append(
            f"{images:,} training images assumed, as {data.name} is described; --images=N says "
            "otherwise."
        )
    if images:
        parts.set_steps(config, images)
    elif train.epochs:
        train.steps = UNKNOWN_STEPS
        remarks.append(
            f"how many steps {train.epochs} epochs are, only the data says: --images=N of them."
        )
    return images, remarks


def _task(config: ConfigDict) -> str:
    """As the labels of the data set are known to be."""
    whole = ConfigDict()
    DATA[config.data.name](whole)
    exclusive = config.data.name in EXCLUSIVE and config.data.labels == whole.get("labels")
    return "multiclass" if exclusive or config.method.get("balance_classes") else "multilabel"


def _training_images(config: ConfigDict) -> int | None:
    """What is left of the data set's images when its other splits are drawn."""
    data = config.data
    count = data.source.count if data.name == "phantom" else IMAGES.get(data.name)
    return count and math.floor(count * (1 - VALIDATION_FRACTION - TEST_FRACTION))


def stages_of(config: ConfigDict, chosen: str | None) -> dict[str, ConfigDict]:
    """The config's stages by name, or the one that was chosen; '' names a config without."""
    if "stages" not in config:
        if chosen:
            raise InputError(f"--stage={chosen}: this config has no stages; leave it out.")
        return {"": config}
    named = dict(config.stages.items())
    return named if not chosen else {chosen: config_lib.choose("--stage", chosen, named)}
