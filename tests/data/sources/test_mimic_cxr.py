"""Every image of MIMIC-CXR gets its study's labels once, and what is missing is said."""

import dataclasses
import gzip

import numpy as np
import pytest

from gazax.config.datasets import CHEXPERT_LABELS
from gazax.data.sources.mimic_cxr import files_of_mimic_cxr, read_mimic_cxr
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data.trees.mimic_cxr import dicom_id, rows, write_image, write_mimic_cxr, write_table

SPLIT, LABELS = "mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-chexpert.csv"


def read(root, *, max_bad_fraction=0.0, **arguments):
    return read_mimic_cxr(root, faults=Faults(max_bad_fraction), **arguments)


def labels_of(raw, row):
    (image,) = [image for image in raw.images if image.image_id == row.dicom]
    return dict(zip(raw.label_names, image.label.tolist(), strict=True))


def edit(root, table, old, new):
    path = root / table
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tree that no test changes."""
    return write_mimic_cxr(tmp_path_factory.mktemp("mimic"))


@pytest.fixture
def tree(tmp_path):
    return write_mimic_cxr(tmp_path, 6)


class TestRecords:
    def test_one_record_an_image_however_many_a_study_has(self, source):
        raw = read(source, views=())
        assert [image.image_id for image in raw.images] == [row.dicom for row in rows()]
        assert [image.patient_id for image in raw.images] == [row.subject for row in rows()]
        assert all(image.path.is_file() for image in raw.images)
        assert raw.label_names == CHEXPERT_LABELS
        assert raw.faults.report() == {}

    def test_images_of_a_study_have_the_same_labels(self, source):
        raw = read(source, views=())
        studies = {}
        for image, row in zip(raw.images, rows(), strict=True):
            studies.setdefault(row.study, []).append(image.label)
        assert max(map(len, studies.values())) == 2
        for labels in studies.values():
            np.testing.assert_array_equal(labels, [labels[0]] * len(labels))

    def test_the_official_split(self, source):
        raw = read(source)
        names = {"train": "train", "validate": "validation", "test": "test"}
        assert {image.image_id: image.split for image in raw.images} == {
            row.dicom: names[row.split] for row in rows() if row.view in ("AP", "PA")
        }
        assert {image.split for image in raw.images} == set(names.values())

    def test_only_the_front_by_default_and_the_rest_is_counted_not_faulty(self, source):
        raw = read(source)
        views = [row.view for row in rows()]
        assert len(raw.images) == views.count("AP") + views.count("PA")
        assert raw.notes["left_out_by_view"] == views.count("LATERAL") + views.count("") == 13
        assert raw.notes["views"] == {
            "(blank)": 1,
            "AP": views.count("AP"),
            "LATERAL": views.count("LATERAL"),
            "PA": views.count("PA"),
        }
        assert raw.faults.report() == {}

    def test_other_views(self, source):
        assert len(read(source, views=("LATERAL",)).images) == 12
        with pytest.raises(InputError, match=r"views='lateral'.*known: AP, LATERAL, LL, PA"):
            read(source, views=("lateral",))

    def test_all_views_need_no_metadata(self, tree):
        (tree / "mimic-cxr-2.0.0-metadata.csv").unlink()
        assert len(read(tree, views=()).images) == len(rows(6))
        with pytest.raises(InputError, match=r"metadata.csv .* is not in"):
            read(tree)

    def test_dicom_files(self, tmp_path):
        pytest.importorskip("pydicom")
        raw = read(write_mimic_cxr(tmp_path, 3, suffix=".dcm"), views=())
        assert {image.path.suffix for image in raw.images} == {".dcm"}

    def test_the_tables_as_they_are_downloaded(self, tmp_path, source):
        root = tmp_path / "physionet.org/files/mimic-cxr-jpg/2.1.0"
        root.mkdir(parents=True)
        write_mimic_cxr(root, compressed=True)
        assert [table.suffix for table in files_of_mimic_cxr(tmp_path).tables] == [".gz"] * 3
        zipped, plain = read(tmp_path), read(source)
        assert [i.image_id for i in zipped.images] == [i.image_id for i in plain.images]
        np.testing.assert_array_equal(
            [image.label for image in zipped.images], [image.label for image in plain.images]
        )

    def test_a_damaged_compressed_table_is_named(self, tmp_path):
        root = write_mimic_cxr(tmp_path, 6, compressed=True)
        path = root / f"{SPLIT}.gz"
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InputError, match=r"split.csv.gz"):
            read(root)

    def test_a_compressed_table_does_not_fill_the_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("gazax.data.sources.tables.MAX_INFLATED", 2**16)
        root = write_mimic_cxr(tmp_path, 6, compressed=True)
        with gzip.open(root / f"{SPLIT}.gz", "wb") as file:
            file.write(b"dicom_id,study_id,subject_id,split\n" + b"a,b,c,train\n" * 2**16)
        with pytest.raises(InputError, match=r"split.csv.gz .*more than 65536 bytes"):
            read(root)

    def test_images_that_lie_elsewhere(self, tmp_path):
        write_mimic_cxr(tmp_path / "images", 6)
        (tmp_path / "tables").mkdir()
        for path in (tmp_path / "images").glob("*.csv"):
            path.rename(tmp_path / "tables" / path.name)
        raw = read(tmp_path / "tables", mimic_cxr=str(tmp_path / "images"))
        assert raw.images[0].path.is_relative_to(tmp_path / "images")
        assert tmp_path / "images/files" in raw.roots


class TestLabels:
    """Of rows() patient 0 is normal, patient 1 has findings; both have blanks, 1 has a doubt."""

    NORMAL, SICK, DEVICE, UNLABELLED = rows()[0], rows()[4], rows()[7], rows()[2]

    def test_a_study_without_a_row_is_unknown(self, source):
        raw = read(source)
        assert np.isnan(list(labels_of(raw, self.UNLABELLED).values())).all()
        assert raw.notes["images_of_unlabelled_studies"] == 2

    def test_by_default_doubt_is_unknown_and_a_blank_is_absent(self, source):
        labels = labels_of(read(source), self.SICK)
        assert np.isnan(labels["Pneumonia"])
        assert labels["Edema"] == labels["Cardiomegaly"] == 1
        assert labels["Pneumothorax"] == labels["Fracture"] == labels["No Finding"] == 0

    @pytest.mark.parametrize(("uncertain", "value"), [("positive", 1), ("negative", 0)])
    def test_doubt_as_one_says(self, source, uncertain, value):
        assert labels_of(read(source, uncertain=uncertain), self.SICK)["Pneumonia"] == value

    def test_unknown_blanks(self, source):
        labels = labels_of(read(source, blank="unknown"), self.SICK)
        assert np.isnan(labels["Fracture"])
        assert labels["Pneumothorax"] == 0
        assert labels["Edema"] == 1

    def test_no_finding_denies_the_findings_but_not_the_devices(self, source):
        labels = labels_of(read(source, blank="unknown"), self.NORMAL)
        assert np.isnan(labels.pop("Support Devices"))
        assert labels.pop("No Finding") == 1
        assert set(labels.values()) == {0}

    def test_a_blank_no_finding_is_absent_under_every_policy(self, source):
        for blank in ("negative", "unknown"):
            assert labels_of(read(source, blank=blank), self.SICK)["No Finding"] == 0

    def test_columns_are_matched_by_name(self, tree):
        before = labels_of(read(tree), self.SICK)
        lines = [line.split(",") for line in (tree / LABELS).read_text().splitlines()]
        (tree / LABELS).write_text("\n".join(",".join(line[::-1]) for line in lines))
        assert str(labels_of(read(tree), self.SICK)) == str(before)

    def test_negbio(self, tmp_path, source):
        root = write_mimic_cxr(tmp_path, labeller="negbio")
        np.testing.assert_array_equal(
            [i.label for i in read(root, labels="negbio").images],
            [i.label for i in read(source).images],
        )
        with pytest.raises(InputError, match=r"chexpert.csv .* is not in .*physionet"):
            read(root)

    def test_equal_rows_of_a_study_count_once(self, tree):
        lines = (tree / LABELS).read_text().splitlines()
        write_table(tree / LABELS, lines[0], [*lines[1:], *lines[1:]])
        raw = read(tree, views=())
        assert len(raw.images) == len(rows(6))
        assert raw.faults.report() == {}

    def test_rows_of_a_study_that_disagree_are_an_error(self, tree):
        lines = (tree / LABELS).read_text().splitlines()
        write_table(tree / LABELS, lines[0], [*lines[1:], lines[1].replace("1.0", "-1.0")])
        with pytest.raises(InputError, match=r"row \d+: study '50000001' has other .* in row 2"):
            read(tree)

    def test_a_study_of_another_patient_is_not_joined(self, tree):
        edit(tree, LABELS, f"{self.SICK.subject},{self.SICK.study}", f"19999999,{self.SICK.study}")
        with pytest.raises(InputError, match="subject_id '19999999'"):
            read(tree)
        raw = read(tree, max_bad_fraction=0.5)
        assert np.isnan(list(labels_of(raw, self.SICK).values())).all()
        assert raw.faults.report()[LABELS]["reasons"] == {"another patient": 1}

    @pytest.mark.parametrize("cell", ["2.0", "yes", "=1+1", "inf"])
    def test_a_label_is_1_0_minus_1_or_blank(self, tree, cell):
        edit(tree, LABELS, "-1.0", cell)
        with pytest.raises(InputError, match="none of 1, 0, -1 and blank"):
            read(tree)

    def test_the_test_sets_own_labels_are_not_taken_for_the_labellers(self, tree):
        write_table(tree / "mimic-cxr-2.1.0-test-set-labeled.csv", "study_id,Edema", ["1,1.0"])
        assert len(files_of_mimic_cxr(tree).tables) == 3


class TestFaults:
    def test_an_image_that_is_not_there_is_counted_and_named(self, tree):
        row = rows(6)[0]
        path = write_image(
            tree, row.subject, row.study, row.dicom, np.zeros((4, 4), np.uint8), ".jpg"
        )
        path.unlink()
        with pytest.raises(InputError, match=rf"{row.dicom}.jpg is missing"):
            read(tree)
        raw = read(tree, max_bad_fraction=0.5)
        assert row.dicom not in {image.image_id for image in raw.images}
        assert raw.faults.report()["images/"]["reasons"] == {"no image": 1}

    def test_ids_never_lead_out_of_the_tree(self, tree):
        victim = rows(6)[0]
        for name in (SPLIT, "mimic-cxr-2.0.0-metadata.csv"):
            edit(tree, name, victim.dicom, "../../../../../secret")
        with pytest.raises(InputError, match="name no image"):
            read(tree)
        raw = read(tree, max_bad_fraction=0.5)
        assert all(image.path.is_relative_to(tree / "files") for image in raw.images)

    def test_an_image_twice_is_an_error(self, tree):
        lines = (tree / SPLIT).read_text().splitlines()
        write_table(tree / SPLIT, lines[0], [*lines[1:], lines[1]])
        with pytest.raises(InputError, match="stands there already in row 2"):
            read(tree)

    def test_a_patient_in_two_splits_is_an_error(self, tree):
        edit(tree, SPLIT, f"{rows(6)[1].subject},train", f"{rows(6)[1].subject},test")
        with pytest.raises(InputError, match="a patient belongs to one split"):
            read(tree)

    def test_another_split_is_an_error(self, tree):
        edit(tree, SPLIT, ",validate", ",val")
        with pytest.raises(InputError, match="split is 'val'"):
            read(tree)

    def test_an_image_without_a_view_row_is_a_fault(self, tree):
        images = [*rows(6), dataclasses.replace(rows(6)[0], dicom=dicom_id(999))]
        lines = [f"{r.dicom},{r.study},{r.subject},{r.split}" for r in images]
        write_table(tree / SPLIT, "dicom_id,study_id,subject_id,split", lines)
        with pytest.raises(InputError, match=r"has no row in mimic-cxr-2.0.0-metadata.csv"):
            read(tree)

    @pytest.mark.parametrize(
        "argument", [{"labels": "chexbert"}, {"uncertain": "zero"}, {"blank": "positive"}]
    )
    def test_unknown_arguments_are_listed(self, source, argument):
        with pytest.raises(InputError, match=rf"data.source.{next(iter(argument))}=.*known:"):
            read(source, **argument)
        with pytest.raises(InputError, match="known:"):
            files_of_mimic_cxr(source, **argument)

    def test_what_is_missing_is_listed_and_never_raised(self, tmp_path):
        files = files_of_mimic_cxr(tmp_path)
        assert len(files.missing) == 4
        assert all("physionet.org" in line for line in files.missing)
        with pytest.raises(InputError, match="no images in"):
            read(tmp_path)

    def test_the_files_it_depends_on(self, source):
        files = files_of_mimic_cxr(source)
        assert {path.name.removeprefix("mimic-cxr-2.0.0-") for path in files.tables} == {
            "split.csv",
            "chexpert.csv",
            "metadata.csv",
        }
        assert all(path.parent == source / "files" for path in files.files)
        assert files.files
        assert files.missing == ()
