"""What people, spreadsheets and attackers do to a csv file."""

import random
from collections.abc import Callable

from tests.data.hostile.damage import TEN_MB, mutate

SUBSTITUTES = (
    *("", " ", "=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "-", "../../outside/secret", "..", "."),
    *("/etc/passwd", "C:\\secret", "a/b", "a\\b", "\0", "a\0b", "\ufeff", "é" * 200, "😀" * 70),
    *("nan", "NaN", "inf", "-inf", "1e308", "-1e308", "1e400", "1e-320", "0", "-0", "-1", "1", "2"),
    *(
        "2.5",
        "0x10",
        "1_000",
        "\N{FULLWIDTH DIGIT TWO}",
        "9" * 30,
        "9" * 5000,
        "1,5",
        "1;5",
        "True",
    ),
    *("TRUE", "false", "None", "null", "#N/A", '"', "'", "\u202e", "train", "test", "x" * 300),
    *("<script>alert(1)</script>", "$(touch x)", "%s%n", "{0.__class__}", "~", "~root", "-" * 100),
)
"""For cells."""


def mutate_table(data: bytes, rng: random.Random) -> bytes:
    """A csv file with faults of the kinds that people, spreadsheets and attackers make."""
    rows = [line.split(",") for line in data.decode("utf-8").splitlines()]
    return rng.choice(TABLES)(rows, rng)


def _joined(rows: list[list[str]], end: str = "\n") -> bytes:
    return end.join([*(",".join(row) for row in rows), ""]).encode("utf-8", "surrogatepass")


def _some_cell(rows: list[list[str]], rng: random.Random, first: int = 1) -> tuple[list[str], int]:
    row = rows[rng.randrange(min(first, len(rows) - 1), len(rows))]
    return row, rng.randrange(len(row))


def cells(rows: list[list[str]], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        row, place = _some_cell(rows, rng)
        row[place] = rng.choice(SUBSTITUTES)
    return _joined(rows)


def column(rows: list[list[str]], rng: random.Random) -> bytes:
    """The same in all rows of a column."""
    _, place = _some_cell(rows, rng)
    value = rng.choice(SUBSTITUTES)
    for row in rows[1:]:
        if place < len(row):
            row[place] = value
    return _joined(rows)


def from_elsewhere(rows: list[list[str]], rng: random.Random) -> bytes:
    """The cell of another row or column."""
    for _ in range(rng.choice((1, 2, 10))):
        (row, place), (other, at) = _some_cell(rows, rng), _some_cell(rows, rng)
        row[place], other[at] = other[at], row[place]
    return _joined(rows)


def path_cell(rows: list[list[str]], rng: random.Random) -> bytes:
    """An id or path that is led astray, and stays half right."""
    row, place = _some_cell(rows, rng)
    way = ("../" + row[place], "/" + row[place], f"../../outside/{row[place]}", row[place] + "/..")
    more = (row[place] + "\0", f"/p../../outside/{row[place]}", row[place] + "/", "é" + row[place])
    row[place] = rng.choice(way + more)
    return _joined(rows)


def header(rows: list[list[str]], rng: random.Random) -> bytes:
    place = rng.randrange(len(rows[0]))
    rows[0][place] = rng.choice((*SUBSTITUTES, rng.choice(rows[0]), rows[0][place].upper()))
    return _joined(rows)


def width(rows: list[list[str]], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 5))):
        row, place = _some_cell(rows, rng, first=0)
        if rng.random() < 0.5:
            row[place:place] = [""] * rng.choice((1, 2, 1000))
        else:
            del row[place]
        row += [""] * (not row)
    return _joined(rows)


def row_order(rows: list[list[str]], rng: random.Random) -> bytes:
    """Rows lost, twice, many times over, blank or in another order."""
    place = rng.randrange(len(rows))
    some = (
        rows[:place],
        rows[:1],
        rows[1:],
        rows[: place + 1] + rows[place:],
        rows[: place + 1] + rows[place : place + 1] * 20_000 + rows[place + 1 :],
        rows[:place] + [[""]] * 5 + rows[place:],
        rows[:1] + rng.sample(rows[1:], len(rows) - 1),
        rows[:place] + rows[place + 1 :],
    )
    return _joined(rng.choice(some))


def encoding(rows: list[list[str]], rng: random.Random) -> bytes:
    row, place = _some_cell(rows, rng, first=0)
    row[place] += rng.choice(("", "é", "é"))
    name = rng.choice(("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp037", "utf-7"))
    return _joined(rows).decode().encode(name)


def ends(rows: list[list[str]], rng: random.Random) -> bytes:
    return _joined(rows, rng.choice(("\r\n", "\r", "\n\n", "\r\r\n", "\n\0", "\u2028", "\x0b", "")))


def separator(rows: list[list[str]], rng: random.Random) -> bytes:
    return _joined(rows).replace(b",", rng.choice((b";", b"\t", b"|", b", ", b",,", b" ")))


def quotes(rows: list[list[str]], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 5))):
        row, place = _some_cell(rows, rng, first=0)
        row[place] = rng.choice(
            ('"{}', '{}"', '"{}"', '"{}\n"', '"{}""', '"a,{}"', '"{}"x')
        ).format(row[place])
    return _joined(rows)


def long_field(rows: list[list[str]], rng: random.Random) -> bytes:
    """Just as long as the csv module takes, and 10 MB."""
    row, place = _some_cell(rows, rng, first=rng.choice((0, 1)))
    fill = rng.choice(("x", "9", "é", ",", "\n", '"', "|", "\0", " "))
    row[place] = row[place] + fill * rng.choice((131_000, TEN_MB))
    return _joined(rows)


def of_bytes(rows: list[list[str]], rng: random.Random) -> bytes:
    return mutate(_joined(rows), rng)


TABLES: tuple[Callable[[list[list[str]], random.Random], bytes], ...] = (
    *(cells, cells, cells, cells, column, column, from_elsewhere, from_elsewhere, path_cell),
    *(path_cell, header, width, row_order, row_order, encoding, ends, separator, quotes),
    *(long_field, of_bytes, of_bytes, of_bytes),
)
