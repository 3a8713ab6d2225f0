"""Prepares data, checks it, or writes the phantom where anyone can look at it.

A source to records for training; training does the same by itself, this shows beforehand what it
will find, and does it on other machines or in parts::

    python -m gazax.prepare --dataset=gaze_folder --source=DIR --size=224
    python -m gazax.prepare --dataset=reflacx --source=DIR --mimic_cxr=DIR --size=224
    python -m gazax.prepare --dataset=mimic_cxr --source=DIR --size=224 --shard=3/16
    python -m gazax.prepare --dataset=reflacx --source=DIR --argument=label_set=merged

What is missing or faulty, before anything is made (exit code 1 where something is)::

    python -m gazax.prepare --dataset=reflacx --source=DIR --check

How far the eye tracker of EGD-CXR drifted, by its calibration screens::

    python -m gazax.prepare --dataset=egd_cxr --source=DIR --drift

The phantom as a gaze folder, or as the published data sets lie on disk::

    python -m gazax.prepare --dataset=phantom --layout=gaze_folder --count=100 --size=128 --out=DIR
    python -m gazax.prepare --dataset=phantom --layout=reflacx --count=100 --size=512 --out=DIR

Exit codes: 0 done, 1 --check found something or nothing can be written, 2 the input is wrong.
"""

import inspect
import json
from pathlib import Path
from typing import Any

from absl import flags

from gazax import config as config_lib
from gazax.typing import InputError

DATASET = flags.DEFINE_string(
    "dataset", None, "Data set, a key of gazax.data.DATASETS.", required=True
)
SOURCE = flags.DEFINE_string("source", None, "Its folder; it is never written to.")
MIMIC_CXR = flags.DEFINE_string(
    "mimic_cxr", None, "Folder of MIMIC-CXR or MIMIC-CXR-JPG; default: one found under --source."
)
LAYOUT = flags.DEFINE_enum(
    "layout",
    "records",
    ["records", "gaze_folder", "reflacx", "egd_cxr"],
    "What to write; all but records are layouts of the phantom.",
)
SIZE = flags.DEFINE_string("size", "224", "Images' size, px: 224, or H x W as 640x512.")
OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder to write: for records the cache (default $GAZAX_DATA, else the user's cache folder).",
)
SHARD = flags.DEFINE_string("shard", None, "i/n: make part i of n, counted from 0.")
CHECK = flags.DEFINE_bool("check", False, "Report what is missing or faulty, and make nothing.")
DRIFT = flags.DEFINE_bool("drift", False, "Report the drift of EGD-CXR's eye tracker.")
KEEP_IDS = flags.DEFINE_bool("keep_ids", False, "Write ids as they are, not as pseudonyms.")
AGAIN = flags.DEFINE_bool("again", False, "Make records anew, such as after images were mended.")
WORKERS = flags.DEFINE_integer("workers", None, "Processes; default one a core.", lower_bound=1)
ARGUMENT = flags.DEFINE_multi_string(
    "argument", [], "KEY=VALUE, an argument of the data set's reader (config.data.source.KEY)."
)
COUNT = flags.DEFINE_integer("count", 1200, "Images of the phantom.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the phantom.", lower_bound=0)
CONTRAST = flags.DEFINE_float("contrast", None, "Contrast of the phantom's lesions; 1 is usual.")
LESIONS = flags.DEFINE_float("lesions", None, "Mean number of lesions in a sick phantom.")
IMAGE_SIZE = flags.DEFINE_integer("image_size", 128, "Side of the phantom's images in records, px.")
MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction", 0.01, "Part of a file's rows, or of the images, that may be faulty."
)
SHOWN = ("images", "images_without_gaze", "patients", "readers", "boxes", "masks")
"""Counts of a summary that have their place in its first lines, or that say little."""
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main() -> int:
    """The command."""
    from gazax.data.pixels.frame import parse_size

    config_lib.check_json()
    size = parse_size(SIZE.value)
    if LAYOUT.value != "records":
        return _write_phantom(size)
    if DRIFT.value:
        return _show_drift()
    if CHECK.value:
        return _check()
    return _prepare(size)


def _prepare(size: tuple[int, int]) -> int:
    from gazax import data

    settings: dict[str, Any] = dict(
        root=SOURCE.value,
        size=size,
        cache=OUT.value,
        max_bad_fraction=MAX_BAD_FRACTION.value,
        keep_ids=KEEP_IDS.value,
        workers=WORKERS.value,
        **_arguments(),
    )
    if SHARD.value is None:
        records = data.prepare(DATASET.value, again=AGAIN.value, **settings)
    elif AGAIN.value:
        raise InputError("--again makes all records anew: it does not go with --shard")
    else:
        records = data.prepare_shard(DATASET.value, shard=_shard(SHARD.value), **settings)
    if records is None:
        print(f"part {SHARD.value} is made; the records are whole when the other parts are")
        return 0
    print(f"{records.directory}\n\n{format_summary(records.summary)}")
    _write_json(records.summary)
    return 0


def _check() -> int:
    from gazax import data

    lines, counts = data.check(DATASET.value, root=SOURCE.value, **_arguments())
    print("\n".join([*lines, *(f"{name:<22}{count}" for name, count in counts.items())]))
    print(f"{len(lines)} remarks: mend these first" if lines else "nothing is missing")
    _write_json({"remarks": lines if KEEP_IDS.value else len(lines), **counts})
    return 1 if lines else 0


def _show_drift() -> int:
    from gazax.data.sources.egd_drift import drift_report, format_drift

    if DATASET.value != "egd_cxr" or not SOURCE.value:
        raise InputError("--drift reads the calibration screens of --dataset=egd_cxr --source=DIR")
    report = drift_report(Path(SOURCE.value).expanduser())
    print(format_drift(report))
    _write_json(report)
    return 0


def _write_phantom(size: tuple[int, int]) -> int:
    from gazax.data import phantom
    from gazax.data.phantom.layouts import LAYOUTS

    if DATASET.value != "phantom":
        raise InputError(
            f"--layout={LAYOUT.value} writes the phantom only, not {DATASET.value}; for records "
            "leave --layout out"
        )
    if not OUT.value or size[0] != size[1]:
        raise InputError(f"--layout={LAYOUT.value} needs --out=DIR and a --size of one number")
    write = LAYOUTS.get(LAYOUT.value, phantom.write_gaze_folder)
    write(OUT.value, size=size[0], progress=True, **_phantom_arguments())
    print(f"{OUT.value}: {COUNT.value} images of {size[0]} px, laid out as {LAYOUT.value}")
    return 0


def _arguments() -> dict[str, Any]:
    """Of the reader: flags, and --argument=KEY=VALUE typed by the reader's defaults."""
    from gazax.data import DATASETS, Dataset

    dataset = config_lib.choose("data set", DATASET.value, DATASETS)
    if not isinstance(dataset, Dataset):
        return {"image_size": IMAGE_SIZE.value, **_phantom_arguments()}
    given: dict[str, str] = {}
    for text in ARGUMENT.value:
        name, _, given[name] = text.partition("=")
    if MIMIC_CXR.value:
        given["mimic_cxr"] = MIMIC_CXR.value
    defaults = {p.name: p.default for p in inspect.signature(dataset.read).parameters.values()}
    dataset.arguments(given)  # names are checked before values
    return {name: _typed(name, text, defaults[name]) for name, text in given.items()}


def _typed(name: str, text: str, default: Any) -> Any:
    """A value of the type of the default; the parts of a tuple are separated by commas."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            kind = type(default[0]) if default else str
            return tuple(kind(part) for part in text.split(",") if part)
        return type(default)(text)
    except (ValueError, KeyError):
        raise InputError(
            f"--argument={name}={text}: a value like {default!r} is expected"
        ) from None


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise InputError(f"--shard={text}: write i/n, such as 0/16 for the first of 16 parts")
    return int(part), int(parts)


def _phantom_arguments() -> dict[str, Any]:
    chosen = {"contrast": CONTRAST.value, "lesions": LESIONS.value}
    given = {name: value for name, value in chosen.items() if value is not None}
    return {"count": COUNT.value, "seed": SEED.value, **given}


def _write_json(numbers: dict[str, Any]) -> None:
    if config_lib.JSON.value:
        Path(config_lib.JSON.value).write_text(json.dumps(numbers, indent=1), encoding="utf-8")


def format_summary(summary: dict[str, Any]) -> str:
    """The summary of a preparation (`gazax.data.Records.summary`) as a short table."""
    fixations, height_width = summary["fixations"], summary["size"]
    lines = [
        f"images     {summary['images']} of {summary['patients']} patients at "
        f"{height_width[0]} x {height_width[1]} px; {summary['images_without_gaze']} without gaze, "
        f"{len(summary['images_failed'])} failed",
        f"fixations  {fixations['kept']} of {summary['readers']} readers from "
        f"{summary['fixations_from'] or 'nowhere'}; {fixations['outside']} outside their image",
        "at most    "
        + ", ".join(
            f"{largest['count']} {what} ({largest['image_id']})"
            for what, largest in summary["largest"].items()
            if largest["count"]
        ),
        "",
    ]
    labels = {split: counts["labels"] for split, counts in summary["splits"].items()}
    rows = [("split", "images", "patients", "fixations")]
    for split, counts in summary["splits"].items():
        rows.append((split, counts["images"], counts["patients"], counts["fixations"]))
    lines += [*_table(rows), ""]
    rows = [("label", *labels)]
    for name in summary["label_names"]:
        counts = [found[name] for found in labels.values()]
        rows.append((name, *(f"{n['present']}/{n['present'] + n['absent']}" for n in counts)))
    lines += _table(rows) if summary["label_names"] else ["no labels"]
    for reason, count in fixations["dropped"].items():
        lines.append(f"\n{count} fixations left out: {reason}")
    for name, count in summary.items():
        if isinstance(count, int) and name not in SHOWN:
            lines.append(f"\n{count} {name.replace('_', ' ')}")
    for file, faults in summary["faults"].items():
        lines.append(f"\n{file}: {faults['count']} left out")
        lines += [f"  {count} {reason}" for reason, count in faults["reasons"].items()]
    if failed := summary["images_failed"]:
        more = [f"... and {len(failed) - 10} more"] if len(failed) > 10 else []
        lines += ["\nimages that failed (mend them, then --again):"]
        lines += [f"  {name}" for name in [*failed[:10], *more]]
    if summary["ignored_columns"]:
        lines.append(f"\ncolumns not used: {', '.join(summary['ignored_columns'])}")
    return "\n".join(lines)


def _table(rows: list[tuple]) -> list[str]:
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell!s:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


if __name__ == "__main__":
    config_lib.run(main)
