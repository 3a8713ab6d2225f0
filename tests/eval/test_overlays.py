import numpy as np
from etils import epath
from PIL import Image

from gazax.eval.encode import load_split
from gazax.eval.overlays import batches_with, save_overlay, save_overlays
from gazax.train import sharding
from tests.eval.splits import batches


def test_a_picture_has_a_panel_for_the_image_and_for_each_map(tmp_path):
    rng = np.random.default_rng(0)
    for maps in (1, 3):
        path = epath.Path(tmp_path) / f"{maps}.png"
        save_overlay(
            path,
            image=rng.integers(0, 256, (32, 32)).astype(np.uint8),
            maps={f"map {i}": rng.uniform(size=(32, 32)) for i in range(maps)},
            xy=rng.uniform(0, 32, (5, 2)),
            title="image_0",
        )
    widths = [Image.open(tmp_path / f"{maps}.png").width for maps in (1, 3)]
    assert abs(widths[1] - 2 * widths[0]) <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.png", "3.png"]


def test_an_image_without_gaze_is_drawn(tmp_path):
    save_overlay(
        epath.Path(tmp_path) / "a.png",
        image=np.zeros((32, 48), np.uint8),
        maps={"gaze map": np.zeros((32, 48))},
        xy=np.zeros((0, 2)),
        title="a/b",
    )
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_first_images_with_gaze_are_drawn_with_their_own_maps(tmp_path, monkeypatch):
    """Of images 0 to 9, those divisible by 3 have no gaze; batches are of 4."""
    mesh = sharding.make_mesh()
    patients = np.arange(12).astype(str)
    split = load_split(batches, patient_ids=patients, mesh=mesh)
    drawn, seen = {}, []

    def record(path, *, image, maps, xy, title):
        drawn[path.name] = image, maps, xy, title

    def attention(batch):
        seen.append(batch["index"].tolist())
        return batch["image"][..., 0] / 255

    monkeypatch.setattr("gazax.eval.overlays.save_overlay", record)
    save_overlays(
        epath.Path(tmp_path) / "images",
        split,
        {"attention": attention},
        image_ids=[f"image_{i}" for i in range(12)],
        count=4,
        mesh=mesh,
    )
    assert list(drawn) == [f"image_{i}.png" for i in (1, 2, 4, 5)]
    for image, maps, xy, _ in drawn.values():
        assert list(maps) == ["gaze map", "attention"]
        np.testing.assert_allclose(maps["attention"], image / 255, atol=1e-6)
        assert maps["gaze map"].max() > 0
        assert len(xy) == 8
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]  # the last batch is not asked for


def test_batches_end_with_the_last_one_wanted():
    mesh = sharding.make_mesh()
    split = load_split(batches, patient_ids=np.arange(12).astype(str), mesh=mesh, gaze=False)
    found = [batch["index"].tolist() for batch in batches_with([5, 6], split, mesh=mesh)]
    assert found == [[4, 5, 6, 7]]
    assert not list(batches_with([], split, mesh=mesh))
