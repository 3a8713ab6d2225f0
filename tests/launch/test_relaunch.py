"""relaunch.sh: again after 75, and after nothing else."""

import signal
import subprocess

import pytest

from tests.launch.machine import LAUNCH, printed, wait_for

WORDS = ["trainer", "--workdir=my run", "--config.a=it's $HOME"]


def test_it_runs_the_same_words_again_after_75(machine):
    machine.answers("codes", 75, 75, 0)
    found = machine.run("relaunch.sh", *WORDS)
    assert found.returncode == 0, found.stderr
    assert machine.words("trainer") == [WORDS[1:]] * 3
    assert "relaunch 2 of 20" in found.stderr


@pytest.mark.parametrize("script", ["relaunch.sh", "tpu_pod.sh", "gke.sh", "xpk.sh"])
def test_a_script_finds_its_neighbours_from_its_own_folder(script):
    """Called by its bare name, which has no folder in it."""
    done = subprocess.run(["bash", script], cwd=LAUNCH, capture_output=True, text=True)
    assert done.returncode == 2
    assert "command_line" not in done.stderr


def test_a_dry_run_is_asked_for_by_1(machine):
    found = machine.run("relaunch.sh", *WORDS, DRY_RUN="yes")
    assert found.returncode == 2
    assert "DRY_RUN is 'yes'" in found.stderr
    assert not machine.calls("trainer")


@pytest.mark.parametrize("code", [0, 1, 2, 134])
def test_any_other_code_is_final(machine, code):
    machine.answers("codes", code)
    assert machine.run("relaunch.sh", *WORDS).returncode == code
    assert len(machine.calls("trainer")) == 1


def test_it_does_not_go_on_for_ever(machine):
    machine.answers("codes", 75)
    found = machine.run("relaunch.sh", *WORDS, MAX_RELAUNCHES="2")
    assert found.returncode == 75
    assert len(machine.calls("trainer")) == 3
    assert "MAX_RELAUNCHES" in found.stderr


def test_sigterm_reaches_the_command_and_is_no_reason_to_relaunch(machine):
    machine.answers("codes", "wait")
    process = subprocess.Popen(machine.command("relaunch.sh", *WORDS), env=machine.env)
    wait_for(lambda: list(machine.folder.glob("waiting-*")))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 75
    assert len(machine.calls("trainer")) == 1


def test_a_dry_run_prints_the_words(machine):
    assert printed(machine.run("relaunch.sh", *WORDS, DRY_RUN="1").stdout) == [WORDS]
    assert not machine.calls()
