"""Data: from anybody's files to padded host batches.

``prepare(name, root=..., size=...)`` -> `Records`; `gazax.data.pipeline` makes batches of them.
"""

from gazax.data.cache import cache_folder
from gazax.data.datasets import DATASETS, Dataset
from gazax.data.prepared import check, prepare, prepare_shard
from gazax.data.records import Records, Source

__all__ = [
    "DATASETS",
    "Dataset",
    "Records",
    "Source",
    "cache_folder",
    "check",
    "prepare",
    "prepare_shard",
]
