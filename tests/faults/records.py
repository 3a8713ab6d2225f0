"""Small records, and how they are damaged."""

import os
import shutil

from gazax import data
from gazax.data import pipeline
from tests.data.folders import example_folder

SIZES = dict(max_fixations=64, max_readers=4, max_boxes=8)


def prepared(folder):
    """The example folder's records; found where they are there."""
    if not (folder / "source").exists():
        example_folder(folder / "source")
    return data.prepare(
        "gaze_folder",
        root=folder / "source",
        size=(24, 32),
        cache=folder / "cache",
        keep_ids=True,
    )


def batches(records, **given):
    """The training stream, of four images a batch."""
    examples = pipeline.train_examples(records.source("train"), seed=0, **SIZES)
    return pipeline.train_batches(examples, global_batch_size=4, **given)


def file_of(records):
    """Of the training split."""
    return next(records.directory.rglob("records-train.array_record*"))


def changed(path):
    """Each record, not the spaces between them."""
    content = bytearray(path.read_bytes())
    for at in range(0, len(content), 64):
        content[at] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "changed": changed,
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "gone": lambda path: path.unlink(),
    "its folder gone": lambda path: shutil.rmtree(path.parent.parent),
    "its description cut off": lambda path: os.truncate(path.parent / "features.json", 100),
    "its description gone": lambda path: (path.parent / "dataset_info.json").unlink(),
}
