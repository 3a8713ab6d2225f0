"""Sound trees of every data set; one file at a time is spoiled and restored."""

import gzip
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gazax.data.raw import RawDataset
from tests.data.folders import example_folder
from tests.data.hostile.damage import mutate
from tests.data.hostile.tables import mutate_table
from tests.data.trees.chestxray14 import write_chestxray14
from tests.data.trees.egd_cxr import write_egd_cxr
from tests.data.trees.mimic_cxr import write_mimic_cxr
from tests.data.trees.reflacx import write_reflacx
from tests.data.trees.rsna_pneumonia import write_rsna_pneumonia


def _samples(root: Path) -> Path:
    example_folder(root, count=8)
    rows = [
        f"im{i:02},{who},{0.02 * k:.2f},{5 + i + k // 9},{9 + k // 9}"
        for i in range(5)
        for who in ("ann", "bob")
        for k in range(20)
    ]
    (root / "fixations.csv").unlink()
    (root / "samples.csv").write_text("image_id,reader_id,t_s,x_px,y_px\n" + "\n".join(rows) + "\n")
    return root


def _with_splits(write: Callable[[Path], Path], table: str, place: int) -> Callable[[Path], Path]:
    """Adds the list of a user: splits in turn."""

    def make(root: Path) -> Path:
        write(root)
        lines = (root / table).read_text(encoding="utf-8").splitlines()[1:]
        ids = dict.fromkeys(line.split(",")[place] for line in lines)
        people = list(dict.fromkeys(name.split("_")[0] for name in ids))
        rows = [
            f"{name},{('train', 'val', 'test')[people.index(name.split('_')[0]) % 3]}"
            for name in ids
        ]
        (root / "splits.csv").write_text("\n".join(("image_id,split", *rows, "")), encoding="utf-8")
        return root

    return make


def _one_patient_each(root: Path) -> Path:
    return write_chestxray14(root, count=24)


TREES: dict[str, tuple[str, Callable[[Path], Path], dict[str, Any]]] = {
    "gaze_folder": ("gaze_folder", lambda root: example_folder(root, count=9), {}),
    "gaze_folder of samples": ("gaze_folder", _samples, {"fixation_algorithm": "ivt"}),
    "reflacx": ("reflacx", lambda root: write_reflacx(root, count=8), {}),
    "reflacx in MIMIC-Eye": (
        "reflacx",
        lambda root: write_reflacx(root, count=8, mimic_eye=True),
        {"label_set": "merged"},
    ),
    "egd_cxr": ("egd_cxr", lambda root: write_egd_cxr(root, count=6), {}),
    "egd_cxr of samples": (
        "egd_cxr",
        lambda root: write_egd_cxr(root, count=6),
        {"gaze": "samples", "blank": "unknown"},
    ),
    "egd_cxr in MIMIC-Eye": (
        "egd_cxr",
        lambda root: write_egd_cxr(root, count=6, mimic_eye=True),
        {"gaze": "cxrgazelearn"},
    ),
    "mimic_cxr": ("mimic_cxr", lambda root: write_mimic_cxr(root, count=6), {"blank": "unknown"}),
    "mimic_cxr compressed": (
        "mimic_cxr",
        lambda root: write_mimic_cxr(root, count=6, compressed=True, labeller="negbio"),
        {"labels": "negbio", "views": ()},
    ),
    "rsna_pneumonia": ("rsna_pneumonia", lambda root: write_rsna_pneumonia(root, count=9), {}),
    "rsna_pneumonia of a list": (
        "rsna_pneumonia",
        _with_splits(
            lambda root: write_rsna_pneumonia(root, count=9), "stage_2_train_labels.csv", 0
        ),
        {"splits": "splits.csv"},
    ),
    "chestxray14": ("chestxray14", _one_patient_each, {}),
    "chestxray14 of a list": (
        "chestxray14",
        _with_splits(
            lambda root: write_chestxray14(
                root, count=12, parts=2, entries="Data_Entry_2017_v2020.csv"
            ),
            "Data_Entry_2017_v2020.csv",
            0,
        ),
        {"splits": "splits.csv"},
    ),
}
"""Data set, writer and arguments; ``splits`` is a file of the tree."""


class Tree:
    """A sound tree beside a folder of secrets; one file at a time is spoiled and restored."""

    def __init__(self, folder: Path, name: str):
        self.dataset, write, arguments = TREES[name]
        self.root = write(folder / name.replace(" ", "_"))
        self.arguments = dict(arguments)
        if "splits" in arguments:
            self.arguments["splits"] = str(self.root / arguments["splits"])
        self.files = sorted(path for path in self.root.rglob("*") if path.is_file())
        self.tables = [path for path in self.files if path.suffix in (".csv", ".txt", ".gz")]
        self.outside = folder / "outside"

    def spoil(self, rng: random.Random) -> tuple[Path, Callable[[], None]]:
        """Changes a file; returns it and what undoes that."""
        if rng.random() < 0.08:
            return self._link(rng)
        path = rng.choice(self.tables if rng.random() < 0.93 else self.files)
        sound = path.read_bytes()
        if path.suffix == ".gz" and rng.random() < 0.6:
            data = gzip.compress(mutate_table(gzip.decompress(sound), rng), 1)
        elif path.suffix in (".csv", ".txt") and sound:
            data = mutate_table(sound, rng)
        else:
            data = mutate(sound, rng)
        path.write_bytes(data)
        return path, lambda: path.write_bytes(sound) and None

    def _link(self, rng: random.Random) -> tuple[Path, Callable[[], None]]:
        """A file or folder becomes a link out of the tree, a link in a circle, a pipe, a folder."""
        path = rng.choice(self.tables if rng.random() < 0.6 else self.files)
        if str(path) == self.arguments.get("splits"):  # which may lie anywhere
            path = self.tables[-1]
        if rng.random() < 0.3 and path.parent != self.root:
            path = path.parent
        away = self.outside / "moved"
        shutil.rmtree(away, ignore_errors=True)
        away.parent.mkdir(exist_ok=True)
        kept = away if rng.random() < 0.7 else self.root / ".kept"
        path.rename(kept)
        kind = rng.randrange(5)
        if kind == 0:
            path.symlink_to(path.name)
        elif kind == 1:
            os.mkfifo(path)
        elif kind == 2:
            path.mkdir()
        elif kind == 3:
            path.symlink_to(os.path.relpath(kept, path.parent))
        else:
            path.symlink_to(kept)

        def undo() -> None:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            kept.rename(path)

        return path, undo


def judge(raw: RawDataset) -> str:
    """What is wrong with a data set that was read; '' for nothing."""
    for image in raw.images:
        gaze = image.gaze
        fine = (
            image.split in ("train", "validation", "test")
            and np.isfinite(gaze.xy.astype(np.float32)).all()
            and np.isfinite(gaze.duration.astype(np.float32)).all()
            and (gaze.duration >= 0).all()
            and (np.isnan(gaze.sigma) | (gaze.sigma > 0)).all()
            and np.isfinite(image.box.astype(np.float32)).all()
            and (image.box[:, 2:] > image.box[:, :2]).all()
            and (np.isnan(image.label) | np.isin(image.label, (0, 1))).all()
            and ((image.box_label >= 0) & (image.box_label < len(raw.label_names))).all()
            and ((gaze.reader >= 0) & (gaze.reader < max(1, len(raw.reader_ids)))).all()
            and image.patient_id
        )
        if not fine:
            return f"image {image.image_id!r} has no sensible record: {image}"[:2000]
    return ""
