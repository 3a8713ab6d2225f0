"""Predicted gaze: how it is kept, which images get it, and where on them it stands."""

import pickle

import jax
import numpy as np
import pytest

from gazax import data
from gazax.data import mean_gaze, predicted_gaze
from gazax.data.change_gaze import move
from gazax.data.gaze_settings import GazeSettings
from gazax.typing import InputError
from tests.data.folders import example_folder, grey, table, write_folder
from tests.data.streams import train_batches

SIZE, SIDE = (24, 32), 12
SIZES = dict(max_fixations=SIDE**2, max_readers=2, max_boxes=2)
FACTS = {"weights": "ab", "records": "cd"}
PREDICTED = "predicted:runs/saliency"


def rows(images, seed=0):
    """Durations and correlations in two batches."""
    rng = np.random.default_rng(seed)
    duration = rng.uniform(size=(images, SIDE, SIDE))
    correlation = np.linspace(0.9, 1, images)
    yield duration[:2], correlation[:2]
    yield duration[2:], correlation[2:]


def again():
    raise AssertionError("computed again")
    yield


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> data.Source:
    """Images as 32 x 24 px; every fourth was looked at by nobody, and no reader's weight is 1."""
    root = example_folder(tmp_path_factory.mktemp("source"))
    (root / "readers.csv").write_text(table("reader_id,weight", "ann,0.25", "bob,0.5"))
    cache = tmp_path_factory.mktemp("cache")
    return data.prepare(
        "gaze_folder", root=root, size=SIZE, cache=cache, keep_ids=True, progress=False
    ).source("train")


@pytest.fixture(scope="module")
def predicted(train, tmp_path_factory):
    images, cache = len(train), str(tmp_path_factory.mktemp("predicted"))
    return predicted_gaze.make(FACTS, rows(images), images=images, side=SIDE, cache=cache)


def epoch(source, predicted=None, **settings):
    """One pass over the training images, in order of their index."""
    stream = train_batches(
        source,
        global_batch_size=len(source),
        seed=7,
        gaze=GazeSettings(**settings),
        predicted=predicted,
        **SIZES,
    )
    batch = next(stream)
    order = np.argsort(batch["index"])
    return jax.tree.map(lambda x: x[order], batch)


def draw(fixations, content, size):
    """The fixations' Gaussians within the content, added up pixel by pixel; float64."""
    y, x = np.indices(size)[..., None] + 0.5
    (px, py), (sx, sy) = np.float64(fixations["xy"]).T, np.float64(fixations["sigma"]).T
    heat = np.exp(-(((x - px) / sx) ** 2) / 2 - ((y - py) / sy) ** 2 / 2) @ fixations["duration"]
    (x, y), (xmin, ymin, xmax, ymax) = (x[..., 0], y[..., 0]), content
    return np.where((x >= xmin) & (x < xmax) & (y >= ymin) & (y < ymax), heat, 0)


class TestGrid:
    def test_by_hand(self):
        """2 x 2 cells of 10 x 20 px in the rectangle from (10, 20) to (30, 60)."""
        fixations = mean_gaze.grid_fixations(
            np.array([[1.0, 2], [3, 4]]), np.float32([10, 20, 30, 60])
        )
        np.testing.assert_array_equal(fixations["xy"], [[15, 30], [25, 30], [15, 50], [25, 50]])
        np.testing.assert_allclose(fixations["sigma"], np.tile([6, 12], (4, 1)))
        np.testing.assert_array_equal(fixations["duration"], [1, 2, 3, 4])
        assert np.isnan(fixations["window"]).all()

    def test_it_is_the_same_in_every_frame(self):
        """On another content it stands where `move` would carry it."""
        duration = np.random.default_rng(0).uniform(size=(3, 3))
        one, other = np.float32([1, 2, 31, 17]), np.float32([0, 40, 200, 90.5])
        here, there = (mean_gaze.grid_fixations(duration, content) for content in (one, other))
        moved = move(here, one, other)
        for name in ("xy", "sigma", "duration"):
            np.testing.assert_allclose(moved[name], there[name], rtol=1e-6)

    @pytest.mark.parametrize("content", [(8, 3, 40, 45), (10.4, 0, 30.7, 48)])
    def test_a_map_is_drawn_on_its_content_whatever_lies_beside_it(self, content):
        size, content = (48, 48), np.float32(content)
        y, x = [(np.arange(n) + 0.5) / n for n in size]
        wanted = np.exp(-8 * ((y[:, None] - 0.4) ** 2 + (x[None] - 0.6) ** 2))
        xmin, ymin, xmax, ymax = content / 48
        inside = ((y >= ymin) & (y < ymax))[:, None] & ((x >= xmin) & (x < xmax))[None]
        fits = [
            mean_gaze.fit_fixations(np.where(inside, wanted, beside), 144, content=content)
            for beside in (0, 1e6)
        ]
        np.testing.assert_array_equal(fits[0]["duration"], fits[1]["duration"])
        drawn = draw(fits[0], content, size)
        assert (drawn[~inside] == 0).all()
        assert np.corrcoef(drawn[inside], wanted[inside])[0, 1] > 0.98

    def test_more_points_draw_a_map_more_nearly(self):
        rng = np.random.default_rng(0)
        points = rng.uniform(8, 56, (6, 2))
        y, x = np.indices((64, 64)) + 0.5
        wanted = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b in points)
        found = []
        for side in (12, 16, 22):
            fixations = mean_gaze.fit_fixations(wanted, side**2)
            drawn = draw(fixations, (0, 0, 64, 64), (64, 64))
            found.append(np.corrcoef(drawn.ravel(), wanted.ravel())[0, 1])
        assert found == sorted(found)
        assert found[-1] > 0.99

    def test_nothing_predicted_is_nothing_drawn(self):
        fixations = mean_gaze.fit_fixations(np.zeros((8, 8)), 144)
        assert len(fixations["xy"]) == 64  # no more points than pixels
        assert (fixations["duration"] == 0).all()


class TestKept:
    def test_rows_come_back_by_position(self, train, predicted):
        expected = np.concatenate([duration for duration, _ in rows(len(train))])
        content = np.float32([0, 0, 10, 10])
        assert len(predicted) == len(train)
        for position in (0, 2, len(train) - 1):
            found = predicted.fixations(position, content)["duration"]
            np.testing.assert_array_equal(found, np.float32(expected[position]).ravel())

    def test_it_is_computed_once_for_the_same_facts(self, tmp_path):
        cache = str(tmp_path)
        predicted_gaze.make(FACTS, rows(5), images=5, side=SIDE, cache=cache)
        predicted_gaze.make(FACTS, again(), images=5, side=SIDE, cache=cache)
        other = FACTS | {"weights": "other"}
        with pytest.raises(AssertionError, match="computed again"):
            predicted_gaze.make(other, again(), images=5, side=SIDE, cache=cache)

    def test_how_near_it_is_drawn_is_kept_without_images_that_have_no_map(self, tmp_path):
        correlation = np.array([0.5, 1, np.nan, 0.9])
        made = predicted_gaze.make(
            FACTS,
            iter([(np.zeros((4, SIDE, SIDE)), correlation)]),
            images=4,
            side=SIDE,
            cache=str(tmp_path),
        )
        assert made.correlation == pytest.approx({"mean": 0.8, "lowest": 0.54})
        assert "of 0.800 (5 % of them below 0.540)" in str(made)

    def test_a_worker_is_sent_its_name_and_not_its_rows(self, predicted):
        sent = pickle.dumps(predicted)
        assert len(sent) < 1000
        content = np.float32([0, 0, 10, 10])
        np.testing.assert_array_equal(
            pickle.loads(sent).fixations(3, content)["duration"],
            predicted.fixations(3, content)["duration"],
        )

    def test_what_was_cut_off_is_not_believed(self, tmp_path):
        def cut():
            yield next(rows(5))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            predicted_gaze.make(FACTS, cut(), images=5, side=SIDE, cache=str(tmp_path))
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]
        first = [next(rows(5))]
        with pytest.raises(AssertionError, match="2 of 5 images"):
            predicted_gaze.make(FACTS, iter(first), images=5, side=SIDE, cache=str(tmp_path))

    def test_a_full_disk_is_a_line_that_says_what_to_do(self, tmp_path, monkeypatch):
        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(predicted_gaze, "open", full, raising=False)
        with pytest.raises(InputError, match=r"No space left.*make room.*GAZAX_DATA"):
            predicted_gaze.make(FACTS, rows(5), images=5, side=SIDE, cache=str(tmp_path))


class TestWho:
    @pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
    def test_who_keeps_gaze_keeps_it_and_all_others_are_predicted(self, train, predicted, fraction):
        own = epoch(train, gaze_fraction=fraction)
        found = epoch(train, predicted, gaze=PREDICTED, gaze_fraction=fraction)
        kept = own["reader_weight"].any(1)
        assert kept.any() == (fraction > 0)
        assert not kept.all()
        for key in ("image", "index", "place", "content", "label"):
            np.testing.assert_array_equal(found[key], own[key])
        for name, rows_of in own["fixations"].items():
            np.testing.assert_array_equal(found["fixations"][name][kept], rows_of[kept])
        np.testing.assert_array_equal(found["reader_weight"][kept], own["reader_weight"][kept])
        for i in np.flatnonzero(~kept).tolist():
            expected = predicted.fixations(i, own["content"][i])
            np.testing.assert_array_equal(found["fixations"]["xy"][i], expected["xy"])
            np.testing.assert_array_equal(found["fixations"]["duration"][i], expected["duration"])
            assert (found["fixations"]["reader"][i] == 0).all()
            assert (found["fixations"]["window"][i] == own["content"][i]).all()
            assert found["reader_weight"][i].tolist() == [1, 0]

    def test_settings_of_peoples_gaze_leave_predicted_gaze_alone(self, train, predicted):
        plain = epoch(train, predicted, gaze=PREDICTED, gaze_fraction=0.0)
        for settings in (
            dict(readers=("bob",)),
            dict(weight_by="count", sigma="fraction", window=False, part="late"),
            dict(normalize_readers=False, reader_weights="equal"),
        ):
            found = epoch(train, predicted, gaze=PREDICTED, gaze_fraction=0.0, **settings)
            jax.tree.map(np.testing.assert_array_equal, found, plain)

    def test_readers_added_up_leave_predicted_gaze_its_weight(self, train, predicted):
        settings = dict(gaze_fraction=0.3, normalize_readers=False)
        own = epoch(train, **settings)
        found = epoch(train, predicted, gaze=PREDICTED, **settings)
        kept = own["reader_weight"].any(1)
        np.testing.assert_array_equal(found["reader_weight"][kept], own["reader_weight"][kept])
        assert (found["reader_weight"][~kept, 0] == 1).all()

    def test_a_share_of_each_batch_counts_peoples_gaze_alone(self, train, predicted):
        batch = next(
            train_batches(
                train,
                global_batch_size=8,
                seed=0,
                gaze=GazeSettings(gaze=PREDICTED, gaze_rate=0.5),
                predicted=predicted,
                **SIZES,
            )
        )
        looked = [bool(train.records.readers[i]) for i in batch["index"]]
        assert sum(looked) == 4
        assert batch["reader_weight"].any(1).all()

    def test_data_without_any_reader_is_predicted(self, tmp_path):
        names = ["a", "b", "v", "t"]
        splits = ["train", "train", "val", "test"]
        root = write_folder(
            tmp_path / "s",
            {name: grey(value=i) for i, name in enumerate(names)},
            labels=table(
                "image_id,patient_id,split",
                *(f"{n},{n},{s}" for n, s in zip(names, splits, strict=True)),
            ),
        )
        records = data.prepare(
            "gaze_folder", root=root, size=SIZE, cache=tmp_path / "c", progress=False
        )
        made = predicted_gaze.make(
            FACTS,
            iter([(np.ones((2, SIDE, SIDE)), np.ones(2))]),
            images=2,
            side=SIDE,
            cache=str(tmp_path / "c"),
        )
        batch = epoch(records.source("train"), made, gaze=PREDICTED)
        assert batch["reader_weight"].tolist() == [[1, 0], [1, 0]]

    @pytest.mark.parametrize(
        ("gaze", "message"),
        [
            ("predicted:", r"config\.data\.gaze='predicted:' names no run; write predicted:WORKD"),
            ("predicted", r"config\.data\.gaze='predicted' is unknown.*predicted:WORKDIR"),
        ],
    )
    def test_a_run_has_to_be_named(self, gaze, message):
        with pytest.raises(InputError, match=message):
            GazeSettings(gaze=gaze)

    def test_too_few_rows_are_named(self, train, predicted):
        sizes = SIZES | dict(max_fixations=100)
        with pytest.raises(InputError, match=r"config\.data\.max_fixations to that \(it is 100"):
            next(
                train_batches(
                    train,
                    global_batch_size=4,
                    seed=0,
                    gaze=GazeSettings(gaze=PREDICTED),
                    predicted=predicted,
                    **sizes,
                )
            )
