"""Trees in the layout of ChestX-ray14: invented patients, tiny images, the headers as released."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ENTRIES = {
    "Data_Entry_2017.csv": (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],",
        "{name},{labels},{visit},{patient},058Y,M,PA,2682,2749,0.143,0.143,",
    ),
    "Data_Entry_2017_v2020.csv": (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]",
        "{name},{labels},{visit},{patient},58,M,PA,2682,2749,0.143,0.143",
    ),
}
"""Header and row of each release of the table."""
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
LABELS = (
    "No Finding",
    "Cardiomegaly",
    "Infiltration|Pneumonia",
    "Pleural_Thickening",
    "Effusion|Pneumothorax|Atelectasis",
)


@dataclass(frozen=True)
class Row:
    """One image."""

    name: str
    patient: int
    visit: int
    labels: str


def rows(count: int = 30) -> list[Row]:
    """`count` images; every third patient has two, the others one."""
    found: list[Row] = []
    patient = 0
    while len(found) < count:
        patient += 1
        for visit in range(2 if patient % 3 == 0 else 1):
            labels = LABELS[len(found) % len(LABELS)]
            found.append(Row(f"{patient:08}_{visit:03}.png", patient, visit, labels))
    return found[:count]


def write_chestxray14(
    root: Path,
    count: int = 30,
    *,
    entries: str = "Data_Entry_2017.csv",
    parts: int = 0,
    side: int = 32,
) -> Path:
    """Writes tables, lists and square images of `side` px; returns `root`.

    Patients 5, 10, ... are in the list of tests. Images 1, 6, ... have a box of Cardiomegaly, and
    2, 7, ... one that the table calls Infiltrate and one of Pneumonia, in px of 1024.

    Args:
      entries: a key of `ENTRIES`.
      parts: into how many folders images_001/images/ and so on the images go; 0 is images/.
    """
    images = rows(count)
    rng = np.random.Generator(np.random.PCG64(0))
    for i, row in enumerate(images):
        folder = root / (f"images_{i % parts + 1:03}/images" if parts else "images")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (side, side), np.uint8)
        # a few of the released images have four channels
        Image.fromarray(pixels).convert("RGBA" if i == 3 else "L").save(folder / row.name)
    header, line = ENTRIES[entries]
    write(root / entries, header, *(line.format(**vars(row)) for row in images))
    test = [row.name for row in images if row.patient % 5 == 0]
    write(root / "test_list.txt", *test)
    write(root / "train_val_list.txt", *(row.name for row in images if row.name not in test))
    boxes = []
    for i, row in enumerate(images):
        if i % 5 == 1:
            boxes.append(f"{row.name},Cardiomegaly,256.5,128,512,256,,,")
        if i % 5 == 2:
            boxes.append(f"{row.name},Infiltrate,64,96,320,160,,,")
            boxes.append(f"{row.name},Pneumonia,512,256.25,64,32,,,")
    write(root / "BBox_List_2017.csv", BOX_HEADER, *boxes)
    return root


def write(path: Path, *lines: str) -> None:
    """Writes lines of text."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
