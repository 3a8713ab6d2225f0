"""Images of MIMIC-CXR are found in every layout, and no cell of a table leads elsewhere."""

import pytest

from gazax.data.sources.mimic_tree import MimicTree, find_mimic_tree
from gazax.typing import InputError
from tests.data.folders import grey
from tests.data.trees.mimic_cxr import dicom_id, write_image

SUBJECT, STUDY, DICOM = "10000032", "50414267", dicom_id(0)
BELOW = f"p10/p{SUBJECT}/s{STUDY}/{DICOM}"


def write(root, suffix=".jpg", dicom=DICOM):
    return write_image(root, SUBJECT, STUDY, dicom, grey(4, 4), suffix)


class TestFind:
    @pytest.mark.parametrize("below", ["", "2.0.0", "physionet.org/files/mimic-cxr-jpg/2.1.0"])
    def test_as_downloaded_at_any_depth(self, tmp_path, below):
        path = write(tmp_path / below)
        tree = find_mimic_tree(tmp_path)
        assert tree
        assert tree.suffix == ".jpg"
        assert tree.image(SUBJECT, STUDY, DICOM) == path

    def test_the_folder_files_itself(self, tmp_path):
        path = write(tmp_path)
        tree = find_mimic_tree(tmp_path / "files")
        assert tree
        assert tree.image(SUBJECT, STUDY, DICOM) == path

    def test_mimic_eye(self, tmp_path):
        path = tmp_path / f"mimic-eye/patient_{SUBJECT}/CXR-JPG/s{STUDY}/{DICOM}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        tree = find_mimic_tree(tmp_path)
        assert tree
        assert tree.by_patient
        assert tree.image(SUBJECT, STUDY, DICOM) == path
        assert tree.from_table(f"files/{BELOW}.dcm") == path

    def test_dicom_where_there_is_no_jpg(self, tmp_path):
        path = write(tmp_path, ".dcm")
        tree = find_mimic_tree(tmp_path)
        assert tree
        assert tree.image(SUBJECT, STUDY, DICOM) == path

    def test_jpg_is_preferred_in_one_folder_and_in_two(self, tmp_path):
        for name in ("mimic-cxr", "mimic-cxr-jpg"):
            write(tmp_path / "one", ".dcm" if name == "mimic-cxr" else ".jpg")
            write(tmp_path / "two" / name, ".dcm" if name == "mimic-cxr" else ".jpg")
        for root in ("one", "two"):
            tree = find_mimic_tree(tmp_path / root)
            assert tree
            assert tree.suffix == ".jpg"
            assert (tree.root / f"{BELOW}.jpg").is_file()

    def test_two_of_one_kind_are_refused(self, tmp_path):
        write(tmp_path / "a")
        write(tmp_path / "b")
        with pytest.raises(InputError, match="twice"):
            find_mimic_tree(tmp_path)

    def test_the_folder_that_is_given_instead(self, tmp_path):
        path = write(tmp_path / "images")
        assert find_mimic_tree(tmp_path / "tables") is None
        tree = find_mimic_tree(tmp_path / "tables", str(tmp_path / "images"))
        assert tree
        assert tree.image(SUBJECT, STUDY, DICOM) == path

    def test_a_folder_of_reports_or_of_nothing_is_no_tree(self, tmp_path):
        study = tmp_path / f"files/p10/p{SUBJECT}/s{STUDY}"
        study.mkdir(parents=True)
        (study / "index.html").write_text("", encoding="utf-8")
        assert find_mimic_tree(tmp_path) is None
        assert find_mimic_tree(tmp_path / "nowhere") is None

    def test_a_link_out_of_the_source_is_not_followed(self, tmp_path):
        write(tmp_path / "elsewhere")
        (tmp_path / "source").mkdir()
        (tmp_path / "source/files").symlink_to(tmp_path / "elsewhere/files")
        assert find_mimic_tree(tmp_path / "source") is None

    def test_links_in_a_circle_end(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a/b").symlink_to(tmp_path / "a")
        assert find_mimic_tree(tmp_path) is None


@pytest.fixture
def tree(tmp_path):
    return MimicTree(tmp_path, ".jpg")


class TestPaths:
    @pytest.mark.parametrize("start", ["", "files/", "physionet.org/files/mimic-cxr/2.0.0/files/"])
    def test_released_paths_take_the_trees_own_ending(self, tree, tmp_path, start):
        assert tree.from_table(f"{start}{BELOW}.dcm") == tmp_path / f"{BELOW}.jpg"

    @pytest.mark.parametrize(
        "ids",
        [
            ("..", STUDY, DICOM),
            (SUBJECT, "../../..", DICOM),
            (SUBJECT, STUDY, "../" * 5 + "etc/passwd"),
            (SUBJECT, STUDY, f"/{DICOM}"),
            (SUBJECT, STUDY, DICOM[:-5]),  # 39 characters: a calibration screen of EGD-CXR
            (SUBJECT, STUDY, DICOM + "\n"),
            (f"{SUBJECT}.0", STUDY, DICOM),
            (f"p{SUBJECT}", STUDY, DICOM),
            ("١٠٠٠٠٠٣٢", STUDY, DICOM),
            ("", "", ""),
        ],
    )
    def test_ids_of_another_form_are_no_path(self, tree, ids):
        assert tree.image(*ids) is None

    @pytest.mark.parametrize(
        "path",
        [
            "",
            f"{DICOM}.dcm",
            f"p11/p{SUBJECT}/s{STUDY}/{DICOM}.dcm",
            f"p10/p{SUBJECT}/{STUDY}/{DICOM}.dcm",
            f"p10/p{SUBJECT}/s{STUDY}/{DICOM}.png.dcm",
            f"p10/p{SUBJECT}/s{STUDY}/{DICOM}",
            f"p10/p{SUBJECT}/s{STUDY}/../{DICOM}.dcm",
            f"p10\\p{SUBJECT}\\s{STUDY}\\{DICOM}.dcm",
        ],
    )
    def test_paths_of_another_form_are_no_path(self, tree, path):
        assert tree.from_table(path) is None
