"""What chips say to each other in a program, read out of its compiled text."""

import math
import re
from typing import NamedTuple

from gazax.typing import RunError

BITS = {
    "pred": 8,
    **dict.fromkeys(("s4", "u4"), 4),
    **dict.fromkeys(("s8", "u8"), 8),
    **dict.fromkeys(("s16", "u16", "f16", "bf16"), 16),
    **dict.fromkeys(("s32", "u32", "f32"), 32),
    **dict.fromkeys(("s64", "u64", "f64", "c64"), 64),
    "c128": 128,
}
_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_CALL = re.compile(rf" = (?P<shape>.*?) (?P<kind>{'|'.join(_KINDS)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+|f8\w+|c64|c128)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{$")
_GROUPS = re.compile(
    r"replica_groups=(?:"
    r"\{\{(?P<listed>[\d,]+)\}"  # {{0,1},{2,3}}
    r"|\[\d+,(?P<size>\d+)\]<="  # [2,4]<=[8]: two groups of four
    r"|mesh\[(?P<mesh>[^\]]*)\] ?\{(?P<axes>[^}]*)\}"  # mesh['a'=2,'b'=4] {'b'}
    r"|(?P<all>\{\}))"  # of all devices
)
_AXIS = re.compile(r"'(?P<name>[^']+)'(?::\(\d+\)(?P<part>\d+))?")


class Collective(NamedTuple):
    """One operation that several devices take part in."""

    kind: str
    devices: int
    """How many take part together."""
    size: int
    """Bytes of the array that it is about: that each device reduces, exchanges or passes on; of an
    all-gather what comes out, of a reduce-scatter what goes in."""


def read_collectives(text: str, *, devices: int) -> list[Collective]:
    """Every collective of a compiled program, once each.

    One that is begun and ended by two operations counts where it begins; one in the body of a loop
    counts once, as XLA's own counts do; one among a single device is none.

    Args:
      text: HLO, as ``Compiled.as_text()`` gives it.
      devices: that the program runs on.

    Raises:
      RunError: the text is of a form that is not known here.
    """
    found, computation = [], ""
    for line in text.splitlines():
        if opened := _COMPUTATION.match(line):
            computation = opened["name"]
        call = _CALL.search(line)
        if not call:
            continue
        kind, size = call["kind"], _bytes(call["shape"], scalars=not call["start"])
        taking_part = _group(line, devices)
        if taking_part < 2:
            continue
        if call["start"] and kind == "all-gather":  # its shape: what goes in, what comes out
            size = size * taking_part // (taking_part + 1)
        elif call["start"] and kind == "collective-permute":  # likewise, of equal size
            size //= 2
        elif kind == "reduce-scatter":
            size *= taking_part
        elif kind == "all-reduce" and computation.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"  # how a TPU's program writes it: a fusion that keeps a part
        found.append(Collective(kind, taking_part, size))
    return found


def _bytes(shape: str, *, scalars: bool) -> int:
    """Of every array in a shape; scalars beside them can be the hardware's own marks."""
    total = 0
    for kind, sides in _ARRAY.findall(shape):
        if sides or scalars:
            total += math.prod(int(side) for side in sides.split(",") if side) * _bits(kind)
    return math.ceil(total / 8)


def _bits(kind: str) -> int:
    return 8 if kind.startswith("f8") else BITS[kind]


def _group(line: str, devices: int) -> int:
    if "source_target_pairs={" in line:
        return devices
    groups = _GROUPS.search(line)
    if groups is None:
        where = line.partition("replica_groups=")[2][:60]
        raise RunError(f"the compiler names the devices of a collective in a new form: {where}")
    if groups["all"]:
        return devices
    if groups["mesh"] is None:
        return int(groups["size"] or groups["listed"].count(",") + 1)
    sides = dict(re.findall(r"'([^']+)'=(\d+)", groups["mesh"]))
    axes = _AXIS.finditer(groups["axes"])  # 'b', or 'b':(1)2, a part of it
    return math.prod(int(axis["part"] or sides[axis["name"]]) for axis in axes)
