"""One row a box becomes one record an image, and rows that contradict each other are named."""

import numpy as np
import pytest

from gazax.data.pixels import images
from gazax.data.sources.rsna_pneumonia import (
    BOXES,
    CLASSES,
    FOLDER,
    files_of_rsna_pneumonia,
    read_rsna_pneumonia,
)
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data.trees.rsna_pneumonia import (
    SIZE,
    boxes_of,
    class_of,
    patient_id,
    write_rsna_pneumonia,
)

COUNT = 24


def read(root, *, max_bad_fraction=0.0, **arguments):
    return read_rsna_pneumonia(root, faults=Faults(max_bad_fraction), **arguments)


def edit(root, table, old, new):
    path = root / table
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def add(root, table, line):
    with (root / table).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@pytest.fixture
def tree(tmp_path):
    return write_rsna_pneumonia(tmp_path / "below/rsna", COUNT, pixels=False)


class TestRecords:
    def test_one_record_an_image_however_many_boxes_it_has(self, tree):
        raw = read(tree)
        assert [image.image_id for image in raw.images] == [patient_id(i) for i in range(COUNT)]
        assert [len(image.box) for image in raw.images] == [len(boxes_of(i)) for i in range(COUNT)]
        assert max(len(image.box) for image in raw.images) == 2
        assert raw.faults.report() == {}

    def test_x_and_y_are_the_upper_left_corner(self, tree):
        raw = read(tree)
        np.testing.assert_array_equal(raw.images[0].box, [(3, 5, 13, 25), (18, 6, 30, 30)])
        assert raw.label_names[0] == "Pneumonia"
        np.testing.assert_array_equal(raw.images[0].box_label, [0, 0])

    def test_an_image_without_target_has_no_box_rather_than_one_of_nan(self, tree):
        for image in read(tree).images:
            assert np.isfinite(image.box).all()
            assert len(image.box) == len(image.box_label)
            assert (len(image.box) > 0) == (image.label[0] == 1)

    def test_classes_are_an_exclusive_group_beside_the_target(self, tree):
        raw = read(tree)
        (group,) = raw.exclusive
        assert raw.label_names == ("Pneumonia", *group)
        for number, image in enumerate(raw.images):
            label = dict(zip(raw.label_names, image.label.tolist(), strict=True))
            assert label["Pneumonia"] == (number % 3 == 0)
            assert [name for name in group if label[name] == 1] == [class_of(number)]

    def test_splits_are_drawn_and_none_is_empty(self, tree):
        raw = read(tree)
        assert {image.split for image in raw.images} == {"train", "validation", "test"}
        assert all(image.patient_id == image.image_id for image in raw.images)

    def test_found_below_the_folder_and_images_without_labels_are_not_read(self, tree):
        raw = read(tree.parents[1])
        assert all(image.path.parent == tree / FOLDER for image in raw.images)
        assert files_of_rsna_pneumonia(tree.parents[1]).folders == (tree / FOLDER,)

    def test_images_decode_to_the_size_that_boxes_lie_in(self, tmp_path):
        pytest.importorskip("pydicom")
        raw = read(write_rsna_pneumonia(tmp_path, 3), max_bad_fraction=0)
        for image in raw.images:
            assert images.image_size(image.path) == SIZE


class TestSplitList:
    def test_a_list_of_ones_own_and_images_that_it_does_not_name(self, tree):
        path = tree / "mine.csv"
        rows = [f"{patient_id(i)},{s}" for i, s in enumerate(("train", "val", "test"))]
        path.write_text("\n".join(("image_id,split", *rows)), encoding="utf-8")
        raw = read(tree, splits=str(path))
        assert [image.split for image in raw.images] == ["train", "validation", "test"]
        assert raw.notes["images_in_no_split"] == COUNT - 3
        assert path in files_of_rsna_pneumonia(tree, splits=str(path)).tables

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("nobody,train", "there is no image 'nobody'"),
            (f"{patient_id(0)},dev", "split is 'dev'"),
            (f"{patient_id(1)},train\n{patient_id(1)},train", "stands there twice"),
        ],
    )
    def test_what_is_wrong_in_it(self, tree, row, message):
        path = tree / "mine.csv"
        path.write_text(f"image_id,split\n{row}\n", encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read(tree, splits=str(path))

    def test_a_list_that_is_not_there(self, tree):
        with pytest.raises(InputError, match=r"nowhere.csv is missing; correct splits"):
            read(tree, splits=str(tree / "nowhere.csv"))


def left_out(tree, table, reason, number, message):
    """That reading stops, and where it may go on, leaves out the image."""
    with pytest.raises(InputError, match=message):
        read(tree)
    raw = read(tree, max_bad_fraction=0.5)
    assert raw.faults.report()[table]["reasons"].get(reason)
    return patient_id(number) not in {image.image_id for image in raw.images}


class TestContradictions:
    def test_two_targets(self, tree):
        add(tree, BOXES, f"{patient_id(0)},,,,,0")
        message = r"Target 0 and 1; mend them"
        assert left_out(tree, BOXES, "contradiction", 0, message)

    def test_two_classes(self, tree):
        add(tree, CLASSES, f"{patient_id(1)},Normal")
        assert left_out(tree, CLASSES, "contradiction", 1, "class No Lung Opacity / Not Normal and")

    def test_a_target_and_another_class(self, tree):
        edit(tree, CLASSES, f"{patient_id(2)},Normal", f"{patient_id(2)},Lung Opacity")
        message = r"Target is 0 and the class .* 'Lung Opacity'"
        assert left_out(tree, BOXES, "another class", 2, message)

    def test_a_box_without_target(self, tree):
        edit(tree, BOXES, f"{patient_id(1)},,,,,0", f"{patient_id(1)},1,2,3,4,0")
        message = "Target is 0 and there is a box 1 2 3 4"
        assert left_out(tree, BOXES, "box without target", 1, message)

    @pytest.mark.parametrize("box", [",,,", "3.0,5.0,,20.0", "3.0,5.0,-10.0,20.0", "3,5,inf,2"])
    def test_a_target_without_a_box(self, tree, box):
        edit(tree, BOXES, f"{patient_id(3)},3.0,5.0,10.0,20.0", f"{patient_id(3)},{box}")
        assert left_out(tree, BOXES, "no box", 3, "has no area")

    def test_the_other_boxes_of_an_image_stay(self, tree):
        edit(tree, BOXES, f"{patient_id(0)},3.0,5.0,10.0,20.0", f"{patient_id(0)},3.0,5.0,0,20.0")
        assert not left_out(tree, BOXES, "no box", 0, "has no area")
        np.testing.assert_array_equal(
            read(tree, max_bad_fraction=0.5).images[0].box, [(18, 6, 30, 30)]
        )

    def test_another_target(self, tree):
        edit(tree, BOXES, f"{patient_id(1)},,,,,0", f"{patient_id(1)},,,,,2")
        assert left_out(tree, BOXES, "no target", 1, "Target is '2'")

    def test_an_unknown_class(self, tree):
        edit(tree, CLASSES, f"{patient_id(2)},Normal", f"{patient_id(2)},Not Normal")
        message = "class is 'Not Normal'; known: Lung Opacity"
        assert left_out(tree, CLASSES, "unknown class", 2, message)

    def test_no_class(self, tree):
        edit(tree, CLASSES, f"{patient_id(2)},Normal\n", "")
        assert left_out(tree, BOXES, "no class", 2, f"has no usable row in {CLASSES}")


class TestFiles:
    def test_an_image_that_is_not_there(self, tree):
        (tree / FOLDER / f"{patient_id(5)}.dcm").unlink()
        assert left_out(tree, "images/", "no image", 5, rf"{patient_id(5)}.dcm is missing")

    @pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..", "a\0b"])
    def test_ids_never_lead_out_of_the_folder(self, tree, name):
        edit(tree, BOXES, f"{patient_id(1)},,,,,0", f"{name},,,,,0")
        with pytest.raises(InputError, match="names no file|cannot be read"):
            read(tree)

    def test_what_is_missing_is_listed_and_never_raised(self, tmp_path):
        files = files_of_rsna_pneumonia(tmp_path)
        assert [line.split(" is missing")[0] for line in files.missing] == [
            str(tmp_path / name) for name in (BOXES, CLASSES, FOLDER)
        ]
        assert all("kaggle.com" in line for line in files.missing)
        assert files_of_rsna_pneumonia(tmp_path / "nowhere").missing
        with pytest.raises(InputError, match=f"{BOXES} is missing"):
            read(tmp_path)

    def test_released_files_of_another_stage_lack_columns(self, tree):
        edit(tree, BOXES, "patientId,x,y,width", "patientId,width")
        with pytest.raises(InputError, match="column 'x' is missing"):
            read(tree)
