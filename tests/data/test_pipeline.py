"""One stream of examples, whoever reads it; fixed-size arrays in which nothing is lost."""

import itertools

import jax
import numpy as np
import pytest

from gazax import data
from gazax.data import pipeline, streams
from gazax.data.gaze_settings import GazeSettings
from gazax.typing import InputError, batch_spec
from tests.data.folders import grey, table, write_folder
from tests.data.streams import train_batches

SIZES = dict(max_fixations=8, max_readers=3, max_boxes=2)
TRAIN = dict(global_batch_size=4, seed=7, **SIZES)


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def concatenate(batches):
    return jax.tree.map(lambda *rows: np.concatenate(rows), *batches)


@pytest.fixture(scope="session")
def train(records) -> data.Source:
    return records.source("train")


def find(records, image_id, **kwargs):
    """One example of the evaluation stream, by image."""
    for split in ("train", "validation", "test"):
        stream = pipeline.evaluation_batches(
            records.source(split), batch_size=1, **SIZES | dict(masks=True) | kwargs
        )
        for batch in stream:
            if records.image_ids[batch["index"].item()] == image_id:
                return jax.tree.map(lambda x: x[0], batch)
    raise AssertionError(image_id)


class TestExample:
    @pytest.mark.parametrize("masks", [False, True])
    def test_a_batch_is_what_its_spec_says(self, records, train, masks):
        batch = next(train_batches(train, masks=masks, **TRAIN))
        spec = batch_spec(batch_size=4, size=(24, 32), num_labels=2, masks=masks, **SIZES)
        found = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
        assert found == spec

    def test_padding_is_marked(self, records):
        example = find(records, "im03")  # three fixations of each reader, no box
        np.testing.assert_array_equal(example["fixations"]["reader"], [0, 0, 0, 1, 1, 1, -1, -1])
        np.testing.assert_array_equal(example["box_label"], [-1, -1])
        assert np.isfinite(example["fixations"]["sigma"]).all()

    def test_readers_weigh_what_the_folder_says_and_nobody_nothing(self, records):
        np.testing.assert_array_equal(find(records, "im03")["reader_weight"], [1, 0.5, 0])
        np.testing.assert_array_equal(find(records, "im04")["reader_weight"], [0, 0, 0])

    def test_missing_sigma_and_window_are_filled_in(self, records):
        # 40 x 30 px became 32 x 24: the longer side of the content is 32
        fixations = find(records, "im03", sigma_fraction=0.125)["fixations"]
        np.testing.assert_allclose(fixations["sigma"][:3], [(4, 4), (1.6, 2.4), (4, 4)])
        np.testing.assert_allclose(
            fixations["window"][:3], [(0, 0, 32, 24), (4, 4, 28, 20), (0, 0, 32, 24)]
        )

    def test_default_sigma_follows_the_content_and_not_the_padding(self, tmp_path):
        root = write_folder(
            tmp_path / "s",
            {"a": grey(20, 10), "b": grey(), "c": grey()},
            labels=table("image_id,patient_id,split", "a,p,train", "b,q,val", "c,r,test"),
            fixations=table("image_id,reader_id,x_px,y_px,duration_s", "a,ann,5,5,1"),
        )
        records = data.prepare(
            "gaze_folder", root=root, size=(28, 56), cache=tmp_path / "c", keep_ids=True
        )
        fixations = find(records, "a", masks=False)["fixations"]
        np.testing.assert_allclose(fixations["sigma"][0], 1.0)  # 28 px / 28
        np.testing.assert_allclose(fixations["window"][0], (21, 0, 35, 28))
        np.testing.assert_allclose(fixations["xy"][0], (21 + 7, 7))

    def test_slots_of_readers_count_within_the_image(self, tmp_path):
        rows = ["a,zoe,1,1,1", "a,ann,2,2,1", "b,bob,1,1,1", "b,zoe,1,1,1"]
        root = write_folder(
            tmp_path / "s",
            {"a": grey(), "b": grey(), "c": grey()},
            labels=table("image_id,patient_id,split", "a,p,train", "b,q,val", "c,r,test"),
            fixations=table("image_id,reader_id,x_px,y_px,duration_s", *rows),
            readers=table("reader_id,weight", "ann,.1", "bob,.2", "zoe,.3"),
        )
        records = data.prepare(
            "gaze_folder", root=root, size=(24, 32), cache=tmp_path / "c", keep_ids=True
        )
        a, b = find(records, "a", masks=False), find(records, "b", masks=False)
        np.testing.assert_array_equal(a["fixations"]["reader"][:3], [1, 0, -1])
        np.testing.assert_array_equal(a["reader_weight"], np.float32([0.1, 0.3, 0]))
        np.testing.assert_array_equal(b["fixations"]["reader"][:3], [0, 1, -1])
        np.testing.assert_array_equal(b["reader_weight"], np.float32([0.2, 0.3, 0]))

    def test_mask_has_a_plane_for_every_label(self, records):
        # image i is marked with the value i % 3 everywhere
        for image_id, planes in (("im03", (0, 0)), ("im04", (1, 0)), ("im05", (0, 1))):
            mask = find(records, image_id)["mask"]
            np.testing.assert_array_equal(mask, np.broadcast_to(planes, mask.shape))

    @pytest.mark.parametrize(
        ("key", "limit", "message"),
        [
            (
                "max_fixations",
                5,
                "has 6 fixations and a batch holds 5 .* config.data.max_fixations",
            ),
            ("max_readers", 1, "has 2 readers and a batch holds 1 .* set config.data.max_readers"),
            ("max_boxes", 1, "has 2 boxes and a batch holds 1 .* config.data.max_boxes to 2"),
        ],
    )
    def test_what_does_not_fit_is_named_before_the_first_batch(self, train, key, limit, message):
        with pytest.raises(InputError, match=r"image 'im\d\d' " + message):
            train_batches(train, **TRAIN | {key: limit})

    def test_masks_that_are_not_there_are_named(self, tmp_path):
        root = write_folder(
            tmp_path / "s",
            {"a": grey(), "b": grey(), "c": grey()},
            labels=table("image_id,patient_id,split", "a,p,train", "b,q,val", "c,r,test"),
        )
        records = data.prepare(
            "gaze_folder", root=root, size=(24, 32), cache=tmp_path / "c", keep_ids=True
        )
        with pytest.raises(InputError, match="masks are asked for"):
            train_batches(records.source("train"), masks=True, **TRAIN)


class TestLabels:
    """Image i has labels a = i odd and b = not a, boxes a (, b) and the mask value i % 3."""

    @pytest.mark.parametrize("image_id", ["im03", "im05", "im11"])
    def test_columns_come_in_the_order_asked_for(self, records, image_id):
        example, turned = find(records, image_id), find(records, image_id, labels=("b", "a"))
        np.testing.assert_array_equal(turned["label"], example["label"][::-1])
        np.testing.assert_array_equal(turned["mask"], example["mask"][..., ::-1])
        np.testing.assert_array_equal(turned["box"], example["box"])
        swapped = np.where(example["box_label"] >= 0, 1 - example["box_label"], -1)
        np.testing.assert_array_equal(turned["box_label"], swapped)

    def test_boxes_and_masks_of_other_labels_are_left_out(self, records):
        example, only_b = find(records, "im05"), find(records, "im05", labels=("b",))
        assert only_b["label"].shape == (1,)
        np.testing.assert_array_equal(only_b["mask"], example["mask"][..., 1:])
        assert only_b["mask"].all()
        np.testing.assert_array_equal(example["box_label"], [0, 1])
        np.testing.assert_array_equal(only_b["box_label"], [0, -1])
        np.testing.assert_array_equal(only_b["box"], [example["box"][1], [0, 0, 0, 0]])

    def test_a_mask_of_every_label_keeps_to_the_label_it_stands_for(self, tmp_path):
        root = write_folder(
            tmp_path / "s",
            {"a": grey(), "b": grey(), "c": grey()},
            {"a": grey(value=255), "b": grey(value=1)},
            labels=table(
                "image_id,patient_id,split,l,m", "a,p,train,1,0", "b,q,val,", "c,r,test,,"
            ),
        )
        records = data.prepare(
            "gaze_folder",
            root=root,
            size=(24, 32),
            cache=tmp_path / "c",
            max_bad_fraction=0.5,
            keep_ids=True,
        )
        assert find(records, "a", labels=("l",))["mask"].all()
        assert not find(records, "a", labels=("m",))["mask"].any()

    @pytest.mark.parametrize("masks", [False, True])
    def test_training_and_its_spec_follow(self, train, masks):
        kwargs = TRAIN | dict(masks=masks)
        batch = next(train_batches(train, labels=("b",), **kwargs))
        spec = batch_spec(batch_size=4, size=(24, 32), num_labels=1, masks=masks, **SIZES)
        assert jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch) == spec

    def test_all_by_name_is_all(self, train):
        one, other = (
            next(train_batches(train, labels=labels, masks=True, **TRAIN))
            for labels in ((), ("a", "b"))
        )
        assert_same(one, other)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (
                ("a", "bb"),
                r"config\.data\.labels='bb' is unknown \(did you mean 'b'\?\); known: a, b",
            ),
            (("a", "a"), r"config\.data\.labels is \('a', 'a'\): a name stands there twice"),
        ],
    )
    def test_unknown_names_are_named(self, train, labels, message):
        with pytest.raises(InputError, match=message):
            train_batches(train, labels=labels, **TRAIN)

    def test_data_without_labels_says_so(self, tmp_path):
        root = write_folder(
            tmp_path / "s",
            {"a": grey(), "b": grey(), "c": grey()},
            labels=table("image_id,patient_id,split", "a,p,train", "b,q,val", "c,r,test"),
        )
        records = data.prepare(
            "gaze_folder", root=root, size=(24, 32), cache=tmp_path / "c", keep_ids=True
        )
        with pytest.raises(
            InputError, match=r"config\.data\.labels is \('a',\) and the data has no"
        ):
            pipeline.evaluation_batches(
                records.source("test"), batch_size=1, labels=("a",), **SIZES
            )


class TestTrain:
    def test_every_epoch_has_each_example_once_in_an_order_of_its_own(self, train):
        n = len(train)
        stream = train_batches(train, **TRAIN | dict(global_batch_size=1))
        index = np.concatenate([batch["index"] for batch in take(stream, 3 * n)]).reshape(3, n)
        for epoch in index:
            assert sorted(epoch) == sorted(index[0])
        assert len({tuple(epoch) for epoch in index}) == 3

    def test_batches_run_on_over_the_ends_of_epochs(self, train):
        batch = next(train_batches(train, **TRAIN | dict(global_batch_size=128)))
        assert batch["index"].shape == (128,)
        np.testing.assert_array_equal(batch["place"], np.arange(128))
        counts = np.bincount(batch["index"])
        assert counts[counts > 0].min() >= 128 // len(train)

    def test_seed_sets_the_order(self, train):
        order = [
            np.concatenate([b["index"] for b in take(train_batches(train, **kwargs), 5)])
            for kwargs in (TRAIN, TRAIN, TRAIN | dict(seed=8))
        ]
        np.testing.assert_array_equal(order[0], order[1])
        assert (order[0] != order[2]).any()

    def test_order_never_changes(self):
        # golden: a run that is resumed by a later version must meet the same examples
        np.testing.assert_array_equal(streams.order(8, 0, 0), GOLDEN)

    @pytest.mark.parametrize("processes", [2, 4])
    def test_processes_share_the_same_global_batches(self, train, processes):
        whole = take(train_batches(train, **TRAIN), 10)
        parts = [
            take(
                train_batches(train, process_index=i, process_count=processes, **TRAIN),
                10,
            )
            for i in range(processes)
        ]
        for step, batch in enumerate(whole):
            joined = concatenate([part[step] for part in parts])
            order = np.argsort(joined["place"])
            assert_same(jax.tree.map(lambda x, order=order: x[order], joined), batch)

    def test_start_resumes_at_every_position(self, train):
        whole = take(train_batches(train, **TRAIN), 12)
        for taken in range(12):
            resumed = take(train_batches(train, start=4 * taken, **TRAIN), 12 - taken)
            for one, other in zip(resumed, whole[taken:], strict=True):
                assert_same(one, other)

    def test_start_resumes_with_another_batch_and_other_processes(self, train):
        places = [
            train_batches(
                train,
                start=7,
                process_index=i,
                process_count=2,
                **TRAIN | dict(global_batch_size=6),
            )
            for i in range(2)
        ]
        joined = concatenate([batch for stream in places for batch in take(stream, 2)])
        assert sorted(joined["place"]) == list(range(7, 19))
        whole = concatenate(take(train_batches(train, **TRAIN), 5))
        by_place = dict(zip(whole["place"].tolist(), whole["index"].tolist(), strict=True))
        for place, index in zip(joined["place"].tolist(), joined["index"].tolist(), strict=True):
            assert by_place[place] == index

    def test_workers_and_threads_change_nothing(self, train):
        whole = take(train_batches(train, **TRAIN), 6)
        for settings in (dict(num_workers=2), dict(num_threads=4), dict(num_threads=0)):
            for one, other in zip(
                take(train_batches(train, **TRAIN, **settings), 6), whole, strict=True
            ):
                assert_same(one, other)

    def test_batch_that_the_processes_do_not_divide_is_named(self, train):
        with pytest.raises(InputError, match="a batch of 4 cannot be shared by 3 processes"):
            train_batches(train, process_count=3, **TRAIN)


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> data.Source:
    """Of 17 images nine of class x, three each of y and z, two of unknown class."""
    root = tmp_path_factory.mktemp("classes")
    names = [f"im{i:02}" for i in range(19)]
    of_class = ("1,0,0", "1,0,0", "0,1,0", "1,0,0", "0,0,1", ",,")
    rows = [f"{name},{name},train,{of_class[i % 6]},1" for i, name in enumerate(names[:17])]
    rows[11] = f"{names[11]},{names[11]},train,1,,,1"  # the losses do not take it for x either
    rows += [f"{names[17]},v,val,1,0,0,1", f"{names[18]},t,test,1,0,0,1"]
    write_folder(
        root,
        {name: grey(value=10 * i) for i, name in enumerate(names)},
        labels=table("image_id,patient_id,split,x,y,z,other", *rows),
    )
    cache = tmp_path_factory.mktemp("cache")
    records = data.prepare("gaze_folder", root=root, size=(24, 32), cache=cache, keep_ids=True)
    # A gaze folder has no way to say which of its columns are one question.
    records.summary["exclusive"] = [["x", "y", "z"]]
    return records.source("train")


class TestBalanced:
    def stream(self, source, size=3, labels=("x", "y", "z"), **settings):
        settings = {**SIZES, "seed": 7, **settings}
        return train_batches(
            source, global_batch_size=size, labels=labels, balanced=True, **settings
        )

    def test_any_places_in_a_row_have_each_class_once(self, classes):
        label = concatenate(take(self.stream(classes, size=4), 30))["label"]
        np.testing.assert_array_equal(label.argmax(axis=1), np.arange(120) % 3)
        np.testing.assert_array_equal(label.sum(axis=1), 1)

    def test_labels_set_the_turns(self, classes):
        turned = concatenate(take(self.stream(classes, labels=("z", "x", "y")), 5))
        np.testing.assert_array_equal(turned["label"].argmax(axis=1), np.arange(15) % 3)
        assert turned["index"][0] in {4, 10, 16}

    def test_each_class_has_epochs_of_its_own(self, classes):
        index = concatenate(take(self.stream(classes), 60))["index"].reshape(60, 3)
        # 17 images: i % 6 in (0, 1, 3) is x, 2 is y, 4 is z and 5 unknown.
        pools = ([i for i in range(17) if i % 6 in (0, 1, 3)], [2, 8, 14], [4, 10, 16])
        for seen, pool in zip(index.T, pools, strict=True):
            n = len(pool)
            epochs = [tuple(seen[k : k + n]) for k in range(0, 60 - n + 1, n)]
            for epoch in epochs:
                assert sorted(epoch) == pool
            assert len(set(epochs)) > 1
        assert (index[:, 1] - 2 != index[:, 2] - 4).any()

    def test_seed_sets_the_order(self, classes):
        one, other = (
            concatenate(take(self.stream(classes, seed=seed), 10))["index"] for seed in (7, 8)
        )
        assert (one != other).any()

    def test_any_start_resumes_and_any_number_of_processes_shares(self, classes):
        whole = concatenate(take(self.stream(classes, size=4), 10))
        for start, size, processes in ((1, 4, 1), (5, 6, 2), (0, 6, 3), (9, 4, 4)):
            joined = concatenate(
                batch
                for p in range(processes)
                for batch in take(
                    self.stream(
                        classes, size=size, start=start, process_index=p, process_count=processes
                    ),
                    2,
                )
            )
            rows = np.argsort(joined["place"])
            assert_same(
                jax.tree.map(lambda x, rows=rows: x[rows], joined),
                jax.tree.map(lambda x, s=start, n=size: x[s : s + 2 * n], whole),
            )

    def test_workers_change_nothing(self, classes):
        for one, other in zip(
            take(self.stream(classes), 4), take(self.stream(classes, num_workers=2), 4), strict=True
        ):
            assert_same(one, other)

    def test_no_record_is_opened_to_know_the_classes(self, classes, monkeypatch):
        monkeypatch.setattr(data.Source, "__getitem__", None)
        assert [len(pool) for pool in streams.balanced(classes, 0, labels="xyz").pools] == [9, 3, 3]

    def test_labels_that_are_no_one_question_are_named(self, classes):
        for labels in ((), ("x", "y"), ("x", "y", "z", "other")):
            with pytest.raises(
                InputError, match=r"balanced .* are not the classes of one question"
            ):
                self.stream(classes, labels=labels)

    def test_a_class_without_an_image_is_named(self, classes):
        records = data.Records(classes.records.directory)
        records.summary["exclusive"] = [["x", "y", "z"]]
        source = records.source("validation")
        with pytest.raises(InputError, match="no validation image is known to be 'y'"):
            self.stream(source)

    def test_a_rate_of_gaze_besides_is_refused(self, classes):
        with pytest.raises(InputError, match=r"balanced=True and config\.data\.gaze_rate=0\.5"):
            self.stream(classes, gaze=GazeSettings(gaze_rate=0.5))


class TestEvaluation:
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 8, 32])
    def test_each_example_counts_once_whatever_the_remainder(self, train, batch_size):
        batches = list(pipeline.evaluation_batches(train, batch_size=batch_size, **SIZES))
        joined = concatenate(batches)
        assert len(batches) == -(-len(train) // batch_size)
        assert len(joined["weight"]) == len(batches) * batch_size
        np.testing.assert_array_equal(
            joined["weight"], np.arange(len(joined["weight"])) < len(train)
        )
        real = joined["index"][joined["weight"] == 1]
        np.testing.assert_array_equal(real, [int(record["index"]) for record in train])

    def test_padding_holds_real_pixels(self, train):
        batch = concatenate(pipeline.evaluation_batches(train, batch_size=32, **SIZES))
        n = len(train)
        np.testing.assert_array_equal(batch["image"][n : 2 * n], batch["image"][:n][: 32 - n])

    @pytest.mark.parametrize("processes", [2, 4])
    @pytest.mark.parametrize("batch_size", [4, 8, 32])
    def test_processes_share_the_same_global_batches(self, train, processes, batch_size):
        whole = list(pipeline.evaluation_batches(train, batch_size=batch_size, **SIZES))
        parts = [
            list(
                pipeline.evaluation_batches(
                    train,
                    batch_size=batch_size,
                    process_index=i,
                    process_count=processes,
                    **SIZES,
                )
            )
            for i in range(processes)
        ]
        assert {len(part) for part in parts} == {len(whole)}
        for step, batch in enumerate(whole):
            joined = concatenate([part[step] for part in parts])
            order = np.argsort(joined["place"])
            assert_same(jax.tree.map(lambda x, order=order: x[order], joined), batch)

    def test_workers_change_nothing(self, train):
        whole = list(pipeline.evaluation_batches(train, batch_size=4, **SIZES))
        other = list(pipeline.evaluation_batches(train, batch_size=4, num_workers=2, **SIZES))
        for one, two in zip(whole, other, strict=True):
            assert_same(one, two)


GOLDEN = [0, 3, 7, 5, 1, 2, 6, 4]
