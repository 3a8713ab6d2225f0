import importlib.util

import pytest

from gazax.hardware import topology
from gazax.hardware.topology import open_slice, parse
from gazax.typing import InputError


def test_a_name_is_a_kind_and_a_shape():
    assert parse("v5e:16x16") == ("v5e", (16, 16))
    assert parse("v4:2x2x1") == ("v4", (2, 2, 1))
    assert parse("cpu:8") == ("cpu", (8,))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5", r"'v5' is unknown \(did you mean 'v5[ep]'\?\); known: cpu, v4, v5e, v5p, v6e"),
        ("v5e", "write v5e:2x2"),
        ("v5e:0x4", "write v5e:2x2"),
        ("v5e:16", "write v5e:2x2"),
        ("v5p:2by2", "write v5p:2x2x1"),
        ("cpu:2x2", "write cpu:8"),
        ("cpu:99", "4 simulated devices already; take at most cpu:4"),
    ],
)
def test_what_is_no_slice_is_refused_with_one(name, message):
    with pytest.raises(InputError, match=message):
        open_slice(name)


def test_simulated_devices_have_no_published_peaks():
    found = open_slice("cpu:2")
    assert (len(found.devices), found.chips, found.chip) == (2, 2, None)


def test_a_chip_that_the_compiler_parts_is_refused(monkeypatch):
    """JAX runs both cores of a v4 as one device."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    found = type("Topology", (), {"devices": [None] * 8})
    monkeypatch.setattr(topology.topologies, "get_topology_desc", lambda **_: found)
    assert open_slice("v5e:2x4").chips == 8
    with pytest.raises(InputError, match=r"in 2 cores.*Take v5e, v5p or v6e"):
        open_slice("v4:2x2x1")


def test_without_the_compiler_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'gazax\[tpu\]'"):
        topology.open_slice("v5e:2x2")
