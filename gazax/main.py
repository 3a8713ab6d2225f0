"""Trains what a config says, evaluates it, and goes on where it was stopped.

    python -m gazax.main --config=configs/gazat_vit.py [--config.a.b=value ...] [--workdir=DIR]

A config with `stages` runs one after the other, each in a folder of the workdir.

Several processes, on one host or many, are one run. Cloud TPU, Slurm, Kubernetes and Open MPI tell
each of them which it is; elsewhere flags do, on every host:

    ... --coordinator_address=HOST:PORT --num_processes=N --process_id=I

Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 75 interrupted and saved (the same
command goes on).
"""

import hashlib
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.typing import InputError

if TYPE_CHECKING:  # what takes seconds to import waits until a signal would be heard
    from etils import epath

    from gazax.experiment.run import Run
    from gazax.train.preemption import Preemption

WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run. Default: runs/<config and its arguments, with a hash of overrides>.",
)
COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address",
    None,
    "HOST:PORT of process 0, where no cluster tells it; with --num_processes and --process_id.",
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of the run; 1: this one alone.", lower_bound=1
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Which of them this is, from 0.", lower_bound=0
)
COORDINATOR_PORT = flags.DEFINE_integer(
    "coordinator_port",
    None,
    "Port of process 0, in the place of the one that JAX takes in this cluster.",
    lower_bound=1,
    upper_bound=65535,
)
INITIALIZATION_TIMEOUT = flags.DEFINE_integer(
    "initialization_timeout", 300, "Seconds to wait for the other processes.", lower_bound=1
)
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main(config: ConfigDict, spec: str, overrides: dict[str, Any]) -> int:
    """The run, from data to table."""
    from gazax.hardware.host_memory import keep_freed_memory
    from gazax.train.preemption import Preemption

    if "variants" in config:
        raise InputError(
            f"'{spec}' is a sweep of several runs: python -m gazax.sweep --config={spec} --out=DIR."
        )
    keep_freed_memory()
    with Preemption() as preemption:  # before the imports, which take seconds
        from etils import epath

        from gazax.train import agreement, cluster, distributed, lock

        config_lib.check_json()
        meeting = cluster.find(
            coordinator_address=COORDINATOR_ADDRESS.value,
            num_processes=NUM_PROCESSES.value,
            process_id=PROCESS_ID.value,
            coordinator_port=COORDINATOR_PORT.value,
            initialization_timeout=INITIALIZATION_TIMEOUT.value,
        )
        folder = epath.Path(WORKDIR.value or default_workdir(spec, overrides)).expanduser()
        # Before any device is touched, and so before what makes arrays is imported.
        with distributed.joined(meeting, timeout=INITIALIZATION_TIMEOUT.value):
            try:
                code = train(config, folder, preemption)
                if code == 0:
                    agreement.from_first(lambda: write_numbers(folder))
                return code
            finally:
                lock.release()


def train(config: ConfigDict, folder: "epath.Path", preemption: "Preemption") -> int:
    """One run or its stages; returns the exit code."""
    from gazax.experiment.compilation import use_compilation_cache
    from gazax.experiment.run import Run

    if "stages" in config:
        return run_stages(config, folder, preemption)
    use_compilation_cache(config)
    return lead(Run(config, folder, source=config.init_from.path), preemption)


def run_stages(config: ConfigDict, folder: "epath.Path", preemption: "Preemption") -> int:
    """The stages of a config, each in its folder of the workdir; returns the exit code."""
    from gazax.experiment.compilation import use_compilation_cache
    from gazax.experiment.run import Run
    from gazax.train import agreement, lock, stages, workdir

    names = tuple(config.stages)
    stages.check_names(names)
    order = {"stages": names}, ""  # each stage claims its own folder with all of its config
    agreement.from_first(lambda: workdir.check_claim(folder, *order))
    handed_on = {}  # a mistake in the last stage is found before the first is run
    for name, stage in config.stages.items():
        use_compilation_cache(stage)
        path = stage.init_from.path
        stages.resolve_path(path, folder, tuple(handed_on))
        source = handed_on.get(path.removeprefix(stages.PREFIX), path)
        trial = Run(ConfigDict(stage.to_dict()), stages.stage_folder(folder, name), source=source)
        handed_on[name] = trial.rehearse()

    def take() -> None:
        workdir.claim(folder, *order)
        lock.lock(folder)

    def run_stage(name: str, stage_folder: "epath.Path") -> int:
        stage = config.stages[name]
        source = stages.resolve_path(stage.init_from.path, folder, names[: names.index(name)])
        run = Run(stage, stage_folder, source=str(source))
        if name == names[0]:
            agreement.from_first(take)
        print(f"stage {name}:", flush=True)
        return lead(run, preemption)

    return stages.run_stages(names, run_stage, folder)


def lead(run: "Run", preemption: "Preemption") -> int:
    """A run from where it is to its table; returns the exit code."""
    from gazax.train.preemption import EXIT_RESUMABLE

    if finished := run.finished:
        print(f"{run.folder} is finished at step {finished['step']}:\n\n{finished['table']}")
        return 0
    run.start()
    outcome = run.train(preemption)
    if outcome.interrupted:
        print(f"interrupted at step {outcome.step} and saved; the same command goes on.")
        return EXIT_RESUMABLE
    preemption.release()
    summary = run.summarize(outcome)
    print(f"\n{summary['table']}\n\n{run.folder}/summary.json, images/, metrics.jsonl")
    return 0


def default_workdir(spec: str, overrides: dict[str, Any]) -> str:
    """``runs/<config>[-<arguments>][-<hash of overrides>]``."""
    file, _, arg = spec.partition(":")
    # No comma: the name can be an argument of another config, init_from=runs/...
    name = arg.replace("/", "_").replace(",", "+")
    parts = [pathlib.Path(file).stem, *([name] if name else [])]
    if overrides:
        text = json.dumps(overrides, sort_keys=True, default=list)
        parts.append(hashlib.sha256(text.encode()).hexdigest()[:8])
    return os.path.join("runs", "-".join(parts))


def write_numbers(folder: "epath.Path") -> None:
    """The final table's numbers, for ``--json``."""
    from etils import epath

    from gazax.train.workdir import read_summary, write_json

    if config_lib.JSON.value:
        write_json(epath.Path(config_lib.JSON.value).resolve(), read_summary(folder))


if __name__ == "__main__":
    config_lib.run(main, takes_config=True)
