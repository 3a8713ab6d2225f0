"""EGD-CXR in miniature: its files and columns, invented ids, and everything that can go wrong.

Image i is 40 px wide and 32 high; images 0 and 1 are of one patient, the others of one each. Image
2 has no gaze. Diagnoses go round: Normal, CHF, pneumonia.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 32, 40
LEFT_PAD, WIDE, HIGH = 448, 1024, 1080
"""Of an image on the screen of 1920 x 1080, px."""
FINDINGS = (
    "consolidation",
    "enlarged_cardiac_silhouette",
    "linear__patchy_atelectasis",
    "lobar__segmental_collapse",
    "not_otherwise_specified_opacity___pleural__parenchymal_opacity__",
    "pleural_effusion_or_thickening",
    "pulmonary_edema__hazy_opacity",
    "normal_anatomically",
    "elevated_hemidiaphragm",
    "hyperaeration",
    "vascular_redistribution",
)
REPORT = (
    "atelectasis__chx",
    "cardiomegaly__chx",
    "consolidation__chx",
    "edema__chx",
    "enlarged_cardiomediastinum__chx",
    "fracture__chx",
    "lung_lesion__chx",
    "lung_opacity__chx",
    "no_finding__chx",
    "pleural_effusion__chx",
    "pleural_other__chx",
    "pneumonia__chx",
    "pneumothorax__chx",
    "support_devices__chx",
)
DIAGNOSES = ("Normal", "CHF", "pneumonia")
SHEET = (
    *("dicom_id", "path", "study_id", "patient_id", "stay_id", "gender", "anchor_age"),
    *("image_top_pad", "image_bottom_pad", "image_left_pad", "image_right_pad"),
    *(name for k in range(1, 10) for name in (f"dx{k}", f"dx{k}_icd")),
    *("normal_reports", *DIAGNOSES, *FINDINGS, *REPORT, "cxr_exam_indication"),
)
GAZE = (
    *("SESSION_ID", "MEDIA_ID", "DICOM_ID", "CNT", "Time (in secs)", "TIMETICK(f=10000000)"),
    *("FPOGX", "FPOGY", "FPOGS", "FPOGD", "FPOGID", "FPOGV", "BPOGX", "BPOGY", "BPOGV"),
    *("LPCX", "LPCY", "LPD", "LPS", "LPV", "RPCX", "RPCY", "RPD", "RPS", "RPV"),
    *("BKID", "BKDUR", "BKPMIN", "LPMM", "LPMMV", "RPMM", "RPMMV", "SACCADE_MAG", "SACCADE_DIR"),
    *("VID_FRAME", "X_ORIGINAL", "Y_ORIGINAL"),
)
BOXES = ("dicom_id", "bbox_name", "x1", "x2", "y1", "y2")
OUTLINES = ("left_lung.png", "right_lung.png", "mediastanum.png", "aortic_knob.png")
WITHOUT_GAZE = 2


def patient_id(i: int) -> str:
    return f"{10_000_100 + 37 * max(i, 1)}"


def study_id(i: int) -> str:
    return f"{50_000_200 + 11 * i}"


def dicom_id(i: int) -> str:
    """44 characters."""
    return f"{i:08x}-0000abcd-{i:08x}-{7 * i:08x}-{i:03x}fade0"


def screen_id(i: int) -> str:
    """39 characters, with which the id of image i begins."""
    return dicom_id(i)[:-5]


def image_path(i: int, suffix: str = ".dcm") -> str:
    patient = patient_id(i)
    return f"files/p{patient[:2]}/p{patient}/s{study_id(i)}/{dicom_id(i)}{suffix}"


def fixations(i: int) -> list[tuple[int, int, float]]:
    """Pixel and seconds of the fixations on image i that are on it, in order of time."""
    if i == WITHOUT_GAZE:
        return []
    return [
        ((3 + 5 * k + i) % WIDTH, (2 + 7 * k) % HEIGHT, 0.1 * (k + 1)) for k in range(3 + i % 4)
    ]


def write_egd_cxr(root: Path, count: int = 14, *, mimic_eye: bool = False) -> Path:
    """Writes the release and, beside it, MIMIC-CXR-JPG; or both as MIMIC-Eye has them."""
    for i in range(count):
        pixels = np.random.Generator(np.random.PCG64(i)).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
        path = root / "mimic-cxr-jpg/2.0.0" / image_path(i, ".jpg")
        if mimic_eye:
            path = root / f"patient_{patient_id(i)}/CXR-JPG/s{study_id(i)}/{dicom_id(i)}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    folder = root / ("spreadsheets/EyeGaze" if mimic_eye else "egd-cxr/1.0.0")
    sheet = "master_sheet_with_updated_stayId.csv" if mimic_eye else "master_sheet.csv"
    write_table(folder / sheet, SHEET, [sheet_row(i) for i in range(count)], index=mimic_eye)
    rows, samples = gaze_rows(count)
    write_table(folder / "fixations.csv", GAZE, rows, index=mimic_eye)
    write_table(folder / "eye_gaze.csv", GAZE, samples, index=mimic_eye)
    write_table(folder / "bounding_boxes.csv", BOXES, box_rows(count), index=mimic_eye)
    for i in (0, 3):
        place = root / f"patient_{patient_id(i)}/EyeGaze" if mimic_eye else folder
        place = place / "audio_segmentation_transcripts" / dicom_id(i)
        place.mkdir(parents=True)
        for k, name in enumerate(OUTLINES if i == 0 else OUTLINES[:1]):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[4 : 8 + k, 2 : 6 + k] = 255
            Image.fromarray(mask).save(place / name)
        (place / "transcript.json").write_text("{}")
    if mimic_eye:  # every patient has the sheet's rows once more
        write_table(
            root / f"patient_{patient_id(3)}/EyeGaze/master_sheet.csv",
            SHEET,
            [sheet_row(3)],
            index=True,
        )
    return root


def sheet_row(i: int) -> dict[str, object]:
    """Text in quotes with commas and line breaks; -1, 0, 1 and blank in labels of the report."""
    report = {
        0: {"no_finding__chx": "1.0"},
        1: {"edema__chx": "1.0", "cardiomegaly__chx": "-1.0", "pneumonia__chx": "0.0"},
        3: {},
    }.get(i, {"pneumonia__chx": "1.0", "support_devices__chx": "1.0"})
    return {
        "dicom_id": dicom_id(i),
        "path": image_path(i),
        "study_id": study_id(i),
        "patient_id": patient_id(i),
        "gender": "FM"[i % 2],
        "anchor_age": "20 - 30",
        "image_top_pad": 0,
        "image_bottom_pad": 0,
        "image_left_pad": LEFT_PAD,
        "image_right_pad": LEFT_PAD,
        "dx1": "HEART FAILURE, UNSPEC\nED second line",
        **{name: int(i % 3 == k) for k, name in enumerate(DIAGNOSES)},
        **dict.fromkeys(FINDINGS, 0),
        **report,
        "cxr_exam_indication": 'in "quotes",\n\nand after an empty line',
    }


def gaze_rows(count: int) -> tuple[list[dict], list[dict]]:
    """Rows of fixations.csv and of eye_gaze.csv.

    Beside `fixations`, each image but `WITHOUT_GAZE` has a gaze off the image and one with FPOGV 0.
    After every fourth image comes a calibration screen, ten in a session.
    """
    rows, samples = [], []
    for i in range(count):
        session, time = 1 + i // 10, 0.0
        places = [(x, y, seconds, 1) for x, y, seconds in fixations(i)]
        if places:
            places[1:1] = [(-1, -3, 0.25, 1), (5, 6, 0.02, 0)]
        for number, (x, y, seconds, valid) in enumerate(places):
            start, time = time + 0.03, time + 0.03 + seconds
            at = ((LEFT_PAD + x / WIDTH * WIDE) / 1920, y / HEIGHT * HIGH / 1080)
            for k in range(1, 1 + round(60 * seconds)):
                row = gaze_row(session, i, dicom_id(i), number, start, k / 60, at, valid)
                samples.append(row | {"X_ORIGINAL": x, "Y_ORIGINAL": y})
            row = gaze_row(session, i, dicom_id(i), number, start, seconds, at, valid)
            rows.append(row | {"X_ORIGINAL": x, "Y_ORIGINAL": y})
        if i % 4 == 3:
            for number, offset in enumerate(((-300, 200), screen_offset(i))):
                at = ((960 + offset[0]) / 1920, (540 + offset[1]) / 1080)
                row = gaze_row(session, i, screen_id(i), number, 0.0, 0.5, at, 1)
                row |= {"X_ORIGINAL": int(1920 * at[0]), "Y_ORIGINAL": int(1080 * at[1])}
                rows.append(row)
                samples += [row, row]
    return rows, samples


def screen_offset(i: int) -> tuple[float, float]:
    """Of the last fixation on the screen after image i from its dot, px of the screen."""
    return 12.0 + i, -30.0


def gaze_row(
    session: int,
    media: int,
    name: str,
    number: int,
    start: float,
    seconds: float,
    at: tuple[float, float],
    valid: int,
) -> dict[str, object]:
    return {
        "SESSION_ID": session,
        "MEDIA_ID": media,
        "DICOM_ID": name,
        "CNT": round(60 * (start + seconds)),
        "Time (in secs)": f"{start + seconds:.5f}",
        "TIMETICK(f=10000000)": f"{1e7 * (start + seconds):.1f}",
        "FPOGX": f"{at[0]:.8f}",
        "FPOGY": f"{at[1]:.8f}",
        "FPOGS": f"{start:.5f}",
        "FPOGD": f"{seconds:.5f}",
        "FPOGID": number + 2,
        "FPOGV": valid,
    }


def box_rows(count: int) -> list[dict[str, object]]:
    """x1, x2, y1, y2."""
    rows = []
    for i in range(0, count, 2):
        rows += [
            dict(zip(BOXES, (dicom_id(i), name, x, x + 9.5, y, y + 20.0), strict=True))
            for name, x, y in (("cardiac silhouette", 10.0 + i, 2.0), ("left lung", 21.0, 3.5))
        ]
    return rows


def write_table(
    path: Path, columns: Sequence[str], rows: Sequence[dict], *, index: bool = False
) -> None:
    """A csv table; `index` adds pandas' column without a name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*[""] * index, *columns])
        for number, row in enumerate(rows):
            writer.writerow([*[number] * index, *(row.get(column, "") for column in columns)])
