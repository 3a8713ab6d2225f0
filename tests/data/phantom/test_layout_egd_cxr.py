"""The phantom in EGD-CXR's layout, read back, is the phantom."""

import csv

import numpy as np
import pytest

from gazax.data.phantom.example import CLASSES, subject
from gazax.data.phantom.layouts.egd_cxr import SHOWN, write_egd_cxr
from gazax.data.phantom.readers import READERS, session_offset
from gazax.data.pixels.images import read_image
from gazax.data.sources.egd_cxr import files_of_egd_cxr, read_egd_cxr
from gazax.data.sources.egd_drift import drift_report
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data.trees import egd_cxr as release

pytest.importorskip("pydicom")
COUNT, SIZE, SEED = 7, 32, 3
DIAGNOSIS = {"normal": "Normal", "heart_failure": "CHF", "pneumonia": "pneumonia"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "out"
    write_egd_cxr(out, count=COUNT, size=SIZE, seed=SEED)
    return out


@pytest.fixture(scope="module")
def truth():
    return [subject(SEED, number, size=SIZE) for number in range(COUNT)]


def read(written, gaze="fixations"):
    return read_egd_cxr(written, faults=Faults(0.0), gaze=gaze)


def seen(example):
    """Which fixations of the first reading are on the image."""
    xy = example.readings[0].xy
    return ((xy > 0) & (xy < SIZE)).all(1)


def test_fixations_are_within_half_a_pixel_and_last_as_long(written, truth):
    raw = read(written)
    for image, example in zip(raw.images, truth, strict=True):
        rows, reading = seen(example), example.readings[0]
        assert len(image.gaze) == rows.sum() > 5
        assert np.abs(image.gaze.xy - reading.xy[rows]).max() <= 0.5
        np.testing.assert_allclose(image.gaze.duration, reading.duration[rows], atol=1e-5)
    off = sum(int((~seen(example)).sum()) for example in truth)
    dropped = raw.faults.report().get("fixations.csv", {"reasons": {}})["reasons"]
    assert dropped == ({"off the image": off} if off else {})


def test_samples_add_up_to_the_fixations(written, truth):
    for image, example in zip(read(written, "samples").images, truth, strict=True):
        rows, reading = seen(example), example.readings[0]
        counts = np.maximum(1, np.round(60 * reading.duration[rows])).astype(int)
        assert len(image.gaze) == counts.sum()
        expected = np.repeat(np.floor(reading.xy[rows]) + 0.5, counts, axis=0)
        np.testing.assert_array_equal(image.gaze.xy, expected)


def test_labels_are_exact(written, truth):
    raw = read(written)
    column = {name: k for k, name in enumerate(raw.label_names)}
    for image, example in zip(raw.images, truth, strict=True):
        name = CLASSES[example.label]
        present = {k for k in ("Normal", "CHF", "pneumonia") if image.label[column[k]] == 1}
        assert present == {DIAGNOSIS[name]}
        assert image.label[column["pneumonia__chx"]] == (name == "pneumonia")
        assert image.label[column["no_finding__chx"]] == (name == "normal")
        kinds = {lesion.kind for lesion in example.lesions}
        assert image.label[column["cardiomegaly__chx"]] == ("heart" in kinds)
        for kind in set(column) & {lesion.kind for other in truth for lesion in other.lesions}:
            assert (image.label[column[kind]] == 1) == (kind in kinds)


def test_boxes_are_exact(written, truth):
    raw = read(written)
    assert any(example.lesions for example in truth)
    for image, example in zip(raw.images, truth, strict=True):
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (les.box for les in example.lesions)]
        np.testing.assert_array_equal(image.box, np.array(boxes).reshape(-1, 4))
        names = [raw.label_names[k] for k in image.box_label]
        assert names == [lesion.kind for lesion in example.lesions]


def test_images_are_16_bit_dicom_of_the_same_grey_levels(written, truth):
    import pydicom

    for image, example in zip(read(written).images, truth, strict=True):
        assert image.path.suffix == ".dcm"
        stored = pydicom.dcmread(image.path)
        assert (stored.BitsAllocated, stored.BitsStored) == (16, 12)
        np.testing.assert_array_equal(stored.pixel_array, example.image.astype(int) * 16)
        assert np.abs(read_image(image.path).astype(int) - example.image.astype(int)).max() <= 1


def test_patients_are_those_of_the_phantom(written, truth):
    images = read(written).images
    real = [example.patient_id for example in truth]
    assert len(set(real)) < COUNT
    for i in range(COUNT):
        for j in range(COUNT):
            same = images[i].patient_id == images[j].patient_id
            assert same == (real[i] == real[j])


def test_the_drift_report_finds_the_error_of_the_session(written, truth):
    reader = [r.reader_id for r in READERS].index(truth[0].readings[0].reader_id)
    row = drift_report(written)["sessions"][0]
    expected = session_offset(SEED, reader, 0) * SHOWN
    np.testing.assert_allclose((row["x_px"], row["y_px"]), expected, atol=0.05)
    assert read(written).notes["calibration_screens"] == 1


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("master_sheet", release.SHEET),
        ("fixations", release.GAZE),
        ("eye_gaze", release.GAZE),
        ("bounding_boxes", release.BOXES),
    ],
)
def test_columns_are_those_of_the_release(written, table, columns):
    with (written / f"egd-cxr/1.0.0/{table}.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == columns


def test_nothing_is_missing_and_nothing_is_written_over(written):
    assert files_of_egd_cxr(written).missing == ()
    with pytest.raises(InputError, match="already there and not empty"):
        write_egd_cxr(written, count=1)
    with pytest.raises(InputError, match="count=0"):
        write_egd_cxr(written / "more", count=0)
