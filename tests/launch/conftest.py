"""A machine for each test, on which no secret may have been written down at the end."""

import pytest

from tests.launch.machine import SECRET, Machine


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    calls = tmp_path / "calls.jsonl"
    assert not calls.exists() or SECRET not in calls.read_text()
