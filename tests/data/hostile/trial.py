"""One input: made, given to the package, and judged."""

import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from gazax.data import cache, datasets, decode, prepared
from gazax.data.pixels import images
from gazax.data.sources import egd_drift
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data.hostile.damage import mutate
from tests.data.hostile.pictures import mutate_jpeg, mutate_png, pictures
from tests.data.hostile.radiographs import mutate_dicom
from tests.data.hostile.trees import TREES, Tree, judge
from tests.data.hostile.watch import Watch

KINDS = (*pictures(), *("dicom",) * 10, *(name for name in TREES for _ in range(2)))
"""Of inputs, in turn."""


def make_task(path: Path, display: str) -> decode.Task:
    return decode.Task(path, None, None, np.zeros(0, bool), (24, 32), None, display, (path.parent,))


class Range:
    """Where one process tries inputs, and how."""

    def __init__(self, folder: Path, watch: Watch):
        self.folder, self.watch = folder, watch
        self.out = folder / "out"
        self.source = folder / "pictures"
        for path in (self.out, self.source, folder / "outside"):
            path.mkdir(parents=True)
        (folder / "outside/secret").write_text("secret")
        self.pictures = pictures()
        self._begin()
        self.trees: dict[str, Tree] = {}

    def make(self, kind: str, seed: int) -> tuple[random.Random, Path | None]:
        """The generator of an input, and the file where that is a picture."""
        rng = random.Random(f"{kind} {seed}")
        if kind in TREES:
            return rng, None
        path = self.source / ("x.dcm" if kind == "dicom" else f"x.{kind.rsplit('.', 1)[1]}")
        if kind == "dicom":
            data = mutate_dicom(rng, self.folder)
        elif rng.random() < 0.3:
            special = mutate_png if kind.endswith("png") else mutate_jpeg
            data = special(self.pictures[kind], rng)
        else:
            data = mutate(self.pictures[kind], rng)
        path.write_bytes(data)
        return rng, path

    def try_one(self, kind: str, seed: int) -> tuple[str, str]:
        """What became of an input, in a word or two, and what is wrong with that ('' nothing)."""
        try:
            rng, path = self.make(kind, seed)
        except Exception as error:
            return "not made", f"{type(error).__name__}: {error}"[:2000]
        if path is not None:
            self._begin()
            return self._try_picture(rng, path)
        tree = self.trees.get(kind) or self.trees.setdefault(kind, Tree(self.folder, kind))
        spoiled, undo = tree.spoil(rng)
        self._begin()
        try:
            return self._try_tree(rng, tree, spoiled)
        finally:
            undo()

    def _begin(self) -> None:
        """What an input costs counts from here, when it is made."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what there is
        self._base = memory("VmRSS"), time.process_time(), time.monotonic()

    def cost(self) -> dict[str, float]:
        """Seconds of processor time and on the clock, and MiB at the peak, of the last input."""
        base, start, clock = self._base
        return {
            "cpu": time.process_time() - start,
            "clock": time.monotonic() - clock,
            "mib": (memory("VmHWM") - base) / 1024,
        }

    def _try_picture(self, rng: random.Random, path: Path) -> tuple[str, str]:
        display = rng.choice(("standard", "reflacx"))
        task = make_task(path, display)

        def action() -> Any:
            found = decode.decode(task)
            try:
                return found, images.image_size(path)
            except images.DecodeError as error:
                return found, error

        try:
            found, size = self.watch(self.source, self.out, action)
        except Exception as error:
            return type(error).__name__, f"{type(error).__name__}: {error}"[:2000]
        if self.watch.found:
            return "audit", "; ".join(self.watch.found[:3])
        if isinstance(found, images.DecodeError):
            return "DecodeError", "" if path.name in str(found) else f"names no file: {found}"
        if isinstance(size, Exception):
            return "decoded", f"decodes, and its size is not read: {size}"
        wrong = found.image.shape != (24, 32) or found.frame.stored != size
        return "decoded", f"decodes to {found.frame.stored}, its size is {size}" if wrong else ""

    def _try_tree(self, rng: random.Random, tree: Tree, spoiled: Path) -> tuple[str, str]:
        faults = Faults(rng.choice((0.01, 1.0)))
        thorough = rng.random()

        def action() -> tuple[str, str]:
            files, load = (
                datasets.DATASETS[tree.dataset].files,
                datasets.DATASETS[tree.dataset].read,
            )
            found = files(tree.root, **tree.arguments)
            if found.missing:
                return "missing", "" if all(found.missing) else "an empty line"
            cache.describe(found, tree.root)
            raw = load(tree.root, faults=faults, **tree.arguments)
            if wrong := judge(raw):
                return "read", wrong
            if spoiled.suffix not in (".csv", ".txt", ".gz") or spoiled.is_symlink():
                for image in raw.images:
                    decode.decode(decode.task(raw, image, (40, 32)))
            if tree.dataset == "egd_cxr":
                egd_drift.drift_report(tree.root)
            return ("faults counted" if faults.report() else "read"), ""

        try:
            result = self.watch(tree.root, self.out, action)
            if self.watch.found:
                return "audit", "; ".join(self.watch.found[:3])
            if thorough < 0.1:
                self.watch(
                    tree.root,
                    self.out,
                    lambda: prepared.check(tree.dataset, root=tree.root, **tree.arguments),
                )
            if thorough < 0.01:
                self._prepare(tree)
        except InputError as error:
            result = "InputError", "" if _names(str(error), tree) else f"names no file: {error}"
        except Exception as error:
            result = type(error).__name__, f"{type(error).__name__}: {error}"[:2000]
        if self.watch.found:
            return "audit", "; ".join(self.watch.found[:3])
        return result

    def _prepare(self, tree: Tree) -> None:
        out = self.out / "cache"
        self.watch.alone = False
        try:
            self.watch(
                tree.root,
                self.out,
                lambda: prepared.prepare(
                    tree.dataset,
                    root=tree.root,
                    size=(40, 32),
                    cache=out,
                    max_bad_fraction=1.0,
                    workers=1,
                    progress=False,
                    **tree.arguments,
                ),
            )
        finally:
            self.watch.alone = True
            shutil.rmtree(out, ignore_errors=True)


def _names(message: str, tree: Tree) -> bool:
    """Whether a message says of which file or folder it speaks."""
    names = {path.name for path in tree.files} | {
        path.name.removesuffix(".gz") for path in tree.files
    }
    return str(tree.root) in message or any(
        name in message for name in (*names, "images/", "masks/")
    )


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process, KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise KeyError(name)
