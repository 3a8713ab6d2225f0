"""Parts, blocks and pseudonyms: who makes the records, and what ids become, change no number."""

import json

import numpy as np
import pytest

from gazax import data
from gazax.data import builder, pool, preparation, pseudonyms
from gazax.data.decode import decode, draw_ellipse
from gazax.typing import InputError, RunError
from tests.data.folders import example_folder, grey, table, write_folder
from tests.data.trees.mimic_cxr import write_mimic_cxr

SIZE = (24, 32)


def arguments(tmp_path, cache="cache", **more):
    return {"root": tmp_path / "source", "size": SIZE, "cache": tmp_path / cache} | more


def all_records(records):
    return [record for split in ("train", "validation", "test") for record in records.source(split)]


@pytest.fixture
def source(tmp_path):
    return example_folder(tmp_path / "source")


@pytest.fixture
def blocks_of_two(monkeypatch):
    monkeypatch.setattr(preparation, "BLOCK_IMAGES", 2)


class TestParts:
    @pytest.fixture
    def whole(self, source, tmp_path):
        return data.prepare("gaze_folder", **arguments(tmp_path, "whole", keep_ids=True))

    def test_parts_read_as_one_data_set_the_same_as_the_whole(self, whole, tmp_path, blocks_of_two):
        kwargs = arguments(tmp_path, "parts", keep_ids=True)
        assert data.prepare_shard("gaze_folder", shard=(2, 3), **kwargs) is None
        assert data.prepare_shard("gaze_folder", shard=(0, 3), **kwargs) is None
        joined = data.prepare_shard("gaze_folder", shard=(1, 3), **kwargs)
        assert joined is not None
        assert len(joined.summary["blocks"]) > 5
        assert joined.content_hash == whole.content_hash
        assert joined.image_ids == whole.image_ids
        same = {k: v for k, v in joined.summary.items() if k != "blocks"}
        assert same == {k: v for k, v in whole.summary.items() if k != "blocks"}
        for one, other in zip(all_records(joined), all_records(whole), strict=True):
            assert one["index"] == other["index"]
            np.testing.assert_array_equal(one["image"], other["image"])
        assert not list((tmp_path / "parts").glob("*.blocks"))

    def test_an_interrupted_part_is_done_again_and_finished_blocks_are_kept(
        self, whole, tmp_path, blocks_of_two, monkeypatch
    ):
        kwargs = arguments(tmp_path, "parts", keep_ids=True)
        write = preparation._write_block
        written = []

        def stop_at_the_third(raw, block, *rest, **more):
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(block.number)
            write(raw, block, *rest, **more)

        monkeypatch.setattr(preparation, "_write_block", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            data.prepare("gaze_folder", **kwargs)

        def note(raw, block, *rest, **more):
            written.append(block.number)
            write(raw, block, *rest, **more)

        monkeypatch.setattr(preparation, "_write_block", note)
        records = data.prepare("gaze_folder", **kwargs)
        assert written == list(range(len(records.summary["blocks"])))  # none of them twice
        assert records.content_hash == whole.content_hash

    def test_the_last_part_to_come_joins_even_if_it_has_nothing_to_do(
        self, source, tmp_path, blocks_of_two
    ):
        kwargs = arguments(tmp_path)
        made = [data.prepare_shard("gaze_folder", shard=(i, 50), **kwargs) for i in range(50)]
        first = next(i for i, records in enumerate(made) if records is not None)
        assert first == len(made[-1].summary["blocks"]) - 1

    def test_faults_are_counted_once_whoever_met_them(self, source, tmp_path, blocks_of_two):
        (source / "images" / "im07.png").write_bytes(b"no image")
        kwargs = arguments(tmp_path, max_bad_fraction=0.1, keep_ids=True)
        for i in range(4):
            records = data.prepare_shard("gaze_folder", shard=(i, 4), **kwargs)
        assert records is not None
        assert records.summary["faults"]["images/"]["count"] == 1
        assert records.summary["images_failed"] == ["im07"]
        assert records.summary["fixations"]["dropped"] == {"image left out": 6}

    def test_a_block_of_which_nothing_decodes_is_no_hole(self, source, tmp_path, blocks_of_two):
        kwargs = arguments(tmp_path, max_bad_fraction=0.5, keep_ids=True)
        whole = data.prepare("gaze_folder", **(kwargs | {"cache": tmp_path / "before"}))
        for name in whole.image_ids[:2]:
            (source / "images" / f"{name}.png").write_bytes(b"no image")
        records = data.prepare("gaze_folder", **kwargs)
        assert records.image_ids == whole.image_ids[2:]
        assert [r["index"] for r in all_records(records)] == list(range(15))

    def test_parts_made_while_other_images_were_there_are_not_joined(self, tmp_path, blocks_of_two):
        """Of MIMIC-CXR the fingerprint does not know single images; a download may go on."""
        source = write_mimic_cxr(tmp_path / "source", 12)
        kwargs = arguments(tmp_path, max_bad_fraction=1.0, keep_ids=True)
        missing = sorted(source.rglob("*.jpg"))[3]
        held = missing.read_bytes()
        missing.unlink()
        assert data.prepare_shard("mimic_cxr", shard=(0, 2), **kwargs) is None
        missing.write_bytes(held)
        assert data.prepare_shard("mimic_cxr", shard=(1, 2), **kwargs) is None
        records = data.prepare_shard("mimic_cxr", shard=(0, 2), **kwargs)
        assert records is not None
        whole = data.prepare("mimic_cxr", **(kwargs | {"cache": tmp_path / "whole"}))
        assert records.image_ids == whole.image_ids
        assert len(set(records.image_ids)) == len(records.image_ids)
        blocks = [path.name for path in records.directory.iterdir() if path.is_dir()]
        assert sorted(blocks) == sorted(records.summary["blocks"])

    def test_half_of_the_images_missing_is_half_faulty(self, tmp_path):
        source = write_mimic_cxr(tmp_path / "source", 12)
        for path in sorted(source.rglob("*.jpg"))[::2]:
            path.unlink()
        kwargs = arguments(tmp_path, keep_ids=True)
        with pytest.raises(InputError, match="are faulty"):
            data.prepare("mimic_cxr", **kwargs, max_bad_fraction=0.3)
        damaged = min(source.rglob("*.jpg"))
        damaged.write_bytes(b"no image")
        records = data.prepare("mimic_cxr", **kwargs, max_bad_fraction=0.7)
        assert records.summary["images_failed"] == [damaged.stem]
        assert records.summary["faults"]["images/"]["reasons"]["no image"] > 3

    def test_again_makes_what_failed_anew(self, tmp_path):
        source = write_mimic_cxr(tmp_path / "source", 12)
        kwargs = arguments(tmp_path, keep_ids=True, max_bad_fraction=0.5, views=())
        damaged = min(source.rglob("*.jpg"))
        held = damaged.read_bytes()
        damaged.write_bytes(held[:50])
        assert data.prepare("mimic_cxr", **kwargs).summary["images_failed"] == [damaged.stem]
        damaged.write_bytes(held)
        assert data.prepare("mimic_cxr", **kwargs, again=True).summary["images_failed"] == []

    def test_again_forgets_the_blocks_of_a_preparation_that_failed(self, tmp_path, blocks_of_two):
        source = write_mimic_cxr(tmp_path / "source", 12)
        kwargs = arguments(tmp_path, keep_ids=True, max_bad_fraction=0.05, views=())
        damaged = sorted(source.rglob("*.jpg"))
        held = [path.read_bytes() for path in damaged]
        for path in damaged[::2]:
            path.write_bytes(b"no image")
        with pytest.raises(InputError, match="are faulty"):
            data.prepare("mimic_cxr", **kwargs)
        for path, content in zip(damaged, held, strict=True):
            path.write_bytes(content)
        assert data.prepare("mimic_cxr", **kwargs, again=True).summary["images_failed"] == []

    def test_a_full_disk_is_said_and_finished_blocks_are_kept(
        self, source, tmp_path, blocks_of_two, monkeypatch
    ):
        kwargs = arguments(tmp_path)
        write = builder.tfds.core.GeneratorBasedBuilder.download_and_prepare
        calls = []

        def fill(self, *rest, **more):
            calls.append(self)
            if len(calls) == 3:
                raise RuntimeError("Failed to finalize") from OSError(28, "No space left on device")
            write(self, *rest, **more)

        with monkeypatch.context() as patch:
            patch.setattr(builder._Builder, "download_and_prepare", fill)
            with pytest.raises(RunError, match="No space left.*GAZAX_DATA.*goes on"):
                data.prepare("gaze_folder", **kwargs)
        (working,) = (tmp_path / "cache").glob("*.blocks")
        assert len([path for path in working.iterdir() if path.is_dir()]) == 2
        assert data.prepare("gaze_folder", **kwargs).summary["images"] == 17

    @pytest.mark.parametrize("shard", [(3, 3), (-1, 3), (0, 0)])
    def test_parts_are_counted_from_zero(self, source, tmp_path, shard):
        with pytest.raises(InputError, match="parts are counted from 0"):
            data.prepare_shard("gaze_folder", shard=shard, **arguments(tmp_path))


class TestPseudonyms:
    def test_nothing_that_is_written_holds_an_id(self, source, tmp_path):
        records = data.prepare("gaze_folder", **arguments(tmp_path))
        for path in (tmp_path / "cache").rglob("*"):
            assert "im0" not in path.name
            if path.is_file():
                content = path.read_bytes()
                for name in (b"im00", b"im13", b"p07", b"ann", b"bob"):
                    # pixels are random bytes: only text could tell
                    assert name not in content or b"\0" in content, path
        assert records.reader_ids == ("0", "1")
        assert {len(name) for name in (*records.image_ids, *records.patient_ids)} == {16}
        for record in all_records(records):
            assert record["image_id"].decode() == records.image_ids[record["index"]]

    def test_numbers_do_not_depend_on_them(self, source, tmp_path):
        hidden = data.prepare("gaze_folder", **arguments(tmp_path))
        kept = data.prepare("gaze_folder", **arguments(tmp_path, keep_ids=True))
        elsewhere = data.prepare("gaze_folder", **arguments(tmp_path, "other"))
        assert hidden.content_hash == kept.content_hash == elsewhere.content_hash
        assert hidden.directory != kept.directory
        patients = [tuple(r.patient_ids) for r in (hidden, kept, elsewhere)]
        assert len(set(patients)) == 3  # another salt, other names
        same = [[names.index(name) for name in names] for names in patients]
        assert same[0] == same[1] == same[2]

    def test_the_salt_is_its_owners_alone_and_stays(self, tmp_path):
        salt = pseudonyms.read_salt(tmp_path)
        assert pseudonyms.read_salt(tmp_path) == salt
        assert len(salt) == 32
        assert (tmp_path / "salt").stat().st_mode & 0o077 == 0
        assert [path.name for path in tmp_path.iterdir()] == ["salt"]

    def test_a_spoiled_salt_is_named(self, tmp_path):
        (tmp_path / "salt").write_text("not hexadecimal")
        with pytest.raises(InputError, match="salt is not what gazax wrote"):
            pseudonyms.read_salt(tmp_path)

    def test_kinds_do_not_share_names(self):
        names = pseudonyms.Pseudonyms(b"salt")
        assert names.of("image", "7") != names.of("patient", "7") == names.of("patient", "7")


class TestCheck:
    def test_a_sound_source_has_no_remark(self, source):
        lines, counts = data.check("gaze_folder", root=source)
        assert lines == []
        assert counts == {
            "images": 17,
            "patients": 16,
            "images_without_gaze": 5,
            "images_faulty": 0,
        }

    def test_what_is_missing_is_listed_at_once(self, tmp_path):
        lines, counts = data.check("gaze_folder", root=tmp_path)
        assert [line.split(":")[0].rpartition("/")[2] for line in lines] == ["images", "labels.csv"]
        assert counts == {}

    def test_empty_and_leading_out_is_missing(self, source, tmp_path):
        (source / "images" / "im03.png").write_bytes(b"")
        (tmp_path / "elsewhere.png").write_bytes((source / "images" / "im04.png").read_bytes())
        (source / "images" / "im04.png").unlink()
        (source / "images" / "im04.png").symlink_to(tmp_path / "elsewhere.png")
        lines, counts = data.check("gaze_folder", root=source)
        assert counts["images_faulty"] == 2
        assert all(name in "".join(lines) for name in ("im03.png", "im04.png"))


class TestDecoding:
    def test_a_link_out_of_the_source_is_not_followed(self, source, tmp_path):
        (tmp_path / "secret.png").write_bytes((source / "images" / "im04.png").read_bytes())
        (source / "images" / "im04.png").unlink()
        (source / "images" / "im04.png").symlink_to(tmp_path / "secret.png")
        records = data.prepare(
            "gaze_folder", **arguments(tmp_path, max_bad_fraction=0.1, keep_ids=True)
        )
        assert records.summary["images_failed"] == ["im04"]

    def test_processes_give_what_threads_give(self, source, tmp_path, monkeypatch):
        threads = data.prepare("gaze_folder", **arguments(tmp_path, "threads"))
        monkeypatch.setattr(pool, "SMALL", 0)
        processes = data.prepare("gaze_folder", **arguments(tmp_path, "processes", workers=2))
        assert threads.content_hash == processes.content_hash

    def test_a_file_that_ends_its_process_is_a_fault_and_the_others_are_kept(
        self, source, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(pool, "SMALL", 0)
        monkeypatch.setattr(pool, "decode", _deadly_decode)
        records = data.prepare(
            "gaze_folder", **arguments(tmp_path, max_bad_fraction=0.1, keep_ids=True)
        )
        assert records.summary["images_failed"] == ["im05"]
        assert records.summary["images"] == 16

    @pytest.mark.slow
    def test_a_file_that_never_ends_is_a_fault(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(pool, "SMALL", 0)
        monkeypatch.setattr(pool, "SECONDS", 8)
        monkeypatch.setattr(pool, "decode", _endless_decode)
        records = data.prepare(
            "gaze_folder", **arguments(tmp_path, max_bad_fraction=0.1, keep_ids=True)
        )
        assert records.summary["images_failed"] == ["im05"]

    def test_ellipse_is_its_area_between_its_extremes(self):
        mask = draw_ellipse(np.array([10.0, 20.0, 50.0, 40.0]), (64, 64))
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min(), columns.max(), rows.max()) == (10, 20, 49, 39)
        np.testing.assert_allclose(mask.sum(), np.pi * 20 * 10, rtol=0.01)
        assert not draw_ellipse(np.array([5.0, 5.0, 5.0, 9.0]), (64, 64)).any()

    def test_every_label_value_of_a_mask_is_every_present_label(self, tmp_path):
        masks = {"a": grey(value=255), "b": grey(value=2), "c": grey(value=0)}
        labels = table(
            "image_id,patient_id,split,x,y,z", "a,p,train,1,0,1", "b,q,val,0,0,0", "c,r,test,,,"
        )
        root = write_folder(tmp_path / "source", {n: grey() for n in "abc"}, masks, labels=labels)
        records = data.prepare("gaze_folder", **arguments(tmp_path, root=root))
        planes = [
            np.unpackbits(r["mask"], axis=-1)[0, 0, :3].tolist() for r in all_records(records)
        ]
        assert planes == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def _deadly_decode(task):
    import os

    if task.path.stem == "im05":
        os._exit(1)
    return decode(task)


def _endless_decode(task):
    import time

    if task.path.stem == "im05":
        time.sleep(600)
    return decode(task)


def test_boxes_are_cut_to_the_image_and_those_beside_it_left_out(tmp_path):
    boxes = table("image_id,label,x_px,y_px,width_px,height_px", "a,x,-10,5,30,10", "a,x,50,5,9,9")
    labels = table("image_id,patient_id,split,x", "a,p,train,1", "b,q,val,0", "c,r,test,0")
    root = write_folder(tmp_path / "source", {n: grey() for n in "abc"}, labels=labels, boxes=boxes)
    records = data.prepare("gaze_folder", **arguments(tmp_path, root=root, size=(30, 40)))
    np.testing.assert_array_equal(records.source("train")[0]["box"], [[0, 5, 20, 15]])
    assert records.summary["boxes"] == 1


def test_summary_on_disk_is_the_one_in_memory(source, tmp_path):
    records = data.prepare("gaze_folder", **arguments(tmp_path))
    assert records.summary == json.loads((records.directory / "preparation.json").read_text())
    assert records.summary["ids"] == "pseudonyms"
