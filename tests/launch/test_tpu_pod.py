"""tpu_pod.sh and tpu_worker.sh together, on a slice of two machines that are folders here."""

import os
import shlex
import subprocess

import pytest

from tests.launch.machine import printed, wait_for

SLICE = {
    "TPU_NAME": "my-slice",
    "PROJECT": "my-project",
    "ZONE": "us-west4-a",
    "ACCELERATOR_TYPE": "v5litepod-8",
    "SPOT": "1",
}
AT = ["--project=my-project", "--zone=us-west4-a"]
ARGS = ["--config=configs/a b.py:c=d", "--workdir=gs://bucket/my run", "--config.e=it's $HOME;&"]
TRAINS = ["-m", "gazax.main", *ARGS]
CREATE = [
    *("compute", "tpus", "queued-resources", "create", "my-slice", "--node-id=my-slice", *AT),
    *("--accelerator-type=v5litepod-8", "--runtime-version=v2-alpha-tpuv5-lite", "--spot"),
]
DELETE = ["compute", "tpus", "queued-resources", "delete", "my-slice", *AT, "--force", "--quiet"]


@pytest.fixture
def pod(machine):
    """Runs tpu_pod.sh on a slice that is created and set up."""
    machine.commit()

    def run(*words, **env):
        return machine.run("tpu_pod.sh", *words, **{**SLICE, **env})

    for verb in ("create", "setup"):
        found = run(verb)
        assert found.returncode == 0, found.stderr
    machine.pod = run
    yield machine
    for pid in machine.folder.glob("workers/*/gazax/run/pid"):
        subprocess.run(["kill", "-TERM", pid.read_text().strip()], stderr=subprocess.DEVNULL)


def verbs(machine) -> list[str]:
    """What the slice was asked to do, and not what it was asked."""
    found = [words[3] for words in machine.words("gcloud")]
    return [verb for verb in found if verb in ("create", "delete", "scp")]


def trained(machine) -> list[list[str]]:
    return machine.words("trainer")


def test_create_asks_for_the_slice(machine):
    machine.answers("request", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")
    found = machine.run("tpu_pod.sh", "create", **SLICE, SERVICE_ACCOUNT="a@b")
    assert found.returncode == 0, found.stderr
    assert machine.words("gcloud")[0] == [*CREATE, "--service-account=a@b"]
    assert "waiting for my-slice" in found.stderr


def test_create_says_that_a_request_has_failed(machine):
    machine.answers("request", "FAILED")
    found = machine.run("tpu_pod.sh", "create", **SLICE)
    assert found.returncode == 1
    assert "cannot be had" in found.stderr


def test_setup_brings_the_commit_and_the_data_to_every_worker(pod):
    (pod.repository / "launch" / "not_committed").touch()
    found = pod.pod("setup", DATA="gs://bucket/my data")
    assert found.returncode == 0, found.stderr
    assert "not committed" in found.stderr
    for worker in ("0", "1"):
        home = pod.folder / "workers" / worker
        code = home / "gazax" / "code"
        assert (code / "launch" / "tpu_worker.sh").is_file()
        assert not (code / "launch" / "not_committed").exists()
        assert (code / "data").resolve() == home / "gazax" / "data"
        copied = ["storage", "rsync", "--recursive", "--preserve-posix", "gs://bucket/my data"]
        assert [*copied, str(home / "gazax" / "data")] in pod.words("gcloud")


def test_run_reaches_every_worker_and_ends_when_all_are_done(pod):
    found = pod.pod("run", *ARGS)
    assert found.returncode == 0, found.stderr
    assert trained(pod) == [TRAINS] * 2
    calls = pod.calls("trainer")
    assert {call["host"] for call in calls} == {"w-0", "w-1"}
    assert {call["cwd"] for call in calls} == {
        str(pod.folder / "workers" / worker / "gazax" / "code") for worker in ("0", "1")
    }
    assert all(call["data"].endswith("/gazax/cache") for call in calls)


def test_a_worker_relaunches_after_75(pod):
    pod.answers("codes-w-0", 75, 0)
    pod.answers("codes-w-1", 75, 0)
    assert pod.pod("run", *ARGS).returncode == 0
    assert trained(pod) == [TRAINS] * 4
    assert "delete" not in verbs(pod)


@pytest.mark.parametrize("code", [1, 2])
def test_a_failure_is_not_started_again(pod, code):
    pod.answers("codes-w-1", code)
    pod.answers("codes-w-0", 134)  # its peer is gone
    assert pod.pod("run", *ARGS).returncode == code
    assert len(trained(pod)) == 2
    assert "delete" not in verbs(pod)


def test_interrupted_for_ever_ends(pod):
    pod.answers("codes", 75)
    found = pod.pod("run", *ARGS, MAX_RELAUNCHES="1")
    assert found.returncode == 75
    assert len(trained(pod)) == 4


def test_a_preempted_slice_is_made_again_and_the_run_goes_on(pod):
    # What a preemption does to the last seconds of a run is no failure of it.
    pod.answers("codes", 1, 1, 0)
    # run; watch; after the workers were asked; is the new one there; watch...
    pod.answers("request", "ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDED", "PROVISIONING", "ACTIVE")
    found = pod.pod("run", *ARGS)
    assert found.returncode == 0, found.stderr
    assert verbs(pod) == ["create", "scp", "delete", "create", "scp"]
    assert [words for words in pod.words("gcloud") if words[3] in ("create", "delete")] == [
        *(CREATE, DELETE, CREATE)
    ]
    assert trained(pod) == [TRAINS] * 4


def test_a_slice_whose_machines_are_preempted_is_made_again(pod):
    pod.answers("codes-w-0", "wait", 0)
    pod.answers("slice", "READY", "PREEMPTED", "READY")
    found = pod.pod("run", *ARGS)
    assert found.returncode == 0, found.stderr
    assert verbs(pod) == ["create", "scp", "delete", "create", "scp"]


def test_it_is_made_again_so_often_and_no_more(pod):
    pod.answers("codes", "wait")
    pod.answers("request", "ACTIVE", "SUSPENDED")
    found = pod.pod("run", *ARGS, MAX_RECREATIONS="2")
    assert found.returncode == 75
    assert verbs(pod).count("create") == 3
    assert "MAX_RECREATIONS=2" in found.stderr


def test_a_laptop_without_a_network_does_not_take_a_slice_for_lost(pod):
    pod.answers("codes", "wait", 0)
    pod.answers("request", "ACTIVE", "BROKEN", "ACTIVE", "BROKEN")
    env = {**pod.env, **SLICE}
    process = subprocess.Popen(
        pod.command("tpu_pod.sh", "run", *ARGS), env=env, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: sum("queued-resources" in words for words in pod.words("gcloud")) > 7)
    pod.answers("request", "ABSENT")
    assert process.wait(timeout=20) == 1
    assert verbs(pod) == ["create", "scp"]


def test_setup_waits_for_machines_that_have_just_started(pod):
    pod.answers("scp", "refused", "refused", "works")
    assert pod.pod("setup").returncode == 0
    pod.answers("scp", "refused")
    assert pod.pod("setup").returncode != 0


def test_a_worker_that_went_without_a_word_is_started_again(pod):
    pod.answers("codes-w-0", "lost", 0)
    pod.answers("codes-w-1", 1, 0)  # it lost its peer
    found = pod.pod("run", *ARGS)
    assert found.returncode == 0, found.stderr
    assert trained(pod) == [TRAINS] * 4


def test_stop_saves_and_the_run_is_not_started_again(pod):
    pod.answers("codes", "wait")
    env = {**pod.env, **SLICE}
    process = subprocess.Popen(
        pod.command("tpu_pod.sh", "run", *ARGS), env=env, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(list(pod.folder.glob("waiting-*"))) == 2)
    again = pod.pod("setup")
    assert again.returncode != 0
    assert "a run is under way; stop it first" in again.stderr
    assert pod.pod("status").stdout.split("\n")[:4] == [
        *("request ACTIVE", "slice READY", "gazax-worker w-0 running", "gazax-worker w-1 running")
    ]
    assert pod.pod("stop").returncode == 0
    assert process.wait(timeout=20) == 75
    assert "stopped" in process.stderr.read()
    process.stderr.close()
    assert len(trained(pod)) == 2
    assert "gazax-worker w-1 stopped 75" in pod.pod("status").stdout


def test_run_on_a_running_slice_only_watches(pod):
    pod.answers("codes", "wait")
    command = pod.command("tpu_pod.sh", "run", *ARGS)
    env = {**pod.env, **SLICE}
    first = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(pod.folder.glob("waiting-*"))) == 2)
    first.kill()
    first.wait()
    second = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    wait_for(lambda: sum(w[-1].endswith("status") for w in pod.words("gcloud")) >= 2)
    assert pod.pod("stop").returncode == 0
    assert second.wait(timeout=20) == 75
    assert len(trained(pod)) == 2


def test_workers_that_do_not_answer_end_the_watching(pod):
    assert pod.pod("run", *ARGS).returncode == 0
    pod.answers("codes", "wait")
    pod.answers("ssh", *["works"], *["broken"])
    found = pod.pod("run", *ARGS)
    assert found.returncode == 1
    assert "do not answer" in found.stderr


def test_logs(pod):
    assert pod.pod("run", *ARGS).returncode == 0
    log = pod.folder / "workers" / "1" / "gazax" / "run" / "log"
    log.write_text("step 1\n")
    assert "step 1" in pod.pod("logs", "all").stdout
    assert pod.pod("logs", "two").returncode == 2
    [[*_, worker, command]] = printed(pod.pod("logs", DRY_RUN="1").stdout)
    assert (worker, command.split()[-2:]) == ("--worker=0", ["log", "-F"])


@pytest.mark.parametrize("verb", ["create", "setup", "run", "status", "logs", "stop", "delete"])
def test_a_dry_run_prints_what_would_run_and_runs_nothing(machine, verb):
    machine.commit()
    words = ARGS if verb == "run" else []
    found = machine.run("tpu_pod.sh", verb, *words, **SLICE, DRY_RUN="1", DATA="gs://b/my data")
    assert found.returncode == 0, found.stderr
    assert not machine.calls()
    lines = printed(found.stdout)
    assert lines
    assert {line[0] for line in lines} <= {"git", "gcloud"}
    expected = {"create": CREATE, "delete": DELETE}
    if verb in expected:
        assert lines == [["gcloud", *expected[verb]]]
    if verb == "run":  # the words pass two shells: this one's, and the worker's
        start = next(word for word in lines[0] if word.startswith("--command="))
        assert shlex.split(start)[-len(ARGS) :] == ARGS


def test_what_is_unset_is_named_at_once(machine):
    found = machine.run("tpu_pod.sh", "create", PROJECT="p")
    assert found.returncode == 2
    for name in ("TPU_NAME", "ZONE", "ACCELERATOR_TYPE"):
        assert f"{name}: " in found.stderr
    assert "PROJECT: " not in found.stderr
    assert not machine.calls()


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["run", "--config=a"], {}, "--workdir=gs://"),
        (["run", "--config=a", "--workdir=runs/a"], {}, "found 'runs/a'"),
        (["setup"], {"DATA": "/data"}, "DATA='/data'"),
        (["create"], {"SPOT": "yes"}, "SPOT='yes'"),
        (["create"], {"ACCELERATOR_TYPE": "v9-8"}, "RUNTIME_VERSION"),
        (["creat"], {}, "none of create"),
        ([], {}, "none of create"),
    ],
)
def test_a_mistake_is_named(machine, words, env, said):
    found = machine.run("tpu_pod.sh", *words, **{**SLICE, **env})
    assert found.returncode == 2
    assert said in found.stderr
    assert not machine.calls()


def test_run_says_that_there_is_no_slice(machine):
    machine.answers("request", "ABSENT")
    found = machine.run("tpu_pod.sh", "run", *ARGS, **SLICE)
    assert found.returncode == 2
    assert "tpu_pod.sh create" in found.stderr
    assert os.listdir(machine.folder / "answers") == ["request"]
