"""The phantom written as REFLACX is read back as the phantom that it was."""

import numpy as np
import pytest

pytest.importorskip("pydicom")

from gazax.config.datasets import REFLACX_LABELS
from gazax.data.phantom import CLASSES, subject
from gazax.data.phantom.layouts import reflacx
from gazax.data.phantom.layouts.tree import pseudo_id
from gazax.data.pixels import images
from gazax.data.sources.ellipses import merge_boxes
from gazax.data.sources.reflacx import files_of_reflacx, read_reflacx
from gazax.data.sources.tables import Faults
from gazax.typing import InputError

COUNT, SIZE, SEED = 12, 64, 3
OF_CLASS = {"normal": None, "pneumonia": "Consolidation", "heart_failure": "Pulmonary edema"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("layout") / "reflacx"
    reflacx.write_reflacx(out, count=COUNT, size=SIZE, seed=SEED)
    return out


@pytest.fixture(scope="module")
def raw(root):
    return read_reflacx(root, faults=Faults(0.0))


@pytest.fixture(scope="module")
def pairs(raw):
    """The number of each example, the example and the image that was read."""
    read = {image.image_id: image for image in raw.images}
    return [
        (number, subject(SEED, number, size=SIZE), read[pseudo_id("dicom", SEED, number)])
        for number in range(COUNT)
    ]


def test_nothing_is_missing_and_nothing_is_faulty(root, raw):
    files = files_of_reflacx(root)
    assert files.missing == ()
    assert len(files.files) == COUNT
    assert len(files.tables) == 3 + 3 * 3 * COUNT
    assert raw.faults.report() == {}
    assert raw.label_names == (*REFLACX_LABELS, "Chest")
    assert {image.split for image in raw.images} == {"train", "validation", "test"}


def test_fixations_agree_within_half_a_pixel_and_a_millisecond(pairs):
    for _, example, image in pairs:
        assert len(image.gaze) == sum(len(reading.xy) for reading in example.readings)
        for rank, reading in enumerate(example.readings):
            mine = image.gaze[image.gaze.reader == rank]
            assert np.abs(mine.xy - reading.xy).max() <= 0.5
            assert np.abs(mine.duration - reading.duration).max() <= 0.001
            assert (mine.sigma == round(SIZE / 28)).all()
            np.testing.assert_array_equal(mine.window, [(0, 0, SIZE, SIZE)] * len(mine))


def test_some_fixations_lie_outside(pairs):
    xy = np.concatenate([image.gaze.xy for _, _, image in pairs])
    assert ((xy < 0) | (xy >= SIZE)).any()


def test_boxes_and_ellipses_are_those_of_the_lesions(pairs, raw):
    columns = {name: k for k, name in enumerate(raw.label_names)}
    marked = 0
    for number, example, image in pairs:
        kept = []
        for lesion in example.lesions:
            names = [n for n in reflacx.FINDING[lesion.kind] if n in columns]
            if number % 6 == 0 and "effusion" in lesion.kind:
                names = []  # phase 1 calls it 'Pleural effusion', which is another label
            x, y, w, h = lesion.box
            kept += [((x, y, x + w, y + h), columns[name]) for name in names]
        box = np.array([corners for corners, _ in kept], float).reshape(-1, 4)
        label = np.array([k for _, k in kept], np.int32)
        expected, expected_label = merge_boxes(box, label)
        np.testing.assert_array_equal(image.box[:-1], expected)
        np.testing.assert_array_equal(image.box_label[:-1], expected_label)
        np.testing.assert_array_equal(image.box[-1], (0, 0, SIZE, SIZE))
        assert image.box_label[-1] == columns["Chest"]
        # each of the three readings marks each of them
        np.testing.assert_array_equal(
            np.unique(image.masks.ellipses, axis=0), np.unique(box, axis=0)
        )
        assert len(image.masks.ellipses) == 3 * len(box)
        marked += len(box)
    assert marked > COUNT / 2


def test_labels_are_those_of_the_class_and_of_the_lesions(pairs, raw):
    for number, example, image in pairs:
        has = {raw.label_names[k] for k in np.flatnonzero(image.label == 1)} - {"Chest"}
        of_class = OF_CLASS[CLASSES[example.label]]
        found = {name for lesion in example.lesions for name in reflacx.FINDING[lesion.kind]}
        asked = {n for k, n in enumerate(raw.label_names) if not np.isnan(image.label[k])}
        assert has == ({of_class} | found if of_class else set()) & asked
        assert ("Hiatal hernia" in asked) == (number % 6 > 0)


def test_the_classes_are_told_apart_by_labels(raw):
    label = np.array([image.label for image in raw.images])
    for name in filter(None, OF_CLASS.values()):
        assert (label[:, raw.label_names.index(name)] == 1).sum() >= COUNT // 3


def test_images_have_the_phantoms_grey_levels(pairs, raw):
    assert raw.display == "reflacx"
    for _, example, image in pairs[:6]:
        read = images.read_image(image.path, display="reflacx")
        assert np.abs(read.astype(int) - example.image.astype(int)).max() <= 1


def test_ids_have_the_real_form_and_are_all_different(raw, pairs):
    subjects = {pseudo_id("subject", 0, number) for number in range(2000)}
    assert len(subjects) == 2000
    assert {len(s) for s in subjects} == {8}
    assert {s[0] for s in subjects} == {"1"}
    assert len({image.image_id for image in raw.images}) == COUNT
    patients = {example.patient_id for _, example, _ in pairs}
    assert len({image.patient_id for image in raw.images}) == len(patients) < COUNT


def test_the_same_arguments_give_the_same_bytes(root, tmp_path):
    reflacx.write_reflacx(tmp_path / "again", count=6, size=32, seed=1)
    reflacx.write_reflacx(tmp_path / "once more", count=6, size=32, seed=1)
    one, two = (
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (tmp_path / "again", tmp_path / "once more")
    )
    assert one == two
    assert b"\r\n" in one[next(path for path in one if path.name == "fixations.csv")]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(reflacx, "write_radiograph", fail)
    with pytest.raises(KeyboardInterrupt):
        reflacx.write_reflacx(tmp_path / "out", count=6, size=32)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        reflacx.write_reflacx(tmp_path, count=6, size=32)


def test_too_few_images_for_all_phases_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least 6"):
        reflacx.write_reflacx(tmp_path / "out", count=5, size=32)
