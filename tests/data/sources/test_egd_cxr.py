"""EGD-CXR arrives as its authors meant it, whatever its files have in store."""

import csv

import numpy as np
import pytest

from gazax.data.sources.egd_cxr import files_of_egd_cxr, read_egd_cxr
from gazax.data.sources.egd_drift import drift_report, format_drift
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data.trees import egd_cxr as tree
from tests.data.trees.egd_cxr import DIAGNOSES, dicom_id, fixations, write_egd_cxr

COUNT = 14
LABELS = (*DIAGNOSES, *tree.REPORT)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A tree that no test changes."""
    return write_egd_cxr(tmp_path_factory.mktemp("egd"), COUNT)


@pytest.fixture
def own(tmp_path):
    """A tree to spoil."""
    return write_egd_cxr(tmp_path, COUNT)


def read(root, *, max_bad_fraction=0.0, **arguments):
    return read_egd_cxr(root, faults=Faults(max_bad_fraction), **arguments)


def by_id(raw):
    return {image.image_id: image for image in raw.images}


def reasons(raw, file="fixations.csv"):
    return raw.faults.report().get(file, {"reasons": {}})["reasons"]


def change(root, name, edit):
    """Rewrites a table of the release: `edit` gets its rows as dicts and may change them."""
    path = root / "egd-cxr/1.0.0" / name
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
        columns = list(rows[0])
    edit(rows)
    tree.write_table(path, columns, rows)


class TestSheet:
    def test_quoted_line_breaks_are_not_rows(self, release):
        sheet = release / "egd-cxr/1.0.0/master_sheet.csv"
        assert len(sheet.read_text().splitlines()) > 3 * COUNT
        raw = read(release)
        assert [image.image_id for image in raw.images] == [dicom_id(i) for i in range(COUNT)]

    def test_images_are_those_of_mimic_cxr_with_their_own_ending(self, release):
        for i, image in enumerate(read(release).images):
            assert image.path == release / "mimic-cxr-jpg/2.0.0" / tree.image_path(i, ".jpg")
            assert image.path.is_file()

    def test_both_images_of_one_patient_are_in_one_split(self, release):
        raw = read(release)
        first, second = raw.images[:2]
        assert first.patient_id == second.patient_id == tree.patient_id(0)
        split = {}
        for image in raw.images:
            assert split.setdefault(image.patient_id, image.split) == image.split
        assert set(split.values()) == {"train", "validation", "test"}

    def test_diagnoses_are_one_hot_and_exclusive(self, release):
        raw = read(release)
        assert raw.label_names[:3] == DIAGNOSES
        assert raw.exclusive == (DIAGNOSES,)
        for i, image in enumerate(raw.images):
            np.testing.assert_array_equal(image.label[:3], np.eye(3)[i % 3])

    @pytest.mark.parametrize("cells", [(1, 1, 0), (0, 0, 0), (2, -1, 0), ("", 1, 0)])
    def test_a_diagnosis_that_is_not_one_hot_is_named_with_its_row(self, own, cells):
        change(
            own,
            "master_sheet.csv",
            lambda rows: rows[1].update(dict(zip(DIAGNOSES, cells, strict=True))),
        )
        message = rf"master_sheet.csv row 6: Normal is '{cells[0]}', CHF is '{cells[1]}', pneumonia"
        with pytest.raises(InputError, match=message):
            read(own, max_bad_fraction=1.0)

    def test_uncertain_and_blank_labels_follow_the_policies(self, release):
        def label(i, name, **policies):
            raw = read(release, **policies)
            return raw.images[i].label[raw.label_names.index(f"{name}__chx")]

        assert label(1, "edema") == 1
        assert label(1, "pneumonia") == 0
        assert np.isnan(label(1, "cardiomegaly"))
        assert label(1, "cardiomegaly", uncertain="positive") == 1
        assert label(1, "cardiomegaly", uncertain="negative") == 0
        assert label(1, "fracture") == 0
        assert np.isnan(label(1, "fracture", blank="unknown"))

    def test_no_finding_rules_findings_out_but_not_devices(self, release):
        raw = read(release, blank="unknown")
        label = dict(zip(raw.label_names, raw.images[0].label, strict=True))
        assert label["no_finding__chx"] == 1
        assert label["edema__chx"] == 0
        assert np.isnan(label["support_devices__chx"])

    def test_a_report_without_labels_says_nothing(self, release):
        raw = read(release, blank="negative")
        assert np.isnan(raw.images[3].label[3 : len(LABELS)]).all()

    def test_a_label_that_is_none_is_named(self, own):
        change(own, "master_sheet.csv", lambda rows: rows[0].update(edema__chx="maybe"))
        with pytest.raises(InputError, match=r"master_sheet.csv row 2: edema__chx is 'maybe'"):
            read(own)

    def test_an_image_that_stands_there_twice_is_named(self, own):
        change(own, "master_sheet.csv", lambda rows: rows.append(rows[0]))
        with pytest.raises(InputError, match=r"master_sheet.csv row 58: dicom_id .* twice"):
            read(own)

    @pytest.mark.parametrize(
        "path",
        [
            "files/p10/../../../etc/passwd",
            "/etc/passwd",
            tree.image_path(5),
            tree.image_path(4).replace(dicom_id(4), dicom_id(5)),
            tree.image_path(4).replace("p10000248", "p10000249"),
            "",
        ],
    )
    def test_a_path_of_no_image_or_of_another_one_is_left_out(self, own, path):
        change(own, "master_sheet.csv", lambda rows: rows[4].update(path=path))
        raw = read(own, max_bad_fraction=0.1)
        assert dicom_id(4) not in by_id(raw)
        assert reasons(raw, "master_sheet.csv") == {"path": 1}
        # its gaze and boxes go with it
        assert reasons(raw).get("unknown image") is None
        assert raw.rows_left_out == len(fixations(4)) + 2

    def test_an_image_that_is_not_there_is_left_out_with_its_gaze(self, own):
        gone = own / "mimic-cxr-jpg/2.0.0" / tree.image_path(4, ".jpg")
        gone.unlink()
        raw = read(own, max_bad_fraction=0.1)
        assert dicom_id(4) not in by_id(raw)
        assert reasons(raw, "images/") == {"no image": 1}
        assert str(gone) in raw.faults.report()["images/"]["first"][0]
        assert raw.rows_left_out == len(fixations(4)) + 2
        with pytest.raises(InputError, match="images are faulty"):
            read(own, max_bad_fraction=0.05)

    def test_splits_do_not_depend_on_which_images_are_there(self, own):
        before = {image.patient_id: image.split for image in read(own).images}
        for i in range(4, 10):
            (own / "mimic-cxr-jpg/2.0.0" / tree.image_path(i, ".jpg")).unlink()
        raw = read(own, max_bad_fraction=0.5)
        assert len(raw.images) == COUNT - 6
        for image in raw.images:
            assert image.split == before[image.patient_id]

    def test_columns_that_are_not_read_are_noted(self, release):
        ignored = read(release).notes["ignored_columns"]
        assert "hyperaeration" in ignored
        assert not {*LABELS, "dicom_id"} & set(ignored)


class TestFixations:
    def test_the_upper_case_id_of_the_table_is_the_lower_case_one_of_the_sheet(self, release):
        assert "DICOM_ID" in tree.GAZE
        assert "dicom_id" in tree.SHEET
        for i, image in enumerate(read(release).images):
            assert len(image.gaze) == len(fixations(i))

    def test_whole_pixels_are_taken_at_their_middle_and_durations_from_fpogd(self, release):
        for i, image in enumerate(read(release).images):
            for k, (x, y, seconds) in enumerate(fixations(i)):
                np.testing.assert_array_equal(image.gaze.xy[k], (x + 0.5, y + 0.5))
                assert image.gaze.duration[k] == pytest.approx(seconds, abs=1e-5)

    def test_there_is_one_reader_and_no_sigma_or_window(self, release):
        raw = read(release)
        assert raw.reader_ids == ("reader 1",)
        assert raw.reader_weights == (1.0,)
        gaze = raw.images[0].gaze
        assert (gaze.reader == 0).all()
        assert np.isnan(gaze.sigma).all()
        assert np.isnan(gaze.window).all()

    def test_calibration_screens_are_no_image_though_their_ids_begin_one(self, release):
        assert len(tree.screen_id(3)) == 39
        assert dicom_id(3).startswith(tree.screen_id(3))
        raw = read(release)
        assert len(by_id(raw)[dicom_id(3)].gaze) == len(fixations(3))
        assert raw.notes["calibration_screens"] == 3
        assert raw.notes["calibration_rows"] == 6
        assert "unknown image" not in reasons(raw)

    def test_gaze_off_the_image_and_no_fixation_are_counted_and_never_stop(self, release):
        raw = read(release, max_bad_fraction=0.0)
        assert reasons(raw) == {"off the image": COUNT - 1, "no fixation": COUNT - 1}
        assert raw.fixation_table == "fixations.csv"
        assert all((image.gaze.xy > 0).all() for image in raw.images)

    def test_an_image_without_gaze_is_an_image(self, release):
        image = read(release).images[tree.WITHOUT_GAZE]
        assert len(image.gaze) == 0
        assert image.gaze.xy.shape == (0, 2)

    @pytest.mark.parametrize(
        ("cells", "reason"),
        [
            ({"DICOM_ID": "f" * 8 + dicom_id(0)[8:]}, "unknown image"),
            ({"DICOM_ID": dicom_id(0)[:-3]}, "unknown image"),
            ({"X_ORIGINAL": "left"}, "not a number"),
            ({"Y_ORIGINAL": ""}, "not a number"),
            ({"FPOGD": "-0.1"}, "duration"),
            ({"FPOGD": "inf"}, "duration"),
        ],
    )
    def test_a_bad_row_is_left_out_and_counts_toward_the_limit(self, own, cells, reason):
        change(own, "fixations.csv", lambda rows: rows[0].update(cells))
        raw = read(own, max_bad_fraction=0.05)
        assert reasons(raw)[reason] == 1
        assert raw.faults.report()["fixations.csv"]["first"][0].startswith("fixations.csv row 2: ")
        assert len(raw.images[0].gaze) == len(fixations(0)) - 1
        with pytest.raises(InputError, match=r"fixations.csv: 1 of \d+ rows are faulty"):
            read(own, max_bad_fraction=0.0)

    def test_columns_that_are_not_read_may_stand_there_twice(self, own):
        path = own / "egd-cxr/1.0.0/fixations.csv"
        twice = path.read_text().replace("TIMETICK(f=10000000)", "Time (in secs)")
        path.write_text(twice)
        assert len(read(own).images[0].gaze) == len(fixations(0))


class TestSamples:
    def test_every_sample_is_a_sixtieth_of_a_second(self, release):
        raw = read(release, gaze="samples")
        for i, image in enumerate(raw.images):
            counts = [round(60 * seconds) for _, _, seconds in fixations(i)]
            assert len(image.gaze) == sum(counts)
            np.testing.assert_allclose(image.gaze.duration, 1 / 60)
            expected = np.repeat([(x + 0.5, y + 0.5) for x, y, _ in fixations(i)], counts, axis=0)
            np.testing.assert_array_equal(image.gaze.xy, expected.reshape(-1, 2))
        assert raw.fixation_table == "eye_gaze.csv"
        assert raw.canvas is None

    def test_samples_off_the_image_and_between_fixations_are_counted(self, release):
        raw = read(release, gaze="samples")
        assert reasons(raw, "eye_gaze.csv") == {"off the image": 15 * 13, "no fixation": 13}

    def test_an_unknown_choice_lists_the_known_ones(self, release):
        with pytest.raises(InputError, match=r"data.source.gaze='sample' is unknown.*samples"):
            read(release, gaze="sample")
        with pytest.raises(InputError, match=r"data.source.uncertain='no'"):
            files_of_egd_cxr(release, uncertain="no")
        with pytest.raises(InputError, match=r"data.source.blank='positive'"):
            read(release, blank="positive")


class TestCxrGazeLearn:
    def test_each_sample_on_the_image_counts_one_valid_or_not(self, release):
        raw = read(release, gaze="cxrgazelearn")
        for i, image in enumerate(raw.images):
            counts = [round(60 * seconds) for _, _, seconds in fixations(i)]
            assert len(image.gaze) == sum(counts) + (i != tree.WITHOUT_GAZE)
            assert (image.gaze.duration == 1).all()
            assert (image.gaze.sigma == 75.5).all()

    def test_the_canvas_scales_every_image_by_a_fifth(self, release):
        from gazax.data.pixels.frame import Frame

        raw = read(release, gaze="cxrgazelearn")
        assert raw.canvas == (3200, 2560)
        for stored in ((3056, 2544), (2544, 3056), (2022, 1736)):
            assert Frame(stored, (640, 512), raw.canvas).scale == (0.2, 0.2)

    @pytest.mark.parametrize("cells", [{"X_ORIGINAL": "40"}, {"Y_ORIGINAL": "32"}])
    def test_a_sample_beyond_the_last_pixel_is_off_the_image(self, own, cells):
        before = read(own, gaze="cxrgazelearn")
        change(own, "eye_gaze.csv", lambda rows: rows[0].update(cells))
        after = read(own, gaze="cxrgazelearn")
        assert len(after.images[0].gaze) == len(before.images[0].gaze) - 1
        # the other ways keep it: by their rounding, the authors may have put it one pixel out
        assert len(read(own, gaze="samples").images[0].gaze) == 36

    def test_an_image_that_cannot_be_opened_does_not_stop_the_reading(self, own):
        path = own / "mimic-cxr-jpg/2.0.0" / tree.image_path(0, ".jpg")
        path.write_bytes(b"no image")
        assert len(read(own, gaze="cxrgazelearn").images[0].gaze) == 37


class TestAnatomies:
    def test_boxes_stand_in_the_order_x1_x2_y1_y2(self, release):
        assert tree.BOXES[2:] == ("x1", "x2", "y1", "y2")
        raw = read(release)
        image = raw.images[4]
        np.testing.assert_array_equal(image.box, [(14, 2, 23.5, 22), (21, 3.5, 30.5, 23.5)])
        names = [raw.label_names[k] for k in image.box_label]
        assert names == ["cardiac silhouette", "left lung"]

    def test_the_misspelt_outline_is_the_mediastinum(self, release):
        raw = read(release)
        assert raw.has_masks
        planes = {raw.label_names[k]: path.name for k, path in raw.images[0].masks.planes}
        assert planes == {
            "left lung": "left_lung.png",
            "right lung": "right_lung.png",
            "mediastinum": "mediastanum.png",
            "aortic knob": "aortic_knob.png",
        }

    def test_an_anatomy_is_present_where_it_is_marked_and_unknown_elsewhere(self, release):
        raw = read(release)
        names = raw.label_names[len(LABELS) :]
        assert names == (
            "aortic knob",
            "cardiac silhouette",
            "left lung",
            "mediastinum",
            "right lung",
        )
        nan = np.nan
        for i, expected in (
            (0, [1, 1, 1, 1, 1]),
            (1, [nan] * 5),
            (3, [nan, nan, 1, nan, nan]),
            (4, [nan, 1, 1, nan, nan]),
        ):
            np.testing.assert_array_equal(raw.images[i].label[len(LABELS) :], expected)

    def test_without_outlines_there_are_no_masks(self, own):
        import shutil

        shutil.rmtree(own / "egd-cxr/1.0.0/audio_segmentation_transcripts")
        assert not read(own).has_masks

    @pytest.mark.parametrize(
        ("cells", "reason"),
        [
            ({"x2": "1"}, "size"),
            ({"y1": "nan"}, "size"),
            ({"bbox_name": ""}, "no name"),
            ({"dicom_id": "x"}, "unknown image"),
        ],
    )
    def test_a_bad_box_is_left_out(self, own, cells, reason):
        change(own, "bounding_boxes.csv", lambda rows: rows[0].update(cells))
        raw = read(own, max_bad_fraction=0.1)
        assert reasons(raw, "bounding_boxes.csv") == {reason: 1}
        assert len(raw.images[0].box) == 1


class TestFiles:
    def test_tables_and_images_and_outlines_are_what_records_depend_on(self, release):
        found = files_of_egd_cxr(release)
        assert found.missing == ()
        names = [path.name for path in found.tables]
        assert names == ["master_sheet.csv", "fixations.csv", "bounding_boxes.csv"]
        assert len(found.files) == COUNT + 5
        samples = files_of_egd_cxr(release, gaze="samples").tables
        assert samples[1].name == "eye_gaze.csv"

    def test_all_that_is_missing_is_listed_at_once(self, own, tmp_path):
        for name in ("fixations.csv", "bounding_boxes.csv"):
            (own / "egd-cxr/1.0.0" / name).unlink()
        missing = files_of_egd_cxr(own / "egd-cxr").missing
        assert [any(word in line for line in missing) for word in ("fixa", "bound", "MIMIC")] == [
            True
        ] * 3
        with pytest.raises(InputError, match=r"(?s)fixations.csv.*bounding_boxes.csv.*mimic_cxr"):
            read(own / "egd-cxr")
        empty = tmp_path / "empty"
        empty.mkdir()
        assert "master_sheet.csv" in files_of_egd_cxr(empty).missing[0]

    def test_images_may_lie_elsewhere(self, release):
        raw = read(release / "egd-cxr", mimic_cxr=str(release / "mimic-cxr-jpg"))
        assert len(raw.images) == COUNT
        assert len(raw.roots) == 2

    @pytest.mark.parametrize("name", ["master_sheet.csv", "fixations.csv", "bounding_boxes.csv"])
    def test_a_table_that_a_link_leads_to_from_outside_is_not_read(self, own, name):
        table = own / "egd-cxr/1.0.0" / name
        outside = table.rename(own / name)
        table.symlink_to(outside)
        images = str(own / "mimic-cxr-jpg")
        with pytest.raises(InputError, match=f"{name} is a link that leads out of"):
            read(own / "egd-cxr", mimic_cxr=images)
        if name == "fixations.csv":
            with pytest.raises(InputError, match="is a link that leads out of"):
                drift_report(own / "egd-cxr")

    @pytest.mark.parametrize("gaze", ["fixations", "samples"])
    def test_mimic_eye_gives_the_same_images_gaze_and_anatomies(self, release, tmp_path, gaze):
        merged = read(write_egd_cxr(tmp_path, COUNT, mimic_eye=True), gaze=gaze)
        raw = read(release, gaze=gaze)
        assert merged.label_names == raw.label_names
        assert merged.has_masks
        for one, other in zip(merged.images, raw.images, strict=True):
            assert one.path.is_file()
            assert (one.image_id, one.split) == (other.image_id, other.split)
            np.testing.assert_array_equal(one.gaze.xy, other.gaze.xy)
            np.testing.assert_array_equal(one.label, other.label)
            np.testing.assert_array_equal(one.box, other.box)
            assert len(one.masks.planes) == len(other.masks.planes)


class TestDrift:
    def test_offsets_are_those_of_the_last_fixation_from_the_dot(self, release):
        report = drift_report(release)
        first, second = report["sessions"]
        assert (first["session"], first["screens"]) == ("1", 2)
        assert (first["x_px"], first["y_px"]) == (17.0, -30.0)  # median of 15 and 19
        assert (first["spread_px"], first["drift_px"]) == (2.0, 4.0)
        assert (second["session"], second["screens"]) == ("2", 1)
        assert (second["x_px"], second["y_px"]) == (23.0, -30.0)
        assert second["spread_px"] is None
        assert second["drift_px"] is None
        assert report["screens"] == 3
        assert report["mean_abs_px"] == [19.0, 30.0]
        assert report["std_abs_px"] == [3.27, 0.0]

    def test_it_needs_no_images_and_names_none(self, release):
        report = drift_report(release / "egd-cxr")
        assert not any(tree.screen_id(i) in str(report) for i in range(COUNT))

    def test_mimic_eye_has_the_same_screens(self, release, tmp_path):
        merged = drift_report(write_egd_cxr(tmp_path, COUNT, mimic_eye=True))
        assert merged == drift_report(release)

    def test_the_table_has_a_row_a_session(self, release):
        lines = format_drift(drift_report(release)).splitlines()
        assert lines[0] == "session  screens  x px   y px  spread px  drift px"
        assert lines[1].split() == ["1", "2", "17.0", "-30.0", "2.0", "4.0"]
        assert lines[2].split() == ["2", "1", "23.0", "-30.0", "-", "-"]
        assert "3 calibration screens" in lines[-1]

    def test_no_screens_and_no_release_are_said(self, own, tmp_path):
        def drop(rows):
            rows[:] = [row for row in rows if len(row["DICOM_ID"]) == 44]

        change(own, "fixations.csv", drop)
        report = drift_report(own)
        assert report["without_screens"] == ["1", "2"]
        assert "no calibration screens" in format_drift(report)
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(InputError, match="master_sheet.csv of EGD-CXR is not"):
            drift_report(empty)
