"""Labels of ChestX-ray14 are whole names, its splits share no patient, its boxes fit the image."""

import numpy as np
import pytest
from PIL import Image

from gazax.config.datasets import CHESTXRAY14_LABELS
from gazax.data.sources.chestxray14 import files_of_chestxray14, read_chestxray14
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data.trees.chestxray14 import ENTRIES, LABELS, rows, write, write_chestxray14

TABLE, BOXES = "Data_Entry_2017.csv", "BBox_List_2017.csv"


def read(root, *, max_bad_fraction=0.0, **arguments):
    return read_chestxray14(root, faults=Faults(max_bad_fraction), **arguments)


def edit(root, table, old, new):
    path = root / table
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def add(root, table, line):
    with (root / table).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tree that no test changes."""
    return write_chestxray14(tmp_path_factory.mktemp("chestxray14"))


@pytest.fixture
def tree(tmp_path):
    return write_chestxray14(tmp_path / "source", 15)


class TestRecords:
    @pytest.mark.parametrize("entries", ENTRIES)
    def test_the_malformed_headers_of_both_releases(self, tmp_path, entries):
        raw = read(write_chestxray14(tmp_path, 10, entries=entries))
        assert [image.image_id for image in raw.images] == [row.name for row in rows(10)]
        assert [image.patient_id for image in raw.images] == [str(r.patient) for r in rows(10)]
        assert raw.notes["labels_from"] == entries
        assert raw.faults.report() == {}

    def test_of_both_tables_the_later_is_read(self, tree):
        header, line = ENTRIES["Data_Entry_2017_v2020.csv"]
        lines = [line.format(**{**vars(row), "labels": "Hernia"}) for row in rows(15)]
        write(tree / "Data_Entry_2017_v2020.csv", header, *lines)
        assert all(i.label[CHESTXRAY14_LABELS.index("Hernia")] == 1 for i in read(tree).images)

    def test_labels_are_joined_by_a_pipe(self, source):
        raw = read(source)
        assert raw.label_names == CHESTXRAY14_LABELS
        assert len(CHESTXRAY14_LABELS) == 14
        for image, row in zip(raw.images, rows(), strict=True):
            present = {
                n for n, v in zip(raw.label_names, image.label.tolist(), strict=True) if v == 1
            }
            assert present == set(row.labels.split("|")) - {"No Finding"}
            assert set(image.label.tolist()) <= {0, 1}

    def test_no_finding_is_none_of_the_14(self, source):
        assert LABELS[0] == "No Finding"
        np.testing.assert_array_equal(read(source).images[0].label, np.zeros(14))

    @pytest.mark.parametrize("name", ["Pneumo", "Pleural_Thickenings", "pneumonia", "Infiltrate"])
    def test_names_are_compared_whole_not_as_substrings(self, tree, name):
        edit(tree, TABLE, "Pleural_Thickening", name)
        with pytest.raises(InputError, match=rf"row 5: label '{name}' is unknown.*known:"):
            read(tree)

    @pytest.mark.parametrize("text", ["", "No Finding|Mass"])
    def test_labels_that_say_nothing_or_contradict_themselves_are_faults(self, tree, text):
        edit(tree, TABLE, "_000.png,Cardiomegaly", f"_000.png,{text}")
        with pytest.raises(InputError, match="'No Finding' stands alone"):
            read(tree)
        raw = read(tree, max_bad_fraction=0.5)
        assert set(raw.faults.report()) == {TABLE}  # its boxes go with it
        assert rows(15)[1].name not in {image.image_id for image in raw.images}

    def test_an_image_twice_is_an_error(self, tree):
        row = rows(15)[0]
        add(tree, TABLE, ENTRIES[TABLE][1].format(**vars(row)))
        with pytest.raises(InputError, match=r"row 17: .* stands there already in row 2"):
            read(tree)

    def test_images_in_twelve_folders(self, tmp_path, source):
        parts = read(write_chestxray14(tmp_path, parts=12))
        whole = read(source)
        assert [i.image_id for i in parts.images] == [i.image_id for i in whole.images]
        assert {image.path.parent.name for image in parts.images} == {"images"}
        assert len({image.path.parent for image in parts.images}) == 12
        assert all(image.path.is_file() for image in parts.images)

    def test_found_below_the_folder(self, tree):
        raw = read(tree.parent)
        assert raw.images[0].path.is_relative_to(tree)

    def test_an_image_in_two_folders_is_an_error(self, tree):
        name = rows(15)[0].name
        (tree / "images_001/images").mkdir(parents=True)
        (tree / "images_001/images" / name).write_bytes((tree / "images" / name).read_bytes())
        with pytest.raises(InputError, match="are the same image"):
            read(tree)

    def test_an_image_that_is_not_there_is_counted_and_named(self, tree):
        row = rows(15)[4]
        (tree / "images" / row.name).unlink()
        with pytest.raises(InputError, match=rf"{row.name} is missing"):
            read(tree)
        raw = read(tree, max_bad_fraction=0.5)
        assert row.name not in {image.image_id for image in raw.images}
        assert raw.faults.report()["images/"]["reasons"] == {"no image": 1}

    @pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "images/../../x.png"])
    def test_ids_never_lead_out_of_the_folder(self, tree, name):
        (tree.parent / "secret.png").write_bytes(b"")
        for table in (TABLE, "train_val_list.txt"):
            edit(tree, table, rows(15)[0].name, name)
        with pytest.raises(InputError, match="is missing"):
            read(tree)


class TestSplits:
    def test_the_official_test_list(self, source):
        for image, row in zip(read(source).images, rows(), strict=True):
            assert (image.split == "test") == (row.patient % 5 == 0)

    def test_validation_is_drawn_by_patient(self, source):
        raw = read(source)
        of_patient = {}
        for image in raw.images:
            assert of_patient.setdefault(image.patient_id, image.split) == image.split
        drawn = list(of_patient.values())
        assert drawn.count("validation") == round(
            (drawn.count("train") + drawn.count("validation")) / 8
        )

    def test_the_draw_does_not_depend_on_which_images_are_there(self, source, tmp_path):
        before = {image.image_id: image.split for image in read(source).images}
        root = write_chestxray14(tmp_path)
        for row in rows()[::2]:
            (root / "images" / row.name).unlink()
        after = {i.image_id: i.split for i in read(root, max_bad_fraction=0.6).images}
        assert after == {name: before[name] for name in after}

    def test_an_image_in_neither_list_is_left_out_and_counted(self, tree):
        edit(tree, "test_list.txt", "00000005_000.png\n", "")
        raw = read(tree)
        assert len(raw.images) == 14
        assert raw.notes["images_in_no_split"] == 1

    def test_an_image_in_both_lists_is_an_error(self, tree):
        add(tree, "test_list.txt", rows(15)[0].name)
        with pytest.raises(InputError, match=r"stands in train_val_list.txt and in test_list.txt"):
            read(tree)

    def test_a_patient_in_both_lists_is_an_error(self, tree):
        name = "00000003_001.png"
        edit(tree, "train_val_list.txt", f"{name}\n", "")
        add(tree, "test_list.txt", name)
        with pytest.raises(InputError, match="patient '3' has images in"):
            read(tree)

    def test_lists_with_carriage_returns_and_a_byte_order_mark(self, tree, source):
        path = tree / "train_val_list.txt"
        text = path.read_text(encoding="utf-8").replace("\n", "\r\n").rstrip()
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert len(read(tree).images) == 15

    def test_a_list_of_ones_own(self, tree):
        path = tree.parent / "mine.csv"
        splits = ("train", "validation", "test")
        chosen = [row for row in rows(15) if row.visit == 0][:3]
        write(
            path,
            "image_id,split",
            *(f"{row.name},{split}" for row, split in zip(chosen, splits, strict=True)),
        )
        for name in ("train_val_list.txt", "test_list.txt"):
            (tree / name).unlink()
        raw = read(tree, splits=str(path))
        assert [image.split for image in raw.images] == list(splits)
        assert raw.notes["images_in_no_split"] == 12
        assert path in files_of_chestxray14(tree, splits=str(path)).tables

    def test_a_list_that_parts_a_patient_is_an_error(self, tree):
        path = tree.parent / "mine.csv"
        write(path, "image_id,split", "00000003_000.png,train", "00000003_001.png,test")
        with pytest.raises(InputError, match="patient '3' is in test here and in train above"):
            read(tree, splits=str(path))


class TestBoxes:
    def test_in_px_of_the_released_image_and_scaled_with_a_copy(self, tmp_path):
        for side in (1024, 32):
            raw = read(write_chestxray14(tmp_path / str(side), 3, side=side))
            scale = side / 1024
            np.testing.assert_allclose(
                raw.images[1].box, np.array([(256.5, 128, 768.5, 384)]) * scale
            )
            np.testing.assert_allclose(
                raw.images[2].box,
                np.array([(64, 96, 384, 256), (512, 256.25, 576, 288.25)]) * scale,
            )
            assert raw.images[0].box.shape == (0, 4)

    def test_infiltrate_is_infiltration(self, source):
        names = [CHESTXRAY14_LABELS[k] for k in read(source).images[2].box_label]
        assert names == ["Infiltration", "Pneumonia"]

    def test_the_header_without_the_empty_columns(self, tree, source):
        path = tree / BOXES
        path.write_text(path.read_text(encoding="utf-8").replace(",,,", ""), encoding="utf-8")
        np.testing.assert_array_equal(read(tree).images[1].box, read(source).images[1].box)

    def test_an_image_that_is_not_square_is_refused(self, tree):
        name = rows(15)[1].name
        Image.fromarray(np.zeros((30, 32), np.uint8)).save(tree / "images" / name)
        with pytest.raises(InputError, match=rf"{name} has 30 x 32 px, and its boxes"):
            read(tree)

    def test_only_images_with_boxes_are_looked_at(self, tree):
        (tree / "images" / rows(15)[0].name).write_bytes(b"no image")
        assert len(read(tree).images) == 15
        (tree / "images" / rows(15)[1].name).write_bytes(b"no image")
        with pytest.raises(InputError, match=r"BBox_List_2017.csv: 1 of 9 .*\n.*size of"):
            read(tree)

    def test_an_unknown_label_is_an_error(self, tree):
        edit(tree, BOXES, "Infiltrate", "Infiltrates")
        with pytest.raises(InputError, match=r"row 3: label 'Infiltrates' is unknown"):
            read(tree)

    @pytest.mark.parametrize("box", ["64,96,0,160", "64,96,320,", "nan,96,320,160", "64,96,-1,5"])
    def test_a_box_without_area_is_a_fault(self, tree, box):
        edit(tree, BOXES, "64,96,320,160", box)
        with pytest.raises(InputError, match=r"row 3: the box .* has no area"):
            read(tree)

    def test_a_box_of_an_unknown_image_is_a_fault(self, tree):
        add(tree, BOXES, "00099999_000.png,Mass,1,2,3,4,,,")
        with pytest.raises(InputError, match="no row of '00099999_000.png'"):
            read(tree)

    def test_a_box_of_an_image_in_no_split_goes_with_it(self, tree):
        path = tree.parent / "mine.csv"
        write(path, "image_id,split", f"{rows(15)[0].name},train")
        raw = read(tree, splits=str(path))
        assert sum(len(image.box) for image in raw.images) == 0
        assert raw.faults.report() == {}

    def test_the_table_is_not_needed(self, tree):
        (tree / BOXES).unlink()
        raw = read(tree)
        assert raw.notes["boxes_from"] is None
        assert sum(len(image.box) for image in raw.images) == 0
        assert files_of_chestxray14(tree).missing == ()

    def test_an_image_that_a_link_leads_out_to_is_not_opened(self, tree):
        name = rows(15)[1].name
        (tree / "images" / name).rename(tree.parent / name)
        (tree / "images" / name).symlink_to(tree.parent / name)
        with pytest.raises(InputError, match="size of .* cannot be read"):
            read(tree)


class TestFiles:
    def test_what_is_missing_is_listed_and_never_raised(self, tmp_path):
        files = files_of_chestxray14(tmp_path)
        assert len(files.missing) == 4
        assert all("nihcc.app.box.com" in line for line in files.missing)
        assert files_of_chestxray14(tmp_path / "nowhere").missing
        with pytest.raises(InputError, match=r"Data_Entry_2017_v2020.csv \(or"):
            read(tmp_path)

    def test_what_it_depends_on(self, source):
        files = files_of_chestxray14(source)
        assert [path.name for path in files.tables] == [
            TABLE,
            "train_val_list.txt",
            "test_list.txt",
            BOXES,
        ]
        assert files.folders == (source / "images",)
        assert files.missing == ()
