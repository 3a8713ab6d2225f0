"""The command; see the package."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.data.hostile import __doc__ as DESCRIPTION
from tests.data.hostile.run import run, work
from tests.data.hostile.trial import Range
from tests.data.hostile.watch import Watch


def main() -> int:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path)
    parser.add_argument(
        "--one", nargs=2, metavar=("KIND", "SEED"), help="one input, in this process"
    )
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work)
        return 0
    if given.one:
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            print(Range(Path(folder), Watch()).try_one(given.one[0], int(given.one[1])))
        return 0
    found = run(given.count, given.seed, given.report)
    print(json.dumps(found, indent=1))
    return int(bool(found["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
