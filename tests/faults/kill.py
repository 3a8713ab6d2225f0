"""Kills commands at random moments, lets them go on, and holds the end beside an unbroken run.

    python -m tests.faults.kill --cases=100 --seed=0 --out=FILE [--only=train,stages]

A line of JSON a kill and a line a chain (some kills in a row on one folder, then a run to the end)
go to FILE as they come; the last lines printed are the counts. What is killed, and when, is in
`works`.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import tempfile
import time
from typing import Any

import numpy as np

from tests.faults.process import Process
from tests.faults.works import WORKS, Moment, Work

SHARES = {"train": 0.52, "stages": 0.12, "sweep": 0.08, "prepare": 0.28}
IN_A_ROW = 5
"""Kills on one folder."""
TIMEOUT = 3000.0


def wait_for(process: Process, moment: Moment, timeout: float = TIMEOUT) -> bool:
    """Kills it at that moment; False: it ended before."""
    end = time.monotonic() + timeout
    while process.code is None:
        if moment.seen():
            time.sleep(moment.seconds)
            if process.code is not None:
                return False
            process.kill(group=moment.group)
            return process.code == -9
        if time.monotonic() > end:
            process.kill(group=True)
            raise TimeoutError(f"{moment.name} was not seen in {timeout} s\n{process.said}")
        time.sleep(0.001)
    return False


def kill_once(work: Work, process: Process, moment: Moment) -> dict[str, Any] | None:
    """One case, None where the command ended before its moment."""
    if not wait_for(process, moment):
        return None
    return {
        "work": work.name,
        "moment": moment.name,
        "all_processes": moment.group,
        "found": work.found(),
        "steps_lost": work.lost(process),
        "interval": work.interval,
    }


def run_to_the_end(work: Work) -> str:
    """'' or what went wrong."""
    process = work.start()
    code = process.wait(TIMEOUT)
    if code:
        return f"exit code {code}: {process.complained[-2000:]}"
    return "a traceback: " + process.complained[-2000:] if "Traceback" in process.complained else ""


def chain(
    work: Work, whole: Work, kills: int, draw: np.random.Generator, wanted: collections.Counter
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Kills in a row on one folder, then a run to the end beside the unbroken one."""
    cases: list[dict[str, Any]] = []
    wrong = ""
    while len(cases) < kills:
        early = draw.random() < 0.1
        process = work.start(whole=early)
        moments = work.moments(process, draw)
        # The kind of moment that has had the fewest kills comes next.
        moment = min(moments, key=lambda one: (wanted[one.name], draw.random()))
        wanted[moment.name] += 1
        case = kill_once(work, process, moment)
        if case is None:
            wrong = f"exit code {process.code}: {process.complained}" if process.code else ""
            break
        cases.append(case)
    began = time.monotonic()
    wrong = wrong or run_to_the_end(work)
    different = [] if wrong else work.differs(whole)
    end = {
        "work": work.name,
        "kills": len(cases),
        "survived": not wrong,
        "wrong": wrong,
        "identical": not (wrong or different),
        "different": different,
        "seconds_to_the_end": round(time.monotonic() - began, 1),
    }
    return cases, end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", default=",".join(WORKS))
    given = parser.parse_args()
    only = given.only.split(",")
    share = sum(SHARES[name] for name in only)
    root = pathlib.Path(tempfile.mkdtemp(prefix="gazax-kill-"))
    env = {**os.environ, "GAZAX_DATA": str(root / "data")}
    env.setdefault("JAX_COMPILATION_CACHE_DIR", str(root / "xla"))
    draw = np.random.default_rng(given.seed)
    cases, ends = [], []
    with given.out.open("a") as file:

        def note(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        for name in only:
            work = WORKS[name]
            whole = work(root / name / "whole", env)
            if wrong := run_to_the_end(whole):
                raise SystemExit(f"{name}, unbroken: {wrong}")
            left, number = round(given.cases * SHARES[name] / share), 0
            wanted = collections.Counter[str]()
            while left > 0:
                broken = work(root / name / f"broken{number}", env)
                found, end = chain(broken, whole, min(left, IN_A_ROW), draw, wanted)
                for line in found:
                    note(line)
                note(end)
                cases += found
                ends += [end] * len(found)
                left -= len(found)
                number += 1
                if end["identical"]:
                    shutil.rmtree(broken.folder)
                print(f"{name}: {len(found)} kills, {end}", flush=True)
    print_counts(cases, ends)
    if all(end["identical"] for end in ends):
        shutil.rmtree(root)


def print_counts(cases: list[dict[str, Any]], ends: list[dict[str, Any]]) -> None:
    """A line a kind, and the sums."""
    for key in ("moment", "found"):
        for (work, what), count in collections.Counter((c["work"], c[key]) for c in cases).items():
            print(f"{key}: {work}: {what}: {count}")
    lost = collections.Counter((c["work"], c["steps_lost"]) for c in cases if c["interval"])
    print(f"steps lost: {dict(sorted(lost.items()))}")
    print(
        f"{len(cases)} kills, {sum(end['survived'] for end in ends)} survived, "
        f"{sum(end['identical'] for end in ends)} bit-identical"
    )


if __name__ == "__main__":
    main()
