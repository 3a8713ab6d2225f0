"""Trains and evaluates variants of a config with several seeds, and compares them in one table.

    python -m gazax.sweep --config=configs/ablations/components.py --out=DIR
    python -m gazax.sweep --config=configs/ablations/components.py --out=DIR --print

One run after the other, each in DIR/runs; what is finished is not run again, so that the same
command goes on after an interruption, and tries again what failed. With --print the commands of
what is not finished are printed, to be run anywhere that sees DIR, a run that begins with another's
weights after that one; afterwards this makes the table.

Written: table.txt, table.csv, table.json, figure.png, figure.svg, sweep.json, logs/, runs/; and
tables.md, where the config asks for tables in a paper's layout.

Exit codes: 0 done, 1 a run failed (the others were run, and the table says which is missing), 2
the input is wrong, 75 interrupted and saved (the same command goes on).
"""

import datetime
import os
import pathlib
import platform
import shlex
import sys
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.typing import InputError

if TYPE_CHECKING:  # what takes seconds to import waits until a signal would be heard
    from etils import epath

    from gazax.experiment.sweep import Sweep
    from gazax.experiment.sweep_plan import Plan

OUT = flags.DEFINE_string("out", None, "Folder of the sweep.")
PRINT = flags.DEFINE_boolean("print", False, "Print the commands, a line a run, and end.")
VARIANTS = flags.DEFINE_list("variants", None, "Run only these variants, separated by commas.")
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main(config: ConfigDict, spec: str, overrides: dict[str, Any]) -> int:
    """The sweep, from plan to table."""
    from gazax.train.preemption import EXIT_RESUMABLE, Preemption

    with Preemption() as preemption:  # before the imports, which take seconds
        from etils import epath

        from gazax.experiment.sweep import Sweep
        from gazax.experiment.sweep_plan import make_plan
        from gazax.train.cluster import refuse_others

        config_lib.check_json()
        refuse_others("gazax.sweep")
        if not OUT.value:
            raise InputError("--out=DIR is needed: the folder of the sweep.")
        plan = make_plan(config)
        runs = plan.chosen(VARIANTS.value or [variant.name for variant in plan.variants])
        sweep = Sweep(plan, epath.Path(OUT.value).expanduser())
        if PRINT.value:
            left = [run for run in runs if not sweep.finished(run)]
            for run in left:
                print(sweep.shell_line(run))
            if len(left) < len(runs):
                print(f"{len(runs) - len(left)} more are finished", file=sys.stderr)
            return 0
        sweep.lock()
        code = sweep.run(runs, preemption)
        if code != EXIT_RESUMABLE:
            write_table(sweep, plan, epath.Path(OUT.value).expanduser())
        return code


def write_table(sweep: "Sweep", plan: "Plan", out: "epath.Path") -> None:
    """Compares what is finished: printed, and as text, csv, json and figure."""
    from etils import epath

    from gazax.eval import contrasts, paper_table
    from gazax.eval.comparison import as_csv, as_dict, as_text, compare
    from gazax.eval.comparison_figure import Place, save_figure
    from gazax.eval.report import caveats
    from gazax.train.files import write_text
    from gazax.train.workdir import write_json

    records = sweep.results()
    references = {variant.name: variant.reference for variant in plan.compared}
    comparison = compare(records, references, plan.metrics)
    tables = [paper_table.lay_out(layout, records) for layout in plan.tables]
    asked = contrasts.contrast_rows(plan.contrasts, records) if plan.contrasts else None
    missing = sweep.missing()
    splits = {
        f"{len(record.index)} images of {len(set(record.patient))} patients"
        for runs in records.values()
        for record in runs.values()
    }
    title = (
        f"{caveats(phantom=sweep.phantom_numbers(), protocol=sweep.protocol())}"
        f"{plan.split} split: {' or '.join(sorted(splits)) or 'nothing'}; "
        f"seeds {', '.join(map(str, plan.seeds))}"
    )
    about = (
        "95 % intervals over seeds, draws and patients; p two-sided by the same bootstrap, "
        "Holm's correction over all differences of this table"
    )
    made = (
        f"{datetime.date.today()}, {cpu_name()}, {os.cpu_count()} cores: "
        f"python -m gazax.sweep {shlex.join(sys.argv[1:])}"
    )
    lines = [title, about, made]
    for table in tables:
        lines += ["", "", paper_table.as_text(table)]
    if asked:
        lines += ["", "", contrasts.as_text(asked)]
    lines += [*(["", ""] if tables or asked else [""]), as_text(comparison)]
    if speed := sweep.step_seconds():
        each = "  ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in speed.items())
        lines += ["", f"ms a training step, median, as it ran beside whatever else ran: {each}"]
    if missing:
        lines += ["", "missing, and not in the numbers above:"]
        lines += [f"  {name}: {why}" for name, why in missing.items()]
    text = "\n".join(lines)
    print(f"\n{text}\n\n{out}/table.txt, table.csv, table.json, figure.png, figure.svg", flush=True)
    found = {
        "title": title,
        "made": made,
        "phantom_numbers": sweep.phantom_numbers(),
        "protocol": sweep.protocol(),
        "variants": as_dict(comparison),
        "tables": [paper_table.as_dict(table) for table in tables],
        "contrasts": contrasts.as_dict(asked) if asked else None,
        "notes": comparison.notes,
        "step_seconds": speed,
        "missing": missing,
    }
    write_text(out / "table.txt", f"{text}\n")
    write_text(out / "table.csv", as_csv(comparison))
    if tables:
        text = "\n\n".join(paper_table.as_markdown(table) for table in tables)
        text += "".join(f"\n- missing: {name}: {why}" for name, why in missing.items())
        write_text(out / "tables.md", f"{title}. {made}\n\n{text}\n")
    write_json(out / "table.json", found)
    if config_lib.JSON.value:
        write_json(epath.Path(config_lib.JSON.value).resolve(), found)
    if comparison.rows:
        places = {variant.name: Place(variant.x, variant.line) for variant in plan.compared}
        caption = f"{title}; 95 % intervals"
        save_figure(out, comparison.rows, places=places, x_label=plan.x_label, title=caption)


def cpu_name() -> str:
    """What the machine calls its processor."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    config_lib.run(main, takes_config=True)
