"""A tree of exactly REFLACX's shape: tiny images, invented ids, every trap of the real one."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

PHASE_1 = [
    "Airway wall thickening",
    "Atelectasis",
    "Consolidation",
    "Emphysema",
    "Enlarged cardiac silhouette",
    "Fibrosis",
    "Fracture",
    "Groundglass opacity",
    "Mass",
    "Nodule",
    "Other",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary edema",
    "Quality issue",
    "Support devices",
    "Wide mediastinum",
]
PHASES_2_3 = [
    "Abnormal mediastinal contour",
    "Acute fracture",
    "Atelectasis",
    "Consolidation",
    "Enlarged cardiac silhouette",
    "Enlarged hilum",
    "Groundglass opacity",
    "Hiatal hernia",
    "High lung volume / emphysema",
    "Interstitial lung disease",
    "Lung nodule or mass",
    "Other",
    "Pleural abnormality",
    "Pneumothorax",
    "Pulmonary edema",
    "Support devices",
]
METADATA = [
    "id",
    "split",
    "eye_tracking_data_discarded",
    "image",
    "dicom_id",
    "subject_id",
    "image_size_x",
    "image_size_y",
]
FIXATIONS = [
    "timestamp_start_fixation",
    "timestamp_end_fixation",
    "x_position",
    "y_position",
    "pupil_area_normalized",
    "angular_resolution_x_pixels_per_degree",
    "angular_resolution_y_pixels_per_degree",
    "window_width",
    "window_level",
    "xmin_shown_from_image",
    "ymin_shown_from_image",
    "xmax_shown_from_image",
    "ymax_shown_from_image",
    "xmin_in_screen_coordinates",
    "ymin_in_screen_coordinates",
    "xmax_in_screen_coordinates",
    "ymax_in_screen_coordinates",
]
FILES = ("fixations.csv", "anomaly_location_ellipses.csv", "chest_bounding_box.csv")
SPLITS = ("train", "train", "validate", "test", "train", "train", "train", "test")
WIDE, TALL = (40, 32), (32, 40)
"""Width and height; images of even and of odd number."""


@dataclass(frozen=True)
class Invented:
    """A reading of the tree."""

    reading_id: str
    phase: int
    image: int
    """Number of its image."""
    reader: int
    """Rank of its id among those of the image."""
    discarded: bool
    subject_id: str
    study_id: str
    dicom_id: str
    split: str
    size: tuple[int, int]

    @property
    def path(self) -> str:
        """As in the column image."""
        return (
            f"physionet.org/files/mimic-cxr/2.0.0/files/p{self.subject_id[:2]}/p{self.subject_id}/"
            f"s{self.study_id}/{self.dicom_id}.dcm"
        )

    @property
    def form(self) -> list[str]:
        return PHASE_1 if self.phase == 1 else PHASES_2_3

    @property
    def ellipses(self) -> list[tuple[tuple[int, int, int, int], int, tuple[str, ...]]]:
        """Extremes, certainty, labels. Reader k of five is k + 1 sure of a consolidation."""
        if self.phase < 3:
            k = self.reader
            box = (2 + k, 3, 14 + k, 13) if k != 3 else (14 + k, 13, 2 + k, 3)
            found = [(box, k + 1, ("Consolidation",))]
            return found + [((24, 18, 36, 28), 5, ("Pneumothorax", "Atelectasis"))] * (k == 4)
        return (
            [],
            [((5, 6, 15, 16), 5, ("Consolidation",)), ((20, 26, 12, 10), 2, ("Atelectasis",))],
            [((3, 4, 9, 12), 4, ("Other",)), ((10, 9, 22, 19), 3, ("Lung nodule or mass",))],
        )[self.image % 3]


def invent(count: int = 16) -> list[Invented]:
    """Images 0 and 1 have five readings of phase 1, 2 and 3 of phase 2, the others one of phase 3.

    Images 5 and 6 are of one patient; one reading of image 1 and one of image 2 are discarded.
    """
    readings = []
    for image in range(count):
        phase = 1 if image < 2 else 2 if image < 4 else 3
        patient = 5 if image == 6 else image
        digest = hashlib.sha256(str(image).encode()).hexdigest()
        for reader in range(5 if phase < 3 else 1):
            trial = f"{image + 2:02}" if phase < 3 else "00"
            readings.append(
                Invented(
                    reading_id=f"P{phase}{trial}R{150_000 * reader + 7 * (97 * image % count):06}",
                    phase=phase,
                    image=image,
                    reader=reader,
                    discarded=(image, reader) in ((1, 2), (2, 0)),
                    subject_id=str(10_000_032 + 1_003 * patient),
                    study_id=str(50_000_123 + 77 * image),
                    dicom_id="-".join(digest[8 * i : 8 * i + 8] for i in range(5)),
                    split=SPLITS[patient % len(SPLITS)],
                    size=TALL if image % 2 else WIDE,
                )
            )
    return readings


def write_reflacx(
    root: Path, count: int = 16, *, suffix: str = ".jpg", mimic_eye: bool = False
) -> Path:
    """Writes main_data/ and the images it speaks of, .jpg or .dcm, or both as MIMIC-Eye has them.

    Every reading that is kept has a first fixation that begins before the audio, one at a button
    beside the image, one in a zoomed view, one without an angular resolution.
    """
    readings = invent(count)
    rows = [_metadata(reading) for reading in readings]
    if mimic_eye:
        merged = [*PHASE_1, *(name for name in PHASES_2_3 if name not in PHASE_1)]
        lines = [["", *METADATA, *merged]]
        lines += [
            [i, *(row[name] for name in METADATA), *(_float(row.get(name, "")) for name in merged)]
            for i, row in enumerate(rows)
        ]
        write_csv(root / "spreadsheets/REFLACX/metadata.csv", lines, end="\n")
    else:
        for phase, form in ((1, PHASE_1), (2, PHASES_2_3), (3, PHASES_2_3)):
            mine = [row for row in rows if row["id"].startswith(f"P{phase}")]
            mine.sort(key=lambda row, phase=phase: row["image" if phase == 3 else "id"])
            lines = [[*METADATA, *form], *([row[n] for n in (*METADATA, *form)] for row in mine)]
            write_csv(root / f"main_data/metadata_phase_{phase}.csv", lines)
    for reading in readings:
        write_reading(reading_folder(root, reading, mimic_eye=mimic_eye), reading)
    for reading in {reading.image: reading for reading in readings}.values():
        path = image_path(root, reading, suffix=suffix, mimic_eye=mimic_eye)
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.Generator(np.random.PCG64(reading.image))
        pixels = noise.integers(0, 256, reading.size[::-1], np.uint8)
        if suffix == ".jpg":
            Image.fromarray(pixels).save(path)
        else:
            from gazax.data.pixels.write_dicom import write_radiograph

            write_radiograph(
                path,
                pixels.astype(np.uint16) * 16,
                window=(2048, 4096),
                monochrome1=reading.image % 2 == 1,
                relationship_sign=1 if reading.image % 2 else -1,
                patient_id=reading.subject_id,
                study_id=reading.study_id,
                dicom_id=reading.dicom_id,
            )
    return root


def reading_folder(root: Path, reading: Invented, *, mimic_eye: bool = False) -> Path:
    patient = f"patient_{reading.subject_id}/REFLACX/" if mimic_eye else ""
    return root / f"{patient}main_data/{reading.reading_id}"


def image_path(
    root: Path, reading: Invented, *, suffix: str = ".jpg", mimic_eye: bool = False
) -> Path:
    name = f"s{reading.study_id}/{reading.dicom_id}{suffix}"
    if mimic_eye:
        return root / f"patient_{reading.subject_id}/CXR-JPG/{name}"
    return root / f"files/p{reading.subject_id[:2]}/p{reading.subject_id}/{name}"


def write_reading(folder: Path, reading: Invented) -> None:
    """The small files of one reading; a discarded one has two of them."""
    # headers of one label are spelled in other cases here and there
    form = [name.title() for name in reading.form] if reading.image % 2 else reading.form
    write_csv(
        folder / "anomaly_location_ellipses.csv",
        [
            ["xmin", "ymin", "xmax", "ymax", "certainty", *form],
            *(
                [*box, certainty, *(name in labels for name in reading.form)]
                for box, certainty, labels in reading.ellipses
            ),
        ],
    )
    width, height = reading.size
    write_csv(
        folder / "chest_bounding_box.csv",
        [["xmin", "ymin", "xmax", "ymax"], [4 + reading.reader, 2, width - 4, height - 2]],
    )
    if reading.discarded:
        return
    write_csv(folder / "fixations.csv", [FIXATIONS, *fixations(reading)])
    (folder / "transcription.txt").write_text("No pneumothorax. Heart size is normal.")
    words = [
        ["word", "timestamp_start_word", "timestamp_end_word"],
        ["no", 0.5, 0.7],
        [".", 0.7, 1],
    ]
    write_csv(folder / "timestamps_transcription.csv", words)


def fixations(reading: Invented) -> list[list]:
    """Rows of fixations.csv: five, and as many more as the rank of the reader."""
    width, height = reading.size
    k = reading.reader
    whole, screen = (0, 0, width, height), (570, 0, 3270, 2160)
    display = (1.01, 9, 8, 1.0, 0.5)
    rows = [
        [-0.412, -0.162, 10 + k, 12, *display, *whole, *screen],
        [-0.1, 0.2, 20, 15 + k, *display, *whole, *screen],
        [0.25, 0.611, -5, height + 9, *display, *whole, *screen],
        [0.7, 1.05, 14, 12, *display, 8, 6, 24, 20, *screen],
        [1.1, 1.31, 16, 17, 0.99, "", "", 0.8, 0.5, *whole, *screen],
    ]
    return rows + [[2 + j, 2.2 + j, 18, 19, *display, *whole, *screen] for j in range(k)]


def write_csv(path: Path, lines: list[list], *, end: str = "\r\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator=end).writerows(lines)


def _metadata(reading: Invented) -> dict:
    row = {
        "id": reading.reading_id,
        "split": reading.split,
        "eye_tracking_data_discarded": reading.discarded,
        "image": reading.path,
        "dicom_id": reading.dicom_id,
        "subject_id": reading.subject_id,
        "image_size_x": reading.size[0],
        "image_size_y": reading.size[1],
    }
    for name in reading.form:
        sure = [certainty for _, certainty, labels in reading.ellipses if name in labels]
        row[name] = max(sure, default=0)
    yes = reading.reader >= 3 if reading.phase < 3 else reading.image % 2 == 0
    row["Support devices"] = yes
    row["Other"] = "clips|old rib" if reading.image % 3 == 2 else ""
    return row | ({"Quality issue": False} if reading.phase == 1 else {})


def _float(cell: object) -> object:
    """A column that some rows lack is written as floats."""
    return float(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell
