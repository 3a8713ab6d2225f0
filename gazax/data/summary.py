"""What a preparation says about a data set: counts of what was kept, what was not, and why."""

from collections import Counter
from collections.abc import Callable, Sequence

from gazax.data.examples import Example
from gazax.data.pseudonyms import Pseudonyms
from gazax.data.raw import RawDataset
from gazax.data.splits import SPLITS


def summarize(
    raw: RawDataset, rows: Sequence[Example], failed: Sequence[dict], names: Pseudonyms
) -> dict:
    """The summary, ready for json; it holds no id but pseudonyms.

    Args:
      raw: the checked tables.
      rows: of all images that are kept.
      failed: ``image_id``, ``fixations`` and ``message`` of those that did not decode.
      names: what ids became.
    """
    report = raw.faults.report()
    dropped = Counter(report.get(raw.fixation_table or "", {}).get("reasons", {}))
    dropped["image left out"] += raw.rows_left_out + sum(image["fixations"] for image in failed)
    if failed:
        report.setdefault("images/", {"count": 0, "reasons": {}, "first": []})
        _count_failed(report["images/"], failed)
    if names.salt is not None:  # messages name files and rows
        report = {file: found | {"first": []} for file, found in report.items()}
    weights = raw.reader_weights
    return {
        "images": len(rows),
        "images_failed": [image["image_id"] for image in failed],
        "images_without_gaze": sum(not any(weights[r] for r in row.readers) for row in rows),
        "patients": len({row.patient_id for row in rows}),
        "readers": len({reader for row in rows for reader in row.readers}),
        "reader_ids": list(names.readers(raw.reader_ids)),
        "reader_weights": list(weights),
        "ids": "kept" if names.salt is None else "pseudonyms",
        "label_names": list(raw.label_names),
        "exclusive": [list(group) for group in raw.exclusive] or _one_hot(raw.label_names, rows),
        "masks": raw.has_masks,
        "splits": {
            split: count_images([row for row in rows if row.split == split], raw.label_names)
            for split in SPLITS
        },
        "fixations": {
            "kept": sum(row.fixations for row in rows),
            "outside": sum(row.outside for row in rows),
            "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        },
        "boxes": sum(row.boxes for row in rows),
        "largest": {
            "fixations": _largest(rows, lambda row: row.fixations),
            "readers": _largest(rows, lambda row: len(row.readers)),
            "boxes": _largest(rows, lambda row: row.boxes),
        },
        "faults": report,
        **raw.notes,
    }


def _count_failed(found: dict, failed: Sequence[dict]) -> None:
    """Counts them once, whether this process met them or another one did."""
    reasons = {r: n for r, n in found["reasons"].items() if r != "does not decode"}
    found["reasons"] = reasons | {"does not decode": len(failed)}
    found["count"] = sum(found["reasons"].values())


def count_images(rows: Sequence[Example], label_names: Sequence[str]) -> dict:
    """What the summary says of the images of one split."""
    columns = [Counter(row.labels[k] for row in rows) for k in range(len(label_names))]
    return {
        "images": len(rows),
        "patients": len({row.patient_id for row in rows}),
        "fixations": sum(row.fixations for row in rows),
        "labels": {
            name: {"present": count["1"], "absent": count["0"], "unknown": count["-"]}
            for name, count in zip(label_names, columns, strict=True)
        },
    }


def _one_hot(label_names: Sequence[str], rows: Sequence[Example]) -> list[list[str]]:
    """All labels as one group where they are the classes of one question in every row."""
    if len(label_names) < 2:
        return []
    exact = all("-" not in row.labels and row.labels.count("1") == 1 for row in rows)
    return [list(label_names)] if exact else []


def _largest(rows: Sequence[Example], count: Callable[[Example], int]) -> dict:
    row = max(rows, key=count)
    return {"count": count(row), "image_id": row.image_id}
