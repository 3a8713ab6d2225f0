"""Trains what a config says, evaluates it, and goes on where it was stopped.

    python -m gazax.main --config=configs/gazat_vit.py [--config.a.b=value ...] [--workdir=DIR]

A config with `stages` runs one after the other, each in a folder of the workdir.

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
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main(config: ConfigDict, spec: str, overrides: dict[str, Any]) -> int:
    """The run, from data to table."""
    from gazax.train.preemption import Preemption

    if "variants" in config:
        raise InputError(
            f"'{spec}' is a sweep of several runs: python -m gazax.sweep --config={spec} --out=DIR."
        )
    with Preemption() as preemption:  # before the imports, which take seconds
        import jax
        from etils import epath

        from gazax.experiment.compilation import use_compilation_cache
        from gazax.experiment.run import Run

        config_lib.check_json()
        if jax.process_count() > 1:
            raise InputError(
                f"this version of gazax trains in one process, on all of its devices; "
                f"{jax.process_count()} processes were started. Start one."
            )
        folder = epath.Path(WORKDIR.value or default_workdir(spec, overrides)).expanduser()
        if "stages" in config:
            code = run_stages(config, folder, preemption)
        else:
            use_compilation_cache(config)
            code = lead(Run(config, folder, source=config.init_from.path), preemption)
        if code == 0:
            write_numbers(folder)
        return code


def run_stages(config: ConfigDict, folder: "epath.Path", preemption: "Preemption") -> int:
    """The stages of a config, each in its folder of the workdir; returns the exit code."""
    from gazax.experiment.compilation import use_compilation_cache
    from gazax.experiment.run import Run
    from gazax.train import stages, workdir

    names = tuple(config.stages)
    stages.check_names(names)
    order = {"stages": names}, ""  # each stage claims its own folder with all of its config
    workdir.check_claim(folder, *order)
    handed_on = {}  # a mistake in the last stage is found before the first is run
    for name, stage in config.stages.items():
        use_compilation_cache(stage)
        path = stage.init_from.path
        stages.resolve_path(path, folder, tuple(handed_on))
        source = handed_on.get(path.removeprefix(stages.PREFIX), path)
        trial = Run(ConfigDict(stage.to_dict()), stages.stage_folder(folder, name), source=source)
        handed_on[name] = trial.rehearse()

    def run_stage(name: str, stage_folder: "epath.Path") -> int:
        stage = config.stages[name]
        source = stages.resolve_path(stage.init_from.path, folder, names[: names.index(name)])
        run = Run(stage, stage_folder, source=str(source))
        if name == names[0]:
            workdir.claim(folder, *order)
            workdir.lock(folder)
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
