"""Writes a trained workdir's weights as a folder that PyTorch loads; nobody there needs JAX.

    python -m gazax.export_torch --workdir=DIR --layout=timm|torchvision|gazax --out=DIR

    --workdir=DIR/checkpoints/STEP     one step, in place of --which=best or last
    --stage=NAME                       of a workdir of several stages; default: the last
    --part=backbone|full               the backbone alone, or with what stands on it: of timm and
                                       torchvision the classifier, of gazax all
    --also=onnx,stablehlo              model.onnx, compared with onnxruntime; a jax.export program
                                       of the whole model for cpu, cuda and tpu
    --noverify                         where torch is installed: do not compare

In --out:

    model.safetensors   float32, by the library's names; load_state_dict(strict=True) takes them
    config.json         architecture, arguments, sizes, preprocessing; timm's local-dir: reads it
    modeling_gazax.py   of --layout=gazax: the modules that load it, in plain torch, with
                        modeling_gazax.LICENSE
    README.md           a model card: use, data, numbers with intervals, terms
    parity.json         how far the torch model is from ours, tensor by tensor
    model.onnx          of --also=onnx: any number of images of the run's size
    model.stablehlo     of --also=stablehlo, with stablehlo.json, which says how it is run, and for
                        how long JAX promises to read it, and stablehlo.safetensors

Where torch is installed the torch model is built and compared with ours on noise and on a
radiograph, and so is the program of --also=stablehlo; what differs by more than 1e-4 of a tensor's
largest value, or 1e-5 at the stem and the first block, is not written.

Exit codes: 0 done, 1 what was written differs, 2 the input is wrong.
"""

import pathlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from gazax import config as config_lib
from gazax.typing import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run of gazax.main, or a checkpoint.")
LAYOUT = flags.DEFINE_enum(
    "layout", None, ["timm", "torchvision", "gazax"], "Whose model it becomes."
)
PART = flags.DEFINE_enum("part", "backbone", ["backbone", "full"], "full: with what stands on it.")
OUT = flags.DEFINE_string("out", None, "Folder to write, new or empty.")
STAGE = flags.DEFINE_string("stage", None, "Of a workdir of several stages; default: the last.")
WHICH = flags.DEFINE_enum("which", "best", ["best", "last"], "Checkpoint of the run.")
VERIFY = flags.DEFINE_bool("verify", None, "Compare with torch; default: where it is installed.")
ALSO = flags.DEFINE_list("also", [], "Written too: onnx, stablehlo.")
flags.adopt_module_key_flags(config_lib.command)  # so that --help shows --json


def main() -> None:
    """The command."""
    # so that what is half written is taken away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    config_lib.check_json()
    if not (WORKDIR.value and LAYOUT.value and OUT.value):
        raise InputError(
            "--workdir=DIR, --layout=timm, torchvision or gazax, and --out=DIR are needed: the "
            "folder of a run of gazax.main, whose model it becomes, and where to write it."
        )
    from etils import epath

    from gazax.export.folder import check_free
    from gazax.train.cluster import refuse_others

    refuse_others("gazax.export_torch")
    out = pathlib.Path(OUT.value).expanduser().resolve()
    check_free(out)
    from gazax.experiment.export import Export, can_verify
    from gazax.experiment.workdirs import run_folder
    from gazax.train.source import EXPORTED

    # resolved: of `30` or `.`, the folders above are asked for too
    given = epath.Path(WORKDIR.value).expanduser().resolve()
    if not given.is_dir() or (given / EXPORTED).exists():
        what = "holds weights and no run"
        if not given.exists():
            what = "does not exist"
        elif not given.is_dir() and given.suffix != ".safetensors":
            what = "is no folder"
        raise InputError(
            f"--workdir='{given}' {what}: give the folder of a run of gazax.main, or one "
            "checkpoints/<step> of it."
        )
    folder = run_folder(given, STAGE.value)
    export = Export(
        config_lib.of_run(str(folder)),
        folder,
        which=WHICH.value,
        layout=LAYOUT.value,
        part=PART.value,
    )
    verify = can_verify() if VERIFY.value is None else VERIFY.value
    found = export.write(out, verify=verify, also=ALSO.value)
    print(_title(out, export.config_json, found), flush=True)
    _write_json(found)


def _title(out: pathlib.Path, config: "Mapping[str, Any]", found: "Mapping[str, Any]") -> str:
    """What was written, and how far it was verified."""
    classes = config.get("label_names")
    head = f"{len(classes)} labels" if classes else "no classifier"
    lines = [
        f"{out}/: {config['architecture']} of {config['layout']}, {head}, "
        f"step {config['training']['step']}"
    ]
    if config["left_out"]:
        lines.append(f"left out: {', '.join(config['left_out'])}")
    if found["passed"]:
        lines.append(
            f"verified: {len(found['compared'])} tensors differ from torch's by at most "
            f"{found['max_relative_difference']:.1e} of their largest value"
        )
    else:
        lines.append("not verified: torch is not installed, or --noverify was given")
    return "\n".join(lines)


def _write_json(found: "Mapping[str, Any]") -> None:
    """The numbers for ``--json``."""
    from etils import epath

    from gazax.train.workdir import write_json

    if config_lib.JSON.value:
        write_json(epath.Path(config_lib.JSON.value).resolve(), found)


if __name__ == "__main__":
    config_lib.run(main)
