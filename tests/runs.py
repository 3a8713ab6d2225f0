"""The command as a person runs it, for tests of whole runs."""

import json
import os
import pathlib
import subprocess
import sys
from unittest import mock

from etils import epath

from tests import zygote

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = "configs/gazat_vit.py:smoke"


def command(workdir, *flags, config=CONFIG):
    return [
        sys.executable,
        "-m",
        "gazax.main",
        f"--config={config}",
        f"--workdir={workdir}",
        *flags,
    ]


def call(env, *words, code=0, cwd=ROOT):
    """Python with these words (``-m``, a command, its flags), which ends with that exit code."""
    words = [str(word) for word in words]
    if words[0] == "-m" and zygote.serves(env):
        done = zygote.run(words[1], words[2:], cwd=cwd, env=env, timeout=400)
    else:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=400,
        )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def run(env, workdir, *flags, config=CONFIG, code=0):
    return call(env, *command(workdir, *flags, config=config)[1:], code=code)


def lines(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


def make_run(env, workdir, spec, **overrides):
    """A run made in this process, which checks all that it was given and writes nothing.

    Overrides are keys of the config with '__' for the dots.
    """
    # Here and not above: a subprocess's test needs none of it.
    from gazax import config as config_lib
    from gazax.experiment.run import Run

    config = config_lib.load(str(ROOT / spec))  # whatever the current folder is
    for key, value in overrides.items():
        *folders, leaf = key.split("__")
        block = config
        for folder in folders:
            block = block[folder]
        block[leaf] = value
    with mock.patch.dict(os.environ, GAZAX_DATA=env["GAZAX_DATA"]):
        return Run(config, epath.Path(workdir), source=config.init_from.path)
