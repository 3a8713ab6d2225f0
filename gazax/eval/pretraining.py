"""The evaluation of a pretraining run: during it on validation, at its end on test."""

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from gazax.eval.attention import METRICS, Scores, mean_gaze_map, score, score_baselines
from gazax.eval.encode import Encoded, Split, make_encoder
from gazax.eval.probe import Probe, choose_probe
from gazax.eval.report import Numbers, TestReport, block
from gazax.methods.base import Method, Params, State
from gazax.metrics.classification import roc_auc
from gazax.metrics.statistics import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_statistic,
)


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
        self._encode = make_encoder(method, mesh=mesh)
        self._train = train
        self._validation = validation
        self._mean_map = mean_gaze_map(train)
        self._seed = seed
        self._baselines = score_baselines(validation, mean_map=self._mean_map)

    def on_validation(self, params: Params, state: State) -> dict[str, float]:
        """Means over validation, to follow and to choose by; see `choose_probe` on the AUC."""
        encoded = self._encode(params, state, self._validation.batches())
        values = {}
        if self._validation.has_gaze.any():
            scores = {"attention": score(encoded.attention, self._validation), **self._baselines}
            for name, of_map in scores.items():
                for metric in METRICS:
                    values[f"validation/{name}/{metric}"] = float(np.nanmean(of_map[metric]))
        if self._label_names:
            _, auc = self._probe(params, state, encoded)
            if not np.isnan(auc):
                values["validation/probe_auc"] = auc
        return values

    def _probe(self, params: Params, state: State, validation: Encoded) -> tuple[Probe, float]:
        train = self._encode(params, state, self._train.batches())
        return choose_probe(
            train.features,
            self._train.label,
            validation.features,
            self._validation.label,
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
        encoded = {
            "attention": self._encode(*trained, test.batches()),
            "attention_step_0": self._encode(*first, test.batches()),
        }
        attention = {name: one.attention for name, one in encoded.items()}
        numbers: Numbers = {}
        if test.has_gaze.any():
            scores = {
                **{name: score(maps, test) for name, maps in attention.items()},
                **score_baselines(test, mean_map=self._mean_map),
            }
            numbers |= self._alignment(scores, test)
        if self._label_names:
            numbers |= self._probes(trained, first, encoded, test)
        pictures = {
            "attention, step 0": attention["attention_step_0"],
            "attention, trained": attention["attention"],
        }
        return TestReport(numbers, self._table(numbers, test), pictures)

    def _alignment(self, scores: dict[str, Scores], test: Split) -> Numbers:
        patients = test.patient[test.has_gaze]
        numbers = {}
        for metric in METRICS:
            for name, of_map in scores.items():
                numbers[f"{name}/{metric}"] = bootstrap_interval(
                    of_map[metric], patients, seed=self._seed
                )
            for other in ("attention_step_0", "mean_map", "centre"):
                numbers[f"attention-{other}/{metric}"] = bootstrap_difference(
                    scores["attention"][metric], scores[other][metric], patients, seed=self._seed
                )
        return numbers

    def _probes(
        self,
        trained: tuple[Params, State],
        first: tuple[Params, State],
        encoded: dict[str, Encoded],
        test: Split,
    ) -> Numbers:
        scores = {}
        for name, weights, of_test in (
            ("probe", trained, encoded["attention"]),
            ("probe_step_0", first, encoded["attention_step_0"]),
        ):
            validation = self._encode(*weights, self._validation.batches())
            probe, _ = self._probe(*weights, validation)
            scores[name] = probe.score(of_test.features)

        def macro(name: str, rows: np.ndarray) -> float:
            return roc_auc(scores[name][rows], test.label[rows])["macro"]

        statistics = {
            "probe/auc_macro": lambda rows: macro("probe", rows),
            "probe_step_0/auc_macro": lambda rows: macro("probe_step_0", rows),
            "probe-probe_step_0/auc_macro": lambda rows: (
                macro("probe", rows) - macro("probe_step_0", rows)
            ),
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
