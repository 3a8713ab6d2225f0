"""Finding what is not normal, by features of normal images alone."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Real
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from gazax.eval.features import Features
from gazax.eval.record import Part
from gazax.eval.report import Numbers, block
from gazax.metrics.classification import ResampledRocAuc
from gazax.metrics.curves import ResampledAveragePrecision
from gazax.metrics.statistics import bootstrap_statistic

NORMAL = ("normal", "no finding", "no findings", "healthy")
"""Names of a label that says it, in small letters, with spaces for _ and -."""
NUM_NEIGHBOURS = 5
ROWS = {
    "anomaly_mahalanobis": "Mahalanobis distance",
    "anomaly_knn": f"distance to {NUM_NEIGHBOURS} normals",
}
COLUMNS = {"auc_macro": "AUC", "ap_macro": "AP"}


def normal_rows(
    labels: Real[np.ndarray, "n k"], label_names: Sequence[str], *, exclusive: bool
) -> tuple[Float[np.ndarray, "n"], str]:
    """Which images are normal, and how that was decided.

    - A label called as one of `NORMAL` decides: 1 is normal, 0 is not. Where it is unknown, an
      image that has another label is not normal (CheXpert's labels leave "No Finding" empty then).
    - Where there is no such label, an image is normal if all its labels are known to be 0, and not
      normal if one of them is 1.

    Args:
      labels: 1, 0 or NaN.
      label_names: of the columns.
      exclusive: whether an image has one label and no more: without a label that says normal there
        is then no normal image.

    Returns:
      1 normal, 0 not, NaN not known; and a sentence for a table.
    """
    present = (labels == 1).any(axis=1)
    named = [
        column
        for column, name in enumerate(label_names)
        if " ".join(name.lower().replace("_", " ").replace("-", " ").split()) in NORMAL
    ]
    if named:
        column = named[0]
        said = labels[:, column].astype(np.float64)
        normal = np.where(np.isnan(said) & present, 0, said)
        return normal, f"normal: images whose label '{label_names[column]}' is 1"
    if exclusive:
        how = "no label is called normal, and every image has one"
        return np.where(present, 0.0, np.nan), how
    absent = (labels == 0).all(axis=1) if labels.shape[1] else np.zeros(len(labels), bool)
    normal = np.where(present, 0.0, np.where(absent, 1.0, np.nan))
    return normal, "normal: images all of whose labels are 0 (no label is called normal)"


def measure(
    features: Features,
    *,
    normal_train: Float[np.ndarray, "train"],
    normal_test: Float[np.ndarray, "test"],
    how: str,
    seed: int,
    num_samples: int = 1000,
) -> Part:
    """Rows anomaly_mahalanobis and anomaly_knn, columns auc_macro and ap_macro; 1 is not normal.

    - Mahalanobis: sqrt((x - m)' S^-1 (x - m)); m the mean of the normal images of training and S
      the covariance of Ledoit and Wolf, which has an inverse where there are fewer images than
      features.
    - k-NN: mean Euclidean distance to the 5 nearest normal images of training, features of length
      1. The number is fixed: there is no label to choose it by (ours).

    Args:
      features: of the splits; labels are not looked at, nor is validation.
      normal_train, normal_test: 1 normal, 0 not, NaN not known, as `normal_rows` has them.
      how: what the table says of that.
      seed: of the bootstrap over patients.
      num_samples: of the bootstrap.

    Returns:
      numbers without those that have no value; scores [1, n, 1], larger is less normal, and
      targets [n, 1], 1 not normal, 0 normal, NaN not known. Nothing but a line of why where
      training has fewer than 2 normal images.

    Source: Lee et al. 2018, arXiv:1807.03888 (Mahalanobis distance of features; one class here);
    Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4; Bergman et al. 2020, arXiv:2002.10445
    (mean distance to the nearest normal features); Sun et al. 2022, arXiv:2204.06507 (length 1).
    """
    normals = np.asarray(features.train.features, np.float64)[normal_train == 1]
    if len(normals) < 2:
        return Part(
            {},
            f"anomaly detection: skipped ({len(normals)} normal images in the training split; "
            f"{how})",
        )
    test = np.asarray(features.test.features, np.float64)
    nearest = NearestNeighbors(n_neighbors=min(NUM_NEIGHBOURS, len(normals))).fit(_unit(normals))
    scores = {
        "anomaly_mahalanobis": np.sqrt(LedoitWolf().fit(normals).mahalanobis(test)),
        "anomaly_knn": nearest.kneighbors(_unit(test))[0].mean(axis=1),
    }
    target = 1.0 - normal_test[:, None]
    numbers: Numbers = {}
    for row, of_row in scores.items():
        for column, statistic in (
            ("auc_macro", ResampledRocAuc(of_row[:, None], target).macro),
            ("ap_macro", ResampledAveragePrecision(of_row[:, None], target).macro),
        ):
            found = bootstrap_statistic(
                statistic, features.test.patient, num_samples=num_samples, seed=seed
            )
            if not np.isnan(found[0]):
                numbers[f"{row}/{column}"] = found
    known = int((~np.isnan(target)).sum())
    abnormal = int((target == 1).sum())
    lines = block(numbers, rows=ROWS, columns=COLUMNS)
    lines.append(
        f"fitted to {len(normals)} normal images; {how}; {abnormal} of {known} test images are not"
    )
    if numbers:
        lines[-1] += f" (the AP of chance is {abnormal / known:.3f})"
    else:
        lines[-1] += ": no number"
    return Part(
        numbers,
        "\n".join(lines),
        scores={row: of_row[None, :, None] for row, of_row in scores.items()},
        targets=dict.fromkeys(scores, target),
    )


def _unit(features: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)
