"""What a config's training step takes of a TPU slice that is not there, by the compiler's account.

    python -m gazax.dryrun --config=FILE --topology=v5e:4x4 [--batch=N] [--stage=NAME]
    python -m gazax.dryrun --config=FILE --topology=v5e:1x1 --find_batch
    python -m gazax.dryrun --config=FILE --topology=cpu:8

The step that training runs is compiled, of every stage, from shapes alone: no data is read,
nothing is downloaded, nothing is written but --json. A table says what memory it takes of each
chip and whether that fits, its FLOPs, what its chips exchange, the time that a step cannot do
without, and what the recipe's steps cost in chip-hours at least. These are counts and bounds, not
measurements. A compilation takes minutes of one core; JAX_EXEC_TIME_OPTIMIZATION_EFFORT=-1 in the
environment leaves out XLA's costly passes, which takes a quarter of the time and a few per cent
more memory.

TPU slices (v5e, v5p, v6e) need the compiler and no TPU: pip install 'gazax[tpu]'.

Exit codes: 0 it fits, 1 a stage does not fit or the compiler failed, 2 the input is wrong.
"""

import sys
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.typing import InputError, RunError

TOPOLOGY = flags.DEFINE_string(
    "topology", None, "KIND:AxB[xC], such as v5e:16x16, or cpu:N: N simulated devices."
)
BATCH = flags.DEFINE_integer(
    "batch",
    None,
    "Global batch. Default: the config's, or that on each device where it cannot be cut.",
    lower_bound=1,
)
STAGE = flags.DEFINE_string("stage", None, "Of a config of several stages, this one alone.")
FIND_BATCH = flags.DEFINE_boolean("find_batch", False, "Look for the largest batch that fits.")
IMAGES = flags.DEFINE_integer(
    "images", None, "Training images. Default: as the data set is described.", lower_bound=1
)
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main(config: ConfigDict, spec: str, overrides: dict[str, Any]) -> int:
    """Opens the slice, compiles, prints."""
    config_lib.check_json()
    if not TOPOLOGY.value:
        raise InputError(
            "--topology=KIND:SHAPE is needed: the machine that is not there, such as v5e:4x4 or "
            "cpu:8."
        )
    if "variants" in config:
        raise InputError(f"'{spec}' is a sweep of several runs: give one of their configs.")
    if BATCH.value and FIND_BATCH.value:
        raise InputError("--batch says the batch and --find_batch looks for one: leave one out.")
    from gazax.hardware.topology import open_slice

    where = open_slice(TOPOLOGY.value)  # before anything asks JAX for its own devices
    import jax
    from etils import epath

    from gazax.experiment.dryrun import dry_run, stages_of
    from gazax.hardware import table
    from gazax.train.workdir import write_json

    runs, failure = [], None
    for name, stage in stages_of(config, STAGE.value).items():
        print(f"compiling{f' {name}' if name else ''}", file=sys.stderr, flush=True)
        try:
            run = dry_run(
                stage,
                where,
                stage=name,
                batch=BATCH.value,
                images=IMAGES.value,
                find_batch=FIND_BATCH.value,
            )
        except RunError as error:  # said at the end: what came before took minutes
            failure = error
            break
        runs.append(run)
    if failure and not runs:
        raise failure
    estimates = [run.estimate for run in runs]
    remarks = [remark for run in runs for remark in run.remarks]
    hours = [one.chip_hours for one in estimates if one.chip_hours is not None]
    print(f"{spec} on {where.name}\n\n{table.as_text(estimates)}\n")
    if len(hours) == len(estimates) > 1 and not failure:
        print(f"all stages: at least {sum(hours):,.3f} chip-hours\n")
    effort = jax.config.values["jax_exec_time_optimization_effort"]
    if effort:
        remarks.append(f"XLA's effort is {effort:g} of -1 to 1: memory and counts differ a little.")
    print("\n".join([table.describe(where), *remarks]), flush=True)
    if config_lib.JSON.value:
        found = {
            "config": spec,
            "overrides": overrides,
            "topology": where.name,
            "chips": where.chips,
            "measured": False,
            "stages": [one.as_dict() for one in estimates],
            "remarks": remarks,
        }
        write_json(epath.Path(config_lib.JSON.value).resolve(), found)
    if failure:
        raise failure
    return 0 if all(one.fits for one in estimates) else 1


if __name__ == "__main__":
    config_lib.run(main, takes_config=True)
