"""How far off EGD-CXR's gaze was: what its calibration screens tell, session by session.

After every twentieth image or so the radiologist looked at a screen, black but for one white dot of
30 px radius at (960, 540), the middle of 1920 x 1080 px (the code of the release draws it). Such a
screen has an id of 39 characters in the tables of gaze. The offset of a screen is that of the last
fixation on it from the dot, as in the authors' validation: the eye goes there, and ends there.

It is given in px of the screen. In degrees it is not known: that takes the width of the screen,
which is not in the files.
"""

from pathlib import Path
from typing import Any

import numpy as np

from gazax.data.sources.egd_gaze import is_calibration
from gazax.data.sources.egd_tables import SHEET, find_sheet, lacks
from gazax.data.sources.tables import Faults, Table
from gazax.typing import InputError

SCREEN = (1920, 1080)
"""(width, height), px."""
DOT = (960, 540)
"""Its centre, px of the screen."""
TABLE = "fixations.csv"


def drift_report(root: Path) -> dict[str, Any]:
    """The offsets of gaze on the calibration screens of EGD-CXR.

    Args:
      root: the folder of the release (or of MIMIC-Eye), or one that holds it; no images are needed.

    Returns:
      Ready for json, and without ids of images. ``sessions``: a row each with ``session``,
      ``screens``, the median ``x_px`` and ``y_px`` of their offsets (right and down are positive),
      ``spread_px``, the median distance of a screen's offset from that median (None of one
      screen), and ``drift_px``, the distance between the first screen's offset and the last's
      (None of one screen). ``screens``: in all. ``mean_abs_px`` and ``std_abs_px``: mean and
      standard deviation over all screens of the absolute offset in x and y, as the authors'
      validation has them. ``without_screens``: sessions that have none.

    Raises:
      InputError: no fixations.csv, or a faulty one.

    Source: Karargyris et al. 2021, technical validation; sessions, spread and drift are ours.
    """
    table = _read(root)
    ids, sessions = table.text("DICOM_ID"), table.text("SESSION_ID")
    place = np.stack([table.numbers("FPOGX"), table.numbers("FPOGY")], 1)
    screen = np.array([is_calibration(name) for name in ids], bool)
    table.leave_out(
        screen & ~np.isfinite(place).all(1),
        "not a number",
        lambda i: (
            f"FPOGX is {table.text('FPOGX')[i]!r}, FPOGY is {table.text('FPOGY')[i]!r}; fractions "
            "of the screen are expected"
        ),
    )
    table.check()
    last: dict[tuple[str, str], int] = {}
    for i in np.flatnonzero(screen & table.good):
        last.pop((sessions[i], ids[i]), None)  # a screen stands where its last fixation does
        last[sessions[i], ids[i]] = int(i)
    offsets: dict[str, list[np.ndarray]] = {name: [] for name in sorted(set(sessions), key=_order)}
    for (session, _), i in last.items():
        offsets[session].append(place[i] * SCREEN - DOT)
    absolute = np.abs([offset for found in offsets.values() for offset in found]).reshape(-1, 2)
    return {
        "sessions": [_row(name, np.array(found)) for name, found in offsets.items() if found],
        "without_screens": [name for name, found in offsets.items() if not found],
        "screens": len(absolute),
        "mean_abs_px": absolute.mean(0).round(2).tolist() if len(absolute) else None,
        "std_abs_px": absolute.std(0).round(2).tolist() if len(absolute) else None,
    }


def format_drift(report: dict[str, Any]) -> str:
    """The report of `drift_report` as a short table."""
    if not report["screens"]:
        return "no calibration screens (ids of 39 characters) in fixations.csv"
    rows: list[tuple[str, ...]] = [("session", "screens", "x px", "y px", "spread px", "drift px")]
    for row in report["sessions"]:
        numbers = (row["x_px"], row["y_px"], row["spread_px"], row["drift_px"])
        shown = ("-" if number is None else f"{number:.1f}" for number in numbers)
        rows.append((row["session"], str(row["screens"]), *shown))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    (x, y), (dx, dy) = report["mean_abs_px"], report["std_abs_px"]
    lines.append(
        f"\n{report['screens']} calibration screens of {SCREEN[0]} x {SCREEN[1]} px: off by "
        f"{x:.1f} +- {dx:.1f} px in x and {y:.1f} +- {dy:.1f} px in y (mean and standard deviation)"
    )
    if report["without_screens"]:
        lines.append(f"sessions without one: {', '.join(report['without_screens'])}")
    return "\n".join(lines)


def _read(root: Path) -> Table:
    found = find_sheet(root)
    if found is None:
        raise InputError(f"{SHEET} of EGD-CXR is not at or below {root}")
    sheet, ragged = found
    if line := lacks(sheet.with_name(TABLE), root):
        raise InputError(line)
    columns = ("SESSION_ID", "DICOM_ID", "FPOGX", "FPOGY")
    return Table(sheet.with_name(TABLE), columns, faults=Faults(), known_only=True, ragged=ragged)


def _order(session: str) -> tuple[bool, int, str]:
    """Numbers by their value, before other names."""
    number = session.isdecimal() and len(session) < 20  # python makes no number of thousands
    return not number, int(session) if number else 0, session


def _row(session: str, offset: np.ndarray) -> dict[str, Any]:
    middle = np.median(offset, 0)
    several = len(offset) > 1
    spread = float(np.median(np.hypot(*(offset - middle[None]).T))) if several else None
    drift = float(np.hypot(*(offset[-1] - offset[0]))) if several else None
    return {
        "session": session,
        "screens": len(offset),
        "x_px": round(float(middle[0]), 2),
        "y_px": round(float(middle[1]), 2),
        "spread_px": None if spread is None else round(spread, 2),
        "drift_px": None if drift is None else round(drift, 2),
    }
