import functools
import json
import shutil

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import save_file

from gazax.export import foreign
from gazax.train import init_from
from gazax.train.checkpoint import write_manifest
from gazax.train.source import Source, load_source
from gazax.train.workdir import claim, write_json
from gazax.typing import InputError
from tests.train import toys

CONFIG = {
    "data": {"size": [8, 8]},
    "model": {"name": "toy", "depth": 2},
    "eval": {"monitor": ["absent", "score"]},
}
SCORES = {0: 0.9, 2: 0.8, 4: 0.1, 6: 0.2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 6 steps, best at 2, and its state at the end."""
    folder = epath.Path(tmp_path_factory.mktemp("source")) / "run"
    claim(folder, CONFIG, "abc")
    outcome = toys.train(
        toys.Toy(),
        folder,
        steps=6,
        monitor=("score",),
        evaluate=lambda s: {"score": SCORES[int(s.step)]},
    )
    write_json(folder / "summary.json", {"best_step": outcome.best_step, "step": 6})
    return folder, outcome.state


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    return epath.Path(tmp_path) / "run"


@pytest.fixture
def target():
    """Of another seed."""
    state = toys.start(toys.Toy(), seed=1).fresh()
    return state.params, state.method_state


def source(params, state, **changes):
    return Source(
        **{"params": params, "state": state, "name": "SRC", "identity": "", "config": {}, **changes}
    )


def equal(found, expected):
    found, expected = toys.flat(found), toys.flat(expected)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


# --- where weights are found -----------------------------------------------------------------


def test_the_last_step_comes_back_bit_for_bit_as_numpy(run):
    folder, state = run
    found = load_source(folder, which="last")
    equal((found.params, found.state), (state.params, state.method_state))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found.params))
    assert found.name == str(folder / "checkpoints/6")
    assert found.scopes == ("backbone", "head")
    assert found.config["model"] == {"name": "toy", "depth": 2}


def test_best_is_the_summarys(run):
    assert load_source(run[0]).name.endswith("checkpoints/2")


def test_best_of_an_unfinished_run_is_the_best_so_far(copy):
    (copy / "summary.json").unlink()
    assert load_source(copy).name.endswith("checkpoints/2")
    (copy / "config.json").unlink()  # now nobody knows what it monitored
    assert load_source(copy).name.endswith("checkpoints/6")


def test_one_checkpoint_can_be_named_and_has_its_own_identity(run):
    folder, _ = run
    first, again, other = (
        load_source(path, which=which)
        for path, which in ((folder, "best"), (folder / "checkpoints/2", "best"), (folder, "last"))
    )
    assert first.identity == again.identity
    assert len(first.identity) == 64
    assert first.identity != other.identity
    assert again.config == first.config


def test_a_safetensors_file_is_read_by_names(run, tmp_path, target):
    folder, state = run
    found = load_source(folder, which="last")
    arrays = toys.flat({"params": found.params, "state": found.state})
    save_file(arrays, tmp_path / "w.safetensors")
    file = load_source(tmp_path / "w.safetensors")
    equal(init_from.initialise(*target, file), (state.params, state.method_state))
    save_file(
        arrays | {"params/head/bias": arrays["params/head/bias"] + 1}, tmp_path / "v.safetensors"
    )
    assert load_source(tmp_path / "v.safetensors").identity != file.identity


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f / "nowhere", r"'.*nowhere' does not exist"),
        (lambda f: f / "checkpoints", r"has no checkpoints/; give the --workdir"),
        (lambda f: f / "metrics.jsonl", r"no folder and no \.safetensors"),
        (
            lambda f: (f / "summary.json").rename(f / "net.pth"),
            r"torch\.save_file\(torch\.load\('.*/run/net\.pth', .*'.*/run/net\.safetensors'\)\n"
            r".*torchvision\.models",
        ),
        (lambda f: f.parent, r"holds runs of its own: give .*/run\."),
    ],
)
def test_what_holds_no_weights_is_refused(copy, make, message):
    with pytest.raises(InputError, match=message):
        load_source(make(copy))


def test_a_run_without_a_checkpoint_is_refused(copy):
    for step in (copy / "checkpoints").iterdir():
        (step / "MANIFEST.sha256").unlink()
    with pytest.raises(InputError, match="has no checkpoint yet"):
        load_source(copy)
    with pytest.raises(InputError, match=r"unfinished: .*6 has no MANIFEST"):
        load_source(copy / "checkpoints/6")


def test_a_best_step_that_is_gone_is_refused(copy):
    (copy / "checkpoints/2").rmtree()
    with pytest.raises(InputError, match=r"best step 2 is not among its checkpoints \(6\)"):
        load_source(copy)


def test_which_is_best_or_last(run):
    with pytest.raises(InputError, match=r"init_from\.which='lasst' .*did you mean 'last'"):
        load_source(run[0], which="lasst")


def test_a_flipped_bit_is_found(copy):
    (file, *_) = (copy / "checkpoints/6/state/ocdbt.process_0/d").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=f"damaged or unfinished: .*{file.name}"):
        load_source(copy, which="last")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "cannot be read as safetensors"),
        (("blocks.0.weight",), r"'blocks\.0\.weight' is not a name of gazax"),
        (("params",), "'params' is not a name"),
        (("state/backbone/bn1/mean",), "holds no parameters"),
        (("params/backbone", "params/backbone/kernel"), "'params/backbone' is not a name"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, names, message):
    file = tmp_path / "w.safetensors"
    if names is None:
        file.write_bytes(b"\x00" * 5)
    else:
        save_file({name: np.zeros(2, np.float32) for name in names}, file)
    with pytest.raises(InputError, match=message):
        load_source(file)


def test_names_of_gazax_are_read_as_such_though_foreign_ones_could_be(run, tmp_path):
    found = load_source(run[0])
    arrays = toys.flat({"params": found.params, "state": found.state})
    save_file(arrays, tmp_path / "w.safetensors")
    again = load_source(tmp_path / "w.safetensors", read_foreign=foreign.read)
    equal((again.params, again.state), (found.params, found.state))
    assert not again.foreign
    save_file(arrays | {"layer1.0.x": np.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"'layer1\.0\.x' is not a name of gazax"):
        load_source(tmp_path / "w.safetensors", read_foreign=foreign.read)


# --- what goes where --------------------------------------------------------------------------


def test_a_map_takes_a_scope_with_its_statistics_and_leaves_the_rest(run, target):
    found = load_source(run[0], which="last")
    params, state = init_from.initialise(
        *target, found, scopes={"backbone": "backbone"}, fresh=("head",)
    )
    equal((params["backbone"], state), (found.params["backbone"], found.state))
    equal(params["head"], target[0]["head"])


def test_what_is_loaded_left_fresh_and_left_behind_is_said(run, target):
    found = load_source(run[0], which="last")
    told = init_from.describe(*target, found, scopes={"backbone": "backbone"}, fresh=("head",))
    assert told.splitlines() == [
        f"weights from {run[0]}/checkpoints/6",
        "  loaded: backbone, 10 arrays (bn1/bias, bn1/mean, bn1/scale and 7 more)",
        "  fresh: head, 2 arrays (bias, kernel)",
        "  without its head, 2 arrays (bias, kernel)",
    ]
    all_of_it = init_from.describe(*target, found).splitlines()
    assert [line.split(",")[0] for line in all_of_it[1:]] == [
        "  loaded: backbone",
        "  loaded: head",
    ]
    # a scope of the same name that stays fresh is left behind as well
    assert "without its head" in init_from.describe(*target, found, fresh=("head",))


def test_a_scope_can_get_another_name(run, target):
    found = load_source(run[0])
    params, state = target
    renamed = {"encoder": params["backbone"]}, {"encoder": state["backbone"]}
    params, state = init_from.initialise(*renamed, found, scopes={"backbone": "encoder"})
    equal(
        (params["encoder"], state["encoder"]), (found.params["backbone"], found.state["backbone"])
    )


def test_a_fresh_scope_of_the_same_name_is_not_loaded(run, target):
    found = load_source(run[0])
    params, _ = init_from.initialise(*target, found, fresh=("head",))
    equal(params["head"], target[0]["head"])


@pytest.mark.parametrize(
    ("scopes", "fresh", "message"),
    [
        (None, ("haed",), "fresh scopes haed do not exist .* this run has backbone, classifier"),
        (None, (), "this run has no scopes head; give a map"),
        ({"backbone": "backbone"}, (), "classifier are neither loaded nor listed as fresh"),
        ({"bakbone": "backbone"}, ("classifier",), "source has no scopes bakbone"),
        ({"head": "haed"}, ("classifier", "backbone"), "this run has no scopes haed"),
        ({"backbone": "backbone"}, ("backbone", "classifier"), "backbone are both loaded and"),
        ({"backbone": "backbone", "head": "backbone"}, ("classifier",), "two scopes are mapped"),
    ],
)
def test_scopes_that_do_not_add_up_are_named(target, scopes, fresh, message):
    params, state = target
    mine = {"backbone": params["backbone"], "classifier": params["head"]}
    with pytest.raises(InputError, match=message):
        init_from.initialise(mine, state, source(params, state), scopes=scopes, fresh=fresh)


def test_every_array_without_a_partner_is_named_with_what_the_source_was(target):
    params, state = target
    theirs = {
        "backbone": {
            **{key: value for key, value in params["backbone"].items() if key != "fc2"},
            "fc3": {"kernel": np.zeros((4, 4))},
        },
        "head": {**params["head"], "bias": np.zeros(4)},
    }
    with pytest.raises(InputError) as error:
        init_from.initialise(params, {}, source(theirs, state, config=CONFIG))
    for text in (
        "SRC does not fit this run",
        "params/backbone/fc2/kernel: only in this run",
        "params/backbone/fc3/kernel: only in the source",
        "params/head/bias: (4,) in the source, (3,) in this run",
        "state/backbone/bn1/mean: only in the source",
        "config.model.name='toy', config.model.depth=2",
    ):
        assert text in str(error.value)


def test_after_ten_they_are_counted():
    mine = {"backbone": {f"w{i:02}": np.zeros(2) for i in range(25)}}
    theirs = {"backbone": {f"w{i:02}": np.zeros(3) for i in range(25)}}
    with pytest.raises(InputError) as error:
        init_from.initialise(mine, {}, source(theirs, {}))
    assert "w09" in str(error.value)
    assert "w10" not in str(error.value)
    assert "and 15 more" in str(error.value)


def vit_shapes(**changes):
    return toys.start(toys.Toy(toys.tiny_vit(**changes))).described.params


def test_vits_of_another_depth_and_of_another_image_are_told_apart():
    """Eight pixels: four patches of 4, or one of 8 (by its position alone)."""
    mine = vit_shapes()
    zeros = functools.partial(jax.tree.map, lambda leaf: np.zeros(leaf.shape, np.float32))
    deeper = source(zeros(vit_shapes(depth=3)), {}, config=CONFIG)
    with pytest.raises(InputError, match="architecture is another") as error:
        init_from.initialise(mine, {}, deeper)
    assert "params/backbone/blocks_2/attn/qkv/kernel: only in the source" in str(error.value)
    other = zeros(mine)
    other["backbone"]["pos_embed"] = np.zeros((1, 17, 16), np.float32)
    with pytest.raises(InputError) as error:
        init_from.initialise(mine, {}, source(other, {}, config=CONFIG))
    assert "pos_embed: (1, 17, 16) in the source, (1, 5, 16) in this run" in str(error.value)
    assert "another image size or patch size" in str(error.value)
    assert "config.data.size=[8, 8]" in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named_where_it_is_loaded(target, value):
    params, state = jax.tree.map(np.array, target)
    broken = jax.tree.map(np.copy, params)
    broken["backbone"]["fc2"]["kernel"][1, 2] = value
    with pytest.raises(InputError, match="'params/backbone/fc2/kernel' of SRC holds NaN"):
        init_from.initialise(*target, source(broken, state))
    init_from.initialise(
        *target, source(broken, state), scopes={"head": "head"}, fresh=("backbone",)
    )
    state["backbone"]["bn1"]["var"][0] = value
    with pytest.raises(InputError, match="'state/backbone/bn1/var' of SRC"):
        init_from.initialise(*target, source(params, state))


def test_what_does_not_fit_the_runs_dtype_is_named(target):
    params, state = jax.tree.map(np.array, target)
    kernel = params["backbone"]["fc2"]["kernel"]

    def refused(array, message):
        params["backbone"]["fc2"]["kernel"] = array
        with pytest.raises(InputError, match=f"'params/backbone/fc2/kernel' of SRC {message}"):
            init_from.initialise(*target, source(params, state))

    refused(np.full(kernel.shape, 1e300), "holds NaN or infinity as float32")
    refused(kernel.astype(np.int32), "is of the dtype int32, and this run's of float32")
    refused(kernel.astype(np.complex64), "is of the dtype complex64")


def test_half_precision_becomes_the_runs_precision(target):
    params, state = target
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params)
    found, _ = init_from.initialise(params, state, source(half, state))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


# --- a run that begins with them ---------------------------------------------------------------


def test_a_run_begins_with_them_and_a_resumed_one_does_not_read_them_again(run, tmp_path):
    found = load_source(run[0], which="last")
    calls, seen = [], {}

    def initialise(params, state):
        calls.append(None)
        return init_from.initialise(
            params, state, found, scopes={"backbone": "backbone"}, fresh=("head",)
        )

    method = toys.Toy(freeze=("backbone/(fc|bn)1/.*",))

    def evaluate(state):
        seen[int(state.step)] = toys.flat((state.params["backbone"], state.method_state))
        return {}

    def train(folder, steps):
        begin = toys.start(method, seed=1, initialise=initialise)
        return toys.train(method, epath.Path(folder), steps=steps, begin=begin, evaluate=evaluate)

    whole = train(tmp_path / "whole", 4)
    assert len(calls) == 2  # when it was checked, and when it began
    expected = toys.flat((found.params["backbone"], found.state))
    for name, array in expected.items():
        np.testing.assert_array_equal(seen[0][name], array)
        still = "fc1/" in name or "bn1/" in name
        assert (seen[4][name] == array).all() == still, name
    train(tmp_path / "parts", 2)
    calls.clear()
    parts = train(tmp_path / "parts", 4)
    assert len(calls) == 1
    equal(parts.state, whole.state)


def test_it_is_laid_out_as_described_and_the_same_every_time(run):
    found = load_source(run[0])
    initialise = functools.partial(init_from.initialise, source=found)
    described, fresh = toys.start(toys.Toy(), fsdp=2, initialise=initialise)
    first, second = fresh(), fresh()
    assert jax.tree.all(
        jax.tree.map(
            lambda leaf, spec: leaf.sharding.is_equivalent_to(spec.sharding, leaf.ndim),
            first,
            described,
        )
    )
    equal(first, second)
    equal(first.opt_state, jax.tree.map(np.zeros_like, first.opt_state))


def test_weights_that_do_not_fit_fail_before_the_run_begins(run):
    found = load_source(run[0])
    with pytest.raises(InputError, match="this run has no scopes head"):
        toys.start(
            toys.Toy(head="classifier"),
            initialise=functools.partial(init_from.initialise, source=found),
        )


def test_weights_of_a_rewritten_checkpoint_have_another_identity(copy):
    before = load_source(copy, which="last").identity
    (copy / "checkpoints/6/data/metadata").write_text(json.dumps({"examples": 1}))
    write_manifest(copy / "checkpoints/6")
    assert load_source(copy, which="last").identity != before


def test_a_queue_of_keys_is_never_loaded():
    """Its images have other numbers in other data; another size of it is no fault either."""
    params = {"backbone": {"kernel": np.zeros(2, np.float32)}}
    own = {"queue": {"index": np.full(3, -1)}, "target": {"kernel": np.zeros(2, np.float32)}}
    there = {"queue": {"index": np.arange(5)}, "target": {"kernel": np.ones(2, np.float32)}}
    begun = source({"backbone": {"kernel": np.ones(2, np.float32)}}, there)
    loaded, state = init_from.initialise(params, own, begun)
    np.testing.assert_array_equal(loaded["backbone"]["kernel"], 1)
    np.testing.assert_array_equal(state["target"]["kernel"], 1)
    np.testing.assert_array_equal(state["queue"]["index"], -1)
