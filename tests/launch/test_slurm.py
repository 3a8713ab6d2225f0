"""slurm.sbatch as Slurm would run it, with a stand-in for srun that runs its command."""

import re

import pytest

from tests.launch.machine import LAUNCH, printed

ARGS = ["--config=a b.py:c=d", "--workdir=/scratch/my run"]
JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS_PER_NODE": "4", "SLURM_GPUS_ON_NODE": "4"}


@pytest.fixture
def job(machine):
    """Runs the script inside a job; its environment has a space in its path."""
    python = machine.folder / "my venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(machine.folder / "bin" / "trainer")
    venv = str(python.parent.parent)

    def run(**env):
        return machine.run("slurm.sbatch", *ARGS, **{**JOB, "VENV": venv, **env})

    machine.job = run
    return machine


@pytest.mark.parametrize("code", [0, 1, 2, 134])
def test_an_end_is_passed_on(job, code):
    job.answers("codes", code)
    assert job.job().returncode == code
    assert job.words("trainer") == [["-m", "gazax.main", *ARGS]]
    assert not job.calls("scontrol")


def test_75_queues_the_job_again(job):
    job.answers("codes", 75)
    found = job.job(SLURM_RESTART_COUNT="3")
    assert job.words("scontrol") == [["requeue", "7"]]
    assert "(4 of 20)" in found.stderr


def test_not_for_ever(job):
    job.answers("codes", 75)
    assert job.job(SLURM_RESTART_COUNT="20").returncode == 75
    assert not job.calls("scontrol")


def test_one_task_that_ends_does_not_kill_those_that_save(job):
    assert job.job(SLURM_CPUS_PER_TASK="8").returncode == 0
    [words] = job.words("srun")
    assert {"--kill-on-bad-exit=0", "--wait=0", "--cpus-per-task=8"} <= set(words)


@pytest.mark.parametrize(
    ("tasks", "gpus", "devices"),
    [("4", "4", ""), ("1", "4", "0,1,2,3"), ("1", "1", ""), ("1", "0", "")],
)
def test_a_task_of_a_node_sees_all_its_gpus(job, tasks, gpus, devices):
    found = job.job(SLURM_NTASKS_PER_NODE=tasks, SLURM_GPUS_ON_NODE=gpus)
    assert found.returncode == 0, found.stderr
    assert job.calls("trainer")[0]["devices"] == devices


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"SLURM_NTASKS_PER_NODE": "3"}, "one task a GPU or one a node"),
        ({"SLURM_GPUS_PER_TASK": "1"}, "--gpus-per-node and not --gpus-per-task"),
        ({"VENV": "elsewhere"}, "set VENV"),
        ({"SLURM_JOB_ID": ""}, "submit it"),
    ],
)
def test_a_mistake_is_named(job, env, said):
    found = job.job(**env)
    assert found.returncode == 2
    assert said in found.stderr
    assert not job.calls()


def test_a_dry_run_prints_the_commands(machine):
    dry = machine.run("slurm.sbatch", *ARGS, DRY_RUN="1", VENV="my venv")
    assert dry.returncode == 0, dry.stderr
    srun, requeue = printed(dry.stdout)
    assert srun[-5:] == ["my venv/bin/python", "-m", "gazax.main", *ARGS]
    assert requeue == ["scontrol", "requeue", "$SLURM_JOB_ID"]
    assert not machine.calls()


def test_slurm_warns_the_tasks_and_may_queue_again():
    text = (LAUNCH / "slurm.sbatch").read_text()
    options = re.findall(r"^#SBATCH (\S+)", text, re.MULTILINE)
    assert {"--signal=TERM@120", "--requeue", "--open-mode=append"} <= set(options)
    assert text.index("#SBATCH --open-mode") < text.index("set -euo")  # later ones are not read
