"""One run, put together from its config and led from data to table."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
import numpy as np
from clu.parameter_overview import count_parameters
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.data import pipeline
from gazax.data.frozen_features import FrozenFeatures
from gazax.data.predicted_gaze import PredictedGaze
from gazax.data.records import Records
from gazax.eval.encode import Split, load_split
from gazax.eval.finetune import ClassificationEvaluation
from gazax.eval.gradients import make_gradient_norms
from gazax.eval.multitask import MultitaskEvaluation
from gazax.eval.overlays import save_overlays
from gazax.eval.pretraining import PretrainingEvaluation
from gazax.eval.report import Evaluation, caveats
from gazax.eval.saliency_prediction import SaliencyEvaluation
from gazax.eval.segmentation import SegmentationEvaluation
from gazax.experiment import parts
from gazax.experiment.check import check
from gazax.experiment.frozen import compute_frozen
from gazax.experiment.method import build_method
from gazax.experiment.origins import find_origins
from gazax.experiment.predicted_gaze import predict_gaze
from gazax.experiment.scanpaths import describe_scanpaths
from gazax.hardware.peaks import peak_flops
from gazax.methods import Method
from gazax.methods.base import Params, State
from gazax.train import agreement, init_from, lock, loop, sharding, workdir
from gazax.train.checkpoint import MANIFEST, Checkpoints
from gazax.train.preemption import Preemption
from gazax.train.source import Source, load_source
from gazax.train.state import TrainState
from gazax.typing import Batch, InputError

EVALUATIONS: dict[str, Callable[..., Evaluation]] = {
    "pretraining": PretrainingEvaluation,
    "classification": ClassificationEvaluation,
    "segmentation": SegmentationEvaluation,
    "saliency": SaliencyEvaluation,
    "multitask": MultitaskEvaluation,
}
NEEDS = {
    "classification": ("supervised", "fusion", "mt_unet", "gg_cam", "attention_consistency"),
    "segmentation": ("segmentation",),
    "saliency": ("saliency", "fusion", "mt_unet"),
    "multitask": ("mt_unet", "fusion"),
}
"""The methods that an evaluation can measure; those that are not here measure any."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """Of one checkpoint."""

    params: Params
    state: State
    step: int
    identity: str
    """Other weights have another."""

    @property
    def both(self) -> tuple[Params, State]:
        """As a method takes them."""
        return self.params, self.state


class Run:
    """One run's parts. Making it checks all that was given; it writes nothing to the folder.

    Args:
      config: of one stage; what only the data knows is filled in.
      folder: the workdir.
      source: whose weights to begin with, as `load_source` takes it, or themselves;
        '' = none.
    """

    def __init__(self, config: ConfigDict, folder: epath.Path, *, source: str | Source) -> None:
        check(config)
        self.config = config
        self.folder = folder
        self.mesh = mesh = sharding.make_mesh(fsdp=config.train.fsdp)
        sharding.check_divisible("train.batch_size", config.train.batch_size, mesh)
        sharding.check_divisible("eval.batch_size", config.eval.batch_size, mesh)
        suite = config_lib.choose("eval.suite", config.eval.suite, EVALUATIONS)
        needed = NEEDS.get(config.eval.suite, (config.method.name,))
        if config.method.name not in needed:
            raise InputError(
                f"config.eval.suite='{config.eval.suite}' measures the method "
                f"{' or '.join(map(repr, needed))}, and config.method.name is "
                f"'{config.method.name}'; take eval.suite='pretraining'."
            )
        self._suite = suite
        self._origins = find_origins(config, folder, source=source)
        self.records: Records = parts.prepare(config)
        parts.resolve(config, self.records)
        self.method: Method = build_method(config)
        self._schedule, self._tx = parts.build_optimizer(config, self.method.backbone)
        self._sizes = parts.sizes(config)
        self._scanpaths = describe_scanpaths(config, self.records)
        # Refuses readers that nobody knows and images that hold more than a batch does.
        self._examples = self._make_examples()
        self._frozen: FrozenFeatures | None = None  # until `train` wants them
        self._predicted: PredictedGaze | None = None  # likewise

    def rehearse(self) -> Source:
        """Checks what only shapes tell; returns what it will hand on, its weights as zeros."""
        described = self._start.described

        def zeros(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), tree)

        return Source(
            params=zeros(described.params),
            state=zeros(described.method_state),
            name=str(self.folder),
            identity="",
            config=self.config.to_dict(),
        )

    @property
    def finished(self) -> dict[str, Any] | None:
        """The summary of a run that has nothing left to do, or None.

        Raises:
          InputError: the folder is another run's.
        """
        return agreement.from_first(self._find_finished)

    def _find_finished(self) -> dict[str, Any] | None:
        workdir.check_claim(self.folder, *self._identity)
        summary = workdir.read_summary(self.folder)
        if not summary:
            return None
        train = self.config.train
        stopped = summary["stopped_early"] and summary["patience"] == train.patience
        return summary if stopped or summary["step"] >= train.steps else None

    def start(self) -> None:
        """Makes the workdir this run's, keeps others out of it, and says what begins."""
        self._origins.require()
        described = self._start.described
        agreement.check_same(self._facts)
        agreement.from_first(self._take)
        workdir.check_shared(self.folder)
        known = self.records.summary
        print(
            f"{self.folder}: {self.config.data.name}, {known['images']} images of "
            f"{known['patients']} patients, {known['images_without_gaze']} without gaze; "
            f"{count_parameters(described.params):,} parameters; "
            f"{jax.device_count()} x {jax.devices()[0].device_kind}"
            + (f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""),
            flush=True,
        )
        if self.source is not None:
            print(
                init_from.describe(
                    described.params, described.method_state, self.source, **self._init_from
                ),
                flush=True,
            )

    def _take(self) -> None:
        workdir.claim(self.folder, *self._identity)
        lock.lock(self.folder)

    def train(self, preemption: Preemption) -> loop.Outcome:
        """Trains from wherever the workdir is to the end, or until it is interrupted."""
        train = self.config.train
        if (predictor := self._origins.predictor) is not None:
            found = predict_gaze(self.config, self.records, predictor)
            print(f"gaze predicted by {predictor.source.name}: {found}", flush=True)
            self._examples = self._make_examples(found)
            self._predicted = found
        if train.cache_frozen:
            self._frozen = compute_frozen(self)
            self._examples = self._examples.map(self._frozen.attach)
        return loop.train(
            self.method,
            self._tx,
            self._schedule,
            start=self._start,
            batches=self._train_batches,
            example_ids=self.records.image_ids,
            batch_size=train.batch_size,
            steps=train.steps,
            seed=self.config.seed,
            mesh=self.mesh,
            parallel=train.parallel,
            workdir=self.folder,
            cadence=loop.Cadence(
                log_every=train.log_every,
                eval_every=train.eval_every,
                checkpoint_every=train.checkpoint_every,
                keep=train.keep,
                patience=train.patience,
            ),
            evaluate=self._evaluate,
            monitor=self.config.eval.monitor,
            preemption=preemption,
            profile=train.profile,
            peak_flops=self._peak_flops,
        )

    def summarize(self, outcome: loop.Outcome) -> dict[str, Any]:
        """Test numbers of the best step beside step 0; pictures; `summary.json`."""
        best = outcome.state
        if outcome.best_step != outcome.step:
            checkpoints = Checkpoints(self.folder / "checkpoints", keep=self.config.train.keep)
            best, _ = checkpoints.restore(outcome.best_step, self._start.described)
            checkpoints.close()
        first = self._start.fresh()
        test = self.split("test")
        report = self._evaluation.on_test(
            (best.params, best.method_state), (first.params, first.method_state), test
        )
        phantom = self.config.data.name == "phantom"
        protocol = self.records.protocol
        stopped = ", stopped early" if outcome.stopped_early else ""
        chosen = "chosen on validation" if self.config.eval.monitor else "the last one"
        if self.config.eval.monitor and protocol != "strict":
            chosen = "chosen on these images"
        title = (
            f"{caveats(phantom=phantom, protocol=protocol)}"
            f"test split: {len(test.index)} images of {len(set(test.patient))} patients, "
            f"step {outcome.best_step} of {outcome.step}{stopped} "
            f"({chosen}), 95 % intervals over patients"
        )
        summary = {
            "step": outcome.step,
            "best_step": outcome.best_step,
            "stopped_early": outcome.stopped_early,
            "patience": self.config.train.patience,
            "split": "test",
            "protocol": protocol,
            "phantom_numbers": phantom,
            "images": len(test.index),
            "images_with_gaze": int(test.has_gaze.sum()),
            "numbers": report.numbers,
            "table": f"{title}\n{report.table}",
        }
        if self._predicted is not None:
            summary["predicted_gaze"] = {"correlation": self._predicted.correlation}
        save_overlays(
            self.folder / "images",
            test,
            report.pictures,
            image_ids=self.records.image_ids,
            count=self.config.eval.overlays,
            mesh=self.mesh,
        )
        agreement.from_first(lambda: workdir.write_json(self.folder / "summary.json", summary))
        return summary

    def read(self, name: str, *, mesh: Mesh | None = None) -> Iterator[Batch]:
        """Every image of a split once, as it is; see `pipeline.evaluation_batches`.

        Args:
          name: train, validation or test.
          mesh: whose batches; None is the run's, of which each process reads its part.
        """
        return pipeline.evaluation_batches(
            self.records.source(name),
            batch_size=self.config.eval.batch_size,
            sigma_fraction=self.config.eval.sigma_fraction,
            **self._sizes,
            **sharding.share(mesh or self.mesh),
        )

    def split(self, name: str, *, gaze: bool = True) -> Split:
        """A split as an evaluation wants it, read once.

        Args:
          name: train, validation or test.
          gaze: whether to render it, for `Split.has_gaze` and `Split.mean_gaze_map`.
        """
        read, frozen = functools.partial(self.read, name), self._frozen
        return load_split(
            read if frozen is None else lambda: map(frozen.attach, read()),
            patient_ids=np.asarray(self.records.patient_ids),
            mesh=self.mesh,
            gaze=gaze,
        )

    def trained(self, which: str) -> Weights:
        """The weights of a checkpoint of this run's workdir, on its devices.

        Args:
          which: 'best' or 'last', as `load_source` has them.

        Raises:
          InputError: the workdir holds another run, or none that has saved a checkpoint.
        """
        workdir.check_claim(self.folder, *self._identity)
        if not any((self.folder / "checkpoints").glob(f"*/{MANIFEST}")):
            raise InputError(
                f"workdir '{self.folder}' has no checkpoint yet; let its run go on until it has "
                f"saved (every {self.config.train.checkpoint_every} steps)."
            )
        source = load_source(self.folder, which=which)
        params, state = jax.device_put(
            (source.params, source.state), sharding.replicated(self.mesh)
        )
        step = int(epath.Path(source.name).name)
        return Weights(params=params, state=state, step=step, identity=source.identity)

    @property
    def source(self) -> Source | None:
        """Whose weights it begins with."""
        return self._origins.source

    @property
    def missing(self) -> InputError | None:
        """Why the weights that a finished run began with cannot be read, or None."""
        return self._origins.source_gone

    @property
    def untrained(self) -> tuple[Params, State] | None:
        """The weights at step 0; None where those that it began with are gone."""
        return None if self.missing else self.first

    @property
    def first(self) -> tuple[Params, State]:
        """The weights at step 0, of a run that has not ended or whose source is still there."""
        first = self._start.fresh()
        return first.params, first.method_state

    def _make_examples(self, predicted: PredictedGaze | None = None) -> grain.MapDataset:
        """The training stream; without the predicted gaze that it is to have only its checks."""
        return pipeline.train_examples(
            self.records.source("train"),
            seed=self.config.seed,
            gaze=parts.gaze_settings(self.config),
            predicted=predicted,
            scanpaths=self._scanpaths,
            sigma_fraction=self.config.data.sigma_fraction,
            balanced=self.config.data.balanced,
            **self._sizes,
        )

    @property
    def _identity(self) -> tuple[dict[str, Any], str, str | None, str | None]:
        """What makes this run another one.

        Its config, its data, the weights it begins with and those that predict its gaze.
        """
        weights, predicts = self._origins.fingerprints(self.folder)
        return self.config.to_dict(), self.records.content_hash, weights, predicts

    @property
    def _facts(self) -> dict[str, Any]:
        """What all processes of a run must have alike; where it lies is a host's own."""
        config, *contents = self._identity
        names = ("the records of data", "the weights of init_from", "the weights of data.gaze")
        own = ("data.root", "data.cache", "init_from.path", *(["data.gaze"] * bool(contents[2])))
        settings = {f"config.{k}": v for k, v in config_lib.flatten(config) if k not in own}
        return {**settings, **dict(zip(names, contents, strict=True))}

    @property
    def _peak_flops(self) -> float | None:
        """Of the mesh's devices together, where their maker's figure is known."""
        one = peak_flops(jax.devices()[0].device_kind)
        return one and one * self.mesh.size

    @property
    def _init_from(self) -> dict[str, Any]:
        """Which weights of the source go where."""
        return {
            "scopes": parts.init_scopes(self.config),
            "fresh": self.config.init_from.fresh,
            "size": tuple(self.config.data.size),
        }

    @functools.cached_property
    def _start(self) -> loop.Start:
        initialise = None
        if self.source is not None:
            initialise = functools.partial(
                init_from.initialise, source=self.source, **self._init_from
            )
        return loop.make_start(
            self.method,
            self._tx,
            config_lib.batch_spec(self.config),
            mesh=self.mesh,
            seed=self.config.seed,
            initialise=initialise,
        )

    def _train_batches(self, start: int):
        """This process's training stream, from a count of examples already taken."""
        return pipeline.train_batches(
            self._examples,
            global_batch_size=self.config.train.batch_size,
            start=start,
            **sharding.share(self.mesh),
            num_threads=self.config.data.num_threads,
            num_workers=self.config.data.num_workers,
        )

    @functools.cached_property
    def _evaluation(self) -> Evaluation:
        # Classifiers and segmentations are measured by labels and masks alone.
        gaze = self.config.eval.suite in ("pretraining", "saliency", "multitask")
        return self._suite(
            self.method,
            train=self.split("train", gaze=gaze),
            validation=self.split("validation", gaze=gaze),
            mesh=self.mesh,
            seed=self.config.seed,
            label_names=self.config.data.labels,
        )

    def _evaluate(self, state: TrainState) -> dict[str, float]:
        """Validation numbers of a state, and how strongly each term of the loss acts on it."""
        weights = state.params, state.method_state
        return {**self._evaluation.on_validation(*weights), **self._gradient_norms(*weights)}

    @functools.cached_property
    def _gradient_norms(self):
        return make_gradient_norms(
            self.method,
            next(self._train_batches(0)),
            mesh=self.mesh,
            seed=self.config.seed,
        )
