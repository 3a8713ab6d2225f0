"""How a classifier's logits are held against labels, whatever the logits come from."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gazax.config import choose
from gazax.losses import multiclass, multilabel
from gazax.typing import InputError

TASKS = ("multiclass", "multilabel")


@dataclasses.dataclass(frozen=True)
class Labels:
    """The task, and what its loss is given.

    An unknown label is masked out exactly: an image without any known label (for 'multiclass',
    without all of them) is in the batch and teaches nothing.

    Attributes:
      task: 'multiclass', one label an image, or 'multilabel', any number of them.
      label_smoothing: of 'multiclass'.
      class_weight: of 'multiclass', one a label, see `gazax.losses.multiclass`; () = all 1.
      positive_weight: of 'multilabel', one a label, see `gazax.losses.multilabel`; () = all 1.
    """

    task: str
    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] = ()
    positive_weight: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuses an unknown task, and what belongs to the other one."""
        choose("method.task", self.task, TASKS)
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"method.label_smoothing is {self.label_smoothing}; it lies in [0, 1)."
            )
        only_of = {
            "label_smoothing": ("multiclass", self.label_smoothing),
            "class_weight": ("multiclass", self.class_weight),
            "positive_weight": ("multilabel", self.positive_weight),
        }
        for name, (task, value) in only_of.items():
            if value and task != self.task:
                nothing = type(value)()
                raise InputError(
                    f"method.{name}={value} belongs to task='{task}'; leave it at {nothing} for "
                    f"task='{self.task}'."
                )

    def check_columns(self, *, logits: int, labels: int) -> None:
        """Refuses a head, or weights, for another number of labels than the data has."""
        if logits != labels:
            raise InputError(
                f"the head scores {logits} classes and the data has {labels} label columns; they "
                "must be the same."
            )
        weights = {"class_weight": self.class_weight, "positive_weight": self.positive_weight}
        for name, weight in weights.items():
            if weight and len(weight) != labels:
                raise InputError(
                    f"method.{name}={weight} for {labels} label columns; give one weight a label."
                )

    def known(self, label: Float[Array, "b k"]) -> Bool[Array, "b"]:
        """Which rows can teach anything."""
        known = ~jnp.isnan(label)
        return known.all(axis=1) if self.task == "multiclass" else known.any(axis=1)

    def losses(
        self, logits: Float[Array, "b k"], label: Float[Array, "b k"], *, valid: Bool[Array, "b"]
    ) -> Float[Array, "b"]:
        """Cross-entropy of each example, nats."""
        if self.task == "multiclass":
            return multiclass(
                logits,
                label,
                label_smoothing=self.label_smoothing,
                class_weight=_array(self.class_weight),
                valid=valid,
            )
        return multilabel(logits, label, positive_weight=_array(self.positive_weight), valid=valid)

    def probabilities(self, logits: Float[Array, "b k"]) -> Float[Array, "b k"]:
        """For 'multiclass' they sum to 1."""
        if self.task == "multiclass":
            return jax.nn.softmax(logits, axis=1)
        return jax.nn.sigmoid(logits)


def _array(weight: tuple[float, ...]) -> Array | None:
    return jnp.array(weight, jnp.float32) if weight else None
