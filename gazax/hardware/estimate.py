"""What a training step, and a recipe of many, take of a slice, from what the compiler counted."""

import dataclasses
from collections import defaultdict
from typing import Any

from gazax.hardware.compiled import Compiled, TooLarge
from gazax.hardware.roofline import Roofline, roofline
from gazax.hardware.topology import Slice


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of one stage. Times are at least, rates at most so much: peaks, and nothing waits."""

    stage: str
    """'' where the config has none."""
    slice: Slice
    batch: int
    """Global."""
    parameters: int
    trained: int
    """Parameters that are not frozen."""
    steps: int | None
    """Of the recipe; None where only the data knows how many its epochs are."""
    images: int | None
    """Of one epoch, likewise."""
    found: Compiled | TooLarge

    @property
    def fits(self) -> bool:
        """Whether the compiler found room in the memory of a device."""
        return isinstance(self.found, Compiled)

    @property
    def peak(self) -> int | None:
        """The most bytes that a device holds at once; XLA's figure for a CPU is none."""
        if self.slice.chip is None or not isinstance(self.found, Compiled):
            return None
        return self.found.peak

    @property
    def roofline(self) -> Roofline | None:
        """None for a CPU, or where nothing was compiled."""
        if self.slice.chip is None or not isinstance(self.found, Compiled):
            return None
        return roofline(
            self.slice.chip,
            flops=self.found.flops,
            moved=self.found.moved,
            collectives=self.found.collectives,
        )

    @property
    def communication_share(self) -> float | None:
        """Of a step in which communication waits for the rest to end."""
        times = self.roofline
        if times is None:
            return None
        return times.communication / (max(times.compute, times.memory) + times.communication)

    @property
    def images_per_s(self) -> float | None:
        """Of the whole slice."""
        return self.batch / self.roofline.step if self.roofline else None

    @property
    def epochs_per_hour(self) -> float | None:
        """Passes over the training images."""
        rate = self.images_per_s
        return 3600 * rate / self.images if rate and self.images else None

    @property
    def chip_hours(self) -> float | None:
        """Of every step of the recipe, without evaluations, checkpoints and compilation."""
        times = self.roofline
        if times is None or self.steps is None:
            return None
        return self.steps * times.step * self.slice.chips / 3600

    @property
    def exchanged(self) -> dict[str, tuple[int, int]]:
        """Collectives by kind: how many, and their bytes."""
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for one in self.found.collectives if isinstance(self.found, Compiled) else ():
            sums[one.kind][0] += 1
            sums[one.kind][1] += one.size
        return {kind: (count, size) for kind, (count, size) in sorted(sums.items())}

    def as_dict(self) -> dict[str, Any]:
        """Every number, in json's types: bytes, seconds, 1/s and hours."""
        found, times = self.found, self.roofline
        numbers = {
            "stage": self.stage,
            "batch": self.batch,
            "parameters": self.parameters,
            "trained": self.trained,
            "steps": self.steps,
            "images": self.images,
            "fits": self.fits,
        }
        if isinstance(found, TooLarge):
            return numbers | {"needs": found.used, "limit": found.limit, "said": found.said}
        return numbers | {
            "arguments": found.arguments,
            "outputs": found.outputs,
            "aliased": found.aliased,
            "temporaries": found.temporaries,
            "held": found.held,
            "peak": self.peak,
            "flops": found.flops,
            "moved": found.moved,
            "intensity": found.flops / found.moved,
            "collectives": {
                kind: {"count": count, "bytes": size}
                for kind, (count, size) in self.exchanged.items()
            },
            "compute_s": times and times.compute,
            "memory_s": times and times.memory,
            "communication_s": times and times.communication,
            "step_s": times and times.step,
            "bound": times and times.bound,
            "communication_share": self.communication_share,
            "images_per_s": self.images_per_s,
            "epochs_per_hour": self.epochs_per_hour,
            "chip_hours": self.chip_hours,
        }
