"""Write the phantom as a gaze folder, on all cores, all of it or nothing.

Shares of the work go to fresh interpreters and not to a
process pool: nothing is forked under a running jax, nothing imports the caller's main module
again, and it works the same from a command, a test and a notebook. Each example depends on the
seed and its own number only, so the bytes do not depend on who drew it.
"""

import contextlib
import fcntl
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from gazax.data.phantom.example import CLASSES
from gazax.data.phantom.readers import READERS
from gazax.data.phantom.share import draw_share
from gazax.typing import InputError, RunError

SMALL = 150
"""Images below which starting another interpreter costs more than it saves."""
WORKER = (
    "import json, sys; from gazax.data.phantom.share import draw_share; "
    "draw_share(**json.loads(sys.argv[1]))"
)
HEADERS = {
    "fixations.csv": "image_id,reader_id,x_px,y_px,duration_s",
    "labels.csv": ",".join(("image_id", "patient_id", *CLASSES)),
    "boxes.csv": "image_id,label,x_px,y_px,width_px,height_px",
}


def write_gaze_folder(
    out: str | os.PathLike,
    *,
    count: int = 1200,
    size: int = 128,
    seed: int = 0,
    contrast: float = 1.0,
    lesions: float = 2.0,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Draw `count` images with their gaze, labels, boxes and masks into a new folder.

    Args:
      out: folder to make; it must not exist yet (an empty one is taken over). It is written
        beside and renamed, so that it is complete as soon as it is there.
      count: images; every three in a row hold one of each class, about one in eight is a second
        film of the patient before it.
      size: side of the images, px, 32 to 1024. The same seed gives the same subjects at any size.
      seed: of everything.
      contrast: factor on what findings add to the picture, from 0 (nothing to see) up;
        1 is the default difficulty, at which they are faint beside ribs and vessels.
      lesions: mean number of findings in an image of a sick class, at least 1.
      workers: processes; None is one a core. The result is the same for any number.
      progress: show a bar.

    Raises:
      InputError: an argument out of range, or `out` is there and not empty.
      RunError: a process was killed, or failed.
    """
    out = Path(out)
    check(
        out, count=count, size=size, seed=seed, contrast=contrast, lesions=lesions, workers=workers
    )
    workers = 1 if count < SMALL else min(workers or os.cpu_count() or 1, count)
    helpers: list[subprocess.Popen] = []
    with fresh_folder(out) as beside:
        try:
            (beside / "images").mkdir()
            (beside / "masks").mkdir()
            task = dict(
                folder=str(beside),
                count=count,
                size=size,
                seed=seed,
                contrast=contrast,
                lesions=lesions,
                shares=workers,
            )
            paths = os.pathsep.join(p for p in sys.path if p)
            for share in range(1, workers):
                helpers.append(
                    subprocess.Popen(
                        [
                            sys.executable,
                            "-c",
                            WORKER,
                            json.dumps(task | {"share": share}),
                        ],
                        env=os.environ | {"PYTHONPATH": paths},
                    )
                )
            disable = None if progress else True  # None: where nobody watches, as in a log file
            with tqdm(total=count, desc="phantom", unit="image", disable=disable) as bar:

                def tick() -> None:
                    """Count what is on disk, whoever wrote it."""
                    if progress:
                        bar.update(sum(1 for _ in os.scandir(beside / "images")) - bar.n)

                draw_share(**task, share=0, tick=tick)
                for helper in helpers:
                    while helper.poll() is None:
                        tick()
                        time.sleep(0.05)
                    if helper.returncode:
                        raise RunError(
                            f"a process that draws the phantom ended with code {helper.returncode}"
                            f", see above; the same command draws it anew in {out.parent}."
                        )
            gather(beside, count=count, shares=workers)
        except BaseException:
            for helper in helpers:
                helper.kill()
                helper.wait()
            raise


@contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into, renamed to `out` at the end, removed on any error.

    One that a kill has left is removed by the next: it is nobody's whose lock is free.

    Args:
      out: must be absent or an empty folder; `check` says so to the user.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f".{glob.escape(out.name)}.????????.partial"):
        with contextlib.suppress(OSError), locked_folder(left):
            shutil.rmtree(left, ignore_errors=True)
    with contextlib.ExitStack() as held:
        yield from _filled(out, _new_beside(out, held))


def _new_beside(out: Path, held: contextlib.ExitStack) -> Path:
    """A new folder beside `out` whose lock is held, where the file system has locks."""
    while True:
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        try:
            held.enter_context(locked_folder(beside))
        except (FileNotFoundError, BlockingIOError):  # another takes it for a killed one's
            continue
        except OSError:  # no locks
            return beside
        if beside.exists():
            return beside


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Holds the system's lock on a folder, which ends with the process.

    Raises:
      OSError: another process holds it, or there are no locks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _filled(out: Path, beside: Path) -> Iterator[Path]:
    try:
        yield beside
        beside.chmod(0o777 & ~umask())
        if out.exists():
            out.rmdir()
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def umask() -> int:
    """The process's file mode mask (temporary folders ignore it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check(out: Path, **given) -> None:
    """Refuse what cannot be drawn."""
    lowest = dict(count=1, size=32, seed=0, contrast=0, lesions=1, workers=1)
    for name, least in lowest.items():
        value = given[name]
        if value is not None and not value >= least:
            raise InputError(f"phantom: {name}={value!r}: give at least {least}")
    if given["size"] > 1024:
        raise InputError(f"phantom: size={given['size']}: give at most 1024")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: already there and not empty: give another folder, or remove it")


def gather(folder: Path, *, count: int, shares: int) -> None:
    """Join the shares' tables in the order of the images."""
    parts = []
    for share in range(shares):
        path = folder / f"share_{share}.json"
        parts.append(json.loads(path.read_text()))
        path.unlink()
    for name, header in HEADERS.items():
        lines = [header]
        for number in range(count):
            lines += parts[number % shares][name][number // shares]
        (folder / name).write_text("\n".join(lines) + "\n")
    weights = [f"{reader.reader_id},{reader.weight}" for reader in READERS]
    (folder / "readers.csv").write_text("\n".join(["reader_id,weight", *weights]) + "\n")
