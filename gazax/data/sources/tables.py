"""Tables that people bring: csv files whose faulty rows are counted, named and left out.

Two kinds of fault. A structural one (a missing column, an id that occurs twice) makes the whole
table doubtful and raises at once. A fault of one row leaves that row out and goes into `Faults`,
which stops the preparation only when too large a part of one file is faulty.

Rows are numbered as an editor shows them: the header is row 1.
"""

import csv
import gzip
import io
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from gazax.typing import InputError

NAMED = 5
"""How many faults of one file are named in full."""
MAX_INFLATED = 2**28
"""Bytes of a compressed table; more is taken for an attack (that of MIMIC-CXR has 2**26)."""
MAX_MEMORY = 2**29
"""Bytes that the cells of one table may take, about: a small file can hold very many short rows."""
LARGEST = 1e30
"""Number of a cell, of either sign; far beyond any that was measured."""
MAX_ROW = 2**22
"""Characters of one row; the csv module bounds a cell, not how many there are."""
_SHARED = 2**16
"""Texts that are kept once however many cells have them."""


class Faults:
    """What was left out of a source, and why, file by file.

    Args:
      max_bad_fraction: the largest faulty part of any one file, 0 to 1, with which to go on.
    """

    def __init__(self, max_bad_fraction: float = 0.01):
        if not 0 <= max_bad_fraction <= 1:
            raise InputError(f"max_bad_fraction is {max_bad_fraction}; it lies between 0 and 1")
        self.max_bad_fraction = max_bad_fraction
        self._reasons: dict[str, Counter[str]] = {}
        self._messages: dict[str, list[str]] = {}

    def add(self, file: str, reason: str, message: str) -> None:
        """Counts one row (or image) of `file`; the first few messages, if any, are kept."""
        self._reasons.setdefault(file, Counter())[reason] += 1
        messages = self._messages.setdefault(file, [])
        if message and len(messages) < NAMED:
            messages.append(message)

    def count(self, file: str, reason: str | None = None) -> int:
        """How many rows of `file` are faulty so far, for one reason or for all."""
        reasons = self._reasons.get(file, Counter())
        return reasons.total() if reason is None else reasons[reason]

    def check(self, file: str, total: int, what: str = "rows") -> None:
        """Stops when more than the allowed part of the `total` rows of `file` is faulty.

        Raises:
          InputError: with the first few faults and how to allow more.
        """
        bad = self.count(file)
        if bad > self.max_bad_fraction * total:
            more = [f"... and {bad - NAMED} more"] if bad > NAMED else []
            listed = "".join(f"\n  {line}" for line in self._messages[file] + more)
            raise InputError(
                f"{file}: {bad} of {total} {what} are faulty ({bad / total:.1%}), more than the "
                f"{self.max_bad_fraction:.1%} allowed (max_bad_fraction). Mend these or raise it:"
                f"{listed}"
            )

    def report(self) -> dict[str, dict]:
        """``{file: {count, reasons, first}}``, ready for json."""
        return {
            file: {
                "count": self.count(file),
                "reasons": dict(sorted(reasons.items())),
                "first": list(self._messages[file]),
            }
            for file, reasons in self._reasons.items()
        }


class Table:
    """A csv file in memory, column by column; rows that prove faulty are struck out.

    Args:
      path: the file, plain or compressed with gzip (``.gz``).
      required: columns it must have.
      groups: optional columns that come all together or not at all.
      faults: where faulty rows are counted.
      known_only: drop the cells of all other columns, which in a large table are most of it.
      ragged: columns without a name are left out, and rows may end in empty cells more than the
        header has, as in some published tables.
      may_be_empty: a header and no rows are fine.
      name: what the table is called in messages and counts; None is the file's name.

    Raises:
      InputError: not readable as csv, a column missing or twice, no rows.
    """

    def __init__(
        self,
        path: Path,
        required: Sequence[str],
        *,
        groups: Collection[Sequence[str]] = (),
        faults: Faults,
        known_only: bool = False,
        ragged: bool = False,
        may_be_empty: bool = False,
        name: str | None = None,
    ):
        self.name = name or path.name
        self._faults = faults
        known = {*required, *(column for group in groups for column in group)}
        header, cells, numbers, wrong = _read(path, known if known_only else None, ragged=ragged)
        if not numbers and not wrong and not may_be_empty:
            raise InputError(f"{path.name} has a header and no rows")
        self.columns = tuple(header)
        for wanted in (required, *(g for g in groups if set(g) & set(header))):
            missing = [column for column in wanted if column not in header]
            if missing:
                raise InputError(
                    f"{self.name} row 1: column {missing[0]!r} is missing; the header is "
                    f"{','.join(header)[:2000]!r} and needs {','.join(wanted)!r}"
                )
        self.other_columns = tuple(column for column in header if column not in known)
        self.total = len(numbers) + len(wrong)
        for number, found, expected in wrong:
            faults.add(
                self.name,
                "number of cells",
                f"{self.name} row {number}: {found} cells where the header has {expected}; add or "
                "remove commas",
            )
        self.row_numbers = np.array(numbers, np.int64)
        self._cells = {name: tuple(column) for name, column in zip(header, cells, strict=True)}
        self.good = np.ones(len(numbers), bool)

    def __len__(self) -> int:
        """Number of rows that could be read, struck out or not."""
        return len(self.row_numbers)

    def text(self, column: str) -> tuple[str, ...]:
        """The cells of a column, stripped."""
        return self._cells[column]

    def numbers(self, column: str) -> Float[np.ndarray, "rows"]:
        """The cells of a column as float64; NaN where a cell is empty or no number.

        One beyond `LARGEST` is none: records hold float32, which would make it infinite.
        """
        cells = self._cells[column]
        try:
            values = np.array([cell or "nan" for cell in cells], np.float64)
        except ValueError:
            values = np.array([_number(cell) for cell in cells], np.float64)
        values[np.abs(values) > LARGEST] = np.nan
        return values

    def matrix(self, columns: Sequence[str]) -> Float[np.ndarray, "rows c"]:
        """Several columns as `numbers`, side by side."""
        return np.stack([self.numbers(column) for column in columns], 1)

    def leave_out(
        self, bad: Bool[np.ndarray, "rows"], reason: str, explain: Callable[[int], str] | None
    ) -> None:
        """Strikes out the rows marked `bad` that are still good, and counts them as faults.

        Args:
          reason: what is wrong, in two or three words, for the counts.
          explain: from a position to what was found and how to mend it; None where there is
            nothing to mend, and a count says it all.
        """
        for i in np.flatnonzero(bad & self.good):
            message = f"{self.where(int(i))}: {explain(int(i))}" if explain else ""
            self._faults.add(self.name, reason, message)
        self.good &= ~bad

    def where(self, i: int) -> str:
        """File and row of position `i`, for messages."""
        return f"{self.name} row {self.row_numbers[i]}"

    def check(self) -> None:
        """Stops when too many rows have been struck out."""
        self._faults.check(self.name, self.total)


def all_of(values: Bool[np.ndarray, "rows c"]) -> Bool[np.ndarray, "rows"]:
    """Whether a condition holds in all columns, row by row."""
    return np.logical_and.reduce(values, axis=1)


class _Inflating(gzip.GzipFile):
    """A gzip file that ends with an error before it fills the memory."""

    def read1(self, size: int = -1) -> bytes:
        if self.tell() > MAX_INFLATED:
            raise csv.Error(f"more than {MAX_INFLATED} bytes when inflated")
        return super().read1(size)


class _Lines:
    """The lines of a file; ends with an error before a row of them fills the memory."""

    def __init__(self, file: io.TextIOWrapper):
        self._file = file
        self.read = 0
        """Characters since the row before."""

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(MAX_ROW + 1):
            self.read += len(line)
            if self.read > MAX_ROW:
                raise csv.Error(f"a row of more than {MAX_ROW} characters; is a quote missing?")
            yield line


def _open(path: Path) -> io.TextIOWrapper:
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe is waited for
        raise InputError(f"{path} is no ordinary file; a csv file of that name is expected")
    # utf-8-sig: spreadsheets put a byte order mark in front of the first column's name
    if path.suffix == ".gz":
        return io.TextIOWrapper(_Inflating(path), encoding="utf-8-sig", newline="")
    return path.open(newline="", encoding="utf-8-sig")


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _read(
    path: Path, known: Collection[str] | None, *, ragged: bool
) -> tuple[list[str], list[list[str]], array, list[tuple[int, int, int]]]:
    """The columns, the cells of each, the rows' numbers, and (row number, cells found, expected).

    Blank lines are left out; the last are the rows that do not have the header's number of cells.
    """
    numbers, wrong = array("q"), []
    texts: dict[str, str] = {}  # in a large table the same text stands many times over
    memory = 0
    try:
        with _open(path) as file:
            lines = _Lines(file)
            reader = csv.reader(lines, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            if ragged:
                header = header[: max((i + 1 for i, name in enumerate(header) if name), default=0)]
            places = [
                place
                for place, column in enumerate(header)
                if (column or not ragged) and (known is None or column in known)
            ]
            cells: list[list[str]] = [[] for _ in places]
            start = reader.line_num + 1
            for row in reader:
                lines.read = 0
                while ragged and len(row) > len(header) and not row[-1].strip():
                    row.pop()
                blank = not any(map(str.strip, row))
                if len(row) == len(header) and not blank:
                    numbers.append(start)
                    memory += 8 + 8 * len(places)
                    for place, column in zip(places, cells, strict=True):
                        text = row[place].strip()
                        if text not in texts:
                            memory += sys.getsizeof(text)
                            if len(texts) < _SHARED:
                                texts[text] = text
                        column.append(texts.get(text, text))
                elif not blank:
                    wrong.append((start, len(row), len(header)))
                    memory += sys.getsizeof(wrong[-1]) + 3 * sys.getsizeof(start)
                start = reader.line_num + 1
                if memory > MAX_MEMORY:
                    raise InputError(
                        f"{path.name} takes more than {MAX_MEMORY >> 20} MiB of memory at row "
                        f"{start}; prepare its rows in parts"
                    )
    except FileNotFoundError:
        raise InputError(f"{path.name} is missing in {path.parent}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; a csv file of that name is expected") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path.name} is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); mend its rights") from error
    except (UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(
            f"{path.name} cannot be read as csv ({error}); save it as comma-separated UTF-8"
        ) from error
    if not any(header):
        raise InputError(f"{path.name} is empty; its first row names the columns")
    columns = [header[place] for place in places]
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise InputError(f"{path.name} row 1: column {twice[0]!r} stands there twice; rename one")
    return columns, cells, numbers, wrong
