"""Prepares data, or writes the phantom where anyone can look at it.

Anybody's images and gaze (the layout: `gazax.data.gaze_folder`) to records for training; training
does the same by itself, this shows beforehand what it will find::

    python -m gazax.prepare --dataset=gaze_folder --source=DIR --size=224

The phantom as a gaze folder, an example of the layout::

    python -m gazax.prepare --dataset=phantom --layout=gaze_folder --count=100 --size=128 --out=DIR
"""

import json
from pathlib import Path
from typing import Any

from absl import flags

from gazax import config as config_lib
from gazax.typing import InputError

DATASET = flags.DEFINE_string("dataset", None, "Data set: phantom, gaze_folder.", required=True)
SOURCE = flags.DEFINE_string("source", None, "Its folder; it is never written to.")
LAYOUT = flags.DEFINE_enum(
    "layout", "records", ["records", "gaze_folder"], "What to write; gaze_folder: the phantom's."
)
SIZE = flags.DEFINE_string("size", "224", "Images' size, px: 224, or H x W as 640x512.")
OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder to write: for records the cache (default $GAZAX_DATA, else the user's cache folder).",
)
COUNT = flags.DEFINE_integer("count", 1200, "Images of the phantom.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the phantom.", lower_bound=0)
CONTRAST = flags.DEFINE_float("contrast", None, "Contrast of the phantom's lesions; 1 is usual.")
LESIONS = flags.DEFINE_float("lesions", None, "Mean number of lesions in a sick phantom.")
IMAGE_SIZE = flags.DEFINE_integer("image_size", 128, "Side of the phantom's images in records, px.")
ALGORITHM = flags.DEFINE_string("fixation_algorithm", "idt", "From samples.csv: idt or ivt.")
MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction", 0.01, "Part of a file's rows, or of the images, that may be faulty."
)
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main() -> None:
    """The command."""
    from gazax import data
    from gazax.data.images import parse_size

    config_lib.check_json()
    size = parse_size(SIZE.value)
    if LAYOUT.value == "gaze_folder":
        _write_phantom(size)
        return
    arguments: dict[str, Any]
    if DATASET.value == "phantom":
        arguments = {"image_size": IMAGE_SIZE.value, **_phantom_arguments()}
    else:
        arguments = {"fixation_algorithm": ALGORITHM.value}
    records = data.prepare(
        DATASET.value,
        root=SOURCE.value,
        size=size,
        cache=OUT.value,
        max_bad_fraction=MAX_BAD_FRACTION.value,
        **arguments,
    )
    print(f"{records.directory}\n\n{format_summary(records.summary)}")
    if config_lib.JSON.value:
        Path(config_lib.JSON.value).write_text(
            json.dumps(records.summary, indent=1), encoding="utf-8"
        )


def _write_phantom(size: tuple[int, int]) -> None:
    from gazax.data import phantom

    if DATASET.value != "phantom":
        raise InputError(
            f"--layout=gaze_folder writes the phantom only, not {DATASET.value}; for records leave "
            "--layout out"
        )
    if not OUT.value or size[0] != size[1]:
        raise InputError("--layout=gaze_folder needs --out=DIR and a --size of one number")
    phantom.write_gaze_folder(OUT.value, size=size[0], progress=True, **_phantom_arguments())
    print(f"{OUT.value}: {COUNT.value} images of {size[0]} px, a gaze folder")


def _phantom_arguments() -> dict[str, Any]:
    chosen = {"contrast": CONTRAST.value, "lesions": LESIONS.value}
    given = {name: value for name, value in chosen.items() if value is not None}
    return {"count": COUNT.value, "seed": SEED.value, **given}


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
    rows = [("split", "images", "patients", "fixations", *summary["label_names"])]
    for split, counts in summary["splits"].items():
        labels = (f"{n['present']}/{n['present'] + n['absent']}" for n in counts["labels"].values())
        rows.append((split, counts["images"], counts["patients"], counts["fixations"], *labels))
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    lines += [
        "  ".join(f"{cell!s:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    for reason, count in fixations["dropped"].items():
        lines.append(f"\n{count} fixations left out: {reason}")
    for file, faults in summary["faults"].items():
        more = faults["count"] - len(faults["first"])
        lines.append(f"\n{file}: {faults['count']} left out")
        lines += [f"  {message}" for message in faults["first"]]
        lines += [f"  ... and {more} more"] if more else []
    if summary["ignored_columns"]:
        lines.append(f"\ncolumns not used: {', '.join(summary['ignored_columns'])}")
    return "\n".join(lines)


if __name__ == "__main__":
    config_lib.run(main)
