"""A folder of predictions: which images they are of, and what is written for each."""

import collections
import csv
import datetime
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from etils import epath

import gazax
from gazax.data.decode import Pixels
from gazax.data.pixels.frame import Frame
from gazax.data.pixels.images import SUFFIXES
from gazax.eval.panels import Panel, density_on_image, lay_on_image, picture
from gazax.train.files import whole, write_text
from gazax.train.workdir import write_json
from gazax.typing import InputError, RunError

FACTS = "predictions.json"
TABLE = "predictions.csv"
TITLES = {
    "saliency": "predicted saliency",
    "grad_cam": "Grad-CAM",
    "attention": "attention",
}
"""Of the maps that are written as densities, in the order of an overlay."""
LONGEST = 180
"""Bytes of a name before it is cut: file systems stop at 255, with what is added to it."""
_SAME = ("weights", "images_from")
"""What the predictions of one folder have in common."""


class ImageFile(NamedTuple):
    """One image that a person wants predicted."""

    path: Path
    shown: str
    """Its path below the folder that was given, as it stands in tables."""
    name: str
    """What the names of its predictions begin with; no other image has it."""


def find_images(root: Path) -> list[ImageFile]:
    """The PNG, JPEG and DICOM files of a folder and all below it, in order of their paths.

    A predicted file is called as its image is, without the ending and with ``__`` for ``/``; where
    that would be the name of two, each gets eight digits of the SHA-256 of its path. What begins
    with a dot is left out, and folders that are links are not entered.

    Args:
      root: a folder, or one file.

    Raises:
      InputError: there is nothing there, or no image.
    """
    known = ", ".join(SUFFIXES)
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise InputError(f"--images='{root}' is no image by its ending; {known} are read.")
        paths = [root]
    elif root.is_dir():
        paths = sorted(_below(root))
        if not paths:
            raise InputError(f"--images='{root}' has no image in it or below it; {known} are read.")
    else:
        raise InputError(f"--images='{root}' does not exist; give a folder or a file.")
    start = root if root.is_dir() else root.parent
    relative = [path.relative_to(start) for path in paths]
    shown = [_printable(path.as_posix()) for path in relative]
    names = _names(shown)
    return [ImageFile(*one) for one in zip(paths, shown, names, strict=True)]


class Predictions:
    """The folder that predictions are written to; each file is there whole or not at all.

    Args:
      folder: new, empty, or one of the same weights and images, whose files are written anew.
      facts: what `predictions.json` says, with `weights` and `images_from`.

    Raises:
      InputError: the folder holds anything else, or cannot be written.
    """

    def __init__(self, folder: epath.Path, facts: Mapping[str, Any]) -> None:
        self._folder = folder
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._facts = {**facts, "date": now, "gazax": gazax.__version__}
        _check(folder, facts)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for former in _former(folder):  # what is not predicted again must not stay beside
                former.unlink()
            write_json(folder / FACTS, {**self._facts, "finished": False})
        except OSError as error:
            raise InputError(f"--out='{folder}' cannot be written: {error}.") from None

    def save(
        self,
        file: ImageFile,
        found: Mapping[str, np.ndarray],
        *,
        frame: Frame,
        shown: Pixels,
        label_names: Sequence[str],
    ) -> None:
        """The arrays of one image and its overlay.

        Args:
          file: the image.
          found: by kind, over the prepared frame: saliency, grad_cam and attention [h_l, w_l],
            which are written as densities on the image, masks [h, w, k], which are written as they
            are, and probability [k], which the overlay says.
          frame: where the image lies in the prepared one.
          shown: the image as it is looked at.
          label_names: of masks and probability.
        """
        left, top, right, bottom = (round(one) for one in shown.frame.content)
        image = shown.image[top:bottom, left:right]
        panels = []
        for kind, title in TITLES.items():
            if kind not in found:
                continue
            self._save_array(file, kind, density_on_image(found[kind], frame))
            if kind == "grad_cam":
                best = int(found["probability"].argmax())
                title += f": {label_names[best]} {found['probability'][best]:.2f}"
            panels.append(Panel(title, lay_on_image(found[kind], frame, size=image.shape)))
        if "masks" in found:
            planes = np.moveaxis(found["masks"], -1, 0)
            masks = np.stack([lay_on_image(plane, frame) for plane in planes], axis=-1)
            self._save_array(file, "masks", masks)
            for label, plane in zip(label_names, planes, strict=True):
                on_image = lay_on_image(plane, frame, size=image.shape)
                title = f"{label}, at most {on_image.max():.2f}"
                panels.append(Panel(title, on_image, limits=(0.0, 1.0)))
        overlay = picture(image, panels, title=file.shown)
        # Level 1: far faster than the default, for some more bytes.
        self._save_file(
            f"{file.name}.overlay.png", lambda to: overlay.save(to, "PNG", compress_level=1)
        )

    def finish(
        self,
        *,
        label_names: Sequence[str],
        probabilities: Mapping[str, Sequence[float]],
        names: Mapping[str, str],
        faults: Mapping[str, str],
    ) -> None:
        """The table, where there are probabilities, and `predictions.json`, which comes last.

        Args:
          label_names: columns of the table.
          probabilities: by image.
          names: by image, see `ImageFile.name`.
          faults: what was wrong with an image that is left out, by image.
        """
        try:
            if probabilities:
                write_text(self._folder / TABLE, _table(label_names, probabilities))
            facts = {**self._facts, "images": dict(names), "left_out": dict(faults)}
            write_json(self._folder / FACTS, {**facts, "finished": True})
        except OSError as error:
            raise _no_room(self._folder, error) from error

    def _save_array(self, file: ImageFile, kind: str, array: np.ndarray) -> None:
        self._save_file(f"{file.name}.{kind}.npy", lambda to: np.save(to, array))

    def _save_file(self, name: str, write: Callable[[IO[bytes]], None]) -> None:
        try:
            with whole(self._folder / name) as file:
                write(file)
        except OSError as error:
            raise _no_room(self._folder / name, error) from error


def _former(folder: epath.Path) -> list[epath.Path]:
    """Files of an earlier run of the same command."""
    endings = (".overlay.png", ".masks.npy", *(f".{kind}.npy" for kind in TITLES))
    return [one for one in folder.iterdir() if one.name == TABLE or one.name.endswith(endings)]


def _below(root: Path) -> list[Path]:
    """Files with the ending of an image; a folder that cannot be listed is an `InputError`."""

    def fail(error: OSError) -> None:
        raise InputError(f"'{error.filename}' cannot be listed ({error.strerror}); mend its rights")

    found = []
    for folder, folders, files in os.walk(root, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(folder, name)
            for name in files
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return found


def _printable(text: str) -> str:
    """Names of files can be bytes that are no text; what of them is none is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _names(shown: Sequence[str]) -> list[str]:
    """A name for each path, see `find_images`; also where capitals do not count."""
    plain = [text[: text.rindex(".")].replace("/", "__") for text in shown]
    count = collections.Counter(name.casefold() for name in plain)

    def is_free(name: str) -> bool:
        return count[name.casefold()] == 1 and len(name.encode()) <= LONGEST

    taken = {name.casefold() for name in plain if is_free(name)}
    names = []
    for text, name in zip(shown, plain, strict=True):
        if not is_free(name):
            digest, digits = hashlib.sha256(text.encode()).hexdigest(), 8
            start = name.encode()[:LONGEST].decode(errors="ignore")
            while (name := f"{start}-{digest[:digits]}").casefold() in taken:
                digits += 1
            taken.add(name.casefold())
        names.append(name)
    return names


def _check(folder: epath.Path, facts: Mapping[str, Any]) -> None:
    """Refuses a folder whose content is not predictions of the same weights and images."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"--out='{folder}' is a file; give a folder.")
    path = folder / FACTS
    if not path.exists():
        if any(not found.name.endswith(".partial") for found in folder.iterdir()):
            raise InputError(
                f"--out='{folder}' is not empty and has no {FACTS}: it holds no predictions of "
                "gazax. Give another folder."
            )
        return
    try:
        before = json.loads(path.read_bytes())
        differing = [key for key in _SAME if before.get(key) != facts[key]]
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"'{path}' is damaged ({error}); give another --out, or remove that folder."
        ) from None
    if differing:
        raise InputError(
            f"--out='{folder}' holds predictions of the images in {before.get('images_from')} by "
            f"{before.get('workdir')}, step {before.get('step')}; the "
            f"{' and the '.join(key.partition('_')[0] for key in differing)} now are others. Give "
            "another --out, or remove that folder."
        )


def _no_room(path: epath.Path, error: OSError) -> RunError:
    return RunError(
        f"'{path}' could not be written: {error}. Make room or mend the disk; the same command "
        "writes it anew."
    )


def _table(label_names: Sequence[str], probabilities: Mapping[str, Sequence[float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *label_names])
    writer.writerows([image, *row] for image, row in probabilities.items())
    return text.getvalue()
