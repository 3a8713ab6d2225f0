"""Files that are damaged, unlucky or made to do harm; and what they once did."""

import ast
import contextlib
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazax.data import cache, datasets, prepare
from gazax.data.pixels import images
from gazax.data.sources import egd_drift, tables
from gazax.data.sources.files import is_plain
from gazax.data.sources.mimic_tree import MimicTree, find_mimic_tree
from gazax.data.sources.tables import Faults, Table
from gazax.data.splits import draw_splits
from gazax.typing import InputError
from tests.data import dicoms
from tests.data.folders import example_folder
from tests.data.hostile import run, trees, trial
from tests.data.hostile.watch import Watch
from tests.data.trees.chestxray14 import write_chestxray14
from tests.data.trees.egd_cxr import write_egd_cxr
from tests.data.trees.mimic_cxr import write_mimic_cxr
from tests.data.trees.reflacx import write_reflacx
from tests.data.trees.rsna_pneumonia import write_rsna_pneumonia

PACKAGE = Path(images.__file__).parents[1]
SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_hostile_files_end_in_typed_errors_or_counts():
    found = run.run(count=5 * len(trial.KINDS), seed=1)
    assert found["wrong"] == []
    assert set(found["by_kind"]) == set(trial.KINDS)
    for became in ("decoded", "DecodeError", "InputError", "missing", "read", "faults counted"):
        assert found["became"][became] > 0, "the inputs are no longer of every sort"


@pytest.mark.slow
def test_ten_thousand_hostile_files_end_in_typed_errors_or_counts():
    assert run.run(count=10_000, seed=1_000_000)["wrong"] == []


def test_inputs_follow_from_kind_and_number(tmp_path):
    watch = Watch()
    for kind in ("grey.png", "progressive.jpg", "dicom"):
        made = []
        for name in ("a", "b"):
            place = trial.Range(tmp_path / f"{kind}-{name}", watch)
            made.append([place.make(kind, seed)[1].read_bytes() for seed in range(20)])
        assert made[0] == made[1]
        assert len(set(made[0])) > 10


def test_watch_notes_what_is_read_and_written_outside(tmp_path):
    source, out, other = (tmp_path / name for name in ("source", "out", "other"))
    for folder in (source, out, other):
        folder.mkdir()
        (folder / "file").write_text("")
    (source / "link").symlink_to(other / "file")
    watch = Watch()
    watch.write = ()
    watch(source, out, lambda: ((source / "file").read_text(), (out / "new").write_text("")))
    assert watch.found == []
    for action in (
        (other / "file").read_text,
        (source / "link").read_text,
        lambda: (source / "new").write_text(""),
        lambda: os.listdir(other),
        lambda: (source / "folder").mkdir(),
        lambda: (source / "file").rename(source / "moved"),
    ):
        watch(source, out, action)
        assert watch.found, action


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-7"]))
def test_any_text_is_a_table_or_an_input_error_that_names_it(tmp_path_factory, text, encoding):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(f"a,b\n{text}".encode(encoding, "replace"))
    message = "any.csv"
    try:
        table = Table(path, ("a", "b"), faults=Faults(1.0))
        assert len(table.text("a")) == len(table.numbers("b")) == len(table)
    except InputError as error:
        message = str(error)
    assert "any.csv" in message


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", bytes(128) + b"DICM"]),
    st.sampled_from([".png", ".jpg", ".dcm"]),
)
def test_any_bytes_are_an_image_or_a_decode_error(tmp_path_factory, data, start, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(start + data)
    for read in (images.read_image, images.image_size):
        with contextlib.suppress(images.DecodeError):
            read(path)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["..", "p10", "p10000032", "s50414267", "", ".", "~", "\0"])))
def test_no_path_of_a_table_leads_out_of_the_tree_of_images(parts):
    name = "0" * 8 + 4 * ("-" + "a" * 8) + ".dcm"
    path = MimicTree(Path("/tree"), ".jpg").from_table("/".join((*parts, name)))
    assert path is None or os.path.normpath(path).startswith("/tree/p10/p10000032/s50414267/")


def test_nothing_unpickles():
    """Whoever loads a pickle runs what its author wrote."""
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            where = f"{source.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert not modules & {alias.name for alias in node.names}, where
            if isinstance(node, ast.ImportFrom) and node.module != "joblib.externals.loky":
                assert node.module is None or node.module.split(".")[0] not in modules, where
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
                if called in ("np.load", "numpy.load", "jnp.load"):
                    assert keywords.get("allow_pickle") == "False", where
                assert not called.endswith(("read_pickle", "to_pickle")), where
                assert called != "torch.load" or keywords.get("weights_only") == "True", where


# --- what was found -------------------------------------------------------------------------------


def load(name: str, root: Path, **arguments):
    """Files and records, as a preparation takes them; a fault may be as large as it likes."""
    files = datasets.DATASETS[name].files(root, **arguments)
    if files.missing:
        raise InputError("\n".join(files.missing))
    cache.describe(files, root)
    return datasets.DATASETS[name].read(root, faults=Faults(1.0), **arguments)


@pytest.mark.parametrize("kind", trees.TREES)
def test_table_that_is_a_link_out_of_the_source_is_not_opened(kind, tmp_path):
    tree, watch = trees.Tree(tmp_path, kind), Watch()
    own = [path for path in tree.tables if path.name != "splits.csv"]
    first = {path.name: path for path in own if path.suffix in (".csv", ".gz")}
    for path in (*first.values(), *(p for p in own if p.name.endswith("_list.txt"))):
        away = tmp_path / "outside" / path.name
        away.parent.mkdir(exist_ok=True)
        path.rename(away)
        path.symlink_to(away)
        with contextlib.suppress(InputError):
            watch(tree.root, tmp_path, lambda: load(tree.dataset, tree.root, **tree.arguments))
        assert not [line for line in watch.found if str(away) in line]
        path.unlink()
        away.rename(path)
    load(tree.dataset, tree.root, **tree.arguments)


def test_link_out_of_a_gaze_folder_is_named(tmp_path):
    root = example_folder(tmp_path / "source", count=4)
    for name in ("labels.csv", "images", "masks", "boxes.csv"):
        (root / name).rename(tmp_path / name)
        (root / name).symlink_to(tmp_path / name)
        with pytest.raises(InputError, match=f"{name} is a link that leads out"):
            datasets.DATASETS["gaze_folder"].read(root, faults=Faults())
        (root / name).unlink()
        (tmp_path / name).rename(root / name)


def test_link_to_itself_is_no_tree_of_images(tmp_path):
    write_mimic_cxr(tmp_path, count=3)
    (tmp_path / "files/p10/loop").symlink_to("loop")
    (tmp_path / "loop").symlink_to("loop")
    assert find_mimic_tree(tmp_path).root == tmp_path / "files"


def test_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"t\.csv is no ordinary file"):
        Table(tmp_path / "t.csv", ("a",), faults=Faults())


def test_table_of_many_short_rows_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_MEMORY", 10_000)
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 1000)
    with pytest.raises(InputError, match=r"t\.csv takes more than .* of memory at row \d+"):
        Table(tmp_path / "t.csv", ("a",), faults=Faults())
    (tmp_path / "t.csv").write_text("a,b\n" + "1\n" * 1000)
    with pytest.raises(InputError, match=r"t\.csv takes more than"):
        Table(tmp_path / "t.csv", ("a",), faults=Faults(1.0))


@pytest.mark.parametrize("row", ["," * 5_000_000, '"\n",' * 1_500_000], ids=["long", "of lines"])
def test_row_of_millions_of_cells_does_not_fill_the_memory(tmp_path, row):
    (tmp_path / "t.csv").write_text(f"a,b\n{row}\n")
    with pytest.raises(InputError, match=r"t\.csv cannot be read as csv \(a row of more than"):
        Table(tmp_path / "t.csv", ("a",), faults=Faults())


def test_one_long_name_of_a_reader_takes_its_own_memory_only(tmp_path):
    root = example_folder(tmp_path, count=4)
    rows = [f"im01,{'x' * 100_000 if i == 0 else 'ann'},1,2,0.5" for i in range(2000)]
    header = "image_id,reader_id,x_px,y_px,duration_s"
    (root / "fixations.csv").write_text("\n".join((header, *rows, "")))
    tracemalloc.start()
    try:
        raw = load("gaze_folder", root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert raw.reader_ids == ("ann", "bob", "x" * 100_000)
    assert peak < 50e6  # an array of 2000 such names has 800 MB


def test_many_readers_take_seconds(tmp_path):
    root = example_folder(tmp_path, count=4)
    rows = "".join(f"reader {i},1\n" for i in range(30_000))
    (root / "readers.csv").write_text(f"reader_id,weight\n{rows}")
    header = "image_id,reader_id,x_px,y_px,duration_s\n"
    rows = "".join(f"im01,gazer {i},1,2,0.5\n" for i in range(30_000))
    (root / "fixations.csv").write_text(header + rows)
    start = time.process_time()
    assert len(load("gaze_folder", root).reader_ids) == 60_000
    assert time.process_time() - start < 10  # to compare each with each takes minutes


def test_plain_name_fits_a_file_system_that_counts_bytes():
    assert is_plain("é" * 100)
    assert not is_plain("é" * 101)


def test_patient_whose_name_is_too_long_for_a_file_is_a_fault(tmp_path):
    write_rsna_pneumonia(tmp_path, count=9)
    for name in ("stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"):
        path = tmp_path / name
        lines = path.read_text().splitlines()
        cells = lines[-1].split(",")
        path.write_text("\n".join((*lines[:-1], ",".join(("é" * 199, *cells[1:])), "")))
    raw = load("rsna_pneumonia", tmp_path)
    assert raw.faults.count("stage_2_train_labels.csv", "no patientId") == 1
    assert len(raw.images) == 8


def test_patient_of_reflacx_is_the_one_of_the_image_path(tmp_path):
    write_reflacx(tmp_path, count=8, mimic_eye=True)
    path = tmp_path / "spreadsheets/REFLACX/metadata.csv"
    lines = path.read_text().splitlines()
    header, cells = lines[0].split(","), lines[1].split(",")
    evil = "../../../outside"
    image = cells[header.index("image")]
    cells[header.index("image")] = f"/p{evil}/{image}"
    cells[header.index("subject_id")] = evil
    path.write_text("\n".join((lines[0], ",".join(cells), *lines[2:], "")))
    files = datasets.DATASETS["reflacx"].files(tmp_path)
    assert not [path for path in files.tables if ".." in path.parts]
    assert load("reflacx", tmp_path).faults.count("metadata.csv", "subject_id") == 1


def test_reading_of_thousands_of_ellipses_is_a_fault(tmp_path):
    write_reflacx(tmp_path, count=8)
    path = next(
        path
        for path in sorted(tmp_path.rglob("anomaly_location_ellipses.csv"))
        if len(path.read_text().splitlines()) > 1
    )
    lines = path.read_text().splitlines()
    path.write_text("\n".join((lines[0], *[lines[1]] * 5000, "")))
    start = time.process_time()
    raw = load("reflacx", tmp_path)
    assert raw.faults.count("main_data/", "too many in anomaly_location_ellipses.csv") == 1
    assert time.process_time() - start < 5


def test_session_of_thousands_of_digits_is_a_name(tmp_path):
    write_egd_cxr(tmp_path, count=6)
    path = tmp_path / "egd-cxr/1.0.0/fixations.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join((*lines[:-1], "9" * 5000 + lines[-1][1:], "")))
    report = egd_drift.drift_report(tmp_path)
    assert "9" * 5000 in [
        *(row["session"] for row in report["sessions"]),
        *report["without_screens"],
    ]


def test_list_of_millions_of_names_is_refused(tmp_path):
    write_chestxray14(tmp_path, count=12)
    (tmp_path / "test_list.txt").write_text("ab\n" * 3_000_000)
    with pytest.raises(InputError, match=r"test_list\.txt has more than"):
        load("chestxray14", tmp_path)


def test_too_few_patients_are_those_of_a_table():
    with pytest.raises(InputError, match=r"^labels\.csv: there are 2 patient"):
        draw_splits(["a", "b"], "labels.csv")
    with pytest.raises(InputError, match="^there are 0 patient"):
        draw_splits([])


def test_damaged_images_leave_the_sound_ones(tmp_path):
    root = example_folder(tmp_path / "source", count=16)
    sound = {path.stem: images.read_image(path) for path in (root / "images").iterdir()}
    spoiled = ("im01", "im04", "im07")
    for name, data in zip(spoiled, (b"", b"\x89PNG", None), strict=True):
        path = root / f"images/{name}.png"
        path.write_bytes(path.read_bytes()[:200] if data is None else data)
    records = prepare(
        "gaze_folder",
        root=root,
        size=(30, 40),
        cache=tmp_path / "cache",
        max_bad_fraction=0.25,
        keep_ids=True,
        progress=False,
    )
    assert set(records.image_ids) == set(sound) - set(spoiled)
    for split in ("train", "validation", "test"):
        for place, example in zip(records.indices(split), records.source(split), strict=True):
            np.testing.assert_array_equal(example["image"][..., 0], sound[records.image_ids[place]])


@pytest.mark.parametrize("x", ["1e20", "1e300"])
@pytest.mark.parametrize(
    ("write", "name", "table", "row"),
    [
        (example_folder, "gaze_folder", "boxes.csv", "im01,a,{},2,1e308,20"),
        (
            write_chestxray14,
            "chestxray14",
            "BBox_List_2017.csv",
            "00000001_000.png,Mass,{},2,1e308,20,,,",
        ),
    ],
)
def test_box_whose_end_is_no_number_is_a_fault(write, name, table, row, x, tmp_path):
    write(tmp_path, 12)
    with (tmp_path / table).open("a") as file:
        file.write(row.format("1.7e308") + "\n" + row.replace("1e308", "3").format(x) + "\n")
    raw = load(name, tmp_path)
    assert raw.faults.count(table) == 2
    assert all(np.isfinite(image.box).all() for image in raw.images)


def test_number_that_a_record_cannot_hold_is_none(tmp_path):
    root = example_folder(tmp_path, count=4)
    with (root / "fixations.csv").open("a") as file:
        file.write("im01,ann,1e39,2,0.5,,,,,,\nim01,ann,1,2,-1e300,,,,,,\nim01,ann,inf,2,1,,,,,,\n")
    raw = load("gaze_folder", root)
    assert raw.faults.report()["fixations.csv"]["reasons"] == {"duration": 1, "not a number": 2}
    assert all(np.isfinite(image.gaze.xy.astype(np.float32)).all() for image in raw.images)


def test_box_of_rsna_whose_end_is_no_number_is_a_fault(tmp_path):
    write_rsna_pneumonia(tmp_path, count=9)
    path = tmp_path / "stage_2_train_labels.csv"
    path.write_text(path.read_text().replace("3.0,5.0,10.0", "1e300,5.0,10.0"))
    raw = load("rsna_pneumonia", tmp_path)
    assert raw.faults.count(path.name, "no box") == 3


def test_table_of_rsna_without_a_good_row_is_an_input_error(tmp_path):
    write_rsna_pneumonia(tmp_path, count=9)
    path = tmp_path / "stage_2_detailed_class_info.csv"
    path.write_text("patientId,class\nonly one cell\n")
    with pytest.raises(InputError, match=r"stage_2_train_labels\.csv"):
        load("rsna_pneumonia", tmp_path)


def test_master_sheet_without_a_good_row_is_an_input_error(tmp_path):
    write_egd_cxr(tmp_path, count=6)
    path = tmp_path / "egd-cxr/1.0.0/master_sheet.csv"
    path.write_text(path.read_text().splitlines()[0] + "\nonly one cell\n")
    with pytest.raises(InputError, match=r"master_sheet\.csv"):
        load("egd_cxr", tmp_path)


@pytest.mark.parametrize("syntax", ["jpeg_lossless", "jpeg_lossless_any", "jpeg_ls"])
def test_lossless_jpeg_of_few_bits_in_eight_does_not_end_the_process(syntax, tmp_path):
    pixels = np.arange(32 * 40, dtype=np.uint8).reshape(32, 40) % 8
    frame = dicoms.encode(pixels, syntax, dicoms.dataset(pixels))
    data = dicoms.dataset(pixels, BitsStored=3)
    path = dicoms.save(tmp_path / "x.dcm", data, dicoms.COMPRESSED[syntax], frames=[frame])
    expected = np.rint(pixels * (255 / 7))
    np.testing.assert_array_equal(images.read_image(path), expected)


def test_decoder_that_ends_its_process_is_a_decode_error(tmp_path):
    """Numbers off their range in the stream of a lossless JPEG: gdcm gives up for good."""
    assert run.try_in_pool(tmp_path / "x", 1_009_027) == ("DecodeError by the pool", "")
