"""From records to host batches: one global stream, whoever reads it.

The stream is the source shuffled and repeated, reshuffled in every epoch, and each example knows
its `place` in it. A process takes every `process_count`-th example from its own offset, so that the
examples of a global batch, and all that is drawn from their places, do not depend on how many
processes, threads or workers read. `start` resumes the stream at any position.
"""

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
from absl import flags

from gazax.data import streams
from gazax.data.arrays import ToArrays
from gazax.data.change_gaze import ChangeGaze
from gazax.data.gaze_settings import OWN, GazeSettings
from gazax.data.predicted_gaze import PredictedGaze
from gazax.data.records import Source
from gazax.data.scanpaths import Describe, scanpath
from gazax.typing import Batch, InputError, RunError

SIGMA_FRACTION = 1 / 28
"""Default sigma where a fixation has none: about one degree of visual angle (ours)."""


class _TrainExample:
    """(place, record) -> example; a class, since workers need to pickle it."""

    def __init__(
        self,
        to_arrays: ToArrays,
        change: Callable[[dict], dict] | None,
        scanpaths: Describe | None,
    ):
        self.to_arrays = to_arrays
        self.change = change
        self.scanpaths = scanpaths

    def __call__(self, place: int, record: dict) -> Batch:
        changed = record if self.change is None else self.change(record)
        example = self.to_arrays(changed, place=place, weight=1.0)
        if self.scanpaths is not None:
            example["scanpath"] = self.scanpaths(example)
        return example


class _EvaluationExample:
    """(place, record) -> example; what lies behind the end of the data weighs nothing."""

    def __init__(self, to_arrays: ToArrays, length: int):
        self.to_arrays = to_arrays
        self.length = length

    def __call__(self, place: int, record: dict) -> Batch:
        return self.to_arrays(record, place=place, weight=float(place < self.length))


def train_examples(
    source: Source,
    *,
    seed: int,
    max_fixations: int,
    max_readers: int,
    max_boxes: int,
    sigma_fraction: float = SIGMA_FRACTION,
    masks: bool = False,
    labels: Sequence[str] = (),
    gaze: GazeSettings = OWN,
    predicted: PredictedGaze | None = None,
    balanced: bool = False,
    scanpaths: Describe | None = None,
) -> grain.MapDataset:
    """The global stream of examples, by place: every epoch in an order of its own, without end.

    Args:
      source: records of a split.
      seed: of the shuffling; each epoch has its own order.
      max_fixations, max_readers, max_boxes, sigma_fraction, masks, labels: see `ToArrays`.
      gaze: whose gaze and how much of it; the default takes the records as they are.
      predicted: what `gaze` asks to be predicted, see `ChangeGaze`.
      balanced: whether the classes take turns, see `gazax.data.streams.balanced`.
      scanpaths: what makes `scanpath` of an example, of the gaze that `gaze` gives it. None: the
        batch carries none.

    Raises:
      InputError: see `ToArrays`, `ChangeGaze` and `gazax.data.streams`; or the stream should be
        both `balanced` and of a `gaze.gaze_rate`.
    """
    if balanced and gaze.gaze_rate:
        raise InputError(
            f"config.data.balanced=True and config.data.gaze_rate={gaze.gaze_rate:g} both say "
            "which image comes next; set one of them"
        )
    example, change = _training_example(
        source,
        seed=seed,
        gaze=gaze,
        predicted=predicted,
        scanpaths=scanpaths,
        max_fixations=max_fixations,
        max_readers=max_readers,
        max_boxes=max_boxes,
        sigma_fraction=sigma_fraction,
        masks=masks,
        labels=labels,
    )
    if balanced:
        stream = streams.balanced(source, seed, labels=labels)
    elif change is not None and gaze.gaze_rate:
        stream = streams.mixed(source, seed, has_gaze=change.has_gaze, rate=gaze.gaze_rate)
    else:
        stream = streams.shuffled(source, seed)
    return grain.MapDataset.source(stream).map_with_index(example)


def longest_scanpath(
    source: Source,
    measure: str,
    *,
    seed: int,
    gaze: GazeSettings = OWN,
    predicted: PredictedGaze | None = None,
    sigma_fraction: float = SIGMA_FRACTION,
    **sizes: Any,
) -> int:
    """The most steps that the scanpath of a training image has; reads every record once.

    Args:
      source, seed, gaze, predicted, sigma_fraction: as in `train_examples`.
      measure: see `Describe`.
      sizes: the other arguments of `ToArrays`.

    Returns:
      At least 1: a batch has room for a step also where nobody looked.
    """
    example, _ = _training_example(
        source,
        seed=seed,
        gaze=gaze,
        predicted=predicted,
        scanpaths=None,
        sigma_fraction=sigma_fraction,
        **sizes,
    )
    lengths = (len(scanpath(example(i, record), measure)) for i, record in enumerate(source))
    return max(1, *lengths)


def _training_example(
    source: Source,
    *,
    seed: int,
    gaze: GazeSettings,
    predicted: PredictedGaze | None,
    scanpaths: Describe | None,
    **sizes: Any,
) -> tuple[_TrainExample, ChangeGaze | None]:
    """What makes examples of records, and what changes their gaze before."""
    arrays = functools.partial(ToArrays, source, **sizes)
    if gaze == OWN:
        return _TrainExample(arrays(), None, scanpaths), None
    change = ChangeGaze(source, gaze, seed=seed, arrays=arrays, predicted=predicted)
    return _TrainExample(change.to_arrays, change, scanpaths), change


def train_batches(
    examples: grain.MapDataset,
    *,
    global_batch_size: int,
    start: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Endless batches for training; they run on over the ends of epochs.

    Args:
      examples: see `train_examples`.
      global_batch_size: examples a step takes, over all processes.
      start: examples that have been taken from the global stream already; the batches that follow
        are those of an unbroken stream, whatever read it before.
      process_index, process_count: this host and how many there are.
      num_threads: threads that read ahead, in this process or in each worker.
      num_workers: processes that read ahead; 0 reads in this one (on two cores the fastest).

    Returns:
      Numpy batches of ``global_batch_size / process_count`` examples, as `batch_spec` has them.
      Row i of process p is example ``start + p + i * process_count`` of the global stream.

    Raises:
      InputError: the processes do not divide the batch.
    """
    local = _local_size(global_batch_size, process_count)
    mine = examples[start + process_index :: process_count]
    return _iterate(mine.batch(local), num_threads, num_workers)


def evaluation_batches(
    source: Source,
    *,
    batch_size: int,
    max_fixations: int,
    max_readers: int,
    max_boxes: int,
    sigma_fraction: float = SIGMA_FRACTION,
    masks: bool = False,
    labels: Sequence[str] = (),
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Every example exactly once with weight 1, in the order of the records.

    The last global batch is filled up with examples from the beginning whose `weight` is 0; every
    process gets the same number of batches. `batch_size` is global; the other arguments, the rows
    and the errors are those of `train_examples` and `train_batches`.
    """
    to_arrays = ToArrays(
        source,
        max_fixations=max_fixations,
        max_readers=max_readers,
        max_boxes=max_boxes,
        sigma_fraction=sigma_fraction,
        masks=masks,
        labels=labels,
    )
    local = _local_size(batch_size, process_count)
    padded = -(-len(source) // batch_size) * batch_size
    examples = (
        grain.MapDataset.source(source)
        .repeat(-(-padded // len(source)))
        .map_with_index(_EvaluationExample(to_arrays, len(source)))
    )[process_index:padded:process_count]
    return _iterate(examples.batch(local), num_threads, num_workers)


def _local_size(global_batch_size: int, process_count: int) -> int:
    if global_batch_size < 1 or global_batch_size % process_count:
        raise InputError(
            f"a batch of {global_batch_size} cannot be shared by {process_count} processes; choose "
            "a multiple of their number"
        )
    return global_batch_size // process_count


def _iterate(batches: grain.MapDataset, num_threads: int, num_workers: int) -> Iterator[Batch]:
    # an element is a whole batch here: grain's default of 500 elements ahead would fill the memory
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    stream = batches.to_iter_dataset(options)
    if not num_workers:
        return iter(stream)
    if not flags.FLAGS.is_parsed():  # grain reads a flag of its own before it starts a worker
        flags.FLAGS.mark_as_parsed()
    workers = grain.MultiprocessingOptions(num_workers=num_workers)
    return _from_workers(stream.mp_prefetch(workers, _end_with_parent), num_workers)


def _end_with_parent(worker: int, number: int) -> None:
    """Ends this worker when the run is gone: one that was killed does not tell its workers."""
    run = multiprocessing.parent_process()
    assert run is not None, "grain starts workers as processes of their own"

    def wait() -> None:
        run.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _from_workers(stream: grain.IterDataset, number: int) -> Iterator[Batch]:
    """Says of a worker that was killed what to do."""
    try:
        yield from stream
    except RunError:  # it says itself what was found
        raise
    except RuntimeError as error:
        raise RunError(
            f"one of the {number} processes that read data ahead was lost: {error} Exit code -9 is "
            "often a machine without memory left: lower config.data.num_workers; the same command "
            "goes on from the last checkpoint."
        ) from error
