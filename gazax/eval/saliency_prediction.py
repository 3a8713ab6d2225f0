"""The evaluation of a model that predicts gaze: during training on validation, at its end on test.

How well a map predicts gaze is that of `gazax.eval.saliency`, whose rows are called ``saliency``
here. Without a map that knows no image beside them such numbers say nothing: the mean gaze map of
training and a centred Gaussian stand in every table.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from gazax.eval.encode import OfBatch, Split, look
from gazax.eval.report import TestReport
from gazax.eval.saliency import SALIENCY_METRICS, baseline_maps, measure, score_saliency
from gazax.eval.values import Values
from gazax.methods.base import Method, Params, PredictsSaliency, State
from gazax.train.sharding import replicated
from gazax.typing import Batch

SUBJECT = "saliency"
"""The row of the predictions."""
PICTURE = "saliency, predicted"
"""What pictures of them are called."""


@runtime_checkable
class SaliencyMethod(Method, PredictsSaliency, Protocol):
    """A method that can be trained, and predicts gaze."""


class SaliencyEvaluation:
    """Predicted saliency against held-out gaze, beside maps that know nothing of the image.

    Where a split has no gaze there are no numbers of it.

    Args:
      method: what predicts.
      train, validation: splits; the mean map is that of the first.
      mesh: the devices that predict.
      seed: of the random points of AUCs and of the bootstrap.
      label_names: not looked at: gaze is predicted whatever the labels are.
    """

    def __init__(
        self,
        method: SaliencyMethod,
        *,
        train: Split,
        validation: Split,
        mesh: Mesh,
        seed: int,
        label_names: Sequence[str],
    ) -> None:
        self._predict = make_saliency(method, mesh=mesh)
        self._mesh = mesh
        self._mean_map = train.mean_gaze_map
        self._validation = validation
        self._seed = seed
        self._baselines: dict[str, float] = {}

    def on_validation(self, params: Params, state: State) -> dict[str, float]:
        """Means over validation, ``validation/saliency/METRIC``, and those of the baselines.

        Metrics are `SALIENCY_METRICS`; KL is in nats, and less of it is better.
        """
        split = self._validation
        if not split.has_gaze.any():
            return {}
        values = Values(split.index)
        predict = self._predict(params, state)
        for _, looks, (predicted,) in look(split.batches(), predict, mesh=self._mesh):
            for row, seen in enumerate(looks):
                if not seen.has_gaze:
                    continue
                maps = {SUBJECT: predicted[row]}
                if not self._baselines:
                    maps |= baseline_maps(seen.content, mean_map=self._mean_map)
                for name, one in maps.items():
                    values.put(name, seen.index, score_saliency(one, seen))
        means = {
            row: {
                f"validation/{row}/{metric}": float(np.nanmean(values[f"{row}/{metric}"]))
                for metric in SALIENCY_METRICS
            }
            for row in values.rows
        }
        own = means.pop(SUBJECT)
        if means:  # they stay the same while the model changes
            self._baselines = {
                name: mean for of_row in means.values() for name, mean in of_row.items()
            }
        return own | self._baselines

    def on_test(
        self, trained: tuple[Params, State], first: tuple[Params, State], test: Split
    ) -> TestReport:
        """The numbers to report, all that `gazax.eval.saliency.measure` has.

        Args:
          trained: chosen on validation.
          first: not looked at: before training the prediction is all but uniform, a row of its own.
          test: the split that nothing was chosen on.
        """
        predict = self._predict(*trained)
        part = measure(
            test,
            {SUBJECT: predict},
            subject=SUBJECT,
            mean_map=self._mean_map,
            mesh=self._mesh,
            seed=self._seed,
        )
        return TestReport(part.numbers, part.table, {PICTURE: predict})


def make_saliency(method: PredictsSaliency, *, mesh: Mesh) -> Callable[[Params, State], OfBatch]:
    """A function from weights to what predicts saliency [b, h, w] of a batch on the devices.

    Compiled once for all weights.
    """

    @functools.partial(jax.jit, out_shardings=replicated(mesh))
    def predict(params: Params, state: State, batch: Batch) -> jax.Array:
        return method.saliency(params, state, batch)

    return lambda params, state: functools.partial(predict, params, state)
