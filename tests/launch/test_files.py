"""What can be said of the files of launch/ without running them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.machine import LAUNCH

SCRIPTS = sorted([*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"])
DOCKERFILE = (LAUNCH / "Dockerfile").read_text()


def lint(tool: str, *words: str | Path) -> str:
    beside = str(Path(sys.executable).parent)
    command = shutil.which(tool, path=beside) or shutil.which(tool)
    if command is None:  # there is no wheel of shellcheck for Linux on ARM
        pytest.skip(f"{tool} is not installed")
    found = subprocess.run([command, *words], capture_output=True, text=True, cwd=LAUNCH)
    return found.stdout + found.stderr


def test_shellcheck_finds_nothing():
    assert not lint("shellcheck", "--external-sources", *SCRIPTS)
    assert not lint("shellcheck", Path(__file__).with_name("command.sh"))


def test_hadolint_finds_nothing():
    assert not lint("hadolint", "Dockerfile")


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.name != "command_line.sh"], ids=str)
def test_a_script_can_be_started(script):
    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/usr/bin/env bash\n")


def test_every_file_and_every_variable_is_in_the_readme():
    readme = (LAUNCH / "README.md").read_text()
    assert [p.name for p in LAUNCH.iterdir() if f"`{p.name}`" not in readme] == ["README.md"]
    for script in SCRIPTS:
        text = script.read_text()
        names = {
            *re.findall(r"^ +'([A-Z_]+): ", text, re.MULTILINE),
            *re.findall(r"\$\{([A-Z_]+):?[-=]", text),
        }
        ours = {name for name in names if not name.startswith(("SLURM_", "BASH_", "HOSTNAME"))}
        for name in ours - {"RELAUNCH_RECORD", "TMPDIR"}:  # between two scripts; the system's
            assert f"`{name}" in readme, (script.name, name)


def test_no_file_knows_a_project_or_asks_for_a_secret():
    for path in LAUNCH.iterdir():
        text = path.read_text().lower()
        for word in ("password", "api_key", "token", "secret", "private_key"):
            assert word not in text, (path.name, word)
        assert not re.search(r"--project=[a-z]|projects/[a-z]", text), path.name


@pytest.mark.parametrize("accelerator", ["cpu", "gpu", "tpu"])
def test_the_image_of_an_accelerator(accelerator):
    """Its extras, a base that is pinned, and who runs in it."""
    stages = dict(
        re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.DOTALL | re.MULTILINE)
    )
    extras = {"cpu": "dicom", "gpu": "gpu,dicom", "tpu": "tpu,dicom"}
    assert f"ENV EXTRAS={extras[accelerator]}\n" in stages[f"environment-{accelerator}"]
    assert ("USER 1000" in stages[accelerator]) == (accelerator != "tpu")
    assert 'ENTRYPOINT ["python", "-m", "gazax.main"]' in stages["image"]  # it gets the SIGTERM


def test_bases_are_pinned_and_the_context_is_closed():
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert {base for base in bases if ":" in base} == {"python:${PYTHON}"}
    ignored = (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in ignored if not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert let_in == set(" ".join(copied).split())
    assert all((LAUNCH.parent / name).exists() for name in let_in)
