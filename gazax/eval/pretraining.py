"""The evaluation of a pretraining run: during it on validation, at its end on test."""

from collections.abc import Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from gazax.eval.encode import Encoder, Split, look
from gazax.eval.features import exclude_each_other
from gazax.eval.probe import Probe, choose_probe
from gazax.eval.report import Numbers, TestReport, block
from gazax.eval.saliency import METRICS, baseline_maps, score
from gazax.eval.values import Values
from gazax.methods.base import Method, Params, State
from gazax.metrics.classification import ResampledRocAuc
from gazax.metrics.statistics import bootstrap_statistic, paired_difference

BASELINES = ("mean_map", "centre")


class PretrainingEvaluation:
    """Attention against held-out gaze, and linear probes of frozen features.

    Where a split has no gaze, or no label has two values, the numbers that need them are absent.

    Args:
      method: what encodes.
      train, validation: splits; the probe is fitted on the first and its penalty chosen on the
        second, the mean map is that of the first.
      mesh: the devices that encode.
      seed: of the bootstrap.
      label_names: of the columns of the splits' labels.
    """

    def __init__(
        self,
        method: Method,
        *,
        train: Split,
        validation: Split,
        mesh: Mesh,
        seed: int,
        label_names: Sequence[str],
    ) -> None:
        self._label_names = tuple(label_names)
        self._encoder = Encoder(method, mesh=mesh)
        self._mesh = mesh
        self._train = train
        self._validation = validation
        self._seed = seed
        self._baselines: dict[str, float] = {}

    def on_validation(self, params: Params, state: State) -> dict[str, float]:
        """Means over validation, to follow and to choose by; see `choose_probe` on the AUC."""
        split, weights = self._validation, (params, state)
        features, scores = self._look(split, {"attention": weights}, baselines=not self._baselines)
        values = {}
        if split.has_gaze.any():
            means = {
                f"validation/{row}/{metric}": float(np.nanmean(scores[f"{row}/{metric}"]))
                for row in scores.rows
                for metric in METRICS
            }
            if not self._baselines:  # they stay the same while the model changes
                self._baselines = {
                    name: mean for name, mean in means.items() if "/attention/" not in name
                }
            values = {**means, **self._baselines}
        if self._label_names:
            exclusive = exclude_each_other(self._train.label, split.label)
            _, auc = self._probe(weights, features["attention"], exclusive=exclusive)
            if not np.isnan(auc):
                values["validation/probe_auc"] = auc
        return values

    def _look(
        self, split: Split, weights: Mapping[str, tuple[Params, State]], *, baselines: bool
    ) -> tuple[dict[str, np.ndarray], Values]:
        """Features by each of the weights, and scores of their attention, in one pass.

        Args:
          split: its images with gaze are scored.
          weights: row of the scores -> parameters and state.
          baselines: whether to score them too.
        """
        values = Values(split.index)
        features: dict[str, list[np.ndarray]] = {name: [] for name in weights}
        functions = [self._encoder.both(*one) for one in weights.values()]
        for _, looks, found in look(split.batches(), *functions, mesh=self._mesh):
            of_batch = dict(zip(weights, found, strict=True))
            for name, (rows, _) in of_batch.items():
                features[name].append(rows)
            for row, seen in enumerate(looks):
                if not seen.has_gaze:
                    continue
                maps = {name: attention[row] for name, (_, attention) in of_batch.items()}
                if baselines:
                    maps |= baseline_maps(seen.content, mean_map=self._train.mean_gaze_map)
                for name, one in maps.items():
                    values.put(name, seen.index, score(one, seen))
        return {name: np.concatenate(parts) for name, parts in features.items()}, values

    def _probe(
        self, weights: tuple[Params, State], validation: np.ndarray, *, exclusive: bool
    ) -> tuple[Probe, float]:
        return choose_probe(
            self._encoder.features(*weights, self._train.batches()),
            self._train.label,
            validation,
            self._validation.label,
            exclusive=exclusive,
        )

    def on_test(
        self, trained: tuple[Params, State], first: tuple[Params, State], test: Split
    ) -> TestReport:
        """The numbers to report: trained and untrained weights beside the baselines.

        Args:
          trained: chosen on validation.
          first: the same run's weights at step 0.
          test: the split that nothing was chosen on.
        """
        weights = {"attention": trained, "attention_step_0": first}
        features, scores = self._look(test, weights, baselines=True)
        numbers: Numbers = {}
        if test.has_gaze.any():
            numbers |= scores.numbers(
                test.patient,
                columns=METRICS,
                differences=[("attention", row) for row in ("attention_step_0", *BASELINES)],
                seed=self._seed,
            )
        if self._label_names:
            numbers |= self._probes(weights, features, test)
        pictures = {
            "attention, step 0": self._encoder.attention(*first),
            "attention, trained": self._encoder.attention(*trained),
        }
        return TestReport(numbers, self._table(numbers, test), pictures)

    def _probes(
        self,
        weights: Mapping[str, tuple[Params, State]],
        features: Mapping[str, np.ndarray],
        test: Split,
    ) -> Numbers:
        scores = {}
        labels = self._train.label, self._validation.label, test.label
        exclusive = exclude_each_other(*labels)  # the same probe as an evaluation's
        for name, row in (("probe", "attention"), ("probe_step_0", "attention_step_0")):
            validation = self._encoder.features(*weights[row], self._validation.batches())
            probe, _ = self._probe(weights[row], validation, exclusive=exclusive)
            scores[name] = probe.score(features[row])

        areas = {name: ResampledRocAuc(of_row, test.label) for name, of_row in scores.items()}

        trained, first = areas["probe"].macro, areas["probe_step_0"].macro
        statistics = {
            "probe/auc_macro": trained,
            "probe_step_0/auc_macro": first,
            "probe-probe_step_0/auc_macro": paired_difference(trained, first),
        }
        numbers = {
            name: bootstrap_statistic(statistic, test.patient, seed=self._seed)
            for name, statistic in statistics.items()
        }
        return {name: found for name, found in numbers.items() if not np.isnan(found[0])}

    def _table(self, numbers: Numbers, test: Split) -> str:
        """A block for the attention, one for the probe, and what is skipped."""
        lines = block(numbers, rows=ROWS, columns={name: COLUMNS[name] for name in METRICS})
        lines += block(numbers, rows=ROWS, columns={"auc_macro": COLUMNS["auc_macro"]})
        if not test.has_gaze.any():
            lines.append("attention against gaze: skipped (no image of the test split has gaze)")
        if not self._label_names:
            lines.append("linear probe: skipped (labels.csv has no label column)")
        elif "probe/auc_macro" not in numbers:
            lines.append("linear probe: skipped (no label has both values in every split)")
        return "\n".join(lines)


ROWS = {
    "attention": "attention, trained",
    "attention_step_0": "attention, step 0",
    "mean_map": "training-mean gaze map",
    "centre": "centred Gaussian",
    "attention-attention_step_0": "trained - step 0",
    "attention-mean_map": "trained - mean map",
    "attention-centre": "trained - centred Gaussian",
    "probe": "linear probe, trained",
    "probe_step_0": "linear probe, step 0",
    "probe-probe_step_0": "trained - step 0",
}
COLUMNS = {"cc": "CC", "nss": "NSS", "auc": "AUC (Judd)", "auc_macro": "macro AUC"}
