"""The protocol 'paper' draws other splits from the same records; 'strict' leaves them alone."""

import pickle

import numpy as np
import pytest

from gazax import data
from gazax.data.gaze_settings import GazeSettings
from gazax.data.pipeline import evaluation_batches, train_batches, train_examples
from gazax.data.protocols import under_protocol
from gazax.data.summary import count_images
from gazax.typing import InputError
from tests.data.folders import example_folder

SPLITS = ("train", "validation", "test")
SIZES = {"max_fixations": 8, "max_readers": 2, "max_boxes": 2}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Seventeen images of sixteen patients."""
    folder = tmp_path_factory.mktemp("protocols")
    root = example_folder(folder / "source")
    return data.prepare(
        "gaze_folder", root=root, size=(24, 32), cache=folder / "cache", keep_ids=True
    )


@pytest.fixture(scope="module")
def paper(strict):
    return under_protocol(strict, "paper")


def test_strict_is_the_records_themselves(strict):
    assert under_protocol(strict, "strict", seed=3) is strict
    assert strict.protocol == "strict"


def test_the_images_tested_are_those_that_are_chosen_by(paper):
    images = {
        split: [record["image_id"].decode() for record in paper.source(split)] for split in SPLITS
    }
    assert images["validation"] == images["test"]
    assert not set(images["train"]) & set(images["test"])
    assert len(set(images["train"]) | set(images["test"])) == 17
    assert len(images["test"]) == 2  # 17 * 100 / 1083
    for split, found in images.items():
        assert len(found) == paper.num_examples(split) == len(paper.source(split))
        assert found == [paper.image_ids[i] for i in paper.indices(split)]


def test_of_the_papers_1083_images_100_are_tested(paper, monkeypatch):
    whole = paper.prepared.summary | {"images": 1083}
    monkeypatch.setitem(paper.prepared.__dict__, "summary", whole)
    big = under_protocol(paper.prepared, "paper")
    assert [len(big.places(split)) for split in SPLITS] == [983, 100, 100]
    assert big.indices("test") == range(983, 1083)


def test_each_image_comes_with_all_that_it_had(strict, paper):
    prepared = {r["image_id"]: r for split in SPLITS for r in strict.source(split)}
    rows = {row.image_id: row for row in strict.examples}
    for split in ("train", "test"):
        for record in paper.source(split):
            own = prepared[record["image_id"]]
            np.testing.assert_array_equal(record["image"], own["image"])
            np.testing.assert_array_equal(record["fixations"]["xy"], own["fixations"]["xy"])
            np.testing.assert_array_equal(record["label"], own["label"])
            index, image_id = record["index"], record["image_id"].decode()
            assert paper.image_ids[index] == image_id
            assert paper.patient_ids[index] == rows[image_id].patient_id
            assert paper.readers[index] == rows[image_id].readers
            assert paper.num_fixations[index] == rows[image_id].fixations
            assert paper.examples[index].split == split


def test_the_summary_counts_what_was_drawn(strict, paper):
    for split, found in paper.summary["splits"].items():
        own = [paper.examples[i] for i in paper.indices(split)]
        assert found == count_images(own, ["a", "b"])
        assert found["images"] == len(own)
    assert paper.summary["protocol"] == paper.protocol == "paper"
    assert {k for k in strict.summary if strict.summary[k] != paper.summary[k]} == {
        "content_hash",
        "splits",
    }
    assert paper.exclusive(("a", "b")) == strict.exclusive(("a", "b"))
    assert paper.label_names == strict.label_names


def test_the_draw_is_that_of_the_seed_and_another_run(strict, paper):
    again, other = under_protocol(strict, "paper"), under_protocol(strict, "paper", seed=1)
    assert again.image_ids == paper.image_ids
    assert again.content_hash == paper.content_hash
    assert other.image_ids != paper.image_ids
    assert len({one.content_hash for one in (strict, paper, other)}) == 3
    assert repr(paper.source("test")) == f"Source({paper.content_hash}, test)"


def test_images_are_drawn_and_not_patients(strict):
    """Two images are one patient's: some seed parts them, and whatever split they were in."""
    crossing, before = 0, set()
    place = {
        image_id: row.split for image_id, row in zip(strict.image_ids, strict.examples, strict=True)
    }
    for seed in range(20):
        drawn = under_protocol(strict, "paper", seed=seed)
        sides = [{drawn.patient_ids[i] for i in drawn.indices(s)} for s in ("train", "test")]
        crossing += bool(sides[0] & sides[1])
        before |= {place[drawn.image_ids[i]] for i in drawn.indices("test")}
    assert crossing
    assert before == set(SPLITS)


def test_the_pipeline_takes_them_as_any_records(paper):
    source = pickle.loads(pickle.dumps(paper.source("train")))  # as a worker gets it
    shuffled = GazeSettings(gaze="shuffled")
    examples = train_examples(source, seed=0, gaze=shuffled, **SIZES)
    batches = train_batches(examples, global_batch_size=15)
    batch = next(batches)
    assert sorted(batch["index"].tolist()) == list(paper.indices("train"))
    looked = (batch["fixations"]["reader"] >= 0).any(axis=1)
    expected = [len(paper.readers[index]) > 0 for index in batch["index"]]
    np.testing.assert_array_equal(looked, expected)
    found = [
        index
        for batch in evaluation_batches(paper.source("validation"), batch_size=2, **SIZES)
        for index in batch["index"].tolist()
    ]
    assert found == list(paper.indices("test"))


def test_a_mistyped_protocol_is_named(strict):
    with pytest.raises(InputError, match=r"config\.data\.protocol.*'papers'.*paper"):
        under_protocol(strict, "papers")
