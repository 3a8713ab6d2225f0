"""What a gaze folder says arrives unchanged; what is wrong with it is named with file and row."""

import numpy as np
import pytest

from gazax.data.sources.gaze_folder import read_gaze_folder
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data.folders import grey, table, write_folder

LABELS = "image_id,patient_id,split,sick"
FIXATIONS = "image_id,reader_id,x_px,y_px,duration_s"
GOOD_LABELS = table(LABELS, "a,p,train,1", "b,q,val,0", "c,r,test,")
GOOD_FIXATIONS = table(FIXATIONS, "a,ann,1,2,.5", "b,bob,3,4,.25", "a,bob,5,6,.1", "a,ann,7,8,.2")


def read(tmp_path, *, images=("a", "b", "c"), masks=None, max_bad_fraction=1.0, **tables):
    """Reads a folder of three good images with the tables that are given."""
    options = {k: tables.pop(k) for k in list(tables) if k not in TABLES}
    tables = {"labels": GOOD_LABELS} | tables
    present = {name: text for name, text in tables.items() if text is not None}
    root = write_folder(tmp_path, {name: grey() for name in images}, masks, **present)
    return read_gaze_folder(root, faults=Faults(max_bad_fraction), **options)


TABLES = ("labels", "fixations", "samples", "boxes", "readers")


def first_fault(raw, file):
    return raw.faults.report()[file]["first"][0]


class TestGood:
    def test_images_and_labels_are_enough(self, tmp_path):
        raw = read(tmp_path)
        assert [image.image_id for image in raw.images] == ["a", "b", "c"]
        assert [image.patient_id for image in raw.images] == ["p", "q", "r"]
        assert [image.split for image in raw.images] == ["train", "validation", "test"]
        assert raw.label_names == ("sick",)
        np.testing.assert_array_equal([image.label for image in raw.images], [[1], [0], [np.nan]])
        assert [len(image.gaze) for image in raw.images] == [0, 0, 0]
        assert not raw.has_masks
        assert raw.faults.report() == {}

    def test_no_label_columns_are_no_labels(self, tmp_path):
        raw = read(tmp_path, labels=table("image_id,patient_id", "a,p", "b,q", "c,r"))
        assert raw.label_names == ()
        assert raw.images[0].label.shape == (0,)

    def test_fixations_keep_their_order_and_their_reader(self, tmp_path):
        raw = read(tmp_path, fixations=GOOD_FIXATIONS)
        gaze = raw.images[0].gaze
        np.testing.assert_array_equal(gaze.xy, [(1, 2), (5, 6), (7, 8)])
        np.testing.assert_array_equal(gaze.duration, [0.5, 0.1, 0.2])
        assert [raw.reader_ids[r] for r in gaze.reader] == ["ann", "bob", "ann"]
        assert np.isnan(gaze.sigma).all()
        assert np.isnan(gaze.window).all()
        assert raw.reader_weights == (1.0, 1.0)

    def test_sigma_and_window_are_optional_row_by_row(self, tmp_path):
        header = (
            f"{FIXATIONS},sigma_x_px,sigma_y_px,window_xmin,window_ymin,window_xmax,window_ymax"
        )
        rows = ("a,ann,1,2,.5,3,4,0,1,20,30", "a,ann,1,2,.5,,,,,,", "a,ann,1,2,.5,3,4,,,,")
        gaze = read(tmp_path, fixations=table(header, *rows)).images[0].gaze
        np.testing.assert_array_equal(gaze.sigma, [(3, 4), (np.nan, np.nan), (3, 4)])
        np.testing.assert_array_equal(gaze.window[0], (0, 1, 20, 30))
        assert np.isnan(gaze.window[1:]).all()

    def test_readers_weigh_what_the_table_says_and_else_one(self, tmp_path):
        raw = read(
            tmp_path,
            fixations=GOOD_FIXATIONS,
            readers=table("reader_id,weight", "bob,0.25", "aaron,2"),
        )
        weights = dict(zip(raw.reader_ids, raw.reader_weights, strict=True))
        assert weights == {"aaron": 2.0, "ann": 1.0, "bob": 0.25}
        assert [raw.reader_ids[r] for r in raw.images[1].gaze.reader] == ["bob"]

    def test_boxes_become_corners(self, tmp_path):
        raw = read(
            tmp_path, boxes=table("image_id,label,x_px,y_px,width_px,height_px", "b,sick,1,2,10,5")
        )
        np.testing.assert_array_equal(raw.images[1].box, [(1, 2, 11, 7)])
        np.testing.assert_array_equal(raw.images[1].box_label, [0])
        assert raw.images[0].box.shape == (0, 4)

    def test_masks_are_found_by_id(self, tmp_path):
        raw = read(tmp_path, masks={"b": grey(value=1)})
        assert raw.has_masks
        assert [image.masks.label_map is None for image in raw.images] == [True, False, True]

    def test_endings_are_read_in_any_case_and_hidden_files_do_not_count(self, tmp_path):
        raw = read(tmp_path, images=("a.PNG", "b.jpg", "c.jpeg", ".hidden.txt.png"))
        assert [image.path.name for image in raw.images] == ["a.PNG", "b.jpg", "c.jpeg"]
        assert raw.faults.report() == {}

    def test_ids_may_hold_dots_and_leading_zeros(self, tmp_path):
        rows = ("1.2.840.1,p,train,1", "007,q,val,1", "7,r,test,1")
        raw = read(tmp_path, images=("1.2.840.1.png", "007", "7"), labels=table(LABELS, *rows))
        assert [image.image_id for image in raw.images] == ["1.2.840.1", "007", "7"]

    def test_without_a_split_column_patients_are_drawn_and_stay_together(self, tmp_path):
        names = [f"i{i}" for i in range(12)]
        rows = [f"{name},p{i // 2}" for i, name in enumerate(names)]
        raw = read(tmp_path, images=names, labels=table("image_id,patient_id", *rows))
        splits = {}
        for image in raw.images:
            assert splits.setdefault(image.patient_id, image.split) == image.split
        assert set(splits.values()) == {"train", "validation", "test"}

    def test_columns_that_nobody_knows_are_noted(self, tmp_path):
        fixations = table(f"{FIXATIONS},pupil", "a,ann,1,2,.5,3.3")
        assert read(tmp_path, fixations=fixations).notes["ignored_columns"] == ["pupil"]


class TestSamples:
    HEADER = "image_id,reader_id,t_s,x_px,y_px"

    def rows(self, places, image="a", reader="ann", start=0.0):
        return [f"{image},{reader},{start + i / 10:.1f},{x},{y}" for i, (x, y) in enumerate(places)]

    def test_samples_become_fixations_when_there_are_none(self, tmp_path):
        # a degree is 40 / 28 = 1.43 px: two places, three samples each
        rows = self.rows([(1, 1)] * 3 + [(20, 20)] * 3)
        raw = read(tmp_path, samples=table(self.HEADER, *rows))
        np.testing.assert_allclose(raw.images[0].gaze.xy, [(1, 1), (20, 20)])
        np.testing.assert_allclose(raw.images[0].gaze.duration, [0.2, 0.2])
        assert raw.notes["fixations_from"] == "samples.csv by idt"

    def test_fixations_go_before_samples(self, tmp_path):
        samples = table(self.HEADER, *self.rows([(1, 1)] * 3))
        raw = read(tmp_path, fixations=GOOD_FIXATIONS, samples=samples)
        assert raw.notes["fixations_from"] == "fixations.csv"
        assert len(raw.images[0].gaze) == 3

    def test_readers_and_images_are_told_apart_however_rows_are_mixed(self, tmp_path):
        blocks = [
            self.rows([(1, 1)] * 3, "a", "bob", start=7.0),
            self.rows([(2, 2)] * 3, "a", "ann"),
            self.rows([(3, 3)] * 3, "b", "ann"),
        ]
        mixed = [row for rows in zip(*blocks, strict=True) for row in rows]
        raw = read(tmp_path, samples=table(self.HEADER, *mixed))
        a, b = raw.images[0].gaze, raw.images[1].gaze
        np.testing.assert_allclose(a.xy, [(2, 2), (1, 1)])
        assert [raw.reader_ids[r] for r in a.reader] == ["ann", "bob"]
        np.testing.assert_allclose(b.xy, [(3, 3)])

    def test_thresholds_are_degrees_of_the_image(self, tmp_path):
        rows = self.rows([(1, 1), (2.5, 1), (4, 1)])  # 1.05 degrees each, 2.1 in all
        samples = table(self.HEADER, *rows)
        assert len(read(tmp_path / "1", samples=samples).images[0].gaze) == 0
        assert len(read(tmp_path / "2", samples=samples, dispersion_deg=2.2).images[0].gaze) == 1
        assert len(read(tmp_path / "3", samples=samples, degree_fraction=0.1).images[0].gaze) == 1

    def test_velocity_is_a_choice(self, tmp_path):
        rows = self.rows([(1, 1), (2, 1), (3, 1), (4, 1)])  # 10 px/s = 7 degrees/s
        samples = table(self.HEADER, *rows)
        raw = read(tmp_path, samples=samples, fixation_algorithm="ivt")
        assert len(raw.images[0].gaze) == 1
        assert raw.notes["fixations_from"] == "samples.csv by ivt"

    def test_unknown_algorithm_lists_the_known_ones(self, tmp_path):
        with pytest.raises(InputError, match=r"fixation_algorithm='idx' is unknown.* idt, ivt"):
            read(tmp_path, fixation_algorithm="idx")

    def test_blinks_are_no_fault(self, tmp_path):
        rows = self.rows([(1, 1)] * 3 + [("", "nan")] + [(1, 1)] * 3)
        raw = read(tmp_path, samples=table(self.HEADER, *rows), max_bad_fraction=0.0)
        assert len(raw.images[0].gaze) == 2

    def test_time_that_runs_backwards_is_named(self, tmp_path):
        rows = [*self.rows([(1, 1)] * 3), "a,ann,0.1,1,1"]
        raw = read(tmp_path, samples=table(self.HEADER, *rows))
        message = first_fault(raw, "samples.csv")
        assert message.startswith("samples.csv row 5: t_s is 0.1, not later than")
        np.testing.assert_allclose(raw.images[0].gaze.duration, [0.2])

    def test_text_among_the_samples_is_named(self, tmp_path):
        rows = [*self.rows([(1, 1)] * 3), "a,ann,x,1,1", "a,ann,.5,high,1"]
        raw = read(tmp_path, samples=table(self.HEADER, *rows))
        assert raw.faults.report()["samples.csv"]["reasons"] == {"not a number": 2}


class TestLeftOut:
    """Faults of one row: counted, named, left out."""

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("z,ann,1,2,.5", "fixations.csv row 6: no image 'z' in labels.csv and images/"),
            ("a,ann,1,2,nan", "fixations.csv row 6: duration_s is 'nan'; it is seconds"),
            ("a,ann,1,2,-0.1", "fixations.csv row 6: duration_s is '-0.1'"),
            ("a,ann,1,2,", "fixations.csv row 6: duration_s is ''"),
            ("a,ann,1,2,inf", "fixations.csv row 6: duration_s is 'inf'"),
            ("a,ann,nan,2,.1", "fixations.csv row 6: x_px is 'nan', y_px is '2'; a finite number"),
            ("a,ann,left,2,.1", "fixations.csv row 6: x_px is 'left'"),
            ("a,ann,1,2", "fixations.csv row 6: 4 cells where the header has 5"),
        ],
    )
    def test_bad_fixation(self, tmp_path, row, message):
        raw = read(tmp_path, fixations=GOOD_FIXATIONS + row + "\n")
        assert first_fault(raw, "fixations.csv").startswith(message)
        assert sum(len(image.gaze) for image in raw.images) == 4

    @pytest.mark.parametrize("cells", ["0,1,,,,", "1,,,,,", "1,x,,,,", "1,1,5,5,5,9", ",,1,,3,4"])
    def test_bad_sigma_or_window(self, tmp_path, cells):
        header = (
            f"{FIXATIONS},sigma_x_px,sigma_y_px,window_xmin,window_ymin,window_xmax,window_ymax"
        )
        raw = read(tmp_path, fixations=table(header, "a,ann,1,2,.5,,,,,,", f"a,ann,1,2,.5,{cells}"))
        assert first_fault(raw, "fixations.csv").startswith("fixations.csv row 3: ")
        assert len(raw.images[0].gaze) == 1

    def test_zero_duration_is_no_fault(self, tmp_path):
        raw = read(tmp_path, fixations=GOOD_FIXATIONS + "c,ann,1,2,0\n", max_bad_fraction=0.0)
        assert len(raw.images[2].gaze) == 1

    @pytest.mark.parametrize(("good", "stops"), [(99, False), (98, True)])
    def test_many_bad_fixations_stop(self, tmp_path, good, stops):
        rows = ["a,ann,1,2,.5"] * good + ["a,ann,1,2,-1"]
        fixations = table(FIXATIONS, *rows)
        if stops:
            with pytest.raises(InputError, match=r"fixations\.csv: 1 of 99 rows are faulty"):
                read(tmp_path, fixations=fixations, max_bad_fraction=0.01)
        else:
            read(tmp_path, fixations=fixations, max_bad_fraction=0.01)

    def test_row_without_image(self, tmp_path):
        raw = read(tmp_path, images=("a", "c"), fixations=GOOD_FIXATIONS)
        assert first_fault(raw, "labels.csv").startswith(
            "labels.csv row 3: there is no images/b.png"
        )
        assert [image.image_id for image in raw.images] == ["a", "c"]
        # its fixation goes with it and is no fault of its own
        assert "fixations.csv" not in raw.faults.report()
        assert raw.rows_left_out == 1

    def test_image_without_row(self, tmp_path):
        raw = read(
            tmp_path, images=("a", "b", "c", "d"), fixations=GOOD_FIXATIONS + "d,ann,1,1,1\n"
        )
        assert first_fault(raw, "images/").startswith("images/d has no row in labels.csv")
        assert "fixations.csv" not in raw.faults.report()

    def test_no_id_leads_out_of_the_folder(self, tmp_path):
        write_folder(tmp_path, {"outside": grey(), "a": grey()})
        (tmp_path / "images" / "outside.png").rename(tmp_path / "outside.png")
        rows = ("a,p,train,1", "../outside,q,val,1", f"{tmp_path}/outside,r,val,1")
        raw = read(tmp_path, images=("a",), labels=table(LABELS, *rows))
        assert [image.image_id for image in raw.images] == ["a"]
        assert raw.faults.count("labels.csv") == 2

    def test_other_files_among_the_images(self, tmp_path):
        write_folder(tmp_path, {"scan.tif": grey()})
        (tmp_path / "images" / "deep").mkdir()
        raw = read(tmp_path)
        assert raw.faults.report()["images/"]["first"] == [
            "images/deep is a folder; move it elsewhere",
            "images/scan.tif is no png, jpg or dcm file; move it elsewhere",
        ]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("a,ill,1,2,3,4", "label 'ill' is no column of labels.csv (sick)"),
            ("a,sick,1,2,0,4", "width_px and height_px of a box are above 0"),
            ("a,sick,1,?,3,4", "y_px is '?'"),
            ("z,sick,1,2,3,4", "no image 'z'"),
        ],
    )
    def test_bad_box(self, tmp_path, row, message):
        raw = read(tmp_path, boxes=table("image_id,label,x_px,y_px,width_px,height_px", row))
        fault = first_fault(raw, "boxes.csv")
        assert fault.startswith("boxes.csv row 2: ")
        assert message in fault

    @pytest.mark.parametrize("weight", ["-1", "nan", "much"])
    def test_bad_weight(self, tmp_path, weight):
        readers = table("reader_id,weight", f"ann,{weight}")
        with pytest.raises(InputError, match=r"readers\.csv row 2: weight is"):
            read(tmp_path, readers=readers, max_bad_fraction=0.01)

    def test_mask_of_no_image(self, tmp_path):
        raw = read(tmp_path, masks={"a": grey(value=0), "z": grey(value=0)})
        assert first_fault(raw, "masks/").startswith("masks/z.png belongs to no image")


class TestNoted:
    """What changes nothing but is most often a slip is said and stops nothing."""

    def test_weight_of_a_reader_who_has_no_fixations(self, tmp_path):
        readers = table("reader_id,weight", "bob,.5", "anne,2")
        raw = read(tmp_path, fixations=GOOD_FIXATIONS, readers=readers, max_bad_fraction=0.0)
        assert raw.faults.report()["readers.csv"] == {
            "count": 1,
            "reasons": {"reader without fixations": 1},
            "first": [
                "readers.csv: reader_id 'anne' has no fixations (did you mean 'ann'?); its weight "
                "is not used"
            ],
        }

    def test_weights_without_any_gaze_are_no_slip(self, tmp_path):
        raw = read(tmp_path, readers=table("reader_id,weight", "bob,.5"))
        assert raw.faults.report() == {}


class TestStops:
    @pytest.mark.parametrize("header", ["sick,", ",sick"])
    def test_label_without_a_name(self, tmp_path, header):
        labels = table(f"image_id,patient_id,{header}", "a,p,1,", "b,q,1,", "c,r,1,")
        column = 3 + (header != ",sick")
        with pytest.raises(InputError, match=rf"labels\.csv row 1: column {column} has no name"):
            read(tmp_path, labels=labels)

    """Faults of the whole: named at once."""

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (
                table("image_id,split", "a,train"),
                r"labels\.csv row 1: column 'patient_id' is missing",
            ),
            (
                table(LABELS, "a,p,train,1", "a,p,train,0"),
                r"row 3: image_id 'a' .* already in row 2",
            ),
            (table(LABELS, "a,p,train,yes"), r"labels\.csv row 2: label 'sick' is 'yes'; .* 1, 0"),
            (table(LABELS, "a,p,train,2"), r"labels\.csv row 2: label 'sick' is '2'"),
            (table(LABELS, "a,,train,1"), r"labels\.csv row 2: patient_id is empty"),
            (
                table(LABELS, "a,p,train,1", "b,p,val,1"),
                r"row 3: patient 'p' is in validation here",
            ),
            (table(LABELS, "a,p,dev,1"), r"labels\.csv row 2: split is 'dev'; write train"),
            (table(LABELS, "a,p,,1"), r"labels\.csv row 2: split is ''"),
            (table(LABELS, "x,p,train,1"), r"no row of labels\.csv has an image"),
            ("", r"labels\.csv is empty"),
            (None, r"labels\.csv is missing"),
        ],
    )
    def test_bad_labels(self, tmp_path, labels, message):
        with pytest.raises(InputError, match=message):
            read(tmp_path, labels=labels)

    @pytest.mark.parametrize("column", FIXATIONS.split(","))
    def test_missing_column(self, tmp_path, column):
        header = FIXATIONS.replace(column, "other")
        with pytest.raises(
            InputError, match=rf"fixations\.csv row 1: column '{column}' is missing"
        ):
            read(tmp_path, fixations=table(header, "a,ann,1,2,.5"))

    def test_two_files_of_one_id(self, tmp_path):
        with pytest.raises(InputError, match=r"images/a\.jpg and images/a\.png both claim"):
            read(tmp_path, images=("a.png", "a.jpg"))

    def test_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match=r"no folder .*images"):
            read(tmp_path, images=())
        (tmp_path / "images").mkdir()
        with pytest.raises(InputError, match="holds no png, jpg or dcm file"):
            read(tmp_path, images=())

    def test_reader_twice(self, tmp_path):
        with pytest.raises(
            InputError, match=r"readers\.csv row 3: reader_id 'ann' stands there twice"
        ):
            read(tmp_path, readers=table("reader_id,weight", "ann,1", "ann,2"))

    def test_mask_that_cannot_keep_its_values(self, tmp_path):
        with pytest.raises(InputError, match=r"masks/a\.jpg: a mask is a png"):
            read(tmp_path, masks={"a.jpg": grey()})


@pytest.mark.parametrize(
    ("name", "images", "fixations", "readers"),
    [("natural_gaze", 24, 3401, 15), ("chest_xrays", 117, 0, 0)],
)
def test_real_samples_are_read_whole(samples, name, images, fixations, readers):
    raw = read_gaze_folder(samples / name, faults=Faults(0.0))
    assert len(raw.images) == images
    assert sum(len(image.gaze) for image in raw.images) == fixations
    assert len(raw.reader_ids) == readers
    by_split = {s: {i.patient_id for i in raw.images if i.split == s} for s in ("train", "test")}
    assert not by_split["train"] & by_split["test"]
