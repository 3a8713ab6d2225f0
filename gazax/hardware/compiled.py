"""What the compiler says of a program: its memory, its work, what its devices exchange."""

import re
from typing import Any, NamedTuple

import jax
from jax.errors import JaxRuntimeError

from gazax.hardware.collectives import Collective, read_collectives
from gazax.typing import RunError

_SIZE = r"([\d.]+[KMGT]?)"
_REFUSALS = (
    re.compile(rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)"),
    re.compile(rf"[Uu]sed {_SIZE} of {_SIZE} hbm"),
)
"""How the compiler puts it, with what it would take and what there is."""
_SHOWN = 1000
"""Characters of a failure."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Compiled(NamedTuple):
    """Of one device; bytes, but `flops`. As the compiler counts, which measures nothing."""

    arguments: int
    """The state and the batch."""
    outputs: int
    aliased: int
    """Outputs that take the place of arguments: what is donated."""
    temporaries: int
    peak: int
    """The most of it that is in use at once, which is less than what is set aside."""
    flops: float
    """Multiplications and additions; the body of a loop once."""
    moved: float
    """What every operation reads and writes, one that stays on the chip too; likewise."""
    collectives: list[Collective]

    @property
    def held(self) -> int:
        """What is set aside in all: arguments, what outputs take beside them, and temporaries."""
        return self.arguments + self.outputs - self.aliased + self.temporaries


class TooLarge(NamedTuple):
    """A program that the compiler finds no room for."""

    used: int | None
    """Bytes that it would take; None where the compiler does not say."""
    limit: int | None
    """Bytes that there are, likewise."""
    said: str
    """The compiler's own words."""


def compile_for_slice(lowered: jax.stages.Lowered, *, devices: int) -> Compiled | TooLarge:
    """Compiles, and reads what the compiler counted; nothing is run.

    Raises:
      RunError: the compiler fails for another reason than the chip's memory.
    """
    try:
        compiled = lowered.compile()
    except JaxRuntimeError as error:
        return read_refusal(str(error))
    memory: Any = compiled.memory_analysis()
    costs: Any = compiled.cost_analysis()
    return Compiled(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        peak=memory.peak_memory_in_bytes,
        flops=costs["flops"],
        moved=costs["bytes accessed"],
        collectives=read_collectives(compiled.as_text() or "", devices=devices),
    )


def read_refusal(message: str) -> TooLarge:
    """What a compiler's error says of how much is wanted and how much there is.

    Raises:
      RunError: it says something else.
    """
    said, *more = message.strip().splitlines()
    if "RESOURCE_EXHAUSTED" not in said or "hbm" not in said.lower():
        # Another memory of the chip, which no smaller batch need mend, or a fault.
        raise RunError(f"the compiler fails: {' '.join([said, *more])[:_SHOWN]}")
    for form in _REFUSALS:
        if numbers := form.search(said):
            return TooLarge(_to_bytes(numbers[1]), _to_bytes(numbers[2]), said)
    return TooLarge(None, None, said)


def _to_bytes(text: str) -> int:
    number = text.rstrip("KMGT")
    return round(float(number) * _UNITS[text[len(number) :]])
