import jax
import numpy as np
import optax
import pytest
from etils import epath

from gazax.train import freeze, sharding
from gazax.train.step import make_step
from gazax.typing import InputError
from tests.train import toys

PARAMS = {
    "backbone": {"blocks_0": {"kernel": 1, "bias": 2}, "blocks_1": {"kernel": 3}, "act": {}},
    "head": {"kernel": 4},
}


def trained(method, *, parallel, fsdp=1, steps=3, tx=toys.TX):
    step = make_step(
        method,
        tx,
        toys.schedule,
        mesh=sharding.make_mesh(fsdp=fsdp),
        parallel=parallel,
        seed=0,
    )
    state = toys.start(method, tx=tx, fsdp=fsdp).fresh()
    before = toys.flat((state.params, state.method_state))
    for i in range(steps):
        state, terms = step(state, toys.batch(i))
    return before, toys.flat((state.params, state.method_state)), state, terms


def moved(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if (before[name] != after[name]).any()}


def test_split_takes_whole_paths_and_merge_puts_them_back():
    trainable, frozen = freeze.split(PARAMS, ("backbone/blocks_0/.*", "backbone/.*/bias"))
    assert frozen == {"backbone": {"blocks_0": {"kernel": 1, "bias": 2}}}
    assert trainable == {
        "backbone": {"blocks_1": {"kernel": 3}, "act": {}},
        "head": {"kernel": 4},
    }
    assert freeze.merge(trainable, frozen) == PARAMS
    with pytest.raises(InputError):  # a part of a path is not a match
        freeze.split(PARAMS, ("blocks_0",))


def test_nothing_frozen_leaves_the_tree_as_it_is():
    trainable, frozen = freeze.split(PARAMS, ())
    assert trainable is PARAMS
    assert frozen == {}
    assert freeze.merge(trainable, frozen) is PARAMS


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("backbone/.*", "haed/.*"), r"config\.freeze: 'haed/\.\*' .* such as .*head/kernel"),
        (("backbone/(",), r"config\.freeze: 'backbone/\(' is no regular expression"),
        ((".*",), r"config\.freeze=\('\.\*',\) freezes all"),
    ],
)
def test_a_regex_that_cannot_be_meant_is_refused(patterns, message):
    with pytest.raises(InputError, match=message):
        freeze.split(PARAMS, patterns)


def test_a_run_with_such_a_regex_fails_before_it_begins():
    with pytest.raises(InputError, match="matches none of the 8 parameters"):
        toys.start(toys.Toy(freeze=("backbone/fc9/.*",)))


@pytest.mark.parametrize(
    ("parallel", "fsdp", "names"),
    [
        ("jit", 1, ".*"),
        ("jit", 1, "(kernel|scale|bias)"),  # its statistics go with its parameters
        ("jit", 2, ".*"),
        ("shard_map", 1, ".*"),
        ("pmap", 1, ".*"),
    ],
)
def test_frozen_layers_keep_every_bit_and_the_others_learn(parallel, fsdp, names):
    """Four devices. Layer 1 is frozen with its statistics; everything else moves."""
    method = toys.Toy(freeze=(f"backbone/(fc|bn)1/{names}",))
    before, after, state, _ = trained(method, parallel=parallel, fsdp=fsdp)
    expected = {name for name in before if "fc1/" not in name and "bn1/" not in name}
    assert moved(before, after) == expected
    assert "1/backbone/bn2/mean" in expected
    assert not any("fc1" in name or "bn1" in name for name in toys.flat(state.opt_state))


def test_every_way_trains_to_the_same_parameters():
    method = toys.Toy(freeze=("backbone/(fc|bn)1/.*",))
    (_, one, _, _), *others = (
        trained(method, parallel=parallel) for parallel in ("jit", "shard_map", "pmap")
    )
    for _, other, _, _ in others:
        for name in one:
            np.testing.assert_allclose(other[name], one[name], atol=2e-4, err_msg=name)


def test_a_frozen_backbone_leaves_the_vit_as_it_is_and_the_norms_to_the_head():
    method = toys.Toy(backbone=toys.tiny_vit(), freeze=("backbone/.*",))
    before, after, state, terms = trained(method, parallel="jit")
    assert moved(before, after) == {"0/head/kernel", "0/head/bias"}
    np.testing.assert_allclose(
        terms["param_norm"], optax.tree.norm(state.params["head"]), rtol=1e-6
    )
    moments = [x.shape for x in jax.tree.leaves(state.opt_state) if x.ndim]
    assert sorted(moments) == [(3,), (3,), (16, 3), (16, 3)]


def test_the_gradient_of_the_rest_is_what_it_was():
    """Layer 1 without its statistics: the first update of the others is that of a free run."""
    runs = [
        trained(toys.Toy(freeze=freeze), parallel="jit", steps=1, tx=optax.sgd(0.1))
        for freeze in ((), ("backbone/fc1/.*", "backbone/bn1/scale"))
    ]
    (_, free, _, _), (before, frozen, _, _) = runs
    still = {"0/backbone/fc1/kernel", "0/backbone/bn1/scale"}
    assert moved(before, frozen) == before.keys() - still
    assert moved(before, free) == before.keys()
    for name in before.keys() - still:
        np.testing.assert_allclose(frozen[name], free[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_resumed_in_the_middle_it_is_bit_identical_and_still_frozen(tmp_path):
    folder = epath.Path(tmp_path)
    method = toys.Toy(freeze=("backbone/(fc|bn)1/.*",))
    whole = toys.train(method, folder / "whole", steps=6)
    toys.train(method, folder / "parts", steps=4)
    parts = toys.train(method, folder / "parts", steps=6)
    jax.tree.map(np.testing.assert_array_equal, toys.flat(whole.state), toys.flat(parts.state))
    begin = toys.start(method).fresh()
    before, after = (toys.flat((s.params, s.method_state)) for s in (begin, parts.state))
    assert not any("fc1/" in name or "bn1/" in name for name in moved(before, after))
