"""REFLACX 1.0.0: chest radiographs of MIMIC-CXR read by radiologists whose eyes were tracked.

::

    main_data/metadata_phase_{1,2,3}.csv      a row a reading
    main_data/<id>/fixations.csv              absent where eye tracking was discarded
    main_data/<id>/anomaly_location_ellipses.csv
    main_data/<id>/chest_bounding_box.csv
    main_data/<id>/transcription.txt, timestamps_transcription.csv       never opened
    gaze_data/<id>/gaze.csv                   raw samples, not used

and the images of MIMIC-CXR or MIMIC-CXR-JPG beside them (`mimic_tree`). MIMIC-Eye has
the same files by patient: spreadsheets/REFLACX/metadata.csv, with all phases in one table, and
patient_<subject_id>/REFLACX/[main_data/]<id>/.

Conventions, and what becomes of them:

- Readings are keyed by ``id``, several an image in phases 1 and 2. Who read is not public: the
  readings of an image are numbered in order of id, and "reading 1" of two images may be two people.
- A label of a reading is present when its certainty is at least the threshold; a label of an image
  when at least half of the readings that were asked say so (3 of 5, 1 of 2), NaN when none was.
- Ellipses, as masks, and the boxes around them are the union over readings, also of findings that
  most readings do not have. Overlapping boxes of a label become the box around them.
- The chest box, one rectangle that all readers saw, is the mean of theirs; its label column is
  "Chest", which has boxes and no ellipses.
- Positions are px of the stored image, measured from its top-left edge and rounded to whole numbers
  by the authors, so that nothing is added to them; a zoomed view has been undone already, and what
  it showed only says where a Gaussian may reach. Off-image positions are kept.
- A fixation's sigma is one degree of visual angle, ``angular_resolution_*_pixels_per_degree``.
  Times count from the start of the audio; before it they are negative.

Differs from the authors' code: an example is an image here and a reading there; their Gaussians lie
half a pixel further right and down, since their pixel j has its centre at j; and they train on
labels from the dictated text, which is not read here. Keeping ellipses of certainty above 2 is
common to both.

Source: the authors' dataset builder and examples (github.com/ricbl/eyetracking: create_main_table,
ASC2MAT, generate_heatmaps) for columns, rounding and coordinates; the rules by which readings are
put together are ours.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from gazax.config import choose
from gazax.data.raw import IMAGES, RawDataset, RawImage, RawMasks
from gazax.data.sources.ellipses import merge_boxes
from gazax.data.sources.files import SourceFiles, is_inside, leads_out
from gazax.data.sources.mimic_tree import find_mimic_tree
from gazax.data.sources.reflacx_labels import LABEL_SETS
from gazax.data.sources.reflacx_metadata import WHERE, Reading, find_tables, read_metadata
from gazax.data.sources.reflacx_readings import CHEST_BOX, ELLIPSES, FIXATIONS, Marks, join_gaze
from gazax.data.sources.tables import Faults
from gazax.typing import InputError

CHEST = "Chest"
"""Label column of the chest boxes."""
PHASES = (1, 2, 3)


DISPLAY = "reflacx"
"""Of DICOM files; a JPG is as it is."""


def files_of_reflacx(
    root: Path,
    *,
    phases: tuple[int, ...] = PHASES,
    label_set: str = "phases_2_3",
    certainty: int = 3,
    mimic_cxr: str = "",
) -> SourceFiles:
    """The files that the records depend on; arguments as in `read_reflacx`."""
    _check_arguments(phases, label_set, certainty)
    tree, mimic = find_tables(root, phases), find_mimic_tree(root, mimic_cxr)
    missing: list[str] = []
    if tree is None:
        missing.append(f"no main_data/metadata_phase_{phases[0]}.csv below {root}; get {WHERE}")
    else:
        absent = [path for path in tree.metadata if not path.exists()]
        missing += [f"{path} is missing; get {WHERE}" for path in absent]
        missing += leads_out(tree.metadata, (root,))
    if mimic is None:
        missing.append(
            f"no images of MIMIC-CXR below {mimic_cxr or root}; get the folder files/ of MIMIC-CXR "
            "2.x or MIMIC-CXR-JPG 2.x (https://physionet.org/content/mimic-cxr-jpg/2.1.0/), or say "
            "with mimic_cxr where it lies"
        )
    if missing or tree is None or mimic is None:
        return SourceFiles(missing=tuple(missing))
    readings, _ = read_metadata(tree, mimic, phases, label_set, certainty, Faults(1.0))
    tables = list(tree.metadata)
    for reading in readings:
        names = (ELLIPSES, CHEST_BOX) if reading.discarded else (FIXATIONS, ELLIPSES, CHEST_BOX)
        paths = [reading.folder / name for name in names]
        tables += [path for path in paths if is_inside(path, (root, mimic.root))]
    images = dict.fromkeys(reading.path for reading in readings)
    return SourceFiles(tuple(tables), tuple(images))


def read_reflacx(
    root: Path,
    *,
    faults: Faults,
    phases: tuple[int, ...] = PHASES,
    label_set: str = "phases_2_3",
    certainty: int = 3,
    mimic_cxr: str = "",
) -> RawDataset:
    """Reads and checks the tables of REFLACX; pixels stay on disk.

    Args:
      root: folder that holds main_data/ (down to five folders below it), or a MIMIC-Eye folder.
      faults: where what is left out is counted.
      phases: those to read, of 1, 2 and 3.
      label_set: phases_2_3 (15 findings), phase_1 (17) or merged (10 that both forms lead to); the
        column "Chest" follows. An image of a phase that did not ask for a label has NaN there.
      certainty: the least certainty, 1 to 5, of a finding that is present; 3 is "possibly", 50 %.
      mimic_cxr: folder of the images, where it is not below `root`.

    Raises:
      InputError: naming file, row and mend.
    """
    _check_arguments(phases, label_set, certainty)
    tree, mimic = find_tables(root, phases), find_mimic_tree(root, mimic_cxr)
    if tree is None or mimic is None or leads_out(tree.metadata, (root,)):
        lines = files_of_reflacx(root, phases=phases, mimic_cxr=mimic_cxr).missing
        raise InputError("\n  ".join(("REFLACX is not complete:", *lines)))
    roots = (root.resolve(), mimic.root.resolve())
    readings, ignored = read_metadata(tree, mimic, phases, label_set, certainty, faults)
    marks = Marks(label_set, certainty, roots, faults)
    images, left_out = [], 0
    for group in _by_image(readings):
        image = _assemble(group, marks)
        if image.path.exists():
            images.append(image)
            continue
        left_out += len(image.gaze)
        message = f"{image.path} is missing; get it from MIMIC-CXR, or say where with mimic_cxr"
        faults.add(IMAGES, "no image", message)
    faults.check(IMAGES, len(images) + faults.count(IMAGES), "images")
    marks.check(len(readings))
    most = max(Counter(reading.path for reading in readings).values())
    return RawDataset(
        label_names=(*LABEL_SETS[label_set], CHEST),
        reader_ids=tuple(f"reading {number + 1}" for number in range(most)),
        reader_weights=(1.0,) * most,
        images=tuple(images),
        has_masks=True,
        roots=roots,
        faults=faults,
        display=DISPLAY,
        fixation_table=FIXATIONS,
        rows_left_out=left_out,
        notes={
            "fixations_from": FIXATIONS,
            "ignored_columns": list(ignored),
            "readings": len(readings),
            "readings_discarded": sum(reading.discarded for reading in readings),
            "outlined_findings_that_most_readings_deny": sum(map(_denied, images)),
            **marks.counts,
        },
    )


def _check_arguments(phases: tuple[int, ...], label_set: str, certainty: int) -> None:
    choose("data.source.label_set", label_set, LABEL_SETS)
    if not phases or not set(phases) <= set(PHASES) or len(set(phases)) < len(phases):
        raise InputError(f"data.source.phases={phases!r}: give some of 1, 2 and 3, each once")
    if not 1 <= certainty <= 5:
        raise InputError(f"data.source.certainty={certainty}: give a certainty from 1 to 5")


def _by_image(readings: list[Reading]) -> list[list[Reading]]:
    """The readings of every image in order of id; images in the order of the tables."""
    groups: dict[str, list[Reading]] = {}
    patients: dict[str, Reading] = {}
    for reading in readings:
        group = groups.setdefault(reading.dicom_id, [])
        group.append(reading)
        if (reading.path, reading.size) != (group[0].path, group[0].size):
            raise InputError(
                f"{reading.where}: image or its size is not what {group[0].where} has for this "
                f"dicom_id; restore the tables from {WHERE}"
            )
        first = patients.setdefault(reading.subject_id, reading)
        if reading.split != first.split:
            raise InputError(
                f"{reading.where}: the patient is in {reading.split} here and in {first.split} in "
                f"{first.where}; a patient belongs to one split"
            )
    return [sorted(group, key=lambda reading: reading.reading_id) for group in groups.values()]


def _assemble(group: list[Reading], marks: Marks) -> RawImage:
    """One image and all of its readings."""
    first = group[0]
    gaze = join_gaze([marks.fixations(reading, k) for k, reading in enumerate(group)])
    found = [marks.ellipses(reading) for reading in group]
    ellipse = np.concatenate([extremes for extremes, _ in found])
    ellipse_label = np.concatenate([label for _, label in found])
    limit = np.array(first.size * 2)
    shown = np.clip(ellipse, 0, limit[None])
    inside = (shown[:, 2:] > shown[:, :2]).all(1)
    box, box_label = merge_boxes(shown[inside], ellipse_label[inside])
    chests = np.concatenate([marks.chest(reading) for reading in group])
    label = _agree(np.stack([reading.label for reading in group]))
    if len(chests):
        box = np.concatenate([box, chests.mean(0, keepdims=True)])
        box_label = np.append(box_label, len(label)).astype(np.int32)
    return RawImage(
        image_id=first.dicom_id,
        patient_id=first.subject_id,
        split=first.split,
        path=first.path,
        size=(round(first.size[1]), round(first.size[0])),
        label=np.append(label, 1 if len(chests) else np.nan).astype(np.float32),
        gaze=gaze,
        box=box,
        box_label=box_label,
        masks=RawMasks(ellipses=ellipse, ellipse_label=ellipse_label),
    )


def _denied(image: RawImage) -> int:
    """Labels that are 0 for an image in which somebody outlined them."""
    return int((image.label[np.unique(image.masks.ellipse_label)] == 0).sum())


def _agree(label: np.ndarray) -> np.ndarray:
    """1 where at least half of the readings that answered say so, NaN where none did."""
    answered = (~np.isnan(label)).sum(0)
    present = (label == 1).sum(0)
    return np.where(answered > 0, 2 * present >= answered, np.nan)
