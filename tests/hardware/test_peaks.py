import pytest

from gazax.hardware.peaks import peak_flops


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v5 lite", 197e12),
        ("TPU v4", 275e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("Tesla V100-SXM2-16GB", 125e12),
    ],
)
def test_a_device_is_known_by_its_name_whatever_its_memory(kind, peak):
    assert peak_flops(kind) == peak


@pytest.mark.parametrize(
    "kind",
    [
        "cpu",
        "NVIDIA L40",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA A40-8Q",
        "TPU v99",
    ],
)
def test_one_that_is_not_known_is_not_guessed(kind):
    assert peak_flops(kind) is None
