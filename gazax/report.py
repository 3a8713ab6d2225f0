"""Evaluated workdirs as one page, or as a page on which people rate heat maps blindly.

    python -m gazax.report --workdirs=A,B,... --out=report.html [--reference=A] [--no_images]

The page is one file that asks nothing of the network: what differs between the configs, tables
with intervals and paired tests against the reference, curves, and a gallery of single images.

    python -m gazax.report --sweep=DIR --out=report.html [--workdirs=A,B,...]

The tables, figure and missing runs of the sweep in DIR, and then the runs, if there are any. Here
the name of one of its variants stands for that variant's first seed.

    python -m gazax.report --reader_study --workdirs=A,B --out=study.html

Beside the rating page stands study.key.json, which says what each heat map is: keep it from the
raters. Their answers, saved as csv, and the key go to
``python -m gazax.evaluate --suite=reader_study --ratings=a.csv,b.csv --key=study.key.json``.
"""

import dataclasses
import json
import pathlib
import secrets

from absl import flags

from gazax import config as config_lib
from gazax.typing import InputError

WORKDIRS = flags.DEFINE_list("workdirs", None, "Evaluated workdirs, the reference first.")
SWEEP = flags.DEFINE_string("sweep", None, "Folder of a sweep, whose table begins the page.")
OUT = flags.DEFINE_string("out", "report.html", "The page to write.")
REFERENCE = flags.DEFINE_string(
    "reference", None, "Run that the others are compared with. Default: the first."
)
NO_IMAGES = flags.DEFINE_boolean(
    "no_images", False, "Leave out every pixel and name of single images, to pass the page on."
)
READER_STUDY = flags.DEFINE_boolean("reader_study", False, "Write a blinded rating page instead.")
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main() -> None:
    """The command."""
    config_lib.check_json()
    out = pathlib.Path(OUT.value).expanduser()
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out={OUT.value}: there is no such folder; make it first.")
    if out.is_dir():
        raise InputError(f"--out={OUT.value} is a folder; give a file.")
    if out.suffix not in (".html", ".htm"):
        raise InputError(f"--out={OUT.value} is a page; give a name that ends in .html.")
    if NO_IMAGES.value and config_lib.JSON.value:
        raise InputError(
            "--json writes names of readers and folders, which --no_images leaves out: give one of "
            "them."
        )
    if SWEEP.value == "":
        raise InputError("--sweep is empty; give the folder of a sweep.")
    workdirs = WORKDIRS.value or []
    if not workdirs and (READER_STUDY.value or SWEEP.value is None):
        other = "" if READER_STUDY.value else ", or --sweep=DIR,"
        raise InputError(f"--workdirs=A,B,...{other} is needed: what the page is of.")
    if READER_STUDY.value:
        _write_study(out, workdirs)
    else:
        _write_report(out, workdirs)


def _write_report(out: pathlib.Path, workdirs: list[str]) -> None:
    from etils import epath

    from gazax.page.comparison import report_page
    from gazax.page.private import without_folders
    from gazax.page.runs import load_runs
    from gazax.page.sweep import load_sweep
    from gazax.page.sweep_runs import folder_of
    from gazax.page.tables import compare_suites
    from gazax.train.workdir import write_json

    sweep = None if SWEEP.value is None else load_sweep(SWEEP.value)
    said, numbers = [], {}
    if sweep:
        said.append(f"sweep {sweep.name}")
        numbers["sweep"] = sweep.found
    runs, reference, compared, notes = [], "", {}, []
    if workdirs:
        if SWEEP.value:
            workdirs = [
                one if pathlib.Path(one).expanduser().is_dir() else folder_of(SWEEP.value, one)
                for one in workdirs
            ]
        runs = load_runs(workdirs)
        reference = _reference([run.name for run in runs])
        if NO_IMAGES.value:
            names = [run.name for run in runs]
            shown = without_folders(names)
            reference = shown[names.index(reference)]
            runs = [
                dataclasses.replace(run, name=name) for run, name in zip(runs, shown, strict=True)
            ]
        compared, notes = compare_suites(runs, reference)
        said += [", ".join(run.name for run in runs), f"reference {reference}"]
        numbers |= {
            "reference": reference,
            "runs": {run.name: run.evaluation for run in runs},
            "differences": [
                {"suite": suite, **dataclasses.asdict(one)}
                for (suite, _, _), one in compared.items()
            ],
        }
    elif REFERENCE.value:
        raise InputError(
            "--reference is one of the runs of --workdirs; give those, or no reference."
        )
    images = not NO_IMAGES.value
    _write(out, report_page(runs, reference, compared, notes, images=images, sweep=sweep))
    print(f"{out}: {'; '.join(said)}")
    if config_lib.JSON.value:
        write_json(epath.Path(config_lib.JSON.value).resolve(), numbers)


def _reference(names: list[str]) -> str:
    """The run that the others are compared with."""
    reference = REFERENCE.value or names[0]
    if reference not in names:
        raise InputError(
            f"--reference={reference}: no run has this name"
            f"{config_lib.did_you_mean(reference, names)}; they are {', '.join(names)}."
        )
    return reference


def _write_study(out: pathlib.Path, workdirs: list[str]) -> None:
    from gazax.page.reader_study import make_study
    from gazax.page.runs import load_runs

    for flag in (SWEEP, REFERENCE, NO_IMAGES, config_lib.JSON):
        if flag.value:
            raise InputError(f"--reader_study takes no --{flag.name}; leave it out.")
    key_path = out.with_name(f"{out.stem}.key.json")
    if key_path.exists():
        raise InputError(
            f"'{key_path}' exists: without it the ratings of its page can never be read. Give "
            "another --out, or move it away."
        )
    page, key = make_study(load_runs(workdirs), secret=secrets.token_hex(16))
    _write(key_path, json.dumps(key, indent=1) + "\n")
    _write(out, page)
    print(
        f"{out}: {len(key['cases'])} images with {len(key['systems'])} heat maps each. It shows "
        "images: pass it on only to people who may see them. Nobody should rate whose own gaze is "
        f"in it.\n{key_path}: what each heat map is. Keep it from the raters."
    )


def _write(path: pathlib.Path, text: str) -> None:
    from etils import epath

    from gazax.train.files import write_text

    try:
        write_text(epath.Path(path), text)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error}.") from None


if __name__ == "__main__":
    config_lib.run(main)
