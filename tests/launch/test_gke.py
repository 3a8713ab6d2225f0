"""gke.sh: what it creates, against the schemas, and what it refuses."""

import json
import pathlib

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.launch.machine import printed

SCHEMA = json.loads(pathlib.Path(__file__).with_name("jobset_schema.json").read_text())
VARIABLES = {
    "JOB_NAME": "gazat-1",
    "KUBE_CONTEXT": "my-cluster",
    "IMAGE": "us-docker.pkg.dev/p/r/gazax:tpu",
    "SERVICE_ACCOUNT": "gazax@p.iam.gserviceaccount.com",
    "TPU_ACCELERATOR": "tpu-v5-lite-podslice",
    "TPU_TOPOLOGY": "4x4",
}
ARGS = ["--config=a b.py:c=d", "--workdir=gs://b/my run", r'--config.e="${HOME}" $(X) & \ # é']


def created(machine, **env) -> tuple[dict, dict]:
    """The account and the JobSet that kubectl was handed."""
    found = machine.run("gke.sh", *ARGS, **{**VARIABLES, **env})
    assert found.returncode == 0, found.stderr
    account, jobset = machine.calls("kubectl")
    assert account["words"] == ["apply", "--context=my-cluster", "--filename=-"]
    assert jobset["words"] == ["create", "--context=my-cluster", "--filename=-"]
    return tuple(yaml.safe_load(call["stdin"].replace("@n", "\n")) for call in (account, jobset))


@pytest.mark.parametrize("data", ["", "gs://bucket/my data/"])
@pytest.mark.parametrize("spot", ["0", "1"])
def test_the_manifests_fit_their_schemas(machine, data, spot):
    account, jobset = created(machine, DATA=data, SPOT=spot)
    kubernetes_validate.validate(account, "1.37", strict=True)
    jsonschema.validate(jobset, SCHEMA)
    [replicated] = jobset["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, **replicated["template"]}
    kubernetes_validate.validate(job, "1.37", strict=True)
    pod = job["spec"]["template"]["spec"]
    assert ("cloud.google.com/gke-spot" in pod["nodeSelector"]) == (spot == "1")
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert volumes == ({"cache", "data"} if data else {"cache"})
    assert volumes == {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    if data:
        csi = next(volume["csi"] for volume in pod["volumes"] if volume["name"] == "data")
        assert csi["volumeAttributes"] == {
            "bucketName": "bucket",
            "mountOptions": "implicit-dirs,only-dir=my data",
        }


def test_the_arguments_arrive_as_they_were_given(machine):
    _, jobset = created(machine)
    [container] = pod_of(jobset)["containers"]
    # Kubernetes reads $$ as $, and so $$(X) as no variable.
    assert [word.replace("$$", "$") for word in container["args"]] == ARGS
    assert "$$(X)" in container["args"][2]


def test_one_pod_a_host_of_the_slice(machine):
    _, jobset = created(machine, TPU_TOPOLOGY="16x16")
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["parallelism"] == job["completions"] == 64
    assert pod_of(jobset)["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}


@pytest.mark.parametrize(
    ("code", "disrupted", "outcome"),
    [
        (75, False, "restart"),
        (134, False, "restart"),
        (1, False, "fail"),
        (2, False, "fail"),
        (1, True, "restart"),
    ],
)
def test_what_a_pods_end_means(machine, code, disrupted, outcome):
    """The policies as the API reference has them evaluated: the first rule that fits."""
    _, jobset = created(machine, MAX_RELAUNCHES="7")
    spec = jobset["spec"]
    assert spec["failurePolicy"]["maxRestarts"] == 7
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["backoffLimit"] == 0
    assert pod_of(jobset)["restartPolicy"] == "Never"
    reason = "BackoffLimitExceeded"
    for rule in job["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        fits = code in codes["values"] and codes["operator"] == "In" if codes else disrupted
        if fits:
            reason = {"FailJob": "PodFailurePolicy", "Count": reason}[rule["action"]]
            break
    actions = [
        rule["action"]
        for rule in spec["failurePolicy"]["rules"]
        if reason in rule["onJobFailureReasons"]
    ]
    assert actions == {"restart": [], "fail": ["FailJobSet"]}[outcome]


def pod_of(jobset: dict) -> dict:
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


def test_a_dry_run_prints_commands_that_a_shell_can_take(machine):
    dry = machine.run("gke.sh", *ARGS, **VARIABLES, DRY_RUN="1")
    assert dry.returncode == 0, dry.stderr
    assert not machine.calls()
    pasted = machine.folder / "pasted.sh"
    pasted.write_text(dry.stdout)
    machine.run(f"../../{pasted.name}")
    by_hand = machine.calls("kubectl")
    machine.run("gke.sh", *ARGS, **VARIABLES)
    assert by_hand == machine.calls("kubectl")[2:]
    assert len(by_hand) == 2
    assert printed(dry.stdout.splitlines()[0])[0][:2] == ["kubectl", "apply"]


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        ([], {"IMAGE": "", "KUBE_CONTEXT": ""}, "IMAGE: "),
        (["--config=a"], {}, "--workdir=gs://"),
        (ARGS, {"JOB_NAME": "My_Run"}, "JOB_NAME='My_Run'"),
        (ARGS, {"TPU_TOPOLOGY": "sixteen"}, "TPU_TOPOLOGY='sixteen'"),
        (ARGS, {"TPU_TOPOLOGY": "1x3"}, "no multiple"),
        (ARGS, {"DATA": "data"}, "DATA='data'"),
        ([*ARGS, "a\nb"], {}, "line break"),
    ],
)
def test_a_mistake_is_named(machine, words, env, said):
    found = machine.run("gke.sh", *words, **{**VARIABLES, **env})
    assert found.returncode == 2, found.stderr
    assert said in found.stderr
    assert not machine.calls()
