"""What the compiler says of a program: its memory, its work, what its devices exchange."""

import re
from typing import Any, NamedTuple

import jax
from jax.errors import JaxRuntimeError

from gazax.hardware.collectives import Collective, read_collectives

_USED = re.compile(r"[Uu]sed (?P<used>[\d.]+[KMGT]?) of (?P<of>[\d.]+[KMGT]?)")
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
    """The most that is held at once."""
    flops: float
    """Multiplications and additions; the body of a loop once."""
    moved: float
    """What every operation reads and writes, one that stays on the chip too; likewise."""
    collectives: list[Collective]


class TooLarge(NamedTuple):
    """A program that the compiler finds no room for."""

    used: int | None
    """Bytes that it would take; None where the compiler does not say."""
    limit: int | None
    """Bytes that there are, likewise."""


def compile_for_slice(lowered: jax.stages.Lowered, *, devices: int) -> Compiled | TooLarge:
    """Compiles, and reads what the compiler counted; nothing is run.

    Raises:
      JaxRuntimeError: the compiler fails for another reason than memory.
    """
    try:
        compiled = lowered.compile()
    except JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
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
    """What a compiler's message says of how much is wanted and how much there is."""
    said = _USED.search(message)
    return (
        TooLarge(_to_bytes(said["used"]), _to_bytes(said["of"])) if said else TooLarge(None, None)
    )


def _to_bytes(text: str) -> int:
    number = text.rstrip("KMGT")
    return round(float(number) * _UNITS[text[len(number) :]])
