"""Tables that people bring: csv files whose faulty rows are counted, named and left out.

Two kinds of fault. A structural one (a missing column, an id that occurs twice) makes the whole
table doubtful and raises at once. A fault of one row leaves that row out and goes into `Faults`,
which stops the preparation only when too large a part of one file is faulty.

Rows are numbered as an editor shows them: the header is row 1.
"""

import csv
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from gazax.typing import InputError

NAMED = 5
"""How many faults of one file are named in full."""


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
        """Counts one faulty row (or image) of `file`; the first few messages are kept."""
        self._reasons.setdefault(file, Counter())[reason] += 1
        messages = self._messages.setdefault(file, [])
        if len(messages) < NAMED:
            messages.append(message)

    def count(self, file: str) -> int:
        """How many rows of `file` are faulty so far."""
        return sum(self._reasons.get(file, Counter()).values())

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
      path: the file.
      required: columns it must have.
      groups: optional columns that come all together or not at all.
      faults: where faulty rows are counted.

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
    ):
        self.name = path.name
        self._faults = faults
        header, rows = _read(path)
        self.columns = tuple(header)
        for wanted in (required, *(g for g in groups if set(g) & set(header))):
            missing = [column for column in wanted if column not in header]
            if missing:
                raise InputError(
                    f"{self.name} row 1: column {missing[0]!r} is missing; the header is "
                    f"{','.join(header)!r} and needs {','.join(wanted)!r}"
                )
        known = {*required, *(column for group in groups for column in group)}
        self.other_columns = tuple(column for column in header if column not in known)
        self.total = len(rows)
        kept = []
        for number, row in rows:
            if len(row) == len(header):
                kept.append((number, row))
            else:
                faults.add(
                    self.name,
                    "number of cells",
                    f"{self.name} row {number}: {len(row)} cells where the header has "
                    f"{len(header)}; add or remove commas",
                )
        self.row_numbers = np.array([number for number, _ in kept], np.int64)
        cells = list(zip(*(row for _, row in kept), strict=True)) or [()] * len(header)
        self._cells = dict(zip(header, cells, strict=True))
        self.good = np.ones(len(kept), bool)

    def __len__(self) -> int:
        """Number of rows that could be read, struck out or not."""
        return len(self.row_numbers)

    def text(self, column: str) -> tuple[str, ...]:
        """The cells of a column, stripped."""
        return self._cells[column]

    def numbers(self, column: str) -> Float[np.ndarray, "rows"]:
        """The cells of a column as float64; NaN where a cell is empty or no number."""
        cells = self._cells[column]
        try:
            return np.array([cell or "nan" for cell in cells], np.float64)
        except ValueError:
            return np.array([_number(cell) for cell in cells], np.float64)

    def leave_out(
        self, bad: Bool[np.ndarray, "rows"], reason: str, explain: Callable[[int], str]
    ) -> None:
        """Strikes out the rows marked `bad` that are still good, and counts them as faults.

        Args:
          reason: what is wrong, in two or three words, for the counts.
          explain: from a position to what was found and how to mend it.
        """
        for i in np.flatnonzero(bad & self.good):
            self._faults.add(self.name, reason, f"{self.where(int(i))}: {explain(int(i))}")
        self.good &= ~bad

    def where(self, i: int) -> str:
        """File and row of position `i`, for messages."""
        return f"{self.name} row {self.row_numbers[i]}"

    def check(self) -> None:
        """Stops when too many rows have been struck out."""
        self._faults.check(self.name, self.total)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and (row number, cells), blank lines left out."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front of the first column's name
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            rows, start = [], reader.line_num + 1
            for row in reader:
                if any(cells := [cell.strip() for cell in row]):
                    rows.append((start, cells))
                start = reader.line_num + 1
    except FileNotFoundError:
        raise InputError(f"{path.name} is missing in {path.parent}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; a csv file of that name is expected") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); mend its rights") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path.name} cannot be read as csv ({error}); save it as comma-separated UTF-8"
        ) from error
    if not any(header):
        raise InputError(f"{path.name} is empty; its first row names the columns")
    twice = [column for column, count in Counter(header).items() if count > 1]
    if twice:
        raise InputError(f"{path.name} row 1: column {twice[0]!r} stands there twice; rename one")
    if not rows:
        raise InputError(f"{path.name} has a header and no rows")
    return header, rows
