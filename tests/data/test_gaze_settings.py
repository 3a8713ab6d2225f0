"""Whose gaze comes where: controls, readers, parts and partial gaze, each by hand or by a twin."""

import functools
import hashlib
import itertools

import jax
import numpy as np
import pytest

from gazax import data
from gazax.data import change_gaze, mean_gaze, streams
from gazax.data.gaze_settings import OWN, GazeSettings
from gazax.ops.gaze import gaze_maps
from gazax.typing import InputError
from tests.data.folders import example_folder, grey, table, write_folder
from tests.data.streams import train_batches
from tests.data.test_pipeline import assert_same, concatenate, take
from tests.reference import gaze_settings as reference

SIZES = dict(max_fixations=16, max_readers=3, max_boxes=2)
SIZE = (24, 32)
LABELS = "image_id,patient_id,split,a,b,c"
FIXATIONS = (
    "image_id,reader_id,x_px,y_px,duration_s,sigma_x_px,sigma_y_px,"
    "window_xmin,window_ymin,window_xmax,window_ymax"
)


@pytest.fixture(scope="module")
def gaze_records(tmp_path_factory) -> data.Records:
    """24 training images, upright or across; cat looked at every second only and weighs 0.

    Image i has 3 fixations of ann and of bob each; images 0, 6, 12, 18 were looked at by nobody
    and images 1 and 7 by cat alone.
    """
    rng = np.random.default_rng(0)
    names = [f"im{i:02}" for i in range(24)]
    rows = []
    for i, name in enumerate(names):
        readers = [] if i % 6 == 0 else ["ann", "bob"] if i not in (1, 7) else []
        for reader in readers + (["cat"] if i % 6 and i % 2 else []):
            for j in range(3):
                x, y = rng.uniform(5, 25, 2)
                given = "2,3,5,5,25,25" if j == 1 else ",,,,,"
                rows.append(f"{name},{reader},{x:.2f},{y:.2f},{rng.uniform(0.1, 1):.2f},{given}")
    others = ["v", "t"]
    root = write_folder(
        tmp_path_factory.mktemp("source"),
        {n: grey(30, 40, i) if i % 3 else grey(40, 30, i) for i, n in enumerate(names + others)},
        labels=table(
            LABELS,
            *(f"{n},{n},train,{i % 2},1,0" for i, n in enumerate(names)),
            "v,v,val,0,0,1",
            "t,t,test,0,0,1",
        ),
        fixations=table(FIXATIONS, *rows, "v,ann,1,1,1,,,,,,"),
        readers=table("reader_id,weight", "bob,0.5", "cat,0"),
    )
    cache = tmp_path_factory.mktemp("cache")
    return data.prepare(
        "gaze_folder", root=root, size=SIZE, cache=cache, keep_ids=True, progress=False
    )


@pytest.fixture(scope="module")
def train(gaze_records) -> data.Source:
    return gaze_records.source("train")


def epoch(source, *, seed=7, sizes=SIZES, **settings):
    """One pass over the training images, in order of their index."""
    batch = next(
        train_batches(
            source,
            global_batch_size=len(source),
            seed=seed,
            gaze=GazeSettings(**settings),
            **sizes,
        )
    )
    order = np.argsort(batch["index"])
    return jax.tree.map(lambda x: x[order], batch)


_draw = jax.jit(gaze_maps, static_argnames="size")


def maps_of(batch, size=SIZE):
    return np.asarray(_draw(batch["fixations"], batch["reader_weight"], size=size))


def looked(source, *readers):
    ids = source.records.reader_ids
    return [any(ids[r] in readers for r in source.records.readers[i]) for i in range(len(source))]


def rows_of(batch, i):
    """The fixations of one image without their padding."""
    fixations = jax.tree.map(lambda x: x[i], batch["fixations"])
    return {name: values[fixations["reader"] >= 0] for name, values in fixations.items()}


def content_units(batch, i):
    """Positions as fractions of the content."""
    content = batch["content"][i]
    return (rows_of(batch, i)["xy"] - content[:2]) / (content[2:] - content[:2])


class TestDefault:
    def test_the_stream_is_what_it_always_was(self, tmp_path):
        """Golden: a run that is resumed by a later version must meet the same examples."""
        root = example_folder(tmp_path / "s")
        records = data.prepare(
            "gaze_folder", root=root, size=SIZE, cache=tmp_path / "c", keep_ids=True
        )
        digest = hashlib.sha256()
        sizes = dict(max_fixations=8, max_readers=3, max_boxes=2, masks=True)
        for batch in take(
            train_batches(records.source("train"), global_batch_size=4, seed=7, **sizes),
            10,
        ):
            for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
                digest.update(jax.tree_util.keystr(path).encode())
                digest.update(leaf.tobytes())
        assert digest.hexdigest()[:16] == "2e522fa6fb0fb117"

    @pytest.mark.parametrize(
        "settings", [dict(gaze="none"), dict(gaze="random"), dict(weight_by="count")]
    )
    def test_the_same_images_come_at_the_same_places(self, train, settings):
        stream = functools.partial(train_batches, train, global_batch_size=5, seed=3, **SIZES)
        own = concatenate(take(stream(gaze=OWN), 9))
        other = concatenate(take(stream(gaze=GazeSettings(**settings)), 9))
        for key in ("image", "index", "place", "label", "content"):
            np.testing.assert_array_equal(own[key], other[key])

    def test_records_know_who_looked(self, gaze_records):
        for split in ("train", "validation", "test"):
            source = gaze_records.source(split)
            indices = gaze_records.indices(split)
            assert len(indices) == len(source)
            for index, record in zip(indices, source, strict=True):
                fixations = record["fixations"]
                assert record["index"] == index
                assert gaze_records.num_fixations[index] == len(fixations["duration"])
                assert gaze_records.readers[index] == tuple(np.unique(fixations["reader"]))

    def test_images_of_readers_without_weight_have_no_gaze(self, gaze_records):
        # of the 24 images 4 were looked at by nobody and 2 by cat alone, who weighs 0; and test
        assert gaze_records.summary["images_without_gaze"] == 4 + 2 + 1


class TestOwn:
    """Each setting, and several at once, against loops over fixations and pixels."""

    @pytest.mark.parametrize(
        ("settings", "twin"),
        [
            (dict(gaze_fraction=1), dict()),
            (dict(readers=("bob", "cat")), dict(kept=(1, 2))),
            (dict(reader_weights="equal"), dict(weights=(1, 1, 1))),
            (dict(weight_by="count"), dict(count=True)),
            (dict(sigma="fraction"), dict(sigma="fraction")),
            (dict(window=False), dict(window=False)),
            (dict(normalize_readers=False), dict(normalize_readers=False)),
            (dict(part="early"), dict(part="early")),
            (dict(part="late", weight_by="count"), dict(part="late", count=True)),
            (
                dict(
                    part="late",
                    readers=("cat", "bob"),
                    reader_weights="equal",
                    normalize_readers=False,
                    window=False,
                    sigma="fraction",
                ),
                dict(
                    part="late",
                    kept=(1, 2),
                    weights=(1, 1, 1),
                    normalize_readers=False,
                    window=False,
                    sigma="fraction",
                ),
            ),
        ],
        ids=lambda value: ",".join(value) or "own",
    )
    def test_maps_equal_loops(self, train, settings, twin):
        positions = (1, 2, 3, 5, 9)
        found = maps_of(epoch(train, **settings))
        for i in positions:
            expected = reference.gaze_map(train[i], SIZE, **{"weights": (1, 0.5, 0)} | twin)
            np.testing.assert_allclose(found[i], expected, atol=2e-5)

    def test_every_setting_shows(self, train):
        own = maps_of(epoch(train))
        for settings in (
            dict(readers=("bob",)),
            dict(reader_weights="equal"),
            dict(weight_by="count"),
            dict(sigma="fraction"),
            dict(window=False),
            dict(normalize_readers=False),
            dict(part="early"),
            dict(part="late"),
        ):
            assert np.abs(maps_of(epoch(train, **settings)) - own).max() > 0.01, settings

    def test_early_share_by_hand(self):
        duration = np.float32([1, 3, 2, 1, 1, 0, 0])
        reader = np.int32([0, 1, 0, 0, 1, 2, 2])
        # reader 0: 1, 2, 1 -> 2 of 4 s; reader 1: 3, 1 -> 2 of 3 s; reader 2: nothing lasts
        np.testing.assert_allclose(
            change_gaze.early_share(duration, reader), [1, 2 / 3, 0.5, 0, 0, 1, 0], atol=1e-6
        )

    def test_halves_add_up_to_the_whole(self, train):
        whole, early, late = (
            epoch(train, part=part, gaze_fraction=1) for part in ("all", "early", "late")
        )
        for i in np.flatnonzero(looked(train, "ann")):
            parts = [rows_of(batch, i) for batch in (whole, early, late)]
            for slot in np.unique(parts[0]["reader"]):
                total, first, last = (p["duration"][p["reader"] == slot].sum() for p in parts)
                np.testing.assert_allclose([first, last], total / 2, rtol=1e-5)

    def test_unknown_reader_is_named(self, train):
        message = r"config\.data\.readers='anne' is unknown \(did you mean 'ann'\?\); known: ann, b"
        with pytest.raises(InputError, match=message):
            epoch(train, readers=("anne",))

    def test_readers_who_never_looked_are_named(self, train):
        with pytest.raises(InputError, match=r"readers is \('cat',\) and none of them"):
            epoch(train, readers=("cat",))

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("gaze", "shufled", r"config\.data\.gaze='shufled' is unknown \(did you mean 'shuff"),
            ("reader_weights", "same", r"config\.data\.reader_weights='same'.*equal, given"),
            ("weight_by", "time", r"config\.data\.weight_by='time'.*count, duration"),
            ("sigma", "none", r"config\.data\.sigma='none'.*fraction, given"),
            ("part", "first", r"config\.data\.part='first'.*all, early, late"),
            ("gaze_fraction", 1.5, r"config\.data\.gaze_fraction is 1\.5; it lies between 0 and 1"),
            ("gaze_fraction", float("nan"), r"config\.data\.gaze_fraction is nan"),
            ("gaze_rate", -0.1, r"config\.data\.gaze_rate is -0\.1"),
        ],
    )
    def test_wrong_values_name_their_key(self, key, value, message):
        with pytest.raises(InputError, match=message):
            GazeSettings(**{key: value})


class TestShuffled:
    def pairs(self, source, **settings):
        """Which image's gaze each image got, told by the durations."""
        own, other = epoch(source, **settings), epoch(source, gaze="shuffled", **settings)
        durations = {
            tuple(rows_of(own, i)["duration"].tolist()): i
            for i in range(len(source))
            if own["reader_weight"][i].any()
        }
        return (
            own,
            other,
            {
                i: durations[tuple(rows_of(other, i)["duration"].tolist())]
                for i in range(len(source))
                if (other["fixations"]["reader"][i] >= 0).any()
            },
        )

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize(
        "settings", [{}, dict(readers=("ann",), part="early"), dict(gaze_fraction=0.3)]
    )
    def test_no_image_keeps_its_own_and_each_is_used_once(self, train, seed, settings):
        own, _, pairs = self.pairs(train, seed=seed, **settings)
        assert sorted(pairs) == sorted(pairs.values())
        assert sorted(pairs) == np.flatnonzero(own["reader_weight"].any(1)).tolist()
        assert all(image != donor for image, donor in pairs.items())
        assert len(pairs) == (5 if "gaze_fraction" in settings else 18)

    def test_two_images_swap(self, train):
        _, _, pairs = self.pairs(train, gaze_fraction=0.1)
        assert len(pairs) == 2
        assert all(pairs[pairs[image]] == image for image in pairs)

    def test_gaze_is_carried_in_proportion_to_the_content(self, train):
        own, other, pairs = self.pairs(train)
        assert any(own["content"][i, 2] != own["content"][j, 2] for i, j in pairs.items())
        for image, donor in pairs.items():
            np.testing.assert_allclose(
                content_units(other, image), content_units(own, donor), atol=1e-5
            )
            sides = [
                b["content"][k, 2:] - b["content"][k, :2] for b, k in ((other, image), (own, donor))
            ]
            here, there = rows_of(other, image), rows_of(own, donor)
            given = 1  # the row whose sigma and window the data gives
            np.testing.assert_allclose(
                here["sigma"][given] / sides[0], there["sigma"][given] / sides[1], rtol=1e-5
            )
            for corner in (slice(0, 2), slice(2, 4)):
                np.testing.assert_allclose(
                    (here["window"][given, corner] - other["content"][image, :2]) / sides[0],
                    (there["window"][given, corner] - own["content"][donor, :2]) / sides[1],
                    atol=1e-5,
                )
            # what the data does not give is this image's own default
            np.testing.assert_allclose(here["sigma"][0], max(sides[0]) / 28, rtol=1e-5)
            np.testing.assert_array_equal(here["window"][0], other["content"][image])
            np.testing.assert_array_equal(here["reader"], there["reader"])

    def test_pairs_stay_in_every_epoch_and_differ_by_seed(self, train):
        n = len(train)
        batches = train_batches(
            train, global_batch_size=n, seed=7, gaze=GazeSettings(gaze="shuffled"), **SIZES
        )
        one, two = take(batches, 2)
        order = np.argsort(one["index"]), np.argsort(two["index"])
        assert_same(
            jax.tree.map(lambda x: x[order[0]], one["fixations"]),
            jax.tree.map(lambda x: x[order[1]], two["fixations"]),
        )
        assert self.pairs(train, seed=7)[2] != self.pairs(train, seed=8)[2]

    @pytest.mark.parametrize("gaze", ["shuffled", "mean"])
    def test_too_few_images_with_gaze_are_named(self, train, gaze):
        fraction = 0.01 if gaze == "shuffled" else 0.0
        sizes = SIZES | dict(max_fixations=144)
        with pytest.raises(InputError, match=rf"gaze='{gaze}' needs \d or more training images"):
            epoch(train, gaze=gaze, gaze_fraction=fraction, sizes=sizes)


class TestRandom:
    def test_all_but_the_positions_stays(self, train):
        own, other = epoch(train), epoch(train, gaze="random")
        for i in np.flatnonzero(looked(train, "ann")):
            rows = rows_of(other, i)
            for key in ("duration", "reader", "sigma"):
                np.testing.assert_array_equal(rows[key], rows_of(own, i)[key])
            np.testing.assert_array_equal(own["reader_weight"][i], other["reader_weight"][i])
            assert (rows["xy"] != rows_of(own, i)["xy"]).all()
            assert (rows["window"] == other["content"][i]).all()

    def test_positions_are_uniform_over_the_content_and_the_same_in_every_epoch(self, train):
        places = [
            np.concatenate([content_units(b, i) for i in range(len(train))])
            for b in (epoch(train, gaze="random", seed=seed) for seed in (0, 0, *range(1, 6)))
        ]
        np.testing.assert_array_equal(places[0], places[1])
        assert (places[1] != places[2]).any()
        points = np.concatenate(places[1:])
        assert len(points) > 600
        assert points.min() >= 0
        assert points.max() <= 1
        for axis in range(2):  # the largest distance to the uniform distribution, at 1 in 1,000
            distance = np.abs(np.sort(points[:, axis]) - np.linspace(0, 1, len(points))).max()
            assert distance < 1.95 / len(points) ** 0.5


class TestMean:
    SIZES = SIZES | dict(max_fixations=400)

    def test_every_image_with_gaze_gets_the_mean_map(self, tmp_path):
        """Correlation with the exact mean map .98 or more, in a frame with padding."""
        rng = np.random.default_rng(1)
        names = [f"i{i:02}" for i in range(20)]
        rows = [
            f"{n},{reader},{x:.2f},{y:.2f},{d:.2f}"
            for n in names[:16]
            for reader in ("ann", "bob")
            for x, y, d in zip(*rng.normal(20, 6, (2, 5)), rng.uniform(0.1, 1, 5), strict=True)
        ]
        root = write_folder(
            tmp_path / "s",
            {n: grey() for n in [*names, "v", "t"]},
            labels=table(
                "image_id,patient_id,split",
                *(f"{n},{n},train" for n in names),
                "v,v,val",
                "t,t,test",
            ),
            fixations=table("image_id,reader_id,x_px,y_px,duration_s", *rows),
        )
        records = data.prepare(
            "gaze_folder", root=root, size=(64, 64), cache=tmp_path / "c", keep_ids=True
        )
        source = records.source("train")
        for settings in ({}, dict(part="early", readers=("ann",), normalize_readers=False)):
            own = epoch(source, sizes=self.SIZES, **settings)
            mean = epoch(source, gaze="mean", sizes=self.SIZES, **settings)
            own, mean = maps_of(own, (64, 64)), maps_of(mean, (64, 64))
            assert (own.max((1, 2)) > 0).tolist() == [i < 16 for i in range(20)]
            assert (mean.max((1, 2)) > 0).tolist() == [i < 16 for i in range(20)]
            exact = own[:16].mean(0)
            for found in mean[:16]:
                assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.98
            # and not the map of one image
            assert np.corrcoef(own[0].ravel(), exact.ravel())[0, 1] < 0.9

    @pytest.mark.parametrize("size", [(48, 64), (12, 80)])
    def test_fixations_draw_a_smooth_map_up_to_its_edges(self, size):
        y, x = [np.linspace(0, 3, n) for n in size]
        wanted = 0.6 + np.sin(2 * y)[:, None] * np.cos(x)[None] / 2
        fixations = mean_gaze.fit_fixations(wanted, mean_gaze.MIN_FIXATIONS)
        assert len(fixations["xy"]) == 144
        assert (fixations["duration"] >= 0).all()
        fixations["window"] = np.tile(np.float32([0, 0, size[1], size[0]]), (144, 1))
        batch = jax.tree.map(lambda a: a[None], fixations)
        found = maps_of({"fixations": batch, "reader_weight": np.ones((1, 1))}, size)[0]
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.98

    def test_the_mean_is_carried_to_each_content(self, train):
        batch = epoch(train, gaze="mean", sizes=self.SIZES)
        first, *others = np.flatnonzero(looked(train, "ann"))
        for other in others:
            np.testing.assert_allclose(
                content_units(batch, first), content_units(batch, other), atol=1e-5
            )
            np.testing.assert_array_equal(
                rows_of(batch, first)["duration"], rows_of(batch, other)["duration"]
            )
        np.testing.assert_array_equal(
            batch["reader_weight"][:, 0], np.float32(looked(train, "ann"))
        )

    def test_too_few_rows_are_named(self, train):
        with pytest.raises(InputError, match=r"set config\.data\.max_fixations to that \(it is 16"):
            epoch(train, gaze="mean")


class TestPartial:
    @pytest.mark.parametrize("gaze", ["own", "shuffled", "random"])
    def test_a_share_keeps_its_gaze(self, train, gaze):
        # of 18 images with gaze
        for fraction, kept in ((1.0, 18), (0.5, 9), (0.25, 4), (0.12, 2)):
            batch = epoch(train, gaze=gaze, gaze_fraction=fraction)
            assert (maps_of(batch).max((1, 2)) > 0).sum() == kept
            assert (batch["reader_weight"].max(1) > 0).sum() == kept
        assert not maps_of(epoch(train, gaze_fraction=0.0)).any()
        assert maps_of(epoch(train, gaze_fraction=1e-6)).any()

    def test_a_larger_share_contains_a_smaller_one_and_seed_chooses(self, train):
        small, large, other = (
            maps_of(epoch(train, gaze_fraction=f, seed=seed)).max((1, 2)) > 0
            for f, seed in ((0.3, 0), (0.6, 0), (0.3, 1))
        )
        assert (large >= small).all()
        assert (other != small).any()

    def test_no_gaze_is_no_fixations(self, train):
        batch = epoch(train, gaze="none")
        assert (batch["fixations"]["reader"] == -1).all()
        assert not batch["reader_weight"].any()


class TestRate:
    def stream(self, source, size=5, rate=0.3, gaze="own", **kwargs):
        settings = GazeSettings(gaze_rate=rate, gaze=gaze)
        return train_batches(
            source, global_batch_size=size, seed=7, gaze=settings, **SIZES | kwargs
        )

    @pytest.mark.parametrize("rate", [0.1, 0.3, 1 / 3, 0.5, 0.77, 1.0])
    def test_every_batch_has_its_share(self, train, rate):
        has_gaze = np.array(looked(train, "ann"))
        for batch in take(self.stream(train, size=7, rate=rate), 30):
            count = has_gaze[batch["index"]].sum()
            assert count in (np.floor(7 * rate), np.ceil(7 * rate))
            found = (batch["reader_weight"] > 0).any(1)
            np.testing.assert_array_equal(found, has_gaze[batch["index"]])

    def test_each_pool_has_epochs_of_its_own(self, train):
        has_gaze = np.array(looked(train, "ann"))
        index = concatenate(take(self.stream(train, size=8, rate=0.5), 14))["index"]
        for wanted in (True, False):
            pool = np.flatnonzero(has_gaze == wanted)
            seen = index[has_gaze[index] == wanted]
            epochs = [seen[k : k + len(pool)] for k in range(0, len(seen), len(pool))]
            for order in epochs[:-1]:
                assert sorted(order) == pool.tolist()
            assert len({tuple(order) for order in epochs[:-1]}) == len(epochs) - 1 > 1

    def test_any_start_resumes_and_any_number_of_processes_shares(self, train):
        whole = concatenate(take(self.stream(train, size=4), 10))
        for start, size, processes in itertools.chain(
            ((start, 4, 1) for start in range(12)), ((7, 6, 2), (0, 8, 2), (9, 4, 4))
        ):
            joined = concatenate(
                itertools.chain.from_iterable(
                    take(
                        self.stream(
                            train,
                            size=size,
                            start=start,
                            process_index=p,
                            process_count=processes,
                        ),
                        2,
                    )
                    for p in range(processes)
                )
            )
            order = np.argsort(joined["place"])
            assert_same(
                jax.tree.map(lambda x, o=order: x[o], joined),
                jax.tree.map(lambda x, s=start, n=size: x[s : s + 2 * n], whole),
            )

    def test_controls_meet_the_same_images(self, train):
        own = concatenate(take(self.stream(train), 6))
        for gaze in ("none", "shuffled"):
            other = concatenate(take(self.stream(train, gaze=gaze), 6))
            np.testing.assert_array_equal(own["index"], other["index"])

    def test_empty_pools_are_named(self, train, records):
        with pytest.raises(InputError, match=r"gaze_rate is 0\.3 and no training image is with g"):
            next(
                train_batches(
                    train,
                    global_batch_size=4,
                    seed=0,
                    gaze=GazeSettings(gaze_rate=0.3, gaze_fraction=0.0),
                    **SIZES,
                )
            )
        all_with_gaze = dict(has_gaze=np.ones(len(train), bool))
        with pytest.raises(InputError, match="no training image is without gaze"):
            streams.mixed(train, 0, rate=0.5, **all_with_gaze)
        streams.mixed(train, 0, rate=1.0, **all_with_gaze)


def test_workers_change_gaze_as_threads_do(train):
    settings = GazeSettings(gaze="shuffled", gaze_rate=0.5, part="early")
    stream = functools.partial(
        train_batches, train, global_batch_size=4, seed=1, gaze=settings, **SIZES
    )
    for one, other in zip(take(stream(), 4), take(stream(num_workers=2), 4), strict=True):
        assert_same(one, other)
