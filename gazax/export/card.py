"""The model card: what the weights are, where they are from, and how a receiver uses them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_PHYSIONET = (
    "PhysioNet's credentialed data use agreement. Whoever trained on the data signed it; whether "
    "and with whom weights that were learned from them may be shared, it decides, so ask before "
    "you pass them on."
)
TERMS = {
    "phantom": (
        "None: the phantom's images and gaze are simulated, and no patient or reader is in them."
    ),
    "gaze_folder": (
        "The trainer's own data, of which gazax knows no terms. Ask where you have the weights "
        "from, before you use them or pass them on."
    ),
    "reflacx": _PHYSIONET,
    "egd_cxr": _PHYSIONET,
    "mimic_cxr": _PHYSIONET,
    "rsna_pneumonia": "The rules of the RSNA Pneumonia Detection Challenge that one accepts there.",
    "chestxray14": (
        "NIH asks those who use ChestX-ray14 to name it as the source and to cite its paper."
    ),
}
"""Data set -> terms that its use is under."""

LICENCE = (
    "gazax, which made the weights, is under Apache-2.0. The weights belong to whoever "
    "trained them; no licence for them is stated here. The terms of the data stand below."
)
_OF_MODULES = (
    " `modeling_gazax.py` is a part of gazax: its licence is `modeling_gazax.LICENSE`, which goes "
    "with it where it is passed on, and which does not speak of the weights."
)
_IMPORTS = """\
import json

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import {module}

config = json.load(open("config.json"))
"""
_MAKE = {
    "timm": (
        "timm",
        """\
model = timm.create_model(
    config["architecture"], pretrained=False, num_classes=config["num_classes"],
    **config["model_args"],
)
""",
    ),
    "torchvision": (
        "torchvision",
        """\
classes = {"num_classes": config["num_classes"]} if config["num_classes"] else {}
model = torchvision.models.get_model(config["architecture"], weights=None, **classes)
if not classes:
    setattr(model, config["pretrained_cfg"]["classifier"], torch.nn.Identity())
""",
    ),
    "gazax": (
        "modeling_gazax",
        """\
model = getattr(modeling_gazax, config["architecture"])(**config["model_args"])
""",
    ),
}
"""Layout -> module that has the model, and how a receiver makes it."""
_LOAD = """\
model.load_state_dict(load_file("model.safetensors"), strict=True)
model.eval()


def preprocess(path):
    \"\"\"An 8-bit radiograph as in training.\"\"\"
    how = config["preprocessing"]
    height, width = how["size"]
    image = Image.open(path).convert("L")
{fit}
    grey = (np.asarray(image, np.float32) / 255 - how["mean"][0]) / how["std"][0]
    return torch.from_numpy(grey)[None, None].repeat(1, how["channels"], 1, 1)


image = preprocess("radiograph.png")
with torch.inference_mode():
"""
_FIT = """\
    scale = min(height / image.height, width / image.width)  # the aspect is kept
    sides = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    fitted = image if sides == image.size else image.resize(sides, Image.Resampling.BILINEAR)
    image = Image.new("L", (width, height))
    image.paste(fitted, ((width - fitted.width) // 2, (height - fitted.height) // 2))"""
_FIT_CANVAS = """\
    canvas = Image.new("L", tuple(how["canvas"][::-1]))
    left, top = int((canvas.width - image.width) / 2), int((canvas.height - image.height) / 2)
    canvas.paste(image, (left, top))  # cropped where it is larger
    image = canvas.resize((width, height), Image.Resampling.BILINEAR)"""
_RUN = """\
    output = model(image)
print(output.shape)  # {what}
"""
_RUN_GAZAX = """\
    outputs = model({inputs})
print({{name: value.shape for name, value in outputs.items() if torch.is_tensor(value)}})
"""


_WHOSE = {"timm": "timm", "torchvision": "torchvision", "gazax": "`modeling_gazax.py`"}
_NEEDS = {"timm": "timm, Pillow", "torchvision": "torchvision, Pillow", "gazax": "Pillow"}
_NORMALISED = "Mean and standard deviation come with the weights and are applied inside."
_NOT_NORMALISED = "Mean and standard deviation are no part of the weights: apply them before."


def snippet(config: Mapping[str, Any]) -> str:
    """Python that runs in the folder, where there is a ``radiograph.png`` too."""
    module, make = _MAKE[config["layout"]]
    if config["layout"] == "gazax":
        gaze = "image, torch.zeros(1, *image.shape[2:])"  # maps in [0, 1]; zeros: nobody looked
        run = _RUN_GAZAX.format(inputs=gaze if config["takes_gaze"] else "image")
    else:
        run = _RUN.format(what="logits" if config["num_classes"] else "features")
    fit = _FIT_CANVAS if config["preprocessing"]["canvas"] else _FIT
    return f"{_IMPORTS.format(module=module)}{make}{_LOAD.format(fit=fit)}{run}"


def model_card(
    config: Mapping[str, Any],
    *,
    title: str,
    parity: str,
    run_config: Mapping[str, Any],
    tables: Sequence[str],
) -> str:
    """Markdown, with the header that model hubs read.

    Args:
      config: `config.json`, and `also`: what else was written, and whether it was compared.
      title: of the data set.
      parity: what was verified, a sentence.
      run_config: of the run that trained, shown as it is.
      tables: numbers with their intervals, each under its own title; may be empty.
    """
    made, how = config["training"], config["preprocessing"]
    phantom = (
        "**Trained on the phantom, that is, on simulated images and gaze. For tests of software; "
        "of no use on patients.**\n\n"
        if made["phantom"]
        else ""
    )
    height, width = how["size"]
    channels = "one grey channel" if how["channels"] == 1 else "a grey image, repeated three times"
    left_out = ", ".join(config["left_out"]) or "nothing"
    canvas = how["canvas"]
    fit = (
        f"centred in {canvas[0]} x {canvas[1]} px, cropped where larger, and that scaled to size"
        if canvas
        else "aspect kept, centred, padded with 0"
    )
    measured = "\n\n".join(f"```\n{table}\n```" for table in tables) or (
        "None are known of these weights: their run has not ended, or was not evaluated at this "
        "step."
    )
    mean, std = how["mean"][0], how["std"][0]
    normalised = "" if (mean, std) == (0, 1) else f"; then (x - {mean}) / {std}"
    arguments = json.dumps(config["model_args"])
    settings = json.dumps(run_config, indent=2, default=list)
    tags = ["chest-x-ray", "gazax", *(["phantom"] if made["phantom"] else [])]
    return f"""\
---
library_name: {"timm" if config["layout"] == "timm" else "pytorch"}
license: other
tags: [{", ".join(tags)}]
---

# {config["architecture"]} trained by gazax ({made["method"]}, {title})

{phantom}Made by gazax {made["gazax"]}, method `{made["method"]}`, step {made["step"]}. It is
`{config["architecture"]}` of {_WHOSE[config["layout"]]}, made with the arguments `{arguments}`.
{_gives(config)} Of the run's parts left out: {left_out}.

{parity}

## Use

In this folder, with torch, numpy, safetensors, {_NEEDS[config["layout"]]} installed:

```python
{snippet(config)}```
{_local_dir(config)}
| input | |
|---|---|
| size | {height} x {width} px (height x width) |
| channels | {channels} |
| grey values | 8 bits, divided by 255{normalised} |
| fitted | {fit}; bilinear, antialiased |

{_NORMALISED if config["layout"] == "gazax" else _NOT_NORMALISED}
{_also(config)}
## Data

{title}{_splits(made)}.

## Numbers

{measured}

## Licence and terms

{LICENCE}{_OF_MODULES if config["layout"] == "gazax" else ""}

Terms of the data: {TERMS[made["data"]]}

Not a medical device; not for diagnosis.

## Settings of the run

```json
{settings}
```
"""


def _local_dir(config: Mapping[str, Any]) -> str:
    if config["layout"] != "timm":
        return ""
    return (
        "\ntimm reads the folder by itself too: "
        '`timm.create_model("local-dir:.", pretrained=True)`. Images are prepared as the program '
        "above does; timm's own transform pads with the mean, where training padded with 0.\n"
    )


def _also(config: Mapping[str, Any]) -> str:
    """What lies beside for other programs, a paragraph of each."""
    size = " x ".join(map(str, config["preprocessing"]["size"]))
    found = {
        "onnx": (
            "`model.onnx` takes what the torch model takes, any number of images of "
            f"{size} px, and was compared with it by onnxruntime (`parity.json`)."
        ),
        "stablehlo": (
            "`model.stablehlo` is the run's whole model as a program of `jax.export`; it takes "
            "grey values of 8 bits, [b, h, w, 1]. `stablehlo.json` says how it is run and for how "
            "long JAX promises to read it. "
        ),
    }
    compared = {
        True: "It was run once when it was written, and compared with the model (`parity.json`).",
        False: "It was not run when it was written.",
    }
    also = config.get("also", {})
    if "stablehlo" in also:
        found["stablehlo"] += compared[also["stablehlo"]]
    return "".join(f"\n{found[name]}\n" for name in also)


def _gives(config: Mapping[str, Any]) -> str:
    """What comes out, a sentence."""
    labels = ", ".join(config.get("label_names", ()))
    if config["layout"] == "gazax":
        of = f" Labels, in their order: {labels}." if labels else ""
        return f"What it gives out, by name, `modeling_gazax.py` says at its beginning.{of}"
    if not config["num_classes"]:
        return f"It gives {config['num_features']} pooled features; there is no classifier."
    task = config["training"]["task"]
    then = "softmax makes probabilities" if task == "multiclass" else "a sigmoid each"
    return f"It gives the logits of {labels} ({task}: {then})."


def _splits(made: Mapping[str, Any]) -> str:
    """The share of gaze and the protocol, as far as they are not the usual ones."""
    gaze = f", gaze `{made['gaze']}`" if made["gaze"] != "own" else ""
    protocol = f", protocol `{made['protocol']}`" if made["protocol"] != "strict" else ""
    return gaze + protocol
