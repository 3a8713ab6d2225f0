"""The weights of a workdir as a folder that torch loads."""

import importlib.util
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

import gazax
from gazax import config as config_lib
from gazax.data.datasets import DATASETS
from gazax.data.gaze_settings import PREDICTED
from gazax.data.pixels.frame import Frame
from gazax.experiment import results
from gazax.experiment.method import build_method
from gazax.export import card, folder, layouts, onnx, parity, stablehlo
from gazax.export.looked_at import looked_at
from gazax.export.network import WholeModel
from gazax.export.probes import LibraryModel
from gazax.methods import Method
from gazax.methods.backbone import SCOPE
from gazax.methods.base import Classifies, Params, State
from gazax.methods.segmentation import Segmentation
from gazax.train import init_from, workdir
from gazax.train.source import Source, load_source
from gazax.typing import Batch, InputError, Size

LAYOUTS = (*layouts.LIBRARIES, "gazax")
PARTS = ("backbone", "full")
ALSO = ("onnx", "stablehlo")
SECTIONS = ("data", "views", "model", "method", "init_from", "train")
"""Of a run's config, that are read here."""
HEAD = "head"
CLASSIFIERS = ("supervised", "gg_cam", "attention_consistency")
"""Methods whose logits are a linear head on the backbone's features."""
LEARNING_ONLY = ("balance",)
"""Scopes that weigh losses: what a trained model says does not depend on them."""

ODD_SIZE = (101, 87)
"""px; no side that any stride divides, and large enough for all."""
_PRIVATE = ("root", "cache", "source", "readers")
"""Settings of the data that say where files lie, or who somebody is."""


class Export:
    """What a workdir's model becomes in torch. Making it checks all but the numbers.

    Args:
      config: of the run, see `gazax.config.of_run`.
      path: its workdir, or one ``checkpoints/<step>`` of it.
      which: of the workdir's checkpoints, 'best' or 'last'.
      layout: one of `LAYOUTS`.
      part: one of `PARTS`.

    Raises:
      InputError: there is no checkpoint, it is damaged, not of this config, or holds NaN; or the
        layout has no model that computes what it does.
    """

    def __init__(
        self, config: ConfigDict, path: epath.Path, *, which: str, layout: str, part: str
    ) -> None:
        config_lib.choose("--layout", layout, LAYOUTS)
        config_lib.choose("--part", part, PARTS)
        if layout == "gazax" and part != "full":
            raise InputError(
                "--layout=gazax writes a whole model, with what stands on its backbone: add "
                "--part=full, or take --layout=timm or torchvision for a backbone."
            )
        _check_config(config, path)
        self._path, self._given = path, config
        self._config = config = _in_float32(config)
        method = build_method(config)
        source = _restore(config, method, path, which)
        params, state = source.params, source.state
        self._whole = method, params, state
        if layout == "gazax":
            whole = WholeModel(method, params, state, config_lib.batch_spec(config))
            self._target: LibraryModel | WholeModel = whole
            left_out = whole.left_out
        else:
            left_out = _left_out(config.method.name, {**params, **state}, layout, part)
            self._target = self._of_library(method, params, state, layout, part)
        labelled = isinstance(method, Classifies | Segmentation)
        self.config_json: dict[str, Any] = {
            **self._target.config(self._size),
            "layout": layout,
            "part": part,
            "left_out": list(left_out),
            **({"label_names": list(config.data.labels)} if part == "full" and labelled else {}),
            "preprocessing": self._preprocessing(),
            "training": {
                "gazax": gazax.__version__,
                "method": config.method.name,
                "task": method.task if isinstance(method, Classifies) else None,
                "data": config.data.name,
                "phantom": config.data.name == "phantom",
                "gaze": _gaze(config.data.gaze),
                "protocol": config.data.protocol,
                "step": int(epath.Path(source.name).name),
                "weights": source.identity,
            },
        }

    def write(self, out: pathlib.Path, *, verify: bool, also: Sequence[str] = ()) -> dict[str, Any]:
        """Writes the folder, whole or not at all.

        Args:
          out: new, or empty.
          verify: whether the torch model is built and compared; needs torch and the layout's
            library, as ONNX does.
          also: of `ALSO`, what else is written.

        Returns:
          What `parity.json` says.

        Raises:
          InputError: there is something at ``out``, or torch is wanted and missing.
          RunError: the torch model, onnxruntime or the StableHLO program computes something else.
        """
        for name in also:
            config_lib.choose("--also", name, ALSO)
        packages = self._target.packages
        if "onnx" in also:
            onnx.require()
        if verify or "onnx" in also:
            parity.require(packages)
        with folder.new_folder(out) as beside:
            folder.write_json(beside / "config.json", self.config_json)
            self._target.write(beside)
            found: dict[str, Any] = {"passed": None, "reason": "written without verification"}
            if verify:
                look = self._target.look(beside)
                found = parity.compare(look, self._images(), packages=("jax", *packages))
            if "onnx" in also:
                found["onnx"] = self._write_onnx(beside)
            if "stablehlo" in also:
                stablehlo.write_stablehlo(*self._whole, beside, spec=self._spec)
                if verify:
                    found["stablehlo"] = self._compare_stablehlo(beside)
            folder.write_json(beside / "parity.json", found)
            text = card.model_card(
                {**self.config_json, "also": {name: name in found for name in also}},
                title=DATASETS[self._config.data.name].title,
                parity=_verified(found),
                run_config=_shown(self._given),
                tables=self._tables(),
            )
            (beside / "README.md").write_text(text, encoding="utf-8")
        return found

    def _write_onnx(self, beside: pathlib.Path) -> dict[str, Any]:
        target = self._target
        return onnx.write_onnx(
            target.torch_network(beside),
            beside,
            images={name: target.as_torch(grey) for name, grey in self._of_its_size().items()},
            takes_gaze=self.config_json.get("takes_gaze", False),
            about={
                "classes": self.config_json.get("label_names", []),
                "preprocessing": self.config_json["preprocessing"],
                "training": self.config_json["training"],
                "license": card.LICENCE,
                "terms": card.TERMS[self._config.data.name],
            },
        )

    def _compare_stablehlo(self, beside: pathlib.Path) -> dict[str, Any]:
        images = {
            name: looked_at(grey[None], self._spec) for name, grey in self._of_its_size().items()
        }
        return stablehlo.compare_stablehlo(*self._whole, beside, images=images)

    @property
    def _spec(self) -> Batch:
        return config_lib.batch_spec(self._config)

    @property
    def _size(self) -> Size:
        return tuple(self._config.data.size)

    def _of_library(
        self, method: Method, params: Params, state: State, library: str, part: str
    ) -> LibraryModel:
        labels = len(self._config.data.labels) if part == "full" else 0
        model: Any = method.backbone
        if library not in layouts.LIBRARIES or not isinstance(model, layouts.KNOWN):
            raise InputError(
                f"neither timm nor torchvision has a model like {type(model).__name__}: take "
                "--layout=gazax --part=full."
            )
        inside = params[SCOPE] | ({HEAD: params[HEAD]} if labels else {})
        described = layouts.torch_model(
            model,
            library,
            size=self._size,
            channels=layouts.stem_channels(model, inside),
            num_classes=labels,
        )
        views = self._config.views
        return LibraryModel(
            model.clone(num_classes=labels),
            inside,
            state.get(SCOPE, {}),
            described,
            mean=views.mean,
            std=views.std,
        )

    def _preprocessing(self) -> dict[str, Any]:
        data = self._config.data
        dataset = DATASETS[data.name]
        canvas = dataset.canvas(**data.source.to_dict())
        return {
            "grey_values": "8 bits, divided by 255",
            "dicom_display": dataset.display,
            "size": list(data.size),
            "canvas": list(canvas) if canvas else None,
            "resampling": "bilinear, antialiased",
            "padding": 0,
            **self._target.preprocessing,
        }

    def _images(self) -> dict[str, np.ndarray]:
        """A radiograph and noise, grey: of the run's size, and of an odd one."""
        from gazax.data.phantom.example import subject  # only here: it is a lot to import

        film, noise = subject(0, 0).image, np.random.default_rng(0)
        images = {}
        for size in {self._size: None} | ({} if self._target.fixed_size else {ODD_SIZE: None}):
            shown = f"{size[0]}x{size[1]}"
            images[f"radiograph {shown}"] = Frame(film.shape, size).pixels(film)
            images[f"noise {shown}"] = noise.integers(0, 256, size, np.uint8)
        return images

    def _of_its_size(self) -> dict[str, np.ndarray]:
        return {name: grey for name, grey in self._images().items() if grey.shape == self._size}

    def _tables(self) -> list[str]:
        """Tables of numbers that were measured with these very weights."""
        run = self._path.parent.parent if self._path.parent.name == "checkpoints" else self._path
        made, tables = self.config_json["training"], []
        summary = workdir.read_summary(run)
        if summary and summary["best_step"] == made["step"]:
            tables.append(summary["table"])
        found = results.read_numbers(run / results.FOLDERS["test"])
        if found and found["weights"] == made["weights"]:
            title = results.title(found)
            tables += [
                f"{name}, {title}\n{suite['table']}" for name, suite in found["suites"].items()
            ]
        return tables


def can_verify() -> bool:
    """Whether torch is installed."""
    return importlib.util.find_spec("torch") is not None


def _check_config(config: ConfigDict, path: epath.Path) -> None:
    """Raises an `InputError` where a section is missing or the data set is none of ours."""
    for name in SECTIONS:
        if not isinstance(config.get(name), ConfigDict):
            raise InputError(
                f"the config.json of '{path}' has no section '{name}': it is not that of a run of "
                "gazax.main."
            )
    config_lib.choose("config.data.name", config.data.get("name"), DATASETS)


def _restore(config: ConfigDict, method: Method, path: epath.Path, which: str) -> Source:
    """The weights of a checkpoint on the host, checked against the model of the config."""
    spec = config_lib.batch_spec(config)
    params, state = jax.eval_shape(method.init, jax.random.key(0), spec)
    source = load_source(path, which=which, argument="--workdir")
    try:
        init_from.initialise(params, state, source)  # for its checks: what it gives are copies
    except InputError as error:
        raise InputError(
            f"the checkpoint {source.name} and the config.json of its workdir do not belong "
            f"together, or it is damaged ({error})"
        ) from None
    return source


def _left_out(name: str, params: Mapping[str, Any], library: str, part: str) -> tuple[str, ...]:
    """Scopes of the method that the library's model does not have."""
    others = {scope for scope in params if scope != SCOPE}
    if SCOPE not in params:
        raise InputError(
            f"the method '{name}' has no backbone by itself, but {', '.join(sorted(others))}, and "
            f"{library} no model of them together: take --layout=gazax --part=full."
        )
    if part == "backbone":
        return tuple(sorted(others))
    unknown = others - {HEAD, *LEARNING_ONLY}
    if unknown or name not in CLASSIFIERS:
        raise InputError(
            f"the method '{name}' has {', '.join(sorted(others)) or 'a backbone alone'}, and "
            f"{library}'s models have a linear classifier on the backbone alone: take "
            "--part=backbone, or --layout=gazax --part=full."
        )
    return tuple(sorted(others - {HEAD}))


def _in_float32(config: ConfigDict) -> ConfigDict:
    """The config with models that compute in float32, keep nothing back, and see two images."""
    config = ConfigDict(config.to_dict())
    config.train.batch_size = 2
    for block in filter(None, (config.model, config.get("guide"))):
        block.dtype = "float32"
        if "remat" in block:
            block.remat = False
    return config


def _gaze(setting: str) -> str:
    """``config.data.gaze`` without the folder of the run that predicts it."""
    return f"{PREDICTED}(a run)" if setting.startswith(PREDICTED) else setting


def _verified(found: Mapping[str, Any]) -> str:
    if not found["passed"]:
        return "Whether torch computes what gazax does was not verified when this was written."
    return (
        f"Verified when it was written: {len(found['compared'])} tensors that the torch model and "
        "gazax's make of a radiograph and of noise differ by at most "
        f"{found['max_relative_difference']:.1e} of their largest value, in float32 "
        "(`parity.json`)."
    )


def _shown(config: ConfigDict) -> dict[str, Any]:
    """The run's settings, without what says where its data and first weights lie."""
    plain = json.loads(json.dumps(config.to_dict(), default=list))
    plain["data"] = {key: value for key, value in plain["data"].items() if key not in _PRIVATE}
    plain["data"]["gaze"] = _gaze(plain["data"]["gaze"])
    plain["init_from"]["path"] = "" if not plain["init_from"]["path"] else "(a file or a run)"
    return plain
