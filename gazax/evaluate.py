"""Measures a trained workdir on held-out patients, each number beside its baselines.

    python -m gazax.evaluate --workdir=DIR [--suite=representation,alignment,...]

Suites: representation (linear probe, nearest neighbours, few labels), alignment (attention, or
predicted saliency, against gaze), downstream (classifier or segmentation, anomalies),
interpretability (pointing), embedding (t-SNE). Each run of a staged workdir is measured. Numbers
and what a report needs are left in DIR/evaluation.

A reader study's answers (`python -m gazax.report --reader_study` makes its page) need no workdir::

    python -m gazax.evaluate --suite=reader_study --ratings=A.csv,B.csv --key=study.key.json

Exit codes: 0 done, 2 the input is wrong.
"""

from typing import TYPE_CHECKING, Any

from absl import flags

from gazax import config as config_lib
from gazax.typing import InputError

if TYPE_CHECKING:
    from etils import epath

READER_STUDY = "reader_study"

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run of gazax.main.")
SUITE = flags.DEFINE_list("suite", ["all"], "Suites, separated by commas; all; or reader_study.")
SPLIT = flags.DEFINE_enum(
    "split", "test", ["test", "validation"], "Patients to measure; validation is to choose by."
)
WHICH = flags.DEFINE_enum("which", "best", ["best", "last"], "Checkpoint of the run.")
GALLERY = flags.DEFINE_integer(
    "gallery", 9, "Images to keep for the report, of every class alike.", lower_bound=0
)
RATINGS = flags.DEFINE_list("ratings", [], "Answers of a reader study, one csv a reader.")
KEY = flags.DEFINE_string("key", None, "Key of the reader study, written beside its page.")
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main() -> None:
    """The command."""
    config_lib.check_json()
    if READER_STUDY in SUITE.value:
        _write({READER_STUDY: _reader_study()})
        return
    if RATINGS.value or KEY.value:
        raise InputError("--ratings and --key belong to --suite=reader_study.")
    if not SUITE.value:
        raise InputError("--suite is empty; leave it out to measure with every suite.")
    if not WORKDIR.value:
        raise InputError("--workdir=DIR is needed: the folder of a run of gazax.main.")
    from etils import epath

    from gazax.hardware.host_memory import keep_freed_memory
    from gazax.train.cluster import refuse_others

    keep_freed_memory()
    refuse_others("gazax.evaluate")
    folder = epath.Path(WORKDIR.value).expanduser()
    _write({str(one): _evaluate(one) for one in _runs(folder)})


def _runs(folder: "epath.Path") -> list["epath.Path"]:
    """The folder itself, or those of its stages."""
    from gazax.train import stages
    from gazax.train.workdir import read_config

    if not (folder / "config.json").exists():
        raise InputError(
            f"'{folder}' is no workdir: it has no config.json. Give the folder of a run of "
            "gazax.main, such as runs/gazat_vit."
        )
    names = read_config(folder)["config"].get("stages")
    if not names:
        return [folder]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"'{folder}/config.json' is damaged: its stages are {names!r}.")
    runs = [stages.stage_folder(folder, name) for name in names]
    begun = [one for one in runs if (one / "config.json").exists()]
    if len(begun) < len(runs):
        so_far = f"; --workdir={begun[-1]} is there already" if begun else ""
        raise InputError(
            f"stage '{names[len(begun)]}' of '{folder}' has not begun{so_far}. Let its run go on."
        )
    return runs


def _evaluate(folder: "epath.Path") -> dict[str, Any]:
    """Measures one run, prints its tables and returns its numbers by suite."""
    config = config_lib.of_run(str(folder))
    from gazax.experiment.compilation import use_compilation_cache
    from gazax.experiment.evaluation import Evaluation
    from gazax.experiment.run import Run
    from gazax.train import stages
    from gazax.train.files import absolute

    suites = _suites()
    use_compilation_cache(config)
    source = config.init_from.path
    if source.startswith(stages.PREFIX):
        name = source.removeprefix(stages.PREFIX)
        source = str(stages.stage_folder(absolute(folder).parent, name))
    run = Run(config, folder, source=source)
    evaluation = Evaluation(run, which=WHICH.value, split=SPLIT.value)
    print(f"{folder}: {evaluation.title}", flush=True)
    if run.missing:
        print(f"without step 0, as the weights that it began with are gone: {run.missing}")
    measured = {}
    for name in suites:
        measured |= (part := evaluation.measure([name]))
        print(f"\n{name}\n{part[name].table}", flush=True)
    print(f"\n{evaluation.write(measured, gallery=GALLERY.value)}/\n", flush=True)
    return {name: part.numbers for name, part in measured.items()}


def _suites() -> list[str]:
    """Those of the flag, each once."""
    from gazax.experiment.evaluation import SUITES

    for name in SUITE.value:
        config_lib.choose("--suite", name, [*SUITES, READER_STUDY, "all"])
    return list(SUITES) if "all" in SUITE.value else list(dict.fromkeys(SUITE.value))


def _reader_study() -> dict[str, Any]:
    """Prints what readers answered and returns the numbers."""
    from etils import epath

    from gazax.eval import agreement

    if SUITE.value != [READER_STUDY] or WORKDIR.value:
        raise InputError(
            "--suite=reader_study stands alone: it takes no other suite and no --workdir."
        )
    if not RATINGS.value or not KEY.value:
        raise InputError(
            "--suite=reader_study needs --ratings=A.csv,B.csv, the answers, and "
            "--key=study.key.json, which was written beside the page."
        )
    ratings = [epath.Path(one).expanduser() for one in RATINGS.value]
    part = agreement.measure(ratings, epath.Path(KEY.value).expanduser(), seed=0)
    print(part.table)
    return part.numbers


def _write(numbers: dict[str, Any]) -> None:
    """The numbers for ``--json``: of the one run or of each by its folder."""
    from etils import epath

    from gazax.train.workdir import write_json

    if config_lib.JSON.value:
        only = next(iter(numbers.values())) if len(numbers) == 1 else numbers
        write_json(epath.Path(config_lib.JSON.value).resolve(), only)


if __name__ == "__main__":
    config_lib.run(main)
