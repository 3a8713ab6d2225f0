"""Says of images what a trained workdir makes of them; the data it was trained on is not needed.

    python -m gazax.predict --workdir=DIR --images=FOLDER|FILE --out=DIR [--stage=NAME]

Images are PNG, JPEG or DICOM files, in the folder or anywhere below it. In --out, as far as the
workdir's model can say it:

    predictions.csv         image, then one probability a class; of one question they sum to 1
                            (`task` in predictions.json is 'multiclass'), otherwise each class
                            stands alone ('multilabel')
    <image>.saliency.npy    where people would look: a density on the image's own pixels [h, w],
                            float32, that sums to 1
    <image>.grad_cam.npy    what spoke for the likeliest class, in the same form
    <image>.attention.npy   the model's attention, in the same form, where there is neither
    <image>.masks.npy       of a segmentation: a probability a pixel and label [h, w, k]
    <image>.overlay.png     the image, and each of these over it
    predictions.json        which weights and images, what the files are called, what was left out

<image> is the path below the folder, without the ending, with '__' for '/'. A file that cannot be
read is reported and left out.

Exit codes: 0 done, 1 not one image could be read, 2 the input is wrong.
"""

import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from gazax import config as config_lib
from gazax.typing import InputError, RunError

if TYPE_CHECKING:
    from gazax.data.decode import Pixels
    from gazax.eval.predictions import ImageFile, Predictions
    from gazax.experiment.prediction import Found, Predictor

ROWS = 20
"""Of the table that is printed; the file has all."""

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run of gazax.main.")
IMAGES = flags.DEFINE_string("images", None, "A folder of images, or one image.")
OUT = flags.DEFINE_string("out", None, "Folder for what is predicted.")
STAGE = flags.DEFINE_string("stage", None, "Of a workdir of several stages; default: the last.")
WHICH = flags.DEFINE_enum("which", "best", ["best", "last"], "Checkpoint of the run.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images at a time.", lower_bound=1)
MAPS = flags.DEFINE_bool("maps", True, "Write arrays and overlays; --nomaps: probabilities alone.")
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main() -> None:
    """The command."""
    config_lib.check_json()
    if not (WORKDIR.value and IMAGES.value and OUT.value):
        raise InputError(
            "--workdir=DIR, --images=FOLDER or FILE and --out=DIR are needed: the folder of a run "
            "of gazax.main, what to predict, and where to write it."
        )
    from etils import epath

    from gazax.eval.predictions import Predictions, find_images
    from gazax.experiment.workdirs import run_folder
    from gazax.hardware.host_memory import keep_freed_memory
    from gazax.train.cluster import refuse_others

    keep_freed_memory()
    refuse_others("gazax.predict")
    root = pathlib.Path(IMAGES.value).expanduser()
    out = pathlib.Path(OUT.value).expanduser()
    if root.is_dir() and out.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"--out='{out}' lies in --images='{root}': what is written would be read as images the "
            "next time. Give a folder elsewhere."
        )
    folder = run_folder(epath.Path(WORKDIR.value).expanduser(), STAGE.value)
    files = find_images(root)
    config = config_lib.of_run(str(folder))
    config.data.cache = ""  # the training data's may lie on another machine

    from gazax.experiment.compilation import use_compilation_cache
    from gazax.experiment.prediction import Predictor

    use_compilation_cache(config)
    # One image alone is not made a batch of eight.
    size = min(BATCH_SIZE.value, len(files))
    predictor = Predictor(config, folder, which=WHICH.value, batch_size=size, maps=MAPS.value)
    facts = predictor.facts | {"images_from": str(root.resolve())}
    predictions = Predictions(epath.Path(out), facts)
    print(_title(predictor.facts), flush=True)
    faults: dict[str, str] = {}
    rows, names = {}, {}
    for file, found in _predicted(predictor, files, root, predictions, faults):
        names[file.shown] = file.name
        if "probability" in found:
            rows[file.shown] = [round(float(one), 6) for one in found["probability"]]
    labels = predictor.label_names
    predictions.finish(label_names=labels, probabilities=rows, names=names, faults=faults)
    if not names:
        raise RunError(f"none of the {len(files)} images in '{root}' could be read, see above.")
    if rows:
        print(f"\n{_table(labels, rows)}")
    left_out = f", {len(faults)} left out, see above" if faults else ""
    print(f"\n{out}/: {len(names)} of {len(files)} images predicted{left_out}")
    _write_json(labels, rows, names, faults)


def _title(facts: Mapping[str, Any]) -> str:
    """What predicts, of what kind its numbers are, and what it cannot say."""
    trained_on = facts["trained_on"]
    if trained_on == "phantom":
        trained_on = "the phantom (simulated images and gaze)"
    lines = [f"{facts['workdir']}: step {facts['step']}, trained on {trained_on}"]
    if facts["task"] == "multiclass":
        lines.append("one class an image: its probabilities sum to 1")
    elif facts["task"] == "multilabel":
        lines.append("each class by itself: probabilities do not sum to 1")
    else:
        kinds = " and ".join(facts["predicted"])
        lines.append(f"the method '{facts['method']}' has no head for classes; written: {kinds}")
    return "\n".join(lines)


def _predicted(
    predictor: "Predictor",
    files: "Sequence[ImageFile]",
    root: pathlib.Path,
    predictions: "Predictions",
    faults: dict[str, str],
) -> "Iterator[tuple[ImageFile, Found]]":
    """Each image that can be read, once its arrays and its overlay are written."""
    from tqdm import tqdm

    from gazax.data.pixels.images import DecodeError
    from gazax.data.pool import Pool
    from gazax.eval.panels import SIDE

    roots = (root,) if root.is_dir() else (root.resolve().parent,)
    tasks = []
    for file in files:
        tasks.append(predictor.task_of(file.path, roots=roots))
        if MAPS.value:  # once more, large enough to be looked at
            tasks.append(predictor.task_of(file.path, roots=roots, size=(SIDE, SIDE)))

    def decoded(pool: Pool) -> "Iterator[tuple[tuple[ImageFile, Pixels, Pixels], Pixels]]":
        results = pool.results(tasks)
        for file in files:
            pixels = next(results)
            shown = next(results) if MAPS.value else pixels
            bar.update()
            if isinstance(fault := pixels, DecodeError) or isinstance(fault := shown, DecodeError):
                start = f"{file.path.parent.name}/{file.path.name} "
                faults[file.shown] = str(fault).removeprefix(start)
                tqdm.write(
                    f"{file.shown} {faults[file.shown]}; it is left out: mend the file or take it "
                    "away",
                    file=sys.stderr,
                )
                continue
            yield (file, pixels, shown), pixels

    bar = tqdm(total=len(files), desc="predicting", unit=" images", disable=None)
    with bar, Pool([file.path for file in files]) as pool:
        for (file, pixels, shown), found in predictor.predictions(decoded(pool)):
            if MAPS.value:
                predictions.save(
                    file,
                    found,
                    frame=pixels.frame,
                    shown=shown,
                    label_names=predictor.label_names,
                )
            yield file, found


def _table(label_names: "Sequence[str]", rows: Mapping[str, Sequence[float]]) -> str:
    """The first rows, in columns."""
    lines = [["image", *label_names]]
    lines += [[image, *(f"{p:.3f}" for p in row)] for image, row in list(rows.items())[:ROWS]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    more = len(rows) - ROWS
    return f"{text}\nand {more} more in predictions.csv" if more > 0 else text


def _write_json(
    label_names: "Sequence[str]",
    rows: Mapping[str, Sequence[float]],
    names: Mapping[str, str],
    faults: Mapping[str, str],
) -> None:
    """The numbers for ``--json``."""
    from etils import epath

    from gazax.train.workdir import write_json

    if config_lib.JSON.value:
        numbers = {
            "predicted": len(names),
            "left_out": len(faults),
            "probabilities": {
                image: dict(zip(label_names, row, strict=True)) for image, row in rows.items()
            },
        }
        write_json(epath.Path(config_lib.JSON.value).resolve(), numbers)


if __name__ == "__main__":
    config_lib.run(main)
