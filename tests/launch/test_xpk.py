"""xpk.sh: the one command that it is."""

import shlex

import pytest

from tests.launch.machine import printed

VARIABLES = {
    "JOB_NAME": "gazat-1",
    "CLUSTER": "my-cluster",
    "PROJECT": "my-project",
    "ZONE": "us-west4-a",
    "IMAGE": "us-docker.pkg.dev/p/r/gazax:tpu",
    "ACCELERATOR_TYPE": "v5litepod-16",
}
ARGS = ["--config=a b.py:c=d", "--workdir=gs://b/my run", "--config.e=it's $HOME {f}"]


def test_the_command_survives_the_shell_in_the_container(machine):
    assert machine.run("xpk.sh", *ARGS, **VARIABLES, SPOT="1").returncode == 0
    [words] = machine.words("xpk")
    assert words[:2] == ["workload", "create"]
    assert {"--restart-on-exit-codes=75", "--max-restarts=20", "--spot"} <= set(words)
    command = words[-1].removeprefix("--command=")
    assert shlex.split(command) == ["exec", "python", "-m", "gazax.main", *ARGS]


def test_a_dry_run_prints_the_same(machine):
    dry = machine.run("xpk.sh", *ARGS, **VARIABLES, DRY_RUN="1")
    assert not machine.calls()
    machine.run("xpk.sh", *ARGS, **VARIABLES)
    assert [line[1:] for line in printed(dry.stdout)] == machine.words("xpk")


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (ARGS, {"CLUSTER": "", "ZONE": ""}, "CLUSTER: "),
        (["--workdir", "runs/a"], {}, "found 'runs/a'"),
        ([*ARGS, "a\nb"], {}, "line break"),
    ],
)
def test_a_mistake_is_named(machine, words, env, said):
    found = machine.run("xpk.sh", *words, **{**VARIABLES, **env})
    assert found.returncode == 2
    assert said in found.stderr
    assert not machine.calls()
