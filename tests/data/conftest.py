from pathlib import Path

import pytest

from gazax import data
from tests.data.folders import SAMPLES, example_folder


@pytest.fixture(scope="session")
def records(tmp_path_factory) -> data.Records:
    """The example folder of `tests.data.folders`, prepared at 32 x 24 px."""
    root = example_folder(tmp_path_factory.mktemp("source"))
    cache = tmp_path_factory.mktemp("cache")
    return data.prepare("gaze_folder", root=root, size=(24, 32), cache=cache, keep_ids=True)


@pytest.fixture
def samples() -> Path:
    if not SAMPLES.is_dir():
        pytest.skip(f"the real samples are not in {SAMPLES}; set GAZAX_TEST_DATA to their folder")
    return SAMPLES
