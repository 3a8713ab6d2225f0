"""What the page calls the numbers of an evaluation.

A number is ``row/column``. A row is one thing that was measured, ``one-other`` the difference of
two, ``row@reader`` a row against a single reader; a column is a metric, or ``metric/LABEL``.
"""

from collections.abc import Mapping
from typing import Any

from gazax.eval.measured import lower_is_better
from gazax.page import html

ROWS = {
    "probe": "Linear probe",
    "knn": "k nearest neighbours",
    "few_shot_1": "Few-shot, 1 % of labels",
    "few_shot_10": "Few-shot, 10 % of labels",
    "probe_step_0": "Linear probe, untrained features",
    "knn_step_0": "k nearest neighbours, untrained features",
    "few_shot_1_step_0": "Few-shot, 1 % of labels, untrained features",
    "few_shot_10_step_0": "Few-shot, 10 % of labels, untrained features",
    "classifier": "Classifier",
    "prior": "class shares of training",
    "segmentation": "Segmentation",
    "mean_mask": "mean training mask",
    "anomaly_mahalanobis": "Anomaly, Mahalanobis distance",
    "anomaly_knn": "Anomaly, k nearest normals",
    "attention": "Attention",
    "attention_step_0": "Attention, untrained",
    "saliency": "Predicted saliency",
    "mask": "Predicted mask",
    "marked": "marked in the data",
    "mean_map": "training-mean gaze map",
    "centre": "centred Gaussian",
    "uniform": "uniform map",
    "readers": "other readers (ceiling)",
    "gaze": "gaze itself",
}
OF_MAPS = ("attention", "saliency")
"""Rows of a model's maps, which are held against gaze or findings."""
OF_MASKS = ("mask", "marked")
"""Of a segmentation in a gallery: what it marks, and what is marked in the data."""
BASELINES = {
    "probe_step_0": ("probe",),
    "knn_step_0": ("knn",),
    "few_shot_1_step_0": ("few_shot_1",),
    "few_shot_10_step_0": ("few_shot_10",),
    "prior": ("classifier",),
    "mean_mask": ("segmentation",),
    "attention_step_0": ("attention",),
    "mean_map": OF_MAPS,
    "centre": OF_MAPS,
    "uniform": OF_MAPS,
    "readers": OF_MAPS,
    "gaze": OF_MAPS,
}
"""Rows that no training has a part in, and those that each stands beside."""
COLUMNS = {
    "accuracy": "Accuracy",
    "f1_macro": "F1, macro",
    "auc_macro": "AUC, macro",
    "auc_micro": "AUC, micro",
    "ap_macro": "AP, macro",
    "sensitivity_at_95": "Sensitivity at 95 % specificity",
    "ece": "Calibration error",
    "cc": "CC",
    "nss": "NSS",
    "auc": "AUC (Judd)",
    "auc_borji": "AUC (Borji)",
    "auc_shuffled": "AUC, shuffled",
    "sim": "SIM",
    "kl": "KL",
    "information_gain": "Information gain",
    "dice": "Dice",
    "iou": "IoU",
    "dice_per_image": "Dice per image",
    "iou_per_image": "IoU per image",
    "false_positive_rate": "False positive rate",
    "pointing": "Pointing game",
    "energy": "Energy inside",
}
OF_ONE_LABEL = {"auc_macro": "auc"}
"""Columns that are called otherwise where they are of one label alone."""


def split_name(name: str) -> tuple[str, str]:
    """(row, column) of a number; a label may hold a slash, and so may a reader's name."""
    row, _, column = name.partition("/")
    if "@" in row:  # single readers have no numbers of one label
        row, _, column = name.rpartition("/")
    return row, column


def split_column(column: str) -> tuple[str, str]:
    """(metric, label) of a column; '' = it is of no single label."""
    metric, _, label = column.partition("/")
    return metric, label


def difference_of(row: str) -> tuple[str, str] | None:
    """The rows whose difference this one is, or None; names of readers may hold a dash too."""
    for place, sign in enumerate(row):
        both = row[:place], row[place + 1 :]
        if sign == "-" and all(one.partition("@")[0] in ROWS for one in both):
            return both
    return None


def reader_of(row: str) -> str:
    """Whom a row is held against, where that is not all readers together; '' otherwise."""
    return "" if difference_of(row) else row.partition("@")[2]


def is_baseline(row: str) -> bool:
    """Whether no training has a part in it."""
    return not difference_of(row) and row.partition("@")[0] in BASELINES


def row_title(row: str) -> str:
    """What the page calls a row, a difference of two rows, or a row against one reader."""
    if row in ROWS:
        return ROWS[row]
    if both := difference_of(row):
        return f" {html.MINUS} ".join(map(row_title, both))
    base, at, reader = row.partition("@")
    if at:
        whom = "each reader alone" if reader == "readers" else reader
        return f"{row_title(base)} against {whom}"
    return row.replace("_", " ")


def metric_title(name: str) -> str:
    """What the page calls a number, ``row/column``."""
    row, column = split_name(name)
    return f"{row_title(row)}: {column_title(column)}"


def attention_title(settings: Mapping[str, Any]) -> str:
    """What a run's attention is, from its config's leaves."""
    method = settings.get("method.name")
    if method == "gg_cam":
        return "class activation"
    grad_cam = settings.get("method.attention") == "grad_cam" or method in ("fusion", "mt_unet")
    return "Grad-CAM" if grad_cam else "attention"


def column_title(column: str) -> str:
    """What the page calls a column."""
    metric, label = split_column(column)
    title = COLUMNS.get(metric, metric.replace("_", " "))
    if label:
        title = f"{'AUC' if metric == 'auc' else title}, {label}"
    return f"{title} (lower is better)" if lower_is_better(column) else title
