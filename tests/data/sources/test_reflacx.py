"""REFLACX arrives as its authors mean it; each test's name says a trap of the format."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gazax.config.datasets import REFLACX_LABELS
from gazax.data.sources.ellipses import corners, merge_boxes
from gazax.data.sources.reflacx import files_of_reflacx, read_reflacx
from gazax.data.sources.reflacx_labels import LABEL_SETS, PHASE_1, answer
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data.trees import reflacx as tree

READINGS = tree.invent()
GAZE = [reading for reading in READINGS if not reading.discarded]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tree.write_reflacx(tmp_path_factory.mktemp("reflacx"))


@pytest.fixture
def root(original, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(original, tmp_path, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def raw(original):
    return read(original)


def read(root, max_bad_fraction=0.0, **arguments):
    return read_reflacx(root, faults=Faults(max_bad_fraction), **arguments)


def image_of(raw, number):
    """The image with a number of `tree.invent`."""
    dicom_id = next(r.dicom_id for r in READINGS if r.image == number)
    return next((image for image in raw.images if image.image_id == dicom_id), None)


def folder(root, reading):
    return tree.reading_folder(root, reading)


def edit(path, change):
    """Rewrites a csv; `change` gets its rows, the header first."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    tree.write_csv(path, rows)


def value(image, raw, label):
    return image.label[raw.label_names.index(label)]


class TestImages:
    def test_one_record_an_image_and_a_reader_a_reading(self, raw):
        assert len(raw.images) == 16
        assert raw.reader_ids == tuple(f"reading {k}" for k in range(1, 6))
        assert raw.reader_weights == (1.0,) * 5
        first = image_of(raw, 0)
        assert np.unique(first.gaze.reader).tolist() == [0, 1, 2, 3, 4]
        assert np.unique(image_of(raw, 4).gaze.reader).tolist() == [0]

    def test_readers_of_an_image_are_numbered_in_order_of_id(self, raw):
        gaze = image_of(raw, 0).gaze
        # the fixture's reader k begins at x = 10 + k and has 5 + k fixations
        starts = [gaze[gaze.reader == k].xy[0, 0] for k in range(5)]
        assert starts == [10, 11, 12, 13, 14]
        assert np.bincount(gaze.reader).tolist() == [5, 6, 7, 8, 9]

    def test_validate_is_the_validation_split(self, raw):
        names = {"train": "train", "validate": "validation", "test": "test"}
        for reading in READINGS:
            assert image_of(raw, reading.image).split == names[reading.split]
        assert {image.split for image in raw.images} == set(names.values())

    def test_patients_and_paths_are_those_of_mimic_cxr(self, raw):
        assert image_of(raw, 5).patient_id == image_of(raw, 6).patient_id == "10005047"
        image = image_of(raw, 3)
        assert image.path.parts[-5:-1] == ("files", "p10", "p10003041", "s50000354")
        assert image.path.name == f"{image.image_id}.jpg"
        assert image.path.exists()

    def test_images_may_lie_elsewhere(self, root, tmp_path_factory):
        elsewhere = tmp_path_factory.mktemp("mimic")
        (root / "files").rename(elsewhere / "files")
        assert files_of_reflacx(root).missing
        with pytest.raises(InputError, match="no images of MIMIC-CXR"):
            read(root)
        raw = read(root, mimic_cxr=str(elsewhere))
        assert len(raw.images) == 16
        assert raw.roots == (root.resolve(), (elsewhere / "files").resolve())

    def test_dicom_is_displayed_as_its_authors_did(self, tmp_path):
        pytest.importorskip("pydicom")
        raw = read(tree.write_reflacx(tmp_path, suffix=".dcm"))
        assert raw.display == "reflacx"
        assert {image.path.suffix for image in raw.images} == {".dcm"}

    def test_readings_are_numbered_by_id_whatever_the_order_of_the_table(self, root):
        before = image_of(read(root), 0)
        for path in (root / "main_data").glob("metadata_phase_*.csv"):
            header, *rows = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join([header, *reversed(rows)]))
        after = image_of(read(root), 0)
        np.testing.assert_array_equal(after.gaze.xy, before.gaze.xy)
        np.testing.assert_array_equal(after.gaze.reader, before.gaze.reader)

    def test_an_absent_image_is_left_out_with_its_fixations_and_counted(self, root):
        path = tree.image_path(root, READINGS[0])
        path.unlink()
        raw = read(root, max_bad_fraction=0.1)
        assert image_of(raw, 0) is None
        assert raw.rows_left_out == 5 + 6 + 7 + 8 + 9
        fault = raw.faults.report()["images/"]
        assert fault["reasons"] == {"no image": 1}
        assert path.name in fault["first"][0]

    def test_too_many_absent_images_stop_the_preparation(self, root):
        tree.image_path(root, READINGS[0]).unlink()
        with pytest.raises(InputError, match="1 of 16 images"):
            read(root, max_bad_fraction=0.01)

    def test_images_must_have_the_size_that_the_metadata_say(self, root):
        """Gaze is in px of the originals: of shrunk images all of it would move."""
        assert {image.size for image in read(root).images} == {tree.WIDE[::-1], tree.TALL[::-1]}

    def test_one_damaged_image_is_left_to_decoding(self, root):
        tree.image_path(root, READINGS[0]).write_bytes(b"nothing")
        assert len(read(root).images) == 16

    def test_mimic_eye_gives_the_same(self, raw, tmp_path):
        eye = read(tree.write_reflacx(tmp_path, mimic_eye=True))
        assert eye.label_names == raw.label_names
        assert eye.notes == raw.notes
        for image in raw.images:
            other = next(o for o in eye.images if o.image_id == image.image_id)
            assert (other.split, other.patient_id) == (image.split, image.patient_id)
            np.testing.assert_array_equal(other.label, image.label)
            np.testing.assert_array_equal(other.box, image.box)
            np.testing.assert_array_equal(other.gaze.xy, image.gaze.xy)
            assert other.path.exists()

    def test_mimic_eye_tells_phases_by_id(self, tmp_path):
        raw = read(tree.write_reflacx(tmp_path, mimic_eye=True), phases=(3,))
        assert len(raw.images) == 12

    def test_mimic_eye_without_main_data_is_read_too(self, tmp_path):
        tree.write_reflacx(tmp_path, mimic_eye=True)
        for patient in tmp_path.glob("patient_*/REFLACX"):
            for reading in (patient / "main_data").iterdir():
                reading.rename(patient / reading.name)
            (patient / "main_data").rmdir()
        assert sum(len(image.gaze) for image in read(tmp_path).images) > 0


class TestTree:
    def test_found_below_the_source_and_at_main_data_itself(self, tmp_path):
        deep = tmp_path / "physionet.org/files/reflacx-xray-localization/1.0.0"
        tree.write_reflacx(deep)
        assert len(read(tmp_path, phases=(3,)).images) == 12
        main = deep / "main_data"
        assert len(read(main, mimic_cxr=str(deep), phases=(3,)).images) == 12

    def test_what_is_missing_is_said_at_once(self, tmp_path):
        missing = files_of_reflacx(tmp_path).missing
        assert len(missing) == 2
        with pytest.raises(InputError, match=r"(?s)metadata_phase_1.csv.*physionet.*files/"):
            read(tmp_path)
        assert len(files_of_reflacx(tmp_path / "nowhere").missing) == 2

    def test_files_are_those_of_the_records_and_no_transcript(self, root):
        files = files_of_reflacx(root)
        assert files.missing == ()
        assert len(files.tables) == 3 + 3 * len(READINGS) - 2
        assert len(files.files) == 16
        assert not [path for path in files.tables if "transcription" in path.name]

    def test_a_missing_phase_has_a_line(self, root):
        (root / "main_data/metadata_phase_2.csv").unlink()
        assert "metadata_phase_2.csv" in files_of_reflacx(root).missing[0]
        assert files_of_reflacx(root, phases=(1, 3)).missing == ()
        tree.image_path(root, READINGS[-1]).unlink()  # one image is a fault, and nothing more
        assert files_of_reflacx(root, phases=(1, 3)).missing == ()

    def test_a_phase_alone(self, root):
        raw = read(root, phases=(3,))
        assert len(raw.images) == 12
        assert raw.reader_ids == ("reading 1",)

    @pytest.mark.parametrize(
        "wrong", [{"phases": ()}, {"phases": (4,)}, {"certainty": 0}, {"label_set": "phase_2"}]
    )
    def test_wrong_arguments_are_named(self, root, wrong):
        for function in (read, files_of_reflacx):
            with pytest.raises(InputError, match=next(iter(wrong))):
                function(root, **wrong)

    def test_transcripts_are_never_opened(self, root):
        for reading in GAZE:
            for name in ("transcription.txt", "timestamps_transcription.csv"):
                (folder(root, reading) / name).unlink()
                # opening a pipe that nobody writes to waits for ever
                os.mkfifo(folder(root, reading) / name)
        assert len(read(root).images) == 16
        assert files_of_reflacx(root).missing == ()

    def test_gaze_csv_is_not_used(self, root):
        samples = root / "gaze_data" / READINGS[0].reading_id / "gaze.csv"
        samples.parent.mkdir(parents=True)
        samples.write_text("timestamp_sample,x_position\r\n0,1\r\n")
        assert read(root).notes["fixations_from"] == "fixations.csv"
        assert samples not in files_of_reflacx(root).tables

    def test_a_link_out_of_the_source_is_not_read(self, root, tmp_path_factory):
        path = folder(root, READINGS[-1]) / "fixations.csv"
        outside = path.rename(tmp_path_factory.mktemp("outside") / "fixations.csv")
        path.symlink_to(outside)
        raw = read(root, max_bad_fraction=0.5)
        assert len(image_of(raw, 15).gaze) == 0
        assert raw.faults.report()["main_data/"]["reasons"] == {"link": 1}

    @pytest.mark.parametrize(
        ("column", "cell"),
        [
            ("id", "../../etc"),
            ("id", "P300R12345"),
            ("split", "dev"),
            ("eye_tracking_data_discarded", "no"),
            ("image", "files/p10/p10000032/s50000123/../../secret.dcm"),
            ("dicom_id", "0" * 44),
            ("subject_id", "10000000"),
            ("image_size_x", "0"),
            ("image_size_y", "tall"),
        ],
    )
    def test_a_row_that_is_not_of_reflacx_is_left_out_and_counted(self, root, column, cell):
        def change(rows):
            rows[1][rows[0].index(column)] = cell

        edit(root / "main_data/metadata_phase_3.csv", change)
        raw = read(root, max_bad_fraction=0.2, phases=(3,))
        assert len(raw.images) == 11
        fault = raw.faults.report()["metadata_phase_3.csv"]
        assert fault["reasons"] == {column: 1}
        assert "metadata_phase_3.csv row 2" in fault["first"][0]

    def test_an_id_twice_is_refused(self, root):
        edit(root / "main_data/metadata_phase_3.csv", lambda rows: rows.append(rows[1]))
        with pytest.raises(InputError, match=r"row 14: id .* row 2"):
            read(root)

    def test_a_patient_in_two_splits_is_refused(self, root):
        def change(rows):
            at = rows[0].index("image")
            number = next(i for i, row in enumerate(rows) if "p10005047" in row[at])
            rows[number][1] = "test" if rows[number][1] == "train" else "train"

        edit(root / "main_data/metadata_phase_3.csv", change)
        with pytest.raises(InputError, match="a patient belongs to one split"):
            read(root)

    def test_rows_that_disagree_on_one_image_are_refused(self, root):
        def change(rows):
            rows[1][rows[0].index("image_size_x")] = "41"

        edit(root / "main_data/metadata_phase_1.csv", change)
        with pytest.raises(InputError, match="image or its size"):
            read(root)


class TestLabels:
    def test_default_is_the_configs_labels_and_the_chest(self, raw):
        assert raw.label_names == (*REFLACX_LABELS, "Chest")
        assert len(REFLACX_LABELS) == 15
        assert "Other" in raw.notes["ignored_columns"]

    def test_phase_1_has_17_labels_and_the_merged_set_10(self):
        assert len(PHASE_1) == 17
        assert len(LABEL_SETS["merged"]) == 10

    def test_every_column_of_the_forms_is_known(self):
        assert sorted((*PHASE_1, "Other")) == tree.PHASE_1
        assert sorted((*REFLACX_LABELS, "Other")) == tree.PHASES_2_3
        known = {name for names in LABEL_SETS["merged"].values() for name in names}
        assert known <= {*PHASE_1, *REFLACX_LABELS}

    def test_what_a_form_did_not_ask_is_unknown(self, raw):
        first, third = image_of(raw, 0), image_of(raw, 4)
        asked = {name for name in REFLACX_LABELS if name in PHASE_1}
        assert asked == {
            "Atelectasis",
            "Consolidation",
            "Enlarged cardiac silhouette",
            "Groundglass opacity",
            "Pneumothorax",
            "Pulmonary edema",
            "Support devices",
        }
        for name in REFLACX_LABELS:
            assert np.isnan(value(first, raw, name)) == (name not in asked)
            assert not np.isnan(value(third, raw, name))

    def test_the_other_way_round_in_the_labels_of_phase_1(self, root):
        raw = read(root, label_set="phase_1")
        assert raw.label_names == (*PHASE_1, "Chest")
        assert value(image_of(raw, 0), raw, "Quality issue") == 0
        assert np.isnan(value(image_of(raw, 4), raw, "Quality issue"))
        assert value(image_of(raw, 4), raw, "Consolidation") == 1

    def test_merged_labels_know_both_forms(self, root):
        raw = read(root, label_set="merged")
        assert raw.label_names == (*LABEL_SETS["merged"], "Chest")
        for number in (0, 2, 4):
            assert not np.isnan(image_of(raw, number).label).any()
            assert value(image_of(raw, number), raw, "Consolidation") == 1
            assert value(image_of(raw, number), raw, "Opacity") == 1
            assert value(image_of(raw, number), raw, "Edema") == 0
        nodule = image_of(raw, 5)
        assert value(nodule, raw, "Lung Lesion") == value(nodule, raw, "Opacity") == 1
        assert value(nodule, raw, "Consolidation") == 0

    def test_merged_ellipses_count_for_each_label_they_lead_to(self, root):
        raw = read(root, label_set="merged")
        image = image_of(raw, 5)
        names = [raw.label_names[k] for k in image.masks.ellipse_label]
        assert names == ["Opacity", "Lung Lesion"]

    def test_an_image_has_what_at_least_half_of_its_readings_have(self, raw):
        # readers 1 to 5 of image 2 are 1 to 5 sure of a consolidation: three of five reach 3
        assert value(image_of(raw, 2), raw, "Consolidation") == 1
        # one of five
        assert value(image_of(raw, 2), raw, "Pneumothorax") == 0
        # two of five
        assert value(image_of(raw, 2), raw, "Support devices") == 0

    def test_half_is_enough(self, root):
        def keep_two(rows):
            rows[:] = [rows[0], *(row for row in rows[1:] if row[0] in kept)]

        mine = [reading for reading in READINGS if reading.image == 2]
        kept = {mine[2].reading_id, mine[0].reading_id}
        edit(root / "main_data/metadata_phase_2.csv", keep_two)
        raw = read(root, phases=(2,))
        assert value(image_of(raw, 2), raw, "Consolidation") == 1

    def test_certainty_is_a_threshold_that_counts_itself(self, root):
        for certainty, expected in ((3, 1), (4, 0)):
            raw = read(root, certainty=certainty, phases=(3,))
            assert value(image_of(raw, 5), raw, "Lung nodule or mass") == expected
        raw = read(root, certainty=4, phases=(2,))
        # two of five readers are 4 or 5 sure
        assert value(image_of(raw, 2), raw, "Consolidation") == 0

    def test_support_devices_is_true_or_false_at_any_certainty(self, root):
        for certainty in (1, 5):
            raw = read(root, certainty=certainty, phases=(3,))
            assert value(image_of(raw, 4), raw, "Support devices") == 1
            assert value(image_of(raw, 5), raw, "Support devices") == 0

    def test_empty_answers_of_all_readers_are_unknown_and_of_some_are_not_counted(self, root):
        mine = {r.reading_id: r.reader for r in READINGS if r.image == 2}

        def change(rows):
            for row in rows[1:]:
                if row[0] in mine:
                    row[rows[0].index("Atelectasis")] = ""
                if mine.get(row[0], 4) < 4:
                    row[rows[0].index("Pneumothorax")] = ""

        edit(root / "main_data/metadata_phase_2.csv", change)
        raw = read(root)
        assert np.isnan(value(image_of(raw, 2), raw, "Atelectasis"))
        assert value(image_of(raw, 2), raw, "Pneumothorax") == 1

    def test_the_case_of_a_header_does_not_count(self, root):
        def change(rows):
            rows[0] = [c.title() if c[0].isupper() else c for c in rows[0]]

        before = read(root, phases=(2,))
        edit(root / "main_data/metadata_phase_2.csv", change)
        after = read(root, phases=(2,))
        for number in (2, 3):
            np.testing.assert_array_equal(
                image_of(after, number).label, image_of(before, number).label
            )
        assert not np.isnan(value(image_of(after, 2), after, "Groundglass opacity"))

    @pytest.mark.parametrize("cell", ["6", "-1", "maybe", "inf"])
    def test_other_answers_are_faults(self, root, cell):
        def change(rows):
            rows[3][rows[0].index("Atelectasis")] = cell

        edit(root / "main_data/metadata_phase_3.csv", change)
        raw = read(root, max_bad_fraction=0.2, phases=(3,))
        assert len(raw.images) == 11
        assert "'Atelectasis'" in raw.faults.report()["metadata_phase_3.csv"]["first"][0]

    def test_answers(self):
        cells = ("0", "2", "3", "5.0", "True", "FALSE")
        assert [answer(cell, 3) for cell in cells] == [0, 0, 1, 1, 1, 0]
        assert np.isnan(answer("", 3))
        assert answer("7", 3) is None


class TestGaze:
    def test_duration_is_end_minus_start_also_before_the_audio(self, raw):
        gaze = image_of(raw, 4).gaze
        np.testing.assert_allclose(gaze.duration, [0.25, 0.3, 0.361, 0.35, 0.21], atol=1e-9)

    def test_fixations_are_in_order_of_time(self, root):
        before = image_of(read(root, phases=(3,)), 4).gaze
        reading = next(r for r in READINGS if r.image == 4)

        def turn(rows):
            rows[1:] = rows[:0:-1]

        edit(folder(root, reading) / "fixations.csv", turn)
        np.testing.assert_array_equal(image_of(read(root, phases=(3,)), 4).gaze.xy, before.xy)

    def test_positions_are_px_of_the_image_whatever_was_shown(self, raw):
        # nothing is added: they are rounded distances from the edge; and a zoom is undone already
        np.testing.assert_array_equal(
            image_of(raw, 4).gaze.xy, [(10, 12), (20, 15), (-5, 41), (14, 12), (16, 17)]
        )

    def test_fixations_outside_the_image_are_kept(self, raw):
        xy = image_of(raw, 4).gaze.xy
        assert (xy[2] == (-5, tree.WIDE[1] + 9)).all()
        assert raw.faults.report() == {}

    def test_the_window_is_what_was_shown_of_the_image(self, raw):
        window = image_of(raw, 4).gaze.window
        np.testing.assert_array_equal(window[0], (0, 0, *tree.WIDE))
        np.testing.assert_array_equal(window[3], (8, 6, 24, 20))
        np.testing.assert_array_equal(image_of(raw, 5).gaze.window[0], (0, 0, *tree.TALL))

    def test_sigma_is_a_degree_in_x_and_y_and_unknown_where_it_is_empty(self, raw):
        sigma = image_of(raw, 4).gaze.sigma
        np.testing.assert_array_equal(sigma[:4], [(9, 8)] * 4)
        assert np.isnan(sigma[4]).all()
        assert raw.notes["fixations_without_angular_resolution"] == len(GAZE)

    def test_a_degree_of_zero_px_is_unknown(self, root):
        reading = next(r for r in READINGS if r.image == 4)

        def change(rows):
            rows[1][5] = "0"

        edit(folder(root, reading) / "fixations.csv", change)
        raw = read(root)
        assert np.isnan(image_of(raw, 4).gaze.sigma[0]).all()
        assert raw.notes["fixations_without_angular_resolution"] == len(GAZE) + 1

    def test_discarded_eye_tracking_leaves_labels_ellipses_and_chest_box(self, raw):
        first = image_of(raw, 1)
        assert np.unique(first.gaze.reader).tolist() == [0, 1, 3, 4]
        # the discarded third reader is 3 sure of the consolidation and makes it three of five
        assert value(first, raw, "Consolidation") == 1
        assert len(first.masks.ellipses) == 3 + 2
        np.testing.assert_array_equal(first.box[-1], (6, 2, 28, 38))
        assert raw.notes["readings_discarded"] == 2
        assert raw.notes["readings"] == len(READINGS)

    def test_missing_fixations_that_were_not_discarded_are_a_fault(self, root):
        (folder(root, READINGS[0]) / "fixations.csv").unlink()
        with pytest.raises(InputError, match=r"1 of 32 readings .*\n.*P1\S+/fixations.csv is miss"):
            read(root)
        raw = read(root, max_bad_fraction=0.1)
        assert np.unique(image_of(raw, 0).gaze.reader).tolist() == [1, 2, 3, 4]
        assert raw.faults.report()["main_data/"]["count"] == 1

    @pytest.mark.parametrize("name", tree.FILES)
    @pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"xmin,ymin\r\n1,2\r\n"])
    def test_one_damaged_file_is_counted_and_the_others_are_kept(self, root, name, content):
        (folder(root, READINGS[-1]) / name).write_bytes(content)
        raw = read(root, max_bad_fraction=0.1, phases=(3,))
        assert len(raw.images) == 12
        fault = raw.faults.report()["main_data/"]
        assert fault["reasons"] == {f"damaged {name}": 1}
        assert READINGS[-1].reading_id in fault["first"][0]

    def test_a_header_without_fixations_is_a_fault(self, root):
        edit(
            folder(root, READINGS[0]) / "fixations.csv",
            lambda rows: rows.__delitem__(slice(1, None)),
        )
        raw = read(root, max_bad_fraction=0.1)
        assert raw.faults.report()["main_data/"]["reasons"] == {"no fixations": 1}

    @pytest.mark.parametrize(
        ("column", "cell", "reason"),
        [
            (0, "9.5", "duration"),
            (1, "", "duration"),
            (2, "", "position"),
            (3, "left", "position"),
            (9, "40", "window"),
            (10, "", "window"),
        ],
    )
    def test_a_faulty_fixation_is_dropped_and_named(self, root, column, cell, reason):
        def change(rows):
            rows[2][column] = cell

        edit(folder(root, READINGS[-1]) / "fixations.csv", change)
        raw = read(root, max_bad_fraction=0.1, phases=(3,))
        assert len(image_of(raw, 15).gaze) == 4
        fault = raw.faults.report()[raw.fixation_table]
        assert fault["reasons"] == {reason: 1}
        assert f"{READINGS[-1].reading_id}/fixations.csv row 3" in fault["first"][0]

    def test_one_bad_row_is_held_against_all_fixations_not_those_of_its_reading(self, root):
        def change(rows):
            rows[2][2] = ""

        edit(folder(root, READINGS[-1]) / "fixations.csv", change)
        total = sum(5 + reading.reader for reading in GAZE)
        assert 1 / total < 0.006 < 1 / 5
        assert len(read(root, max_bad_fraction=0.006).images) == 16


class TestMarks:
    def test_a_header_only_table_is_no_ellipse(self, raw):
        image = image_of(raw, 6)
        assert image.masks.ellipses.shape == (0, 4)
        assert image.box_label.tolist() == [len(REFLACX_LABELS)]

    def test_ellipses_below_the_certainty_are_left_out(self, raw, root):
        # the readers who are 3, 4 and 5 sure
        names = [raw.label_names[k] for k in image_of(raw, 2).masks.ellipse_label]
        assert names.count("Consolidation") == 3
        assert image_of(raw, 4).box_label.tolist() == [3, 15]
        raw = read(root, certainty=2)
        assert image_of(raw, 4).box_label.tolist() == [2, 3, 15]
        assert raw.notes["ellipses_below_certainty"] == 4

    def test_reversed_extremes_are_the_same_ellipse(self, raw, root):
        image = image_of(read(root, certainty=2, phases=(3,)), 4)
        k = image.masks.ellipse_label.tolist().index(2)
        np.testing.assert_array_equal(image.masks.ellipses[k], (12, 10, 20, 26))
        third = image_of(raw, 2).masks.ellipses[1]  # reader 4's corners are swapped
        np.testing.assert_array_equal(third, (5, 3, 17, 13))

    def test_an_ellipse_with_two_labels_counts_for_both(self, raw):
        image = image_of(raw, 0)
        twice = [
            raw.label_names[k]
            for k, e in zip(image.masks.ellipse_label, image.masks.ellipses, strict=True)
            if e[0] == 24
        ]
        assert twice == ["Atelectasis", "Pneumothorax"]

    def test_ellipses_of_several_readers_become_one_box_around_them(self, raw):
        image = image_of(raw, 2)
        consolidation = raw.label_names.index("Consolidation")
        np.testing.assert_array_equal(image.box[image.box_label == consolidation], [(4, 3, 18, 13)])

    def test_ellipses_of_labels_that_are_not_used_are_counted(self, raw):
        # 'Other' has a column in the ellipses, and none here
        assert raw.notes["ellipses_of_other_labels"] == sum(
            "Other" in labels for r in READINGS for _, _, labels in r.ellipses
        )

    def test_a_box_ends_at_the_image_and_the_ellipse_does_not(self, raw):
        image = image_of(raw, 1)  # 32 px wide, the ellipse reaches 36
        k = image.box_label.tolist().index(raw.label_names.index("Pneumothorax"))
        np.testing.assert_array_equal(image.box[k], (24, 18, 32, 28))
        assert image.masks.ellipses.max() == 36

    def test_the_chest_box_is_the_mean_of_the_readers(self, raw):
        width, height = tree.WIDE
        image = image_of(raw, 0)
        np.testing.assert_array_equal(image.box[-1], (4 + 2, 2, width - 4, height - 2))
        assert value(image, raw, "Chest") == 1
        assert image.box_label[-1] == raw.label_names.index("Chest")

    def test_an_image_without_a_chest_box_does_not_know(self, root):
        path = folder(root, READINGS[-1]) / "chest_bounding_box.csv"
        path.unlink()
        raw = read(root, max_bad_fraction=0.1)
        assert np.isnan(value(image_of(raw, 15), raw, "Chest"))
        assert raw.faults.report()["main_data/"]["reasons"] == {"no chest_bounding_box.csv": 1}

    @pytest.mark.parametrize(
        ("column", "cell", "reason"),
        [("xmax", "5", "extent"), ("xmin", "", "extent"), ("certainty", "", "certainty")],
    )
    def test_a_faulty_ellipse_is_left_out_and_named(self, root, column, cell, reason):
        reading = next(r for r in READINGS if r.image == 4)

        def change(rows):
            rows[1][rows[0].index(column)] = cell

        edit(folder(root, reading) / "anomaly_location_ellipses.csv", change)
        raw = read(root, max_bad_fraction=0.1, phases=(3,))
        assert image_of(raw, 4).box_label.tolist() == [15]
        assert raw.faults.report()["anomaly_location_ellipses.csv"]["reasons"] == {reason: 1}

    def test_masks_are_always_there(self, raw):
        assert raw.has_masks


class TestUnion:
    def test_corners_may_come_in_any_order(self):
        np.testing.assert_array_equal(
            corners(np.array([[5.0, 1, 2, 7], [5, 7, 2, 1]])), [[2, 1, 5, 7]] * 2
        )

    def test_boxes_that_overlap_only_through_a_third_are_merged(self):
        box = np.array([[0.0, 0, 4, 4], [6, 0, 10, 4], [3, 1, 7, 2]])
        for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
            merged, label = merge_boxes(box[order], np.zeros(3, np.int32))
            np.testing.assert_array_equal(merged, [[0, 0, 10, 4]])
            assert label.tolist() == [0]

    def test_the_box_around_two_takes_in_what_it_reaches(self):
        box = np.array([[0.0, 0, 2, 8], [6, 6, 8, 8], [1, 0, 7, 1]])
        merged, _ = merge_boxes(box, np.zeros(3, np.int32))
        np.testing.assert_array_equal(merged, [[0, 0, 8, 8]])

    def test_a_common_edge_and_another_label_keep_boxes_apart(self):
        box = np.array([[0.0, 0, 4, 4], [4, 0, 8, 4], [1, 1, 3, 3]])
        merged, label = merge_boxes(box, np.array([1, 1, 0], np.int32))
        np.testing.assert_array_equal(merged, box[[2, 0, 1]])
        assert label.tolist() == [0, 1, 1]

    def test_no_boxes_are_no_boxes(self):
        merged, label = merge_boxes(np.zeros((0, 4)), np.zeros(0, np.int32))
        assert merged.shape == (0, 4)
        assert label.shape == (0,)
