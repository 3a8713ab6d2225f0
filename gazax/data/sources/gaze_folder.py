"""The gaze folder: the layout in which anyone brings their own images and gaze.

::

    images/<image_id>.{png,jpg,dcm}
    labels.csv      image_id,patient_id[,split],<label>...
    fixations.csv   image_id,reader_id,x_px,y_px,duration_s
                    [,sigma_x_px,sigma_y_px][,window_xmin,window_ymin,window_xmax,window_ymax]
    samples.csv     image_id,reader_id,t_s,x_px,y_px
    readers.csv     reader_id,weight
    boxes.csv       image_id,label,x_px,y_px,width_px,height_px
    masks/<image_id>.png

Only ``images/`` and ``labels.csv`` are required. Coordinates are px of the stored image, origin at
the top-left corner of the top-left pixel, x right, y down, times in seconds: already gazax's own.
A label is 1, 0 or empty (unknown). Without a column ``split``, patients are drawn into splits
(`gazax.data.splits`). Raw samples are turned into fixations (`fixations`) when there is
no ``fixations.csv``. A mask is an 8-bit label map of its image's size: 0 nothing, v the v-th label
column counted from 1, 255 every label that is 1 for this image; where some images have masks, one
without has nothing marked.

Files are found by listing ``images/`` and ``masks/`` and looking the ids up in that list, so that
no id in a table, whatever it spells, leads out of the folder.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from gazax.config import did_you_mean
from gazax.data.pixels.images import SUFFIXES
from gazax.data.raw import IMAGES, NO_MASKS, RawDataset, RawGaze, RawImage, RawMasks
from gazax.data.sources import fixations, gaze_tables
from gazax.data.sources.files import SourceFiles, leads_out, list_folder
from gazax.data.sources.tables import NAMED, Faults, Table
from gazax.data.splits import NAMES, draw_splits
from gazax.typing import InputError

FIXATIONS, READERS = "fixations.csv", "readers.csv"
TABLES = ("labels.csv", FIXATIONS, "samples.csv", READERS, "boxes.csv")
PARTS = ("images", "masks", *TABLES)


def read_gaze_folder(
    root: Path,
    *,
    faults: Faults,
    fixation_algorithm: str = "idt",
    degree_fraction: float = fixations.DEGREE_FRACTION,
    dispersion_deg: float = fixations.DISPERSION_DEG,
    velocity_deg_s: float = fixations.VELOCITY_DEG_S,
    min_duration_s: float = fixations.MIN_DURATION_S,
    max_gap_s: float = fixations.MAX_GAP_S,
) -> RawDataset:
    """Reads and checks the tables of a gaze folder; pixels stay on disk.

    Args:
      root: the folder; never written to.
      faults: where rows that are left out are counted.
      fixation_algorithm: how samples become fixations, by dispersion (idt) or by
        velocity (ivt).
      degree_fraction: one degree of visual angle as a fraction of an image's longer side.
      dispersion_deg, velocity_deg_s: thresholds of I-DT and I-VT, degrees (per second).
      min_duration_s, max_gap_s: see `gazax.data.sources.fixations`.

    Raises:
      InputError: naming file, row and mend.
    """
    if lines := leads_out([root / name for name in PARTS], (root,)):
        raise InputError("; ".join(lines))
    files = list_files(root / "images", faults)
    table, labels, label_names = _read_labels(root / "labels.csv", files, faults)
    ids = table.text("image_id")
    used = {ids[i]: int(i) for i in np.flatnonzero(table.good)}
    if not used:
        raise InputError(f"no row of labels.csv has an image in {root / 'images'}")
    split = _read_splits(table)
    known = gaze_tables.Images(
        paths={image_id: files[image_id] for image_id in used},
        left_out=frozenset((set(ids) | set(files)) - set(used)),
    )
    weights = _present(root, READERS, gaze_tables.read_readers, faults) or {}
    detection = gaze_tables.Detection(
        algorithm=fixation_algorithm,
        degree_fraction=degree_fraction,
        dispersion_deg=dispersion_deg,
        velocity_deg_s=velocity_deg_s,
        min_duration_s=min_duration_s,
        max_gap_s=max_gap_s,
    )
    gaze, origin = _read_gaze(root, known, faults, detection)
    if origin is not None:
        _note_absent_readers(weights, gaze.reader_names, faults)
    reader_ids = tuple(sorted({*gaze.reader_names, *weights}))
    place_of = {name: i for i, name in enumerate(reader_ids)}
    rank = np.array([place_of[name] for name in gaze.reader_names], np.int32)
    boxes = _present(root, "boxes.csv", gaze_tables.read_boxes, known, label_names, faults)
    box_image, box, box_label = boxes or (np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, int))
    masks = list_files(root / "masks", faults) if (root / "masks").is_dir() else {}
    _check_masks(masks, known, faults)

    raw = []
    gaze_rows, box_rows = _group(gaze.image, len(used)), _group(box_image, len(used))
    for place, (image_id, i) in enumerate(used.items()):
        mine = gaze.gaze[gaze_rows[place]]
        raw.append(
            RawImage(
                image_id=image_id,
                patient_id=table.text("patient_id")[i],
                split=split[table.text("patient_id")[i]],
                path=files[image_id],
                label=labels[i],
                gaze=RawGaze(mine.xy, mine.duration, mine.sigma, mine.window, rank[mine.reader]),
                box=box[box_rows[place]],
                box_label=box_label[box_rows[place]].astype(np.int32),
                masks=RawMasks(label_map=masks[image_id]) if image_id in masks else NO_MASKS,
            )
        )
    return RawDataset(
        label_names=label_names,
        reader_ids=reader_ids,
        reader_weights=tuple(weights.get(name, 1.0) for name in reader_ids),
        images=tuple(raw),
        has_masks=bool(masks),
        roots=(root,),
        faults=faults,
        fixation_table=FIXATIONS if origin == FIXATIONS else None,
        rows_left_out=gaze.left_out,
        notes={
            "fixations_from": origin,
            "ignored_columns": list(gaze.other_columns),
        },
    )


def files_of_gaze_folder(root: Path, **arguments) -> SourceFiles:
    """What a gaze folder's records depend on."""
    missing = [
        f"{root / name}: {what}"
        for name, what in (
            ("images", "the folder of images"),
            ("labels.csv", "the table of images"),
        )
        if not (root / name).exists()
    ]
    return SourceFiles(
        tables=tuple(root / table for table in TABLES),
        folders=(root / "images", root / "masks"),
        missing=(*missing, *leads_out([root / name for name in PARTS], (root,))),
    )


def list_files(folder: Path, faults: Faults) -> dict[str, Path]:
    """The image files in a folder by id, in order of id; hidden files do not count.

    Raises:
      InputError: no folder, no images, two files of one id.
    """
    if not folder.is_dir():
        raise InputError(
            f"no folder {folder}: a gaze folder has images/ and labels.csv (is its path right?)"
        )
    name = f"{folder.name}/"
    files: dict[str, Path] = {}
    entries = [path for path in list_folder(folder) if not path.name.startswith(".")]
    for path in entries:
        if path.is_dir() or path.suffix.lower() not in SUFFIXES:
            what = "is a folder" if path.is_dir() else "is no png, jpg or dcm file"
            faults.add(name, "not an image", f"{name}{path.name} {what}; move it elsewhere")
        elif path.stem in files:
            raise InputError(
                f"{name}{files[path.stem].name} and {name}{path.name} both claim the image_id "
                f"{path.stem!r}; rename one"
            )
        else:
            files[path.stem] = path
    if not files:
        raise InputError(f"{folder} holds no png, jpg or dcm file")
    faults.check(name, len(entries), "files")
    return files


def _read_labels(
    path: Path, files: Collection[str], faults: Faults
) -> tuple[Table, Float[np.ndarray, "n k"], tuple[str, ...]]:
    """labels.csv without the rows that have no image, and its label columns as numbers."""
    table = Table(path, ("image_id", "patient_id"), groups=(("split",),), faults=faults)
    ids, seen = table.text("image_id"), {}
    for i, image_id in enumerate(ids):
        if image_id in seen:
            raise InputError(
                f"{table.where(i)}: image_id {image_id!r} stands there already in row "
                f"{table.row_numbers[seen[image_id]]}; keep one of them"
            )
        if not table.text("patient_id")[i]:
            raise InputError(f"{table.where(i)}: patient_id is empty; the image_id will do")
        seen[image_id] = i
    names = table.other_columns
    if "" in names:
        raise InputError(
            f"{path.name} row 1: column {table.columns.index('') + 1} has no name; a label needs "
            "one (is there a comma too many at the end of the header?)"
        )
    labels = np.stack([table.numbers(n) for n in names], 1) if names else np.zeros((len(table), 0))
    for k, name in enumerate(names):
        for i, cell in enumerate(table.text(name)):
            if labels[i, k] not in (0, 1) and cell.lower() not in ("", "nan"):
                raise InputError(
                    f"{table.where(i)}: label {name!r} is {cell!r}; a label is 1, 0 or empty "
                    "(unknown). Mend it, or remove the column if it is no label"
                )
    table.leave_out(
        np.array([image_id not in files for image_id in ids], bool),
        "no image",
        lambda i: (
            f"there is no images/{ids[i]}.png, .jpg or .dcm; image_id is the file's name without "
            "its ending. Add the file or remove the row"
        ),
    )
    table.check()
    for image_id in sorted(set(files) - set(ids)):
        message = f"images/{image_id} has no row in labels.csv; add one or remove the file"
        faults.add(IMAGES, "no row in labels.csv", message)
    faults.check(IMAGES, len(files), "images")
    return table, labels.astype(np.float32), names


def _read_splits(table: Table) -> dict[str, str]:
    """The split of every patient: as the table says, else drawn."""
    patients = table.text("patient_id")
    if "split" not in table.columns:
        return draw_splits([patients[i] for i in np.flatnonzero(table.good)], table.name)
    split: dict[str, str] = {}
    first: dict[str, int] = {}
    for i, (patient, cell) in enumerate(zip(patients, table.text("split"), strict=True)):
        if cell.lower() not in NAMES:
            raise InputError(
                f"{table.where(i)}: split is {cell!r}; write train, validation or test in every "
                "row, or remove the column to have patients drawn"
            )
        name = NAMES[cell.lower()]
        if split.setdefault(patient, name) != name:
            raise InputError(
                f"{table.where(i)}: patient {patient!r} is in {name} here and in {split[patient]} "
                f"in row {table.row_numbers[first[patient]]}; a patient belongs to one split"
            )
        first.setdefault(patient, i)
    return split


def _read_gaze(
    root: Path, known: gaze_tables.Images, faults: Faults, detection: gaze_tables.Detection
) -> tuple[gaze_tables.GazeTable, str | None]:
    """The fixations and what they come from."""
    gaze = _present(root, FIXATIONS, gaze_tables.read_fixations, known, faults)
    if gaze is not None:
        return gaze, FIXATIONS
    gaze = _present(root, "samples.csv", gaze_tables.read_samples, known, faults, detection)
    if gaze is not None:
        return gaze, f"samples.csv by {detection.algorithm}"
    none = np.zeros((0, 4))
    nobody = RawGaze(none[:, :2], none[:, 0], none[:, :2], none, np.zeros(0, np.int32))
    return gaze_tables.GazeTable(np.zeros(0, np.int64), nobody, (), 0, ()), None


def _note_absent_readers(
    weights: Collection[str], reader_names: Collection[str], faults: Faults
) -> None:
    """A weight that nobody's fixations use is most often a name that is spelled otherwise."""
    known = frozenset(reader_names)
    for name in weights:
        if name not in known:
            named = faults.count(READERS) < NAMED  # to look for a near one takes its time
            near = did_you_mean(name, list(reader_names)) if named else ""
            message = (
                f"{READERS}: reader_id {name!r} has no fixations{near}; its weight is not used"
            )
            faults.add(READERS, "reader without fixations", message)


def _check_masks(masks: dict[str, Path], known: gaze_tables.Images, faults: Faults) -> None:
    for image_id, path in masks.items():
        if path.suffix.lower() != ".png":
            raise InputError(f"masks/{path.name}: a mask is a png, whose values survive storage")
        if image_id not in known.paths and image_id not in known.left_out:
            message = f"masks/{path.name} belongs to no image; rename or remove it"
            faults.add("masks/", "unknown image", message)
    faults.check("masks/", len(masks), "masks")


def _present(root: Path, name: str, read, *arguments):
    """What `read` makes of a table; None where the folder does not have it."""
    return read(root / name, *arguments) if (root / name).exists() else None


def _group(image: Int[np.ndarray, "rows"], count: int) -> list[Int[np.ndarray, "_"]]:
    """The rows of every image, in the order they stand in."""
    order = np.argsort(image, kind="stable")
    return np.split(order, np.searchsorted(image[order], np.arange(1, count)))
