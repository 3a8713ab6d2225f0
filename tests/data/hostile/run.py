"""Many inputs, in processes that may hang or die."""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gazax.data.pixels import images
from gazax.data.pool import Pool
from tests.data.hostile.radiographs import mutate_dicom
from tests.data.hostile.trial import KINDS, Range, make_task
from tests.data.hostile.watch import Watch

SECONDS = 10
"""Of processor time for one input; six times as much on the clock, for one that waits."""
MEBIBYTES = 1000
"""Of memory for one input, above that of the process before it."""


def work(folder: Path) -> None:
    """Tries the inputs named on standard input; a line of json before and after each."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    place = Range(folder, Watch())
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 6 * 2**30,) * 2)
    lines.write("ready\n")
    for line in sys.stdin:
        kind, seed = json.loads(line)
        became, wrong = place.try_one(kind, seed)
        lines.write(json.dumps([became, wrong, place.cost()]) + "\n")


class Worker:
    """A process that tries inputs; a new one when it hangs or dies."""

    def __init__(self, folder: Path):
        self._folder, self._count, self._process = folder, 0, None

    def try_one(self, kind: str, seed: int) -> tuple[str, str, dict[str, float]]:
        """What became of it, what is wrong with that, and what it cost."""
        process = self._running()
        process.stdin.write(json.dumps([kind, seed]) + "\n")
        process.stdin.flush()
        start, used = time.monotonic(), _processor_seconds(process.pid)
        while True:
            ready = _readable(process.stdout, 0.5)
            if ready:
                line = process.stdout.readline()
                if not line:
                    process.wait()
                    self._process = None
                    return "died", f"its process ended with {process.returncode}", {}
                became, wrong, cost = json.loads(line)
                if not wrong and cost["cpu"] > SECONDS:
                    wrong = f"takes {cost['cpu']:.1f} s"
                if not wrong and cost["mib"] > MEBIBYTES:
                    wrong = f"takes {cost['mib']:.0f} MiB"
                return became, wrong, cost
            spent = _processor_seconds(process.pid) - used
            if spent > 3 * SECONDS or time.monotonic() - start > 6 * SECONDS:
                self.close()
                return "hang", f"no end after {spent:.0f} s of processor time", {}

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _running(self) -> subprocess.Popen:
        if self._process is None:
            self._count += 1
            folder = self._folder / f"{self._count}"
            command = [sys.executable, "-m", "tests.data.hostile", f"--work={folder}"]
            scratch = self._folder / f"{self._count}-tmp"
            scratch.mkdir()
            environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TMPDIR": str(scratch)}
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
                cwd=Path(__file__).parents[3],
            )
            assert self._process.stdout.readline() == "ready\n"
        return self._process


def try_in_pool(folder: Path, seed: int) -> tuple[str, str]:
    """As `Range.try_one` of a DICOM file whose decoder ends the process: the package's own pool."""
    folder.mkdir()
    rng, path = random.Random(f"dicom {seed}"), folder / "x.dcm"
    path.write_bytes(mutate_dicom(rng, folder))
    with Pool([path], workers=1) as pool:
        (found,) = pool.results([make_task(path, rng.choice(("standard", "reflacx")))])
    fine = isinstance(found, images.DecodeError) and path.name in str(found)
    return "DecodeError by the pool", "" if fine else f"its process ended, and then: {found}"


def _readable(stream: Any, seconds: float) -> bool:
    import select

    return bool(select.select([stream], [], [], seconds)[0])


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def inputs(count: int, seed: int) -> Iterator[tuple[str, int]]:
    """Kinds in turn, and numbers."""
    for i in range(count):
        yield KINDS[i % len(KINDS)], seed + i


def run(count: int, seed: int, report: Path | None = None) -> dict[str, Any]:
    """Tries `count` inputs; what became of them, by kind."""
    became: dict[str, Counter[str]] = {}
    wrong, costs = [], []
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        worker = Worker(Path(folder))
        for done, (kind, number) in enumerate(inputs(count, seed), 1):
            result, fault, cost = worker.try_one(kind, number)
            if result == "died" and kind == "dicom":
                result, fault = try_in_pool(Path(folder) / f"pool-{number}", number)
            became.setdefault(kind, Counter())[result] += 1
            costs.append((cost, kind, number))
            if fault:
                wrong.append({"kind": kind, "seed": number, "became": result, "fault": fault})
                print(f"{kind} {number}: {result}: {fault[:300]}", file=sys.stderr, flush=True)
            if report is not None and (done % 200 == 0 or done == count):
                found = _summary(became, wrong, costs)
                report.write_text(json.dumps(found, indent=1), encoding="utf-8")
        worker.close()
    return _summary(became, wrong, costs)


def _summary(became: dict[str, Counter[str]], wrong: list, costs: list) -> dict[str, Any]:
    def most(name: str) -> list:
        cost, kind, number = max(costs, key=lambda entry: entry[0].get(name, 0))
        return [round(cost.get(name, 0), 3), kind, number]

    totals: Counter[str] = Counter()
    for counts in became.values():
        totals.update(counts)
    return {
        "inputs": totals.total(),
        "became": dict(totals),
        "by_kind": {kind: dict(counts) for kind, counts in became.items()},
        "slowest_cpu_s": most("cpu"),
        "slowest_clock_s": most("clock"),
        "largest_peak_mib": most("mib"),
        "wrong": wrong,
    }
