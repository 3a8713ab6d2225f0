"""What a method says of images as one portable program, which runs without gazax.

    model.stablehlo         StableHLO by `jax.export`: (weights, inputs) -> outputs
    stablehlo.safetensors   the weights that it takes, by their paths in the method's parameters
                            and state
    stablehlo.json          inputs and outputs, platforms, versions, how long they are good for, and
                            the lines that run it

The program is of all platforms at once and of any number of images of one size. Weights are an
argument: inside, they would be constants that the compiler folds, in a file that must not reach
2 GiB, and other weights of the same model would need another program.

Outputs, each an image's: `features` and `attention`, see `gazax.methods.base.Method.encode`;
`probabilities` of a method that classifies or segments; `density` of one that predicts gaze.
"""

import contextlib
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export
from jaxtyping import Array, ArrayLike, Shaped
from safetensors.numpy import load_file

from gazax.export.folder import save_weights
from gazax.export.parity import LIMIT, judge, relative_difference
from gazax.methods.base import Classifies, Method, Params, PredictsSaliency, State
from gazax.methods.segmentation import Segmentation
from gazax.typing import Batch, InputError

PROGRAM, WEIGHTS, ABOUT = "model.stablehlo", "stablehlo.safetensors", "stablehlo.json"
PLATFORMS = ("cpu", "cuda", "tpu")
PRECISION = "highest"
"""Of the products: without a word a TPU's have 8 bits and those of a GPU 11 (TF32)."""
GUARANTEE = (
    "jax.export's own: it can be compiled and run by a JAX and jaxlib up to 6 months newer than "
    "those it was exported by (backward compatibility), and up to 3 weeks older (forward "
    "compatibility); what counts is when those jaxlib were released. Beyond that it may run, and "
    "nobody promises it: export again from the checkpoint."
)
GUARANTEE_SOURCE = "https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees"
USE = f"""\
import json, pathlib
import jax, numpy as np
from jax import export
from safetensors.numpy import load_file

about = json.loads(pathlib.Path("{ABOUT}").read_text())
program = export.deserialize(pathlib.Path("{PROGRAM}").read_bytes())
weights = load_file("{WEIGHTS}")
b = 1
inputs = {{
    name: np.zeros([b if side == "b" else side for side in one["shape"]], one["dtype"])
    for name, one in about["inputs"].items()
}}
outputs = jax.jit(program.call)(weights, inputs)
"""
MEANING = {
    "image": "grey values, 8 bits",
    "fixations.xy": "x to the right, y down, px from the top-left corner of the image",
    "fixations.duration": "seconds",
    "fixations.sigma": "standard deviation of the Gaussian in x and y, px",
    "fixations.window": "xmin, ymin, xmax, ymax of what the reader could see, px",
    "fixations.reader": "slot of the reader, from 0; -1 is padding, whose row may hold anything",
    "reader_weight": "weight of each reader; 0 where nobody looked",
    "content": "xmin, ymin, xmax, ymax of the image inside of its padding, px",
    "index": "number of the image in its data set; draws are keyed by it",
}
"""Input -> what it is, for those who do not have `gazax.typing.Batch`."""

Arrays = Mapping[str, Shaped[ArrayLike, "..."]]
Specs = Mapping[str, jax.ShapeDtypeStruct]


def write_stablehlo(
    method: Method,
    params: Params,
    state: State,
    folder: pathlib.Path,
    *,
    spec: Batch,
    platforms: Sequence[str] = PLATFORMS,
) -> dict[str, Any]:
    """Writes the program, its weights and what is said of them; no platform has to be there.

    Args:
      method: its models compute in their own dtype.
      params, state: of all of its scopes; what the outputs do not depend on is left out.
      folder: is there.
      spec: shapes of a batch, see `gazax.typing.batch_spec`: the size of the images, and how many
        rows fixations have; of how many images does not matter. Inputs are those of its arrays that
        the outputs depend on: the image alone, or with the fixations of a model that sees gaze.
      platforms: of 'cpu', 'cuda', 'rocm', 'tpu'.

    Returns:
      What `stablehlo.json` says.

    Raises:
      ValueError: of `jax.export`: the model has a part without the guarantee, or a platform is
        unknown.

    Numerics: products are those of `PRECISION` wherever it runs.

    Source: https://docs.jax.dev/en/latest/export/export.html; see `GUARANTEE`.
    """
    inputs: dict[str, Any] = flatten_dict(spec, sep=".")
    weights = flatten_dict({"params": params, "state": state}, sep="/")
    function = _function(method, _specs(weights), _specs(inputs))
    used = _used(function, _specs(weights), _specs(inputs))
    weights = {
        name: np.asarray(jax.device_get(weights[name]), order="C") for name in sorted(used[0])
    }
    (b,) = export.symbolic_shape("b")
    of_any = {
        name: jax.ShapeDtypeStruct((b, *inputs[name].shape[1:]), inputs[name].dtype)
        for name in sorted(used[1])
    }
    with jax.default_matmul_precision(PRECISION), _without_paths():
        exported = export.export(jax.jit(function), platforms=tuple(platforms))(
            _specs(weights), of_any
        )
    (folder / PROGRAM).write_bytes(exported.serialize())
    save_weights(folder / WEIGHTS, weights, form="np")
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    about = {
        "inputs": {name: _described(one) | _meaning(name) for name, one in of_any.items()},
        "outputs": {name: _described(one) for name, one in outputs.items()},
        "platforms": list(exported.platforms),
        "products": PRECISION,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "calling_convention_version": exported.calling_convention_version,
        "guarantee": GUARANTEE,
        "guarantee_source": GUARANTEE_SOURCE,
        "sha256": {name: _digest(folder / name) for name in (PROGRAM, WEIGHTS)},
        "use": USE.splitlines(),
    }
    text = json.dumps(about, indent=2, allow_nan=False) + "\n"
    (folder / ABOUT).write_text(text, encoding="utf-8")
    return about


def load_stablehlo(folder: pathlib.Path) -> Callable[[Arrays], dict[str, Array]]:
    """The program of a folder, with its weights, compiled at its first call.

    Returns:
      From inputs by name, as `stablehlo.json` has them, to outputs by name.

    Raises:
      InputError: a file is missing or is another than was written, this JAX does not read it, or it
        is for other platforms; of the call: an input is missing or is none.
    """
    about = _about(folder)
    version = about["calling_convention_version"]
    oldest, newest = (
        export.minimum_supported_calling_convention_version,
        export.maximum_supported_calling_convention_version,
    )
    if not oldest <= version <= newest:
        raise InputError(
            f"'{folder / PROGRAM}' was exported by jax {about['jax']} with calling convention "
            f"{version}, and jax {jax.__version__} knows {oldest} to {newest}: take a jax that is "
            "nearer to it, or export again from the checkpoint."
        )
    here = export.default_export_platform()
    if here not in about["platforms"]:
        raise InputError(
            f"'{folder / PROGRAM}' is for {', '.join(about['platforms'])}, and JAX runs on {here} "
            "here: export it for that too."
        )
    exported = export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
    weights, call = jax.device_put(load_file(folder / WEIGHTS)), jax.jit(exported.call)

    def run(inputs: Arrays) -> dict[str, Array]:
        missing, unknown = set(about["inputs"]) - set(inputs), set(inputs) - set(about["inputs"])
        if missing or unknown:
            raise InputError(
                f"the inputs of '{folder / PROGRAM}' are {', '.join(about['inputs'])}; missing: "
                f"{', '.join(sorted(missing)) or 'none'}; unknown: "
                f"{', '.join(sorted(unknown)) or 'none'}"
            )
        return call(weights, dict(inputs))

    return run


def compare_stablehlo(
    method: Method,
    params: Params,
    state: State,
    folder: pathlib.Path,
    *,
    images: Mapping[str, Batch],
) -> dict[str, Any]:
    """Runs the program of a folder where we are, beside the method itself.

    Args:
      method, params, state: as they were written.
      folder: see `load_stablehlo`.
      images: batches of one, by name.

    Returns:
      As `gazax.export.parity.compare`, and the `platform` that it ran on.

    Raises:
      InputError: see `load_stablehlo`.
      RunError: an output differs by more than `LIMIT`.
    """
    program, run = load_stablehlo(folder), jax.jit(functools.partial(_said, method))
    names = _about(folder)["inputs"]
    compared = []
    for image, batch in images.items():
        given: Any = flatten_dict(batch, sep=".")
        found = jax.device_get(program({name: given[name] for name in names}))
        with jax.default_matmul_precision(PRECISION):
            expected = jax.device_get(run(params, state, batch))
        for name, values in expected.items():
            compared.append(
                {
                    "image": image,
                    "tensor": name,
                    "shape": list(values.shape[1:]),
                    "relative_difference": relative_difference(found[name], values),
                    "limit": LIMIT,
                }
            )
    fault = f"the program in {PROGRAM} does not compute what the model does"
    judged = judge(compared, fault, packages=("jax", "jaxlib"))
    return judged | {"platform": export.default_export_platform()}


def _about(folder: pathlib.Path) -> dict[str, Any]:
    """What is said of a program, once its files are those that were written."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        changed = [name for name, sha in about["sha256"].items() if _digest(folder / name) != sha]
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"'{folder}' does not hold {PROGRAM}, {WEIGHTS} and {ABOUT}, as the export writes "
            f"them: {error}."
        ) from None
    if changed:
        raise InputError(
            f"'{folder}': {' and '.join(changed)} {'is' if len(changed) == 1 else 'are'} not as "
            f"{ABOUT} says, damaged or of another export: copy all three again."
        )
    return about


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
    """Lowers without the lines of code that an operation is from, by their paths on this disk."""
    name = "jax_traceback_in_locations_limit"
    frames = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, frames)


def _function(method: Method, weights: Specs, inputs: Specs) -> Callable[..., dict[str, Array]]:
    """(weights, inputs), each by name, -> outputs; what is not given counts as zeros."""

    def outputs(
        some_weights: Mapping[str, Array], some_inputs: Mapping[str, Array]
    ) -> dict[str, Array]:
        count = some_inputs["image"].shape[0]
        nothing = {name: jnp.zeros(one.shape, one.dtype) for name, one in weights.items()}
        trees: Any = {"params": {}, "state": {}}
        trees |= unflatten_dict({**nothing, **some_weights}, sep="/")
        nothing = {
            name: jnp.zeros((count, *one.shape[1:]), one.dtype) for name, one in inputs.items()
        }
        batch: Any = unflatten_dict({**nothing, **some_inputs}, sep=".")
        return _said(method, trees["params"], trees["state"], batch)

    return outputs


def _said(method: Method, params: Params, state: State, batch: Batch) -> dict[str, Array]:
    """The outputs."""
    features, attention = method.encode(params, state, batch)
    found = {"features": features, "attention": attention}
    if isinstance(method, Classifies | Segmentation):
        found["probabilities"] = method.predict(params, state, batch)
    if isinstance(method, PredictsSaliency):
        found["density"] = method.saliency(params, state, batch)
    return found


def _used(
    function: Callable[..., dict[str, Array]], weights: Specs, inputs: Specs
) -> tuple[set[str], set[str]]:
    """Names of the weights and of the inputs that the outputs are computed from."""
    traced = jax.make_jaxpr(function)(weights, inputs).jaxpr
    read = {id(one) for equation in traced.eqns for one in equation.invars}
    read |= {id(one) for one in traced.outvars}
    paths, _ = jax.tree_util.tree_flatten_with_path((weights, inputs))
    names: tuple[set[str], set[str]] = (set(), set())
    for ((argument, key), _), variable in zip(paths, traced.invars, strict=True):
        if id(variable) in read:
            names[argument.idx].add(key.key)
    return names


def _specs(arrays: Mapping[str, Any]) -> Specs:
    return {name: jax.ShapeDtypeStruct(one.shape, one.dtype) for name, one in arrays.items()}


def _described(spec: Any) -> dict[str, Any]:
    sides = [side if isinstance(side, int) else str(side) for side in spec.shape]
    return {"shape": sides, "dtype": str(spec.dtype)}


def _meaning(name: str) -> dict[str, str]:
    return {"what": MEANING.get(name, f"`{name}` of gazax.typing.Batch")}


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
