"""One run, put together from its config and led from data to table."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from clu.parameter_overview import count_parameters
from etils import epath
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.data import pipeline
from gazax.data.records import Records
from gazax.eval.encode import Split, load_split
from gazax.eval.finetune import ClassificationEvaluation
from gazax.eval.gradients import make_gradient_norms
from gazax.eval.overlays import save_overlays
from gazax.eval.pretraining import PretrainingEvaluation
from gazax.eval.report import Evaluation
from gazax.eval.segmentation import SegmentationEvaluation
from gazax.experiment import parts
from gazax.experiment.check import check
from gazax.methods import Method
from gazax.train import init_from, loop, optim, sharding, workdir
from gazax.train.checkpoint import Checkpoints
from gazax.train.preemption import Preemption
from gazax.train.state import TrainState
from gazax.typing import InputError

EVALUATIONS: dict[str, Callable[..., Evaluation]] = {
    "pretraining": PretrainingEvaluation,
    "classification": ClassificationEvaluation,
    "segmentation": SegmentationEvaluation,
}
NEEDS = {"classification": "supervised", "segmentation": "segmentation"}
"""What an evaluation can measure only; the others measure any method."""


class Run:
    """One run's parts. Making it checks all that was given; it writes nothing to the folder.

    Args:
      config: of one stage; what only the data knows is filled in.
      folder: the workdir.
      source: whose weights to begin with, as `init_from.load_source` takes it, or themselves;
        '' = none.
    """

    def __init__(
        self, config: ConfigDict, folder: epath.Path, *, source: str | init_from.Source
    ) -> None:
        check(config)
        self._config = config
        self.folder = folder
        self._mesh = mesh = sharding.make_mesh(fsdp=config.train.fsdp)
        sharding.check_divisible("train.batch_size", config.train.batch_size, mesh)
        sharding.check_divisible("eval.batch_size", config.eval.batch_size, mesh)
        suite = config_lib.choose("eval.suite", config.eval.suite, EVALUATIONS)
        if (needed := NEEDS.get(config.eval.suite)) not in (None, config.method.name):
            raise InputError(
                f"config.eval.suite='{config.eval.suite}' measures the method '{needed}', and "
                f"config.method.name is '{config.method.name}'; take eval.suite='pretraining'."
            )
        self._suite = suite
        self._missing: InputError | None = None
        self._source = self._load_source(source) if isinstance(source, str) else source
        self._records: Records = parts.prepare(config)
        parts.resolve(config, self._records)
        self._method: Method = parts.build_method(config)
        self._sizes = parts.sizes(config)
        # Refuses readers that nobody knows and images that hold more than a batch does.
        self._examples = pipeline.train_examples(
            self._records.source("train"),
            seed=config.seed,
            gaze=parts.gaze_settings(config),
            sigma_fraction=config.data.sigma_fraction,
            **self._sizes,
        )

    def rehearse(self) -> init_from.Source:
        """Checks what only shapes tell; returns what it will hand on, its weights as zeros."""
        described = self._start.described

        def zeros(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), tree)

        return init_from.Source(
            params=zeros(described.params),
            state=zeros(described.method_state),
            name=str(self.folder),
            identity="",
            config=self._config.to_dict(),
        )

    @property
    def finished(self) -> dict[str, Any] | None:
        """The summary of a run that has nothing left to do, or None.

        Raises:
          InputError: the folder is another run's.
        """
        workdir.check_claim(self.folder, *self._identity)
        summary = workdir.read_summary(self.folder)
        if not summary:
            return None
        train = self._config.train
        stopped = summary["stopped_early"] and summary["patience"] == train.patience
        return summary if stopped or summary["step"] >= train.steps else None

    def start(self) -> None:
        """Makes the workdir this run's, keeps others out of it, and says what begins."""
        if self._missing:
            raise self._missing
        described = self._start.described
        workdir.claim(self.folder, *self._identity)
        workdir.lock(self.folder)
        known = self._records.summary
        print(
            f"{self.folder}: {self._config.data.name}, {known['images']} images of "
            f"{known['patients']} patients, {known['images_without_gaze']} without gaze; "
            f"{count_parameters(described.params):,} parameters; "
            f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            flush=True,
        )
        if self._source is not None:
            left = init_from.left_behind(self._source, parts.init_scopes(self._config))
            behind = f", without its {', '.join(left)}" if left else ""
            print(f"weights from {self._source.name}{behind}", flush=True)

    def train(self, preemption: Preemption) -> loop.Outcome:
        """Trains from wherever the workdir is to the end, or until it is interrupted."""
        train = self._config.train
        return loop.train(
            self._method,
            self._tx,
            self._schedule,
            start=self._start,
            batches=self._train_batches,
            example_ids=self._records.image_ids,
            batch_size=train.batch_size,
            steps=train.steps,
            seed=self._config.seed,
            mesh=self._mesh,
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
            monitor=self._config.eval.monitor,
            preemption=preemption,
        )

    def summarize(self, outcome: loop.Outcome) -> dict[str, Any]:
        """Test numbers of the best step beside step 0; pictures; `summary.json`."""
        best = outcome.state
        if outcome.best_step != outcome.step:
            checkpoints = Checkpoints(self.folder / "checkpoints", keep=self._config.train.keep)
            best, _ = checkpoints.restore(outcome.best_step, self._start.described)
            checkpoints.close()
        first = self._start.fresh()
        test = self._split("test")
        report = self._evaluation.on_test(
            (best.params, best.method_state), (first.params, first.method_state), test
        )
        phantom = self._config.data.name == "phantom"
        stopped = ", stopped early" if outcome.stopped_early else ""
        chosen = "chosen on validation" if self._config.eval.monitor else "the last one"
        title = (
            f"{'phantom numbers (simulated images and gaze), ' if phantom else ''}"
            f"test split: {len(test.index)} images of {len(set(test.patient))} patients, "
            f"step {outcome.best_step} of {outcome.step}{stopped} "
            f"({chosen}), 95 % intervals over patients"
        )
        summary = {
            "step": outcome.step,
            "best_step": outcome.best_step,
            "stopped_early": outcome.stopped_early,
            "patience": self._config.train.patience,
            "split": "test",
            "phantom_numbers": phantom,
            "images": len(test.index),
            "images_with_gaze": int(test.has_gaze.sum()),
            "numbers": report.numbers,
            "table": f"{title}\n{report.table}",
        }
        save_overlays(
            self.folder / "images",
            test,
            report.pictures,
            image_ids=self._records.image_ids,
            count=self._config.eval.overlays,
        )
        workdir.write_json(self.folder / "summary.json", summary)
        return summary

    def _load_source(self, path: str) -> init_from.Source | None:
        which = config_lib.choose("init_from.which", self._config.init_from.which, ("best", "last"))
        if not path:
            return None
        try:
            return init_from.load_source(path, which=which)
        except InputError as error:
            if not workdir.read_summary(self.folder):
                raise
            self._missing = error  # a finished run can be shown without them
            return None

    @property
    def _identity(self) -> tuple[dict[str, Any], str, str | None]:
        """What makes this run another one: its config, its data, the weights it begins with."""
        weights = self._source.identity if self._source else None
        if self._source is None and self._config.init_from.path:
            weights = workdir.read_config(self.folder)["weights_fingerprint"]
        return self._config.to_dict(), self._records.content_hash, weights

    @functools.cached_property
    def _schedule(self):
        train, settings = self._config.train, self._config.optim
        return optim.cosine_schedule(
            learning_rate=settings.learning_rate,
            warmup_steps=round(settings.warmup_fraction * train.steps),
            total_steps=train.steps,
        )

    @functools.cached_property
    def _tx(self):
        settings = self._config.optim
        backbone: Any = self._method.backbone
        return optim.adamw(
            self._schedule,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
            layer_decay=settings.layer_decay,
            layer_of=backbone.layer_of,
            num_layers=backbone.num_layers,
        )

    @functools.cached_property
    def _start(self) -> loop.Start:
        settings = self._config.init_from
        initialise = None
        if self._source is not None:
            initialise = functools.partial(
                init_from.initialise,
                source=self._source,
                scopes=parts.init_scopes(self._config),
                fresh=settings.fresh,
            )
        return loop.make_start(
            self._method,
            self._tx,
            config_lib.batch_spec(self._config),
            mesh=self._mesh,
            seed=self._config.seed,
            initialise=initialise,
        )

    def _train_batches(self, start: int):
        """This process's training stream, from a count of examples already taken."""
        return pipeline.train_batches(
            self._examples,
            global_batch_size=self._config.train.batch_size,
            start=start,
            num_threads=self._config.data.num_threads,
            num_workers=self._config.data.num_workers,
        )

    def _split(self, name: str) -> Split:
        """A split as the evaluation wants it."""
        batches = functools.partial(
            pipeline.evaluation_batches,
            self._records.source(name),
            batch_size=self._config.eval.batch_size,
            sigma_fraction=self._config.eval.sigma_fraction,
            **self._sizes,
        )
        return load_split(
            batches,
            patient_ids=np.asarray(self._records.patient_ids),
            mesh=self._mesh,
            # A classifier is measured by labels alone; only pictures of the test split want gaze.
            maps=self._config.eval.suite != "classification" or name == "test",
        )

    @functools.cached_property
    def _evaluation(self) -> Evaluation:
        return self._suite(
            self._method,
            train=self._split("train"),
            validation=self._split("validation"),
            mesh=self._mesh,
            seed=self._config.seed,
            label_names=self._config.data.labels,
        )

    def _evaluate(self, state: TrainState) -> dict[str, float]:
        """Validation numbers of a state, and how strongly each term of the loss acts on it."""
        weights = state.params, state.method_state
        return {**self._evaluation.on_validation(*weights), **self._gradient_norms(*weights)}

    @functools.cached_property
    def _gradient_norms(self):
        return make_gradient_norms(
            self._method,
            next(self._train_batches(0)),
            mesh=self._mesh,
            seed=self._config.seed,
        )
