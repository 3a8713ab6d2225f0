"""How fast radiographs in the size of a hospital's become records, and are read back.

    python -m pytest tests/benchmarks/test_preparation.py -n0 --benchmark-enable -s -m slow

100 phantom images as 16-bit DICOM of 2500 x 2048 px (h x w). Asked for: peak memory under 2 GB.
"""

import itertools
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazax import data
from gazax.data import phantom
from gazax.data.decode import Task, decode
from gazax.data.pixels import images
from gazax.data.pixels.frame import Frame
from gazax.data.pixels.write_dicom import write_radiograph
from tests.data.streams import train_batches

pytestmark = pytest.mark.slow
COUNT, HEIGHT, WIDTH = 100, 2500, 2048
ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, resource, sys, time
from gazax import data
start = time.monotonic()
data.prepare("gaze_folder", progress=False, **json.loads(sys.argv[1]))
seconds = time.monotonic() - start
this = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "this": this, "largest_worker": worker}))
"""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    """A gaze folder; every film drawn at 256 px and enlarged, with noise that does not compress."""
    root = tmp_path_factory.mktemp("hospital")
    (root / "images").mkdir()
    labels = ["image_id,patient_id,sick"]
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        film = Image.fromarray(phantom.subject(0, i % 10, size=256).image)
        grey = np.asarray(film.resize((WIDTH, HEIGHT)), np.float32) * 257
        pixels = np.clip(grey + rng.normal(0, 200, grey.shape), 0, 65535).astype(np.uint16)
        ids = dict(patient_id=f"p{i}", study_id=f"s{i}", dicom_id=f"d{i}")
        path = root / "images" / f"{i}.dcm"
        write_radiograph(path, pixels, bits_stored=16, window=(32768, 60000), **ids)
        labels.append(f"{i},p{i},{i % 2}")
    (root / "labels.csv").write_text("\n".join(labels))
    return root


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("size", [(224, 224), (640, 512)])
def test_preparation(hospital, tmp_path, workers, size):
    """In a process of its own, whose memory is that of the preparation alone."""
    settings = dict(root=str(hospital), size=size, cache=str(tmp_path), workers=workers)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout)
    print(
        f"\n{size} {workers} workers: {COUNT / found['seconds']:.1f} images/s, peak "
        f"{found['this']:.2f} GB, and {found['largest_worker']:.2f} GB in a worker"
    )
    assert found["this"] + workers * found["largest_worker"] < 2


def test_where_the_time_goes(hospital, benchmark):
    """Decoding and resizing of one film, in one process."""
    path = hospital / "images" / "0.dcm"
    pixels = images.read_image(path)
    task = Task(path, None, None, np.zeros(1, bool), (224, 224), None, "standard", (hospital,))
    frame = Frame(pixels.shape, (224, 224))
    for name, call in {
        "header": lambda: images.image_size(path),
        "grey levels": lambda: images.read_image(path),
        "resize": lambda: frame.pixels(pixels),
        "all": lambda: decode(task),
    }.items():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        for _ in range(10):
            call()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        print(f"\n{name}: {100 * (after - before):.1f} ms of a core", end="")
    benchmark(lambda: decode(task))


@pytest.mark.parametrize("size", [(224, 224), (640, 512)])
def test_reading_back(hospital, tmp_path, benchmark, size):
    records = data.prepare("gaze_folder", root=hospital, size=size, cache=tmp_path)
    sizes = dict(max_fixations=256, max_readers=8, max_boxes=8)
    batches = train_batches(records.source("train"), global_batch_size=16, seed=0, **sizes)
    for _ in itertools.islice(batches, 8):
        pass
    benchmark.pedantic(lambda: next(batches), rounds=30)
    if benchmark.stats:
        print(f"\n{size}: {16 / benchmark.stats.stats.mean:.0f} images/s")
