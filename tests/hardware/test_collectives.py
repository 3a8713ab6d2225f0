"""Of real programs of four devices, and of the lines that only a TPU's compiler writes."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from gazax.hardware.collectives import Collective, read_collectives
from gazax.typing import RunError

DEVICES = 4


def compiled_text(function, shape):
    """Of a program in which every device has an array of this shape."""
    mesh = jax.make_mesh((DEVICES,), ("d",), axis_types=(AxisType.Auto,))
    part = PartitionSpec("d")
    mapped = jax.shard_map(function, mesh=mesh, in_specs=part, out_specs=part, check_vma=False)
    whole = jax.ShapeDtypeStruct((DEVICES * shape[0], *shape[1:]), jnp.float32)
    return jax.jit(mapped).lower(whole).compile().as_text()


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        # 32 x 4 float32 on each device: 512 bytes
        (lambda x: jax.lax.psum(x, "d"), (32, 4), ("all-reduce", 512)),
        # 8 x 4 on each, 32 x 4 gathered: 512 bytes
        (lambda x: jax.lax.all_gather(x, "d", tiled=True), (8, 4), ("all-gather", 512)),
        # 32 x 4 on each, 8 x 4 of the sum kept: 512 bytes go in
        (lambda x: jax.lax.psum_scatter(x, "d", tiled=True), (32, 4), ("reduce-scatter", 512)),
        (lambda x: jax.lax.all_to_all(x, "d", 0, 0, tiled=True), (32, 4), ("all-to-all", 512)),
        (
            functools.partial(
                jax.lax.ppermute, axis_name="d", perm=[(i, (i + 1) % DEVICES) for i in range(4)]
            ),
            (32, 4),
            ("collective-permute", 512),
        ),
        (lambda x: x + 1, (32, 4), None),
    ],
)
def test_bytes_are_those_worked_out_by_hand(function, shape, expected):
    found = read_collectives(compiled_text(function, shape), devices=DEVICES)
    assert found == ([] if expected is None else [Collective(expected[0], DEVICES, expected[1])])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # begun and ended by two operations
        (
            "%a = f32[128]{0:T(128)} all-reduce-start(%x), replica_groups={{0,1},{2,3}}\n"
            "%b = f32[128]{0:T(128)} all-reduce-done(%a)",
            Collective("all-reduce", 2, 512),
        ),
        # what goes in stands beside what comes out: 64 + 256 bytes
        (
            "%a = (f32[16]{0:T(128)S(1)}, f32[64]{0:T(128)}) all-gather-start(%x), "
            "replica_groups=[1,4]<=[4], dimensions={0}\n"
            "%b = f32[64]{0:T(128)} all-gather-done(%a)",
            Collective("all-gather", 4, 256),
        ),
        (
            "%a = (bf16[8,128]{1,0:T(8,128)(2,1)}, bf16[8,128]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}, "
            "u32[]{:S(2)}) collective-permute-start(%x), source_target_pairs={{0,1},{1,0}}",
            Collective("collective-permute", 4, 2048),
        ),
        # several arrays at once, over all devices
        (
            "%a = (f32[8]{0}, bf16[4]{0}, f32[]) all-reduce(%x, %y, %z), replica_groups={}",
            Collective("all-reduce", 4, 44),
        ),
        ("%a = f32[] all-reduce(%x), replica_groups=[1,4]<=[4]", Collective("all-reduce", 4, 4)),
        (
            "%a = f32[128]{0} all-reduce(%x), replica_groups=mesh['data'=2,'fsdp'=8] {'fsdp'}",
            Collective("all-reduce", 8, 512),
        ),
        (
            "%a = f32[128]{0} all-reduce(%x), replica_groups=mesh['a'=2,'b'=8] {'a','b':(1)2}",
            Collective("all-reduce", 4, 512),
        ),
        # among a single device nothing is said
        ("%a = f32[128]{0} all-reduce(%x), replica_groups=[4,1]<=[4]", None),
        ("%all-reduce.1 = f32[128]{0} add(%x, %y)", None),
    ],
)
def test_lines_of_a_compiled_program(line, expected):
    found = read_collectives(f"ENTRY %main (x: f32[128]) -> f32[128] {{\n  {line}\n}}", devices=4)
    assert found == ([] if expected is None else [expected])


def test_a_form_that_is_not_known_is_no_guess():
    with pytest.raises(RunError, match="a new form: <0..4>"):
        read_collectives("%a = f32[8]{0} all-reduce(%x), replica_groups=<0..4>", devices=4)


def test_a_fusion_that_keeps_a_part_of_a_sum_is_a_reduce_scatter():
    """A TPU's compiler writes it so."""
    text = """
%all-reduce-scatter.1 (input: f32[64]) -> f32[16] {
  %sum = f32[64]{0} all-reduce(%input), replica_groups=[1,4]<=[4]
}

ENTRY %main (x: f32[64]) -> f32[16] {
  %kept = f32[16]{0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
  %sum = f32[64]{0} all-reduce(%x), replica_groups=[1,4]<=[4]
}
"""
    kinds = [one.kind for one in read_collectives(text, devices=4)]
    assert kinds == ["reduce-scatter", "all-reduce"]
