"""How the processes of a run find each other, and what is said when they do not."""

import contextlib
import socket
import sys
import time

import pytest
from jax._src.clusters import ClusterEnv, K8sCluster

from gazax.train import cluster, distributed
from gazax.train.cluster import find
from gazax.typing import InputError
from tests.hosts.processes import Group
from tests.runs import command

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NODELIST": "node[003-004],other1",
    "SLURM_NTASKS": "3",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "3",
}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No cluster, whatever machine the test runs on."""
    for name in (*SLURM, "OMPI_MCA_orte_hnp_uri", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_jax_knows_the_places_that_the_readme_names():
    assert {env.name for env in ClusterEnv._cluster_types} >= {"slurm", "ompi", "gcetpu", "gketpu"}
    assert K8sCluster in ClusterEnv._cluster_types


def test_alone_it_meets_nobody():
    assert find() is None
    assert find(num_processes=1) is None


def test_flags_say_it():
    three = {"num_processes": 4, "process_id": 3}
    for address in (
        {"coordinator_address": "a:12"},
        {"coordinator_address": "a", "coordinator_port": 12},
    ):
        assert find(**three, **address) == ("a", 12, 4, 3, "flags", True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator_address": "a:1"}, "without --num_processes and --process_id: give"),
        ({"num_processes": 2, "process_id": 0}, "without --coordinator_address: give"),
        (
            {"coordinator_address": "a:1", "num_processes": 2, "process_id": 2},
            "counted from 0 to 1",
        ),
        ({"coordinator_address": "a", "num_processes": 2, "process_id": 0}, "has no port"),
        ({"coordinator_address": "a:b", "num_processes": 2, "process_id": 0}, "'b' is no port"),
        (
            {
                "coordinator_address": "a:1",
                "num_processes": 2,
                "process_id": 0,
                "coordinator_port": 2,
            },
            "name two ports",
        ),
    ],
)
def test_flags_that_say_half_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        find(**given)


def test_slurm_says_it(monkeypatch):
    """One task a node has all of its devices; several have one each, as JAX gives them out."""
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    port = 4711 % 2**12 + 65535 - 2**12 + 1
    assert find() == ("node003", port, 3, 2, "slurm", True)
    assert find(coordinator_port=12).port == 12
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "1")
    assert not find().sees_all_devices
    with pytest.raises(InputError, match=r"gazax\.evaluate runs in one .* number 2 of those"):
        cluster.refuse_others("gazax.evaluate")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert find() is None


def test_open_mpi_says_it(monkeypatch):
    monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_RANK", "1")
    found = find()
    assert (found.host, *found[2:]) == ("10.96.0.1", 2, 1, "ompi", False)


def test_kubernetes_without_its_package_is_refused_where_pods_are_many(monkeypatch):
    """The first of them is left alone: a Job of one pod has an index too."""
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert find() is None  # a pod of no Job
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    with (
        pytest.warns(UserWarning, match="kubernetes"),
        pytest.raises(InputError, match="pip install kubernetes"),
    ):
        find()


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        meeting = cluster.Meeting("localhost", port, 2, 0, "flags", True)
        with pytest.raises(InputError, match=rf"cannot listen on port {port} .*--coordinator_port"):
            distributed._check_free(meeting)


def test_sigterm_is_heard_while_hosts_meet(env, tmp_path):
    """A machine that is taken away while it waits for the others is relaunched, with 75."""
    group = Group(command(tmp_path / "run"), 2, env, start=(0,))
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", group.port), 1):
            break
        time.sleep(0.1)
    group.processes[0].terminate()
    (ended,) = group.ended(20)
    assert ended.code == 75


@pytest.mark.parametrize(("present", "message"), [(0, "not all of the others"), (1, "not reach")])
def test_a_host_that_does_not_turn_up_is_missed_with_what_to_look_at(
    env, tmp_path, present, message
):
    words = [*command(tmp_path / "run"), "--initialization_timeout=1"]
    (ended,) = Group(words, 2, env, start=(present,)).ended(60)
    assert ended.code == 1
    assert message in ended.stderr
    for word in ("127.0.0.1:", "firewall", "--coordinator_port=PORT", "--initialization_timeout="):
        assert word in ended.stderr
    assert not (tmp_path / "run").exists()
