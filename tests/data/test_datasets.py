"""From a source to records: made once, found again, never half believed; nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazax import data
from gazax.data import cache, prepared
from gazax.typing import InputError
from tests.data.folders import example_folder, grey, table, write_folder

LABELS = table("image_id,patient_id,split,sick", "a,p,train,1", "b,q,validation,0", "c,r,test,")
FIXATIONS = "image_id,reader_id,x_px,y_px,duration_s"


def small(root, images=("a", "b", "c"), masks=None, **tables):
    tables = {"labels": LABELS} | tables
    return write_folder(root, {name: grey() for name in images}, masks, **tables)


def prepare(tmp_path, root, size=(24, 32), **kwargs):
    settings = {"root": root, "size": size, "cache": tmp_path / "cache", "keep_ids": True} | kwargs
    return data.prepare("gaze_folder", **settings)


class TestRecords:
    def test_every_image_arrives_once_with_its_ids(self, records):
        seen = {}
        for split in ("train", "validation", "test"):
            source = records.source(split)
            assert len(source) == records.num_examples(split)
            for i in range(len(source)):
                record = source[i]
                seen[int(record["index"])] = record["image_id"].decode()
                assert records.patient_ids[record["index"]] == record["patient_id"].decode()
        assert [seen[i] for i in range(17)] == list(records.image_ids)
        assert sorted(records.image_ids) == [f"im{i:02}" for i in range(17)]

    def test_patients_are_in_one_split(self, records):
        patients = {
            split: {r["patient_id"] for r in records.source(split)}
            for split in ("train", "validation", "test")
        }
        assert sum(map(len, patients.values())) == len(set.union(*patients.values())) == 16

    def test_shapes_and_types(self, records):
        record = records.source("train")[0]
        assert record["image"].shape == (24, 32, 1)
        assert record["image"].dtype == np.uint8
        assert record["mask"].shape == (24, 32, 1)  # two labels in one byte
        assert record["label"].dtype == np.float32
        assert records.label_names == ("a", "b")
        assert records.reader_ids == ("ann", "bob")
        assert records.size == (24, 32)

    def test_contents_are_those_of_the_folder(self, records):
        """Image i has i % 4 fixations a reader and i % 3 boxes; 40 x 30 becomes 32 x 24: x .8."""
        for split in ("train", "validation", "test"):
            for record in records.source(split):
                i = int(record["image_id"][2:])
                fixations = record["fixations"]
                xy = [((i + j + 0.5) * 0.8, (j + 0.25) * 0.8) for j in range(i % 4)]
                np.testing.assert_allclose(fixations["xy"], np.reshape(xy + xy, (-1, 2)), rtol=1e-6)
                np.testing.assert_allclose(
                    fixations["duration"], [0.1 * (j + 1) for j in range(i % 4)] * 2, rtol=1e-6
                )
                np.testing.assert_array_equal(fixations["reader"], [0] * (i % 4) + [1] * (i % 4))
                if i % 4 > 1:
                    np.testing.assert_allclose(fixations["sigma"][1], (1.6, 2.4), rtol=1e-6)
                    np.testing.assert_allclose(fixations["window"][1], (4, 4, 28, 20), rtol=1e-6)
                    assert np.isnan(fixations["sigma"][0]).all()
                box = [((j) * 0.8, 1.6, (j + 10) * 0.8, 17.6) for j in range(i % 3)]
                np.testing.assert_allclose(record["box"], np.reshape(box, (-1, 4)), rtol=1e-6)
                np.testing.assert_array_equal(record["box_label"], [0, 1][: i % 3])
                unknown = np.nan if i % 5 == 0 else 1 - i % 2
                np.testing.assert_array_equal(record["label"], np.float32([i % 2, unknown]))
                planes = np.unpackbits(record["mask"], axis=-1)[..., :2]
                np.testing.assert_array_equal(
                    planes, [[[i % 3 == 1, i % 3 == 2]]] * np.ones((24, 32, 1))
                )
                np.testing.assert_array_equal(record["stored_size"], (30, 40))
                np.testing.assert_array_equal(record["content"], (0, 0, 32, 24))

    def test_splits_that_are_not_there(self, tmp_path):
        labels = table("image_id,patient_id,split", "a,p,train", "b,q,train", "c,r,test")
        records = prepare(tmp_path, small(tmp_path / "s", labels=labels))
        assert records.num_examples("validation") == 0
        with pytest.raises(InputError, match=r"no images in the split 'validation', only in train"):
            records.source("validation")
        with pytest.raises(InputError, match="split='dev' is unknown"):
            records.num_examples("dev")

    def test_a_folder_without_gaze_or_labels(self, tmp_path):
        labels = table("image_id,patient_id", "a,p", "b,q", "c,r")
        record = prepare(tmp_path, small(tmp_path / "s", labels=labels)).source("train")[0]
        assert record["label"].shape == (0,)
        assert record["fixations"]["xy"].shape == (0, 2)
        assert "mask" not in record

    @pytest.mark.parametrize("size", [(64, 64), (40, 30), (50, 200)])
    def test_marker_stays_under_its_fixation(self, tmp_path, size):
        """A bright square, looked at in its centre, is looked at afterwards."""
        image = grey(60, 100, 10)
        image[38:43, 70:75] = 250
        fixations = table(f"{FIXATIONS},sigma_x_px,sigma_y_px", "a,ann,72.5,40.5,.3,10,6")
        root = write_folder(
            tmp_path / "s",
            {"a": image, "b": grey(), "c": grey()},
            labels=LABELS,
            fixations=fixations,
        )
        record = prepare(tmp_path, root, size=size).source("train")[0]
        left, top, right, bottom = record["content"].astype(int)
        inside = np.zeros(size, bool)
        inside[top:bottom, left:right] = True
        light = np.where(inside, record["image"][..., 0].astype(float) - 10, 0)
        rows, columns = np.indices(size) + 0.5
        centre = [(columns * light).sum() / light.sum(), (rows * light).sum() / light.sum()]
        np.testing.assert_allclose(record["fixations"]["xy"][0], centre, atol=0.1)
        sigma = ((right - left) / 10, (bottom - top) / 10)  # a tenth of the content either way
        np.testing.assert_allclose(record["fixations"]["sigma"][0], sigma, rtol=1e-6)
        assert (record["image"][~inside] == 0).all()


class TestSummary:
    def test_counts(self, records):
        summary = records.summary
        kept = 2 * sum(i % 4 for i in range(17))
        assert summary == json.loads((records.directory / "preparation.json").read_text())
        assert summary["images"] == 17
        assert summary["images_without_gaze"] == 5
        assert summary["patients"] == 16
        assert summary["readers"] == 2
        assert summary["fixations"] == {"kept": kept, "outside": 0, "dropped": {}}
        assert summary["boxes"] == sum(i % 3 for i in range(17))
        assert {k: v["count"] for k, v in summary["largest"].items()} == {
            "fixations": 6,
            "readers": 2,
            "boxes": 2,
        }
        splits = summary["splits"].values()
        assert [s["images"] for s in splits] == [records.num_examples(s) for s in summary["splits"]]
        labels = [s["labels"]["b"] for s in splits]
        assert sum(n["unknown"] for n in labels) == 4
        assert sum(n["present"] for n in labels) == sum(i % 2 == 0 and i % 5 > 0 for i in range(17))
        assert not records.exclusive(("a", "b"))
        assert summary["faults"] == {}

    def test_outside_and_dropped_fixations_are_counted(self, tmp_path):
        rows = ["a,ann,-1,2,.1", "a,ann,40,2,.1", "a,ann,39.9,30,.1", "a,ann,0,0,.1"]
        rows += ["a,ann,1,1,-1", "z,ann,1,1,1", "z,ann,1,1,1"]
        root = small(tmp_path / "s", fixations=table(FIXATIONS, *rows))
        records = prepare(tmp_path, root, max_bad_fraction=0.5)
        assert records.summary["fixations"] == {
            "kept": 4,
            "outside": 3,
            "dropped": {"duration": 1, "unknown image": 2},
        }
        np.testing.assert_allclose(
            records.source("train")[0]["fixations"]["xy"][0], (-0.8, 1.6), rtol=1e-6
        )

    @pytest.mark.parametrize(
        ("rows", "one_hot"),
        [
            (("a,p,train,1,0", "b,q,val,0,1", "c,r,test,1,0"), True),
            (("a,p,train,1,1", "b,q,val,0,1", "c,r,test,1,0"), False),
            (("a,p,train,0,0", "b,q,val,0,1", "c,r,test,1,0"), False),
            (("a,p,train,1,", "b,q,val,0,1", "c,r,test,1,0"), False),
        ],
    )
    def test_classes_of_one_question_are_told_from_separate_labels(self, tmp_path, rows, one_hot):
        labels = table("image_id,patient_id,split,well,ill", *rows)
        records = prepare(tmp_path, small(tmp_path / "s", labels=labels))
        assert records.exclusive(("ill", "well")) is one_hot
        assert not records.exclusive(("ill",))


class TestFaultyFiles:
    def spoil(self, root, name="b"):
        (root / "images" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")

    def test_few_images_that_do_not_decode_are_left_out(self, tmp_path):
        root = example_folder(tmp_path / "s")
        self.spoil(root, "im07")
        records = prepare(tmp_path, root, max_bad_fraction=0.1)
        assert records.summary["images_failed"] == ["im07"]
        assert records.summary["images"] == 16
        assert "im07" not in records.image_ids
        assert records.summary["fixations"]["dropped"] == {"image left out": 6}
        fault = records.summary["faults"]["images/"]
        assert fault["first"][0].startswith("images/im07.png ")
        for split in ("train", "validation", "test"):
            for record in records.source(split):
                assert records.image_ids[record["index"]] == record["image_id"].decode()

    def test_many_stop_and_leave_nothing(self, tmp_path):
        root = small(tmp_path / "s")
        self.spoil(root)
        with pytest.raises(InputError, match=r"images/: 1 of 3 images are faulty(.|\n)*b\.png"):
            prepare(tmp_path, root)
        left = [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]
        assert [p.suffix for p in left] == [".blocks"]  # what was finished, and nobody reads

    def test_a_split_without_any_image_stops(self, tmp_path):
        root = small(tmp_path / "s")
        self.spoil(root)
        with pytest.raises(InputError, match="no image of the split validation can be used"):
            prepare(tmp_path, root, max_bad_fraction=0.5)

    def test_mask_of_another_size_is_named(self, tmp_path):
        root = small(tmp_path / "s", masks={"b": grey(10, 20, 0)})
        with pytest.raises(InputError, match=r"masks/b\.png is 10 x 20 and its image 30 x 40"):
            prepare(tmp_path, root)

    def test_mask_value_without_label_is_named(self, tmp_path):
        root = small(tmp_path / "s", masks={"b": grey(value=2)})
        with pytest.raises(InputError, match=r"masks/b\.png has the value 2; .* 1 to 1 a label"):
            prepare(tmp_path, root)


class TestCache:
    def test_second_time_nothing_is_read(self, tmp_path, monkeypatch):
        root = small(tmp_path / "s")
        first = prepare(tmp_path, root)
        monkeypatch.setattr(prepared, "make_blocks", None)
        assert prepare(tmp_path, root).directory == first.directory

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: (root / "labels.csv").write_text(
                LABELS.replace("a,p,train,1", "a,p,train,0")
            ),
            lambda root: (root / "fixations.csv").write_text(table(FIXATIONS, "a,ann,1,1,1")),
            lambda root: os.utime(root / "images" / "a.png", ns=(1, 1)),
            lambda root: write_folder(root, {}, {"a": grey(value=0)}),
            lambda root: Image.fromarray(grey(value=9)).save(root / "images" / "a.png"),
        ],
        ids=["label", "new table", "time", "mask", "pixels"],
    )
    def test_changed_source_is_prepared_anew(self, tmp_path, change):
        root = small(tmp_path / "s")
        before = prepare(tmp_path, root).fingerprint
        change(root)
        assert prepare(tmp_path, root).fingerprint != before

    def test_other_arguments_are_other_records(self, tmp_path):
        root = small(tmp_path / "s")
        fingerprints = {
            prepare(tmp_path, root, **kwargs).fingerprint
            for kwargs in (
                {},
                {"size": (32, 32)},
                {"fixation_algorithm": "ivt"},
                {"max_bad_fraction": 0.5},
            )
        }
        assert len(fingerprints) == 4

    def test_defaults_may_be_spelled_out(self, tmp_path):
        root = small(tmp_path / "s")
        spelled = prepare(tmp_path, root, fixation_algorithm="idt")
        assert prepare(tmp_path, root).fingerprint == spelled.fingerprint

    def test_content_hash_is_that_of_the_contents(self, tmp_path):
        one = prepare(tmp_path, small(tmp_path / "1"))
        os.utime(small(tmp_path / "2") / "images" / "a.png", ns=(1, 1))
        two = prepare(tmp_path, tmp_path / "2")
        other = prepare(
            tmp_path, small(tmp_path / "3", labels=LABELS.replace("r,test,", "r,test,1"))
        )
        assert one.fingerprint != two.fingerprint
        assert one.content_hash == two.content_hash != other.content_hash

    def test_source_is_never_written_to(self, tmp_path):
        root = small(tmp_path / "s")
        before = sorted(root.rglob("*"))
        prepare(tmp_path, root)
        assert sorted(root.rglob("*")) == before
        with pytest.raises(InputError, match="lies within the source"):
            data.prepare("gaze_folder", root=root, size=(8, 8), cache=root / "cache")

    def test_cache_is_where_the_environment_says(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GAZAX_DATA", str(tmp_path / "env"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
        assert data.cache_folder("given") == Path("given")
        assert data.cache_folder() == tmp_path / "env"
        monkeypatch.delenv("GAZAX_DATA")
        assert data.cache_folder() == tmp_path / "home" / "gazax"

    def test_a_bucket_is_no_folder_of_this_machine(self, tmp_path, monkeypatch):
        with pytest.raises(InputError, match=r"config\.data\.root is 'gs://scans'.*rsync"):
            data.prepare("gaze_folder", root="gs://scans", size=(8, 8), cache=tmp_path)
        monkeypatch.setenv("GAZAX_DATA", "gs://records")
        with pytest.raises(InputError, match="GAZAX_DATA is 'gs://records'"):
            data.cache_folder()

    def test_failure_leaves_nothing(self, tmp_path):
        def fail(folder):
            (folder / "half").write_text("x")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.find_or_make(tmp_path / "f", fail)
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]

    def test_killed_preparation_is_not_believed(self, tmp_path):
        """A process is killed while it writes; the next one starts over and ends whole."""
        program = (
            "import sys, time, pathlib\n"
            "from gazax.data.cache import find_or_make\n"
            "def make(folder):\n"
            "    (folder / 'half').write_text('x')\n"
            "    print('writing', flush=True)\n"
            "    time.sleep(60)\n"
            "find_or_make(pathlib.Path(sys.argv[1]), make)\n"
        )
        folder = tmp_path / "f"
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert not folder.exists()

        def make(beside):
            assert list(beside.iterdir()) == []
            (beside / "whole").write_text("x")

        cache.find_or_make(folder, make)
        assert [path.name for path in folder.iterdir()] == ["whole"]

    def test_two_at_once_make_it_once(self, tmp_path):
        program = (
            "import sys, time, pathlib\n"
            "from gazax.data.cache import find_or_make\n"
            "def make(folder):\n"
            "    print('made', flush=True)\n"
            "    time.sleep(1)\n"
            "find_or_make(pathlib.Path(sys.argv[1]), make)\n"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path / "f")],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=Path(__file__).parents[2],
            )
            for _ in range(2)
        ]
        outputs = [process.communicate(timeout=60)[0] for process in processes]
        assert sorted(outputs) == ["", "made\n"]
        assert [process.returncode for process in processes] == [0, 0]

    def test_cache_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputError, match=r"cannot write to the cache .*GAZAX_DATA"):
            cache.find_or_make(tmp_path / "file" / "f", lambda folder: None)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("reflacx", "reflacx-xray-localization"),
        ("egd_cxr", "content/egd-cxr"),
        ("mimic_cxr", "content/mimic-cxr-jpg"),
        ("rsna_pneumonia", "rsna-pneumonia-detection-challenge"),
        ("chestxray14", "NIHCC"),
    ],
)
def test_an_empty_folder_is_told_what_is_missing_and_where_to_get_it(tmp_path, name, what):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(InputError, match=f"(?s)lacks parts of .*{what}"):
        data.prepare(name, root=source, size=(8, 8), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            dict(name="reflax"),
            r"data set='reflax' is unknown \(did you mean 'reflacx'\?\); known: c",
        ),
        (dict(name="gaze_folder"), "a gaze folder needs a root"),
        (dict(name="gaze_folder", root="nowhere"), "no folder nowhere"),
        (dict(name="phantom", root="somewhere"), "the phantom is made, not read"),
    ],
)
def test_wrong_requests_are_explained(tmp_path, kwargs, message):
    name = kwargs.pop("name")
    with pytest.raises(InputError, match=message):
        data.prepare(name, size=(8, 8), cache=tmp_path, **kwargs)


def test_phantom_is_made_and_prepared_once(tmp_path):
    arguments = dict(size=(32, 32), cache=tmp_path, count=12, image_size=64, seed=3)
    start = time.monotonic()
    records = data.prepare("phantom", **arguments)
    made = time.monotonic() - start
    assert records.summary["images"] == 12
    assert records.label_names == ("normal", "pneumonia", "heart_failure")
    assert records.exclusive(records.label_names)
    assert records.summary["arguments"]["seed"] == 3
    start = time.monotonic()
    assert data.prepare("phantom", **arguments).directory == records.directory
    assert time.monotonic() - start < made
    smaller = data.prepare("phantom", **arguments | {"size": (16, 16)})
    assert smaller.directory != records.directory
    assert len(list(tmp_path.glob("phantom-*x*-*/"))) == 2
    assert len(list(tmp_path.glob("phantom-*/gaze_folder"))) == 1


@pytest.mark.parametrize("name", ["natural_gaze", "chest_xrays"])
def test_real_samples_become_records(samples, tmp_path, name):
    records = data.prepare("gaze_folder", root=samples / name, size=(64, 64), cache=tmp_path)
    assert sum(records.num_examples(s) for s in ("train", "validation", "test")) == len(
        records.image_ids
    )
    record = records.source("test")[0]
    assert record["image"].std() > 10
    x, y = record["fixations"]["xy"].T
    left, top, right, bottom = record["content"]
    assert ((x >= left) & (x <= right) & (y >= top) & (y <= bottom)).all()
