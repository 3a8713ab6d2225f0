"""How fast data is prepared and read; run with ``pytest tests/benchmarks --benchmark-enable``.

Figures in images a second (``extra_info``). Asked for: at least 400 images/s at 224 px with 256
fixation slots, on two cores.
"""

import itertools

import numpy as np
import pytest
from PIL import Image

from gazax import data
from tests.data.streams import train_batches

SIZES = dict(max_fixations=256, max_readers=8, max_boxes=8)


@pytest.fixture(scope="module")
def source_folder(tmp_path_factory):
    """Noise images of 224 px (nothing to compress), 200 fixations each."""
    root = tmp_path_factory.mktemp("source")
    (root / "images").mkdir()
    rng = np.random.Generator(np.random.PCG64(0))
    fixations = ["image_id,reader_id,x_px,y_px,duration_s"]
    labels = ["image_id,patient_id,sick"]
    for i in range(256):
        pixels = rng.integers(0, 256, (224, 224), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i}.png", compress_level=1)
        labels.append(f"{i},{i},{i % 2}")
        for j, (x, y) in enumerate(rng.uniform(0, 224, (200, 2))):
            fixations.append(f"{i},r{j % 4},{x:.2f},{y:.2f},0.2")
    (root / "labels.csv").write_text("\n".join(labels))
    (root / "fixations.csv").write_text("\n".join(fixations))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 224])
def test_preparation(benchmark, source_folder, tmp_path_factory, size):
    def prepare():
        data.prepare(
            "gaze_folder",
            root=source_folder,
            size=(size, size),
            cache=tmp_path_factory.mktemp("cache"),
            progress=False,
        )

    benchmark.pedantic(prepare, rounds=3)
    rate(benchmark, 256)


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "workers"), [(1, 0), (2, 0), (4, 0), (1, 2)])
def test_train_batches(benchmark, source_folder, tmp_path_factory, threads, workers):
    records = data.prepare(
        "gaze_folder",
        root=source_folder,
        size=(224, 224),
        cache=tmp_path_factory.mktemp("cache"),
        progress=False,
    )
    batches = train_batches(
        records.source("train"),
        global_batch_size=32,
        seed=0,
        num_threads=threads,
        num_workers=workers,
        **SIZES,
    )
    for _ in itertools.islice(batches, 8):  # more than what was read ahead meanwhile
        pass
    benchmark.pedantic(lambda: next(batches), rounds=40)
    rate(benchmark, 32)


def rate(benchmark, images):
    if benchmark.stats:  # nothing is measured under --benchmark-disable
        benchmark.extra_info["images_per_second"] = round(images / benchmark.stats.stats.mean)
