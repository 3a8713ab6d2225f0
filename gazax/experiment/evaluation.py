"""A trained run, taken up to be measured: its suites."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from gazax.eval import anomaly, embedding, pointing, representation, saliency
from gazax.eval.encode import Encoder, OfBatch, Split
from gazax.eval.features import Examples, Features, exclude_each_other
from gazax.eval.finetune import ClassificationEvaluation, ClassifyingMethod, make_attention
from gazax.eval.gallery import save_gallery
from gazax.eval.probe import choose_probe
from gazax.eval.record import Part, Record
from gazax.eval.saliency_prediction import SUBJECT, make_saliency
from gazax.eval.segmentation import SegmentationEvaluation, make_masks
from gazax.experiment import results
from gazax.experiment.run import Run
from gazax.methods.base import Params, PredictsSaliency, State
from gazax.methods.segmentation import Segmentation

SEED = 0
"""Of few-shot draws, of the random points of AUCs and of every bootstrap: the same for every run,
so that runs are compared on the same draws."""


class Evaluation:
    """One trained run and what can be said of it on a held-out split.

    Args:
      run: its workdir has a checkpoint.
      which: of its checkpoints, 'best' or 'last'.
      split: 'test' to report, 'validation' to choose by.

    Raises:
      InputError: there is no checkpoint, or no folder can be made for what is found.
    """

    def __init__(self, run: Run, *, which: str, split: str) -> None:
        self._run = run
        self._split_name = split
        self._weights = run.trained(which)
        self._encoder = Encoder(run.method, mesh=run.mesh)
        self._labels = run.config.data.labels
        self._folder = results.make_folder(run.folder, split)  # now, and not after all was measured

    def measure(self, suites: Sequence[str]) -> dict[str, Part]:
        """What each suite says; `SUITES` has their names."""
        return {suite: SUITES[suite](self) for suite in suites}

    def write(self, suites: dict[str, Part], *, gallery: int) -> epath.Path:
        """Leaves numbers, values of single images and pictures in the workdir; see `results.write`.

        Returns:
          The folder.
        """
        results.write(
            self._folder,
            suites,
            summary=self._summary,
            record=self._record(embedded="embedding" in suites),
            save_gallery=functools.partial(
                save_gallery,
                split=self._measured,
                maps=self._pictures,
                probabilities=self._probabilities,
                label_names=self._labels,
                image_ids=self._run.records.image_ids,
                reader_names=self._reader_names,
                count=gallery,
                mesh=self._run.mesh,
            ),
        )
        return self._folder

    @property
    def title(self) -> str:
        """What the tables are of."""
        return results.title(self._summary)

    @functools.cached_property
    def _summary(self) -> dict[str, Any]:
        split = self._measured
        return {
            "split": self._split_name,
            "protocol": self._run.records.protocol,
            "step": self._weights.step,
            "weights": self._weights.identity,
            "phantom_numbers": self._run.config.data.name == "phantom",
            "images": len(split.index),
            "patients": len(set(split.patient)),
            "label_names": list(self._labels),
            "exclusive": self._exclusive,
        }

    def _record(self, *, embedded: bool) -> Record:
        """The split's images, without what any suite says of them."""
        split = self._measured
        nothing = np.zeros((len(split.index), 0), np.float32)
        return Record(
            index=split.index,
            image_id=np.array([self._run.records.image_ids[i] for i in split.index]),
            patient=split.patient.astype(str),
            label=split.label,
            label_names=np.array(self._labels, dtype=str),
            features=self._features.test.features,
            embedding=self._embedding if embedded else nothing,
        )

    @functools.cached_property
    def _exclusive(self) -> bool:
        splits = self._train, self._validation, self._measured
        return exclude_each_other(*(split.label for split in splits))

    @functools.cached_property
    def _train(self) -> Split:
        return self._run.split("train")

    @functools.cached_property
    def _validation(self) -> Split:
        return self._run.split("validation", gaze=self._split_name == "validation")

    @property
    def _measured(self) -> Split:
        return self._validation if self._split_name == "validation" else self._test

    @functools.cached_property
    def _test(self) -> Split:
        return self._run.split("test")

    @functools.cached_property
    def _features(self) -> Features:
        return self._encoded(*self._weights.both)

    def _encoded(self, params: Params, state: State) -> Features:
        """Of all splits, the measured one as test."""

        def of(split: Split) -> Examples:
            found = self._encoder.features(params, state, split.batches())
            return Examples(features=found, label=split.label, patient=split.patient)

        validation = of(self._validation)
        return Features(
            train=of(self._train),
            validation=validation,
            test=validation if self._split_name == "validation" else of(self._test),
            exclusive=self._exclusive,
            label_names=tuple(self._labels),
        )

    @functools.cached_property
    def _untrained(self) -> tuple[Params, State] | None:
        return self._run.untrained

    @functools.cached_property
    def _attention(self) -> dict[str, OfBatch]:
        """Where the model looks, and where it looked at step 0; {} if it only predicts gaze.

        The two parts of a method that does both are kept apart: what its class is judged by is its
        attention, and where it expects people to look its saliency.
        """
        method = self._run.method
        if isinstance(method, PredictsSaliency):
            if not isinstance(method, ClassifyingMethod):
                return {}
            attention = make_attention(method, mesh=self._run.mesh)
        else:
            attention = self._encoder.attention
        maps = {"attention": attention(*self._weights.both)}
        if first := self._untrained:
            maps["attention_step_0"] = attention(*first)
        return maps

    @functools.cached_property
    def _saliency(self) -> dict[str, OfBatch]:
        """Where the model expects people to look; {} if it is not trained to."""
        method = self._run.method
        if not isinstance(method, PredictsSaliency):
            return {}
        return {SUBJECT: make_saliency(method, mesh=self._run.mesh)(*self._weights.both)}

    @property
    def _pictures(self) -> dict[str, OfBatch]:
        """Of the trained weights."""
        trained = {name: one for name, one in self._attention.items() if name == "attention"}
        method = self._run.method
        masks = {}
        if isinstance(method, Segmentation):
            masks = make_masks(method, *self._weights.both, mesh=self._run.mesh)
        return trained | self._saliency | masks

    @property
    def _reader_names(self) -> list[tuple[str, ...]]:
        records = self._run.records
        return [tuple(records.reader_ids[one] for one in row) for row in records.readers]

    @property
    def _mean_map(self) -> np.ndarray:
        return self._train.mean_gaze_map

    @functools.cached_property
    def _classification(self) -> ClassificationEvaluation | None:
        """How a classifier is measured; None for another method."""
        method = self._run.method
        if not isinstance(method, ClassifyingMethod):
            return None
        return ClassificationEvaluation(
            method,
            train=self._train,
            validation=self._validation,
            mesh=self._run.mesh,
            seed=SEED,
            label_names=self._labels,
        )

    @property
    def _probabilities(self) -> np.ndarray:
        """[n, k] of the classifier, or of the linear probe; k = 0 where there is no label."""
        if self._classification:
            return self._classification.probabilities(self._weights.both, self._measured)
        features = self._features
        if not self._labels or np.isnan(features.train.label).all():
            return np.zeros((len(self._measured.index), 0))
        probe, _ = choose_probe(
            features.train.features,
            features.train.label,
            features.validation.features,
            features.validation.label,
            exclusive=features.exclusive,
        )
        return probe.score(features.test.features)

    @functools.cached_property
    def _embedding(self) -> np.ndarray:
        return embedding.tsne(self._features.test.features, seed=SEED)

    def representation(self) -> Part:
        """Probe, neighbours and few labels on frozen features, beside those of step 0."""
        untrained = self._encoded(*self._untrained) if self._labels and self._untrained else None
        return representation.measure(self._features, seed=SEED, untrained=untrained)

    def alignment(self) -> Part:
        """Attention or predicted saliency against gaze, with baselines and readers' agreement."""
        return saliency.measure(
            self._measured,
            self._saliency or self._attention,
            subject=SUBJECT if self._saliency else "attention",
            mean_map=self._mean_map,
            mesh=self._run.mesh,
            seed=SEED,
            reader_names=self._reader_names,
        )

    def downstream(self) -> Part:
        """What the run was fine-tuned for, and finding what is not normal by its features."""
        method, labels = self._run.method, self._labels
        found = []
        if self._classification:
            found.append(self._classification.measure(self._weights.both, self._measured))
        if isinstance(method, Segmentation):
            evaluation = SegmentationEvaluation(
                method,
                train=self._train,
                validation=self._validation,
                mesh=self._run.mesh,
                seed=SEED,
                label_names=labels,
            )
            found.append(evaluation.measure(self._weights.both, self._measured))
        features = self._features
        normal, how = anomaly.normal_rows(
            features.train.label, labels, exclusive=features.exclusive
        )
        normal_measured, _ = anomaly.normal_rows(
            features.test.label, labels, exclusive=features.exclusive
        )
        found.append(
            anomaly.measure(
                features, normal_train=normal, normal_test=normal_measured, how=how, seed=SEED
            )
        )
        return _join(found)

    def interpretability(self) -> Part:
        """Attention and predicted saliency against what is drawn of the findings."""
        return pointing.measure(
            self._measured,
            self._attention | self._saliency,
            mean_map=self._mean_map,
            mesh=self._run.mesh,
            seed=SEED,
        )

    def embedded(self) -> Part:
        """A t-SNE of the features; the picture is `tsne.png`."""
        count = len(self._embedding)
        return Part({}, f"t-SNE of {count} images: tsne.png, and in the report")


SUITES: dict[str, Callable[[Evaluation], Part]] = {
    "representation": Evaluation.representation,
    "alignment": Evaluation.alignment,
    "downstream": Evaluation.downstream,
    "interpretability": Evaluation.interpretability,
    "embedding": Evaluation.embedded,
}


def _join(found: Sequence[Part]) -> Part:
    """Several parts as one, their tables one below the other."""
    joined: dict[str, dict[str, Any]] = {"values": {}, "scores": {}, "targets": {}}
    for kind, arrays in joined.items():
        for one in found:
            arrays.update(getattr(one, kind))
    numbers = {name: number for one in found for name, number in one.numbers.items()}
    return Part(numbers, "\n\n".join(one.table for one in found if one.table), **joined)
