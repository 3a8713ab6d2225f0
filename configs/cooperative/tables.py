"""The paper's two tables: every system in them, trained the same way (Qiu, Rivaz and Xiao).

    python -m gazax.sweep --config=configs/cooperative/tables.py --out=runs/tables
    python -m gazax.sweep --config=configs/cooperative/tables.py:protocol=paper --out=runs/paper
    python -m gazax.sweep --config=configs/cooperative/tables.py:data=egd_cxr,root=DIR --out=DIR2
    python -m gazax.sweep --config=configs/cooperative/tables.py:smoke --out=runs/tables_smoke

The phantom at the size of `:study` by default, with small networks of each kind. A stage that
several systems begin with is trained once. `ours` is stage 3: it classifies, and its frozen U-Net,
stage 2's, predicts saliency. The paper's four ablations are read off the same runs. DenseNet and
Inception begin with random weights, or, as the paper's, with ImageNet's:
`weights=densenet201.safetensors,inception=inception_resnet_v2.safetensors`.

2026-11-23, AMD EPYC, 3 to 58 minutes a run with other jobs beside it, three seeds.
Phantom numbers, test split: accuracy Ours .743 [.684, .800], DNet201-CL .742, DNet201 .701, MT-UNet
.826, GazeGNN .800; KL of predicted gaze Ours .511 [.483, .541], Res_SE-UNet .472, UNet_S .496,
MT-UNet .483, mean map .948. All of it, and what it does not show, stands in the README.
`:protocol=paper` and `:data=egd_cxr` are not yet run.
"""

from ml_collections import ConfigDict

from gazax.config import InputError, choose, parse_arg

COOPERATIVE, BASELINES = "configs/cooperative", "configs/baselines"
CLASSES, GAZE = ("downstream",), ("alignment",)
SYSTEMS = {
    # name: config, its argument for the weights that it begins with, what it is evaluated with
    "triplet": (f"{COOPERATIVE}/stage1_triplet.py", "init_from={weights}", ()),
    "dnet201_cl": (f"{COOPERATIVE}/stage1_classify.py", "init_from=stage:triplet", CLASSES),
    "dnet201": (f"{BASELINES}/densenet201.py", "init_from={weights}", CLASSES),
    "saliency": (f"{COOPERATIVE}/stage2_saliency.py", "init_from=stage:dnet201_cl", ()),
    "ours": (f"{COOPERATIVE}/stage3_fusion.py", "init_from=stage:saliency", CLASSES + GAZE),
    "mt_unet": (f"{BASELINES}/mt_unet.py", "", CLASSES + GAZE),
    "res_se_unet": (f"{BASELINES}/res_se_unet.py", "", GAZE),
    "unet_s": (f"{BASELINES}/unet_s.py", "", GAZE),
    "inception_resnet_v2": (
        f"{BASELINES}/inception_resnet_v2.py",
        "weights={inception}",
        CLASSES,
    ),
    "gaze_gnn": (f"{BASELINES}/gaze_gnn.py", "", CLASSES),
}
UNETS = ("saliency", "ours", "mt_unet", "res_se_unet", "unet_s")
SMALL_UNET = "model.width=8"  # ours: at their 16 a run of MT-UNet takes 23 minutes of a core
HEADINGS = {
    "ours": "Ours",
    "mt_unet": "MT-UNet",
    "res_se_unet": "Res_SE-UNet",
    "unet_s": "UNet_S",
    "dnet201_cl": "DNet201-CL",
    "dnet201": "DNet201",
    "inception_resnet_v2": "IRNetv2",
    "gaze_gnn": "GazeGNN",
}
OF_CLASSES = ("ours", "mt_unet", "dnet201_cl", "dnet201", "inception_resnet_v2", "gaze_gnn")
OF_DENSENET = ("ours", "dnet201_cl", "dnet201")
OF_GAZE = ("ours", "mt_unet", "res_se_unet", "unet_s")
SMALL = (
    "Small networks of each kind on 64 px: DenseNet of 3, 6, 8 and 6 "
    "layers with growth 16 for DNet201, U-Nets of width 8 (the paper's: 64), Inception-ResNet-v2 "
    "with a quarter of its channels and 2, 4 and 3 blocks, GazeGNN of 24 to 128 channels and 6 "
    "blocks, a node of which sees 9 of 16 means of nodes, and at the end all 4."
)
LENGTHS = (
    "Every run may take 50 epochs and stops early: DNet201-CL is two runs, and Ours four, so that "
    "they may learn longer than the others."
)
SOURCE = "Qiu, Rivaz and Xiao, on 100 images of EGD-CXR, its own split"
PUBLISHED_CLASSES = {  # table 1; its AUC is macro for Ours and GazeGNN, and not for the others
    "classifier/auc/normal": ("0.953", "0.935", "0.961", "0.964", "0.878", "0.899"),
    "classifier/auc/heart_failure": ("0.927", "0.881", "0.865", "0.897", "0.873", "0.881"),
    "classifier/auc/pneumonia": ("0.894", "0.687", "0.859", "0.849", "0.602", "0.823"),
    "classifier/auc_macro": ("0.925", "0.834‡", "0.895‡", "0.903‡", "0.784‡", "0.868"),
    "classifier/auc_micro": ("", "0.847‡", "0.889‡", "0.880‡", "0.794‡", ""),
    "classifier/accuracy": ("0.800", "0.640", "0.750", "0.690", "0.600", "0.730"),
}
PUBLISHED_GAZE = {  # table 2
    "saliency/kl": ("0.706 ± 0.183", "0.747 ± 0.185", "0.747 ± 0.193", "0.781 ± 0.202"),
    "saliency/cc": ("0.576 ± 0.113", "0.545 ± 0.109", "0.560 ± 0.108", "0.531 ± 0.109"),
    "saliency/sim": ("0.552 ± 0.055", "0.535 ± 0.055", "0.539 ± 0.058", "0.527 ± 0.056"),
}
NAMES = {
    "classifier/auc/normal": "AUC (Normal)",
    "classifier/auc/heart_failure": "AUC (Heart failure)",
    "classifier/auc/pneumonia": "AUC (Pneumonia)",
    "classifier/auc_macro": "AUC, macro",
    "classifier/auc_micro": "AUC, micro",
    "classifier/accuracy": "Accuracy",
    "saliency/kl": "KL",
    "saliency/cc": "CC",
    "saliency/sim": "HS (SIM)",
    "saliency/nss": "NSS",
    "saliency/auc": "AUC (Judd)",
}
ABLATIONS = {  # III.E
    "residual and SE blocks": ("res_se_unet", "unet_s", GAZE),
    "guidance by DenseNet": ("ours", "res_se_unet", GAZE),
    "fusion of features": ("ours", "dnet201_cl", CLASSES),
    "contrastive pretraining": ("dnet201_cl", "dnet201", CLASSES),
}
COMPARED = {
    CLASSES: ("classifier/accuracy", "classifier/auc_macro"),
    GAZE: ("saliency/kl", "saliency/cc", "saliency/sim"),
}
DATA = ("phantom", "egd_cxr")
"""Of which it is known what the paper's classes are called."""
EGD_CXR = {"normal": "Normal", "heart_failure": "CHF", "pneumonia": "pneumonia"}
"""What EGD-CXR calls the phantom's labels."""


def get_config(arg: str = "") -> ConfigDict:
    arg = parse_arg(
        arg,
        data="phantom",
        root="",
        protocol="strict",
        weights="",
        inception="",
        smoke=False,
    )
    choose("config argument data", arg.data, DATA)
    choose("config argument protocol", arg.protocol, ("strict", "paper"))
    if arg.data == "egd_cxr" and not arg.root:
        raise InputError("config argument data=egd_cxr needs root=DIR, where EGD-CXR lies.")
    size = f"data={arg.data},protocol={arg.protocol},{'smoke' if arg.smoke else 'study'}"
    root = (f"data.root={arg.root}",) if arg.root else ()
    config = ConfigDict()
    config.reference = "ours"
    config.seeds = (0, 1) if arg.smoke else (0, 1, 2)
    config.suites = CLASSES
    config.metrics = (*COMPARED[CLASSES], *COMPARED[GAZE])
    config.x_label = ""
    config.variants = ConfigDict(sort_keys=False)
    small = arg.data == "phantom" and not arg.smoke  # `:smoke` is small already
    for name, (file, begins_with, suites) in SYSTEMS.items():
        begun = begins_with.format(weights=arg.weights, inception=arg.inception)
        begun = "" if not begun or begun.endswith("=") else f",{begun}"
        overrides = (*root, SMALL_UNET) if small and name in UNETS else root
        config.variants[name] = ConfigDict(
            dict(config=f"{file}:{size}{begun}", overrides=overrides, suites=suites)
        )
    config.tables = tables(arg.data, weights=arg.weights, inception=arg.inception)
    config.contrasts = ConfigDict(sort_keys=False)
    for question, (variant, reference, suites) in ABLATIONS.items():
        config.contrasts[question] = ConfigDict(
            dict(variant=variant, reference=reference, metrics=COMPARED[suites])
        )
    return config


def begun_with(systems: tuple[str, ...], *, weights: str, inception: str) -> str:
    """Which of them begin with ImageNet's weights."""
    files = dict.fromkeys(OF_DENSENET, weights) | {"inception_resnet_v2": inception}
    given = [HEADINGS[system] for system in systems if files.get(system)]
    if not given:
        return "All begin with random weights."
    return f"With ImageNet's weights begin {', '.join(given)}; the others with random ones."


def tables(data: str, *, weights: str, inception: str) -> ConfigDict:
    """Both, in the paper's layout; labels are called as the data calls them."""

    def named(metric: str) -> str:
        row, _, label = metric.rpartition("/")
        return f"{row}/{EGD_CXR[label]}" if data == "egd_cxr" and label in EGD_CXR else metric

    def published(systems: tuple[str, ...], rows: dict[str, tuple[str, ...]]) -> dict:
        return {
            named(metric): {system: text for system, text in zip(systems, row, strict=True) if text}
            for metric, row in rows.items()
        }

    def begun(systems: tuple[str, ...]) -> str:
        return begun_with(systems, weights=weights, inception=inception)

    small = (SMALL,) if data == "phantom" else ()
    found = ConfigDict(sort_keys=False)
    found.classification = dict(
        title="Table 1: diagnosis",
        systems=tuple((name, HEADINGS[name]) for name in OF_CLASSES),
        metrics=tuple((named(metric), NAMES[metric]) for metric in PUBLISHED_CLASSES),
        beside=(("prior", "class shares"),),
        published=tuple(published(OF_CLASSES, PUBLISHED_CLASSES).items()),
        source=SOURCE,
        notes=(
            *small,
            begun(OF_CLASSES),
            LENGTHS,
            "GazeGNN sees the gaze of the test images too; the others see the image alone.",
            "‡: the paper prints one AUC a system. Where that is not the mean of its three "
            "classes, the mean stands at macro, computed from them, and the printed one at micro, "
            "with which it is consistent.",
        ),
    )
    found.saliency = dict(
        title="Table 2: predicted gaze",
        systems=tuple((name, HEADINGS[name]) for name in OF_GAZE),
        metrics=tuple(
            (metric, NAMES[metric]) for metric in (*PUBLISHED_GAZE, "saliency/nss", "saliency/auc")
        ),
        beside=(
            ("mean_map", "training-mean map"),
            ("centre", "centre bias"),
            ("saliency@readers", "Ours, single readers"),
            ("readers", "other readers"),
        ),
        published=tuple(published(OF_GAZE, PUBLISHED_GAZE).items()),
        source=SOURCE,
        notes=(
            *small,
            begun(OF_GAZE),
            "Held against the gaze of all readers of an image together; the last two columns "
            "against that of each reader alone, by Ours and by the gaze of the others, the "
            "ceiling of that column. The latter is all but 0 between fixations: it has no KL.",
            "The U-Nets are chosen by KL on validation, MT-UNet by (macro AUC + CC) / 2.",
        ),
    )
    return found
