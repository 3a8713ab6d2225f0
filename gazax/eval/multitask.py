"""How well a method does both: says which labels an image has, and where people would look."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jax.sharding import Mesh

from gazax.eval.encode import Split
from gazax.eval.finetune import ClassificationEvaluation
from gazax.eval.report import TestReport
from gazax.eval.saliency_prediction import SaliencyEvaluation
from gazax.methods.base import Classifies, Method, Params, PredictsSaliency, State

JOINT = "validation/joint"
"""(macro AUC + CC of the predicted saliency) / 2: what a step of both tasks is chosen by. Ours: the
published code of MT-UNet chooses by the loss, whose weights change while it trains."""


@runtime_checkable
class MultitaskMethod(Method, Classifies, PredictsSaliency, Protocol):
    """A method that can be trained, classifies and predicts gaze."""


class MultitaskEvaluation:
    """Classification and predicted saliency, each with its own baselines.

    Args:
      method: what predicts both.
      train, validation: splits with gaze; see `ClassificationEvaluation` and `SaliencyEvaluation`.
      mesh: the devices that predict.
      seed: of every bootstrap, and of the random points of AUCs.
      label_names: of the columns of the splits' labels.

    Raises:
      InputError: see `ClassificationEvaluation`.
    """

    def __init__(
        self,
        method: MultitaskMethod,
        *,
        train: Split,
        validation: Split,
        mesh: Mesh,
        seed: int,
        label_names: Sequence[str],
    ) -> None:
        common = dict(train=train, validation=validation, mesh=mesh, seed=seed)
        self._classes = ClassificationEvaluation(method, label_names=label_names, **common)
        self._saliency = SaliencyEvaluation(method, label_names=label_names, **common)

    def on_validation(self, params: Params, state: State) -> dict[str, float]:
        """The numbers of both, and `JOINT` where both have theirs."""
        found = self._classes.on_validation(params, state)
        found |= self._saliency.on_validation(params, state)
        both = [f"validation/{name}" for name in ("auc_macro", "saliency/cc")]
        if all(name in found for name in both):
            found[JOINT] = sum(found[name] for name in both) / 2
        return found

    def on_test(
        self, trained: tuple[Params, State], first: tuple[Params, State], test: Split
    ) -> TestReport:
        """The numbers to report, those of both.

        Args:
          trained: chosen on validation.
          first: not looked at.
          test: the split that nothing was chosen on.
        """
        classes = self._classes.on_test(trained, first, test)
        saliency = self._saliency.on_test(trained, first, test)
        return TestReport(
            {**classes.numbers, **saliency.numbers},
            f"{classes.table}\n\n{saliency.table}",
            classes.pictures,
        )
