"""The tensorflow-datasets builder that writes ArrayRecord, without TensorFlow.

One record is one image at the prepared size, with all that is known of it, in px of that frame:
see `features`. Fixations and boxes are as many as there are; the pipeline pads them.
"""

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from gazax.typing import RunError, Size


def features(size: Size, num_labels: int, *, masks: bool) -> tfds.features.FeaturesDict:
    """What a record holds."""
    tensor = tfds.features.Tensor
    fields: dict[str, Any] = {
        # as raw bytes: the default writes each pixel as a 64-bit integer
        "image": tensor(shape=(*size, 1), dtype=np.uint8, encoding="bytes"),
        "content": tensor(shape=(4,), dtype=np.float32),
        "fixations": {
            "xy": tensor(shape=(None, 2), dtype=np.float32),
            "duration": tensor(shape=(None,), dtype=np.float32),
            "sigma": tensor(shape=(None, 2), dtype=np.float32),
            "window": tensor(shape=(None, 4), dtype=np.float32),
            "reader": tensor(shape=(None,), dtype=np.int32),
        },
        "label": tensor(shape=(num_labels,), dtype=np.float32),
        "box": tensor(shape=(None, 4), dtype=np.float32),
        "box_label": tensor(shape=(None,), dtype=np.int32),
        "stored_size": tensor(shape=(2,), dtype=np.int32),
        "image_id": tfds.features.Text(),
        "patient_id": tfds.features.Text(),
    }
    if masks:
        planes = (*size, -(-num_labels // 8))  # label by label, packed into bits
        fields["mask"] = tensor(shape=planes, dtype=np.uint8, encoding="bytes")
    return tfds.features.FeaturesDict(fields)


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self):
        """There is no bucket of it; the library makes a temporary folder to look, and leaves it."""


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = "records"
    VERSION = tfds.core.Version("1.0.0")  # of the format; preparation.VERSION counts contents

    def __init__(self, features, split, examples, **kwargs):
        self._features = features
        self._split = split
        self._examples = examples
        super().__init__(**kwargs)

    def _info(self):
        # records stay in their order; the pipeline shuffles
        return _Info(builder=self, features=self._features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {self._split: self._generate_examples()}

    def _generate_examples(self):
        yield from enumerate(self._examples)


def write(
    directory: Path,
    split: str,
    examples: Iterator[dict],
    features: tfds.features.FeaturesDict,
) -> None:
    """Writes ArrayRecord files under `directory`; of no examples, nothing."""
    first = next(examples, None)
    if first is None:
        return
    tfds.disable_progress_bar()
    builder = _Builder(
        features,
        split,
        itertools.chain([first], examples),
        data_dir=directory,
        file_format="array_record",
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints about downloads; there are none
            builder.download_and_prepare()
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"records cannot be written to {directory.parent} ({_cause(error)}); make room there, "
            "or set GAZAX_DATA to another folder. What was finished is kept: the same command goes "
            "on"
        ) from error


def _cause(error: BaseException) -> BaseException:
    """The error of the system, which the library wraps."""
    return _cause(error.__cause__) if error.__cause__ else error


def open_block(directory: Path, split: str) -> Sequence:
    """Random access to the records that `write` has written, none where it had none."""
    folder = directory / _Builder.name / str(_Builder.VERSION)
    if not folder.exists():
        return ()
    return tfds.builder_from_directory(folder).as_data_source(split=split)  # type: ignore
