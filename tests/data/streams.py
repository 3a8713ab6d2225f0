"""The training stream of a source in one call, as a run puts it together."""

from gazax.data import pipeline

OF_BATCHES = (
    "global_batch_size",
    "start",
    "process_index",
    "process_count",
    "num_threads",
    "num_workers",
)


def train_batches(source, **settings):
    """`pipeline.train_batches` of `pipeline.train_examples`, each with its own settings."""
    batching = {name: settings.pop(name) for name in OF_BATCHES if name in settings}
    return pipeline.train_batches(pipeline.train_examples(source, **settings), **batching)
