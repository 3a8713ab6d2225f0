"""Estimates side by side, for people."""

from collections.abc import Sequence

from gazax.hardware.compiled import Compiled, TooLarge
from gazax.hardware.estimate import Estimate
from gazax.hardware.topology import Slice

GIB, MB, GB = 2**30, 1e6, 1e9
NOTHING = "-"


def as_text(estimates: Sequence[Estimate]) -> str:
    """A row a number, a column a stage."""
    kinds = sorted({kind for one in estimates for kind in one.exchanged})
    rows = [["", *(one.stage for one in estimates)]] if any(e.stage for e in estimates) else []
    columns = [_column(one, kinds) for one in estimates]
    rows += [[name, *(column[name] for column in columns)] for name in columns[0]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    )


def describe(where: Slice) -> str:
    """What the numbers are, and of which model."""
    counted = (
        "These are the compiler's counts for a machine that is not here, and bounds worked out of "
        "them; nothing was run and nothing measured. A device's share of a step; the body of a "
        "loop counts once; bytes moved are what every operation reads and writes."
    )
    chip = where.chip
    if chip is None:
        return f"{counted}\nOf a CPU no peaks are known here: no times follow."
    return (
        f"{counted}\n{where.chips} x a chip of {chip.hbm / GIB:.0f} GiB, "
        f"{chip.flops / 1e12:.0f} TFLOP/s in bfloat16, {chip.hbm_speed / GB:.0f} GB/s to memory, "
        f"{chip.link_speed / GB:.0f} GB/s a link in both directions ({chip.source}).\n"
        "A step takes the longest of the three, as if all overlapped and nothing waited. "
        "Communication: one ring of the chips that take part, 2(n-1)/n bytes a byte that is "
        "reduced, without latency; over all axes of a slice it may be two times as fast, on v5p "
        "three. Memory: an operand counts for each operation that reads it, even where it "
        "stays on the chip. So 'at least' and 'at most' are strict for compute alone."
    )


def _column(estimate: Estimate, kinds: Sequence[str]) -> dict[str, str]:
    found, times = estimate.found, estimate.roofline
    per_device = estimate.batch / len(estimate.slice.devices)
    column = {
        "batch": f"{estimate.batch:,}",
        "images a device": f"{per_device:,.0f}",
        "steps of the recipe": _number(estimate.steps, ",.0f"),
        "parameters": f"{estimate.parameters:,}",
        "of these trained": f"{estimate.trained:,}",
        "memory a device, GiB": _verdict(estimate),
    }
    numbers = found if isinstance(found, Compiled) else None
    for name, key in (
        ("  arguments", "arguments"),
        ("  outputs", "outputs"),
        ("  outputs in place of arguments", "aliased"),
        ("  temporaries", "temporaries"),
        ("  in all", "held"),
    ):
        column[name] = _gib(getattr(numbers, key) if numbers else None)
    column["  in use at once"] = _gib(estimate.peak)
    column["GFLOP a device"] = _number(numbers.flops / 1e9 if numbers else None, ",.1f")
    column["GB moved a device"] = _number(numbers.moved / GB if numbers else None, ",.2f")
    column["FLOP/byte"] = _number(numbers.flops / numbers.moved if numbers else None, ",.1f")
    for kind in kinds:
        count, size = estimate.exchanged.get(kind, (0, 0))
        column[kind] = f"{count} x, {size / MB:,.2f} MB" if numbers else NOTHING
    if not kinds:
        column["collectives"] = "none" if numbers else NOTHING
    for side in ("compute", "memory", "communication"):
        column[f"{side}, ms"] = _number(1e3 * getattr(times, side) if times else None, ",.3f")
    column["step at least, ms"] = _number(1e3 * times.step if times else None, ",.3f")
    column["bound by"] = times.bound if times else NOTHING
    column["communication, if not overlapped"] = _number(estimate.communication_share, ".1%")
    column["images/s at most"] = _number(estimate.images_per_s, ",.0f")
    column["epochs/hour at most"] = _number(estimate.epochs_per_hour, ",.1f")
    column["chip-hours at least"] = _number(estimate.chip_hours, ",.3f")
    return column


def _verdict(estimate: Estimate) -> str:
    found = estimate.found
    if isinstance(found, TooLarge):
        return f"DOES NOT FIT: {_gib(found.used)} of {_gib(found.limit)}"
    return "fits" if estimate.slice.chip else NOTHING


def _gib(size: int | None) -> str:
    return _number(None if size is None else size / GIB, ".4g")


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)
