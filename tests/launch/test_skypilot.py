"""skypilot.yaml: its fields, and its two scripts as a machine would run them."""

import json
import pathlib
import subprocess

import jsonschema
import pytest
import yaml

from tests.launch.machine import LAUNCH, printed

SCHEMA = json.loads(pathlib.Path(__file__).with_name("skypilot_schema.json").read_text())
TASK = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
ENVS = {
    **{name: value or "" for name, value in TASK["envs"].items()},
    "CONFIG": "configs/a b.py:c=d",
    "WORKDIR": "gs://bucket/my run",
}


def do(machine, part: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", TASK[part]],
        env={**machine.env, **ENVS, **env},
        cwd=machine.repository,
        capture_output=True,
        text=True,
    )


def test_the_task_fits_the_schema():
    jsonschema.validate(TASK, SCHEMA)
    assert TASK["resources"]["job_recovery"] == {
        "recover_on_exit_codes": [75],
        "max_restarts_on_errors": 0,
    }


def test_what_must_be_given_is_null():
    assert [name for name, value in TASK["envs"].items() if value is None] == ["CONFIG", "WORKDIR"]


@pytest.mark.parametrize("code", [0, 1, 75])
def test_setup_and_run(machine, code):
    machine.answers("codes", code)
    found = do(machine, "setup", DATA="gs://b/my data")
    assert found.returncode == 0, found.stderr
    [rsync] = machine.words("gcloud")
    assert rsync[-2:] == ["gs://b/my data", str(machine.folder / "gazax" / "data")]
    assert do(machine, "run", ARGS="--config.e='f g' --config.h=1").returncode == code
    given = [f"--config={ENVS['CONFIG']}", f"--workdir={ENVS['WORKDIR']}"]
    assert machine.words("trainer") == [
        ["-m", "gazax.main", *given, "--config.e=f g", "--config.h=1"]
    ]


def test_a_dry_run_prints_the_commands(machine):
    assert printed(do(machine, "setup", DRY_RUN="1").stdout) == [
        ["bash", "launch/tpu_worker.sh", "setup", ""]
    ]
    [words] = printed(do(machine, "run", DRY_RUN="1").stdout)
    assert words[-1] == "--workdir=gs://bucket/my run"
    assert not machine.calls()


def test_a_workdir_on_the_slice_is_refused(machine):
    found = do(machine, "setup", WORKDIR="runs/a")
    assert found.returncode == 2
    assert "not in a bucket" in found.stderr
