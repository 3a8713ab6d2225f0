"""Workdirs as training and evaluation leave them, made up and tiny."""

import json

import numpy as np
from etils import epath

from gazax.eval.record import Record
from gazax.eval.report import block
from gazax.metrics.classification import roc_auc

LABELS = ("normal", "pneumonia", "heart failure")
READERS = ("ann", "bob", "cy")


def make_workdir(
    folder,
    *,
    skill=0.5,
    settings=None,
    num_images=24,
    size=32,
    gallery=2,
    steps=20,
    data=0,
    phantom=True,
    image_of=None,
    task="pretraining",
    gaze=True,
):
    """An evaluated run; ``data`` makes the images and labels, ``skill`` and the name the scores.

    ``task`` is also ``segmentation`` or ``classifier``, which adds its numbers.
    """
    folder = epath.Path(folder)
    (folder / "evaluation" / "gallery").mkdir(parents=True)
    rng = np.random.default_rng(sum(map(ord, folder.name)))
    settings = {"alpha": 1.0, "gaze": "own", "seed": 0} | (settings or {})
    write(
        folder / "config.json",
        {
            "config": {"method": settings, "data": {"name": "phantom"}},
            "data_fingerprint": f"data{data}",
            "weights_fingerprint": None,
            "versions": {"gazax": "0.1"},
        },
    )
    lines = [
        {
            "step": step,
            "loss": 3 - skill * step / steps + rng.normal(0, 0.05),
            "loss/contrast": 2 - skill * step / steps + rng.normal(0, 0.05),
            "images_per_s": 100.0,
        }
        for step in range(1, steps + 1)
    ]
    for step in range(0, steps + 1, max(1, steps // 5)):
        lines.append(
            {
                "step": step,
                "validation/attention/cc": 0.3 + skill * step / steps / 2,
                "validation/mean_map/cc": 0.45,
                "validation/probe_auc": None if step == 0 else 0.5 + skill * step / steps / 3,
            }
        )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = make_record(rng, skill=skill, num_images=num_images, data=data)
    found = suites(record)
    if task == "segmentation":
        segmentation(found["downstream"], record, skill)
    if task == "classifier":
        classifier(found["downstream"], record, skill)
    record.save(folder / "evaluation")
    write(
        folder / "evaluation" / "numbers.json",
        {
            "split": "test",
            "step": steps,
            "phantom_numbers": phantom,
            "images": num_images,
            "patients": len(set(record.patient)),
            "label_names": LABELS,
            "exclusive": True,
            "suites": found,
        },
    )
    images = image_of or make_image
    for place in range(gallery):
        case = make_case(record, place, skill, images(data, place, size), rng)
        if not gaze:
            case |= without_gaze(case)
        np.savez(folder / "evaluation" / "gallery" / f"{place}.npz", **case)
    return folder


def make_record(rng, *, skill, num_images, data=0):
    known = np.random.default_rng(data)
    label = np.eye(3)[known.integers(0, 3, num_images)]
    hard = known.normal(size=num_images)  # what makes an image hard for every run
    scores = {
        "probe": softmax(4 * skill * label + rng.normal(0, 1, label.shape))[None],
        "few_shot_1": np.stack(
            [softmax(2 * skill * label + rng.normal(0, 1, label.shape)) for _ in range(5)]
        ),
        "anomaly_knn": ((1 - label[:, :1]) * skill + rng.normal(0, 0.5, (num_images, 1)))[None],
    }
    right = {
        f"{row}/accuracy": (scores[row].argmax(-1) == label.argmax(-1)).astype(float)
        for row in ("probe", "few_shot_1")
    }
    noise = rng.normal(0, 0.05, num_images)
    values = {
        **right,
        "attention/cc": (0.4 + 0.3 * skill + 0.1 * hard + noise)[None],
        "attention/kl": (1.5 - skill + 0.2 * hard + noise)[None],
        "mean_map/cc": (0.5 + 0.1 * hard)[None],
        "readers/cc": (0.75 + 0.1 * hard)[None],
    }
    return Record(
        index=np.arange(num_images) + 100,
        image_id=np.array([f"set{data}_image{i:03}" for i in range(num_images)]),
        patient=np.array([f"set{data}_patient{i - i % 2:03}" for i in range(num_images)]),
        label=label,
        label_names=np.array(LABELS),
        features=np.zeros((num_images, 0)),
        embedding=rng.normal(size=(num_images, 2)) + 3 * skill * label[:, :2],
        values=values,
        scores=scores,
        targets={"anomaly_knn": 1 - label[:, :1]},
    )


def suites(record):
    """The numbers of a record, with intervals that are made up."""
    means = {name: float(np.nanmean(values)) for name, values in record.values.items()}
    for row, scores in record.scores.items():
        means[f"{row}/auc_macro"] = float(
            np.mean([roc_auc(draw, record.target(row))["macro"] for draw in scores])
        )
        means[f"{row}/ece"] = 0.1
    alignment = ("attention", "mean_map", "readers")
    downstream = ("anomaly_knn",)

    def part(wanted):
        return {
            "numbers": {
                name: [mean, mean - 0.04, mean + 0.04]
                for name, mean in means.items()
                if wanted(name)
            },
            "table": "",
        }

    return {
        "representation": part(lambda name: not name.startswith((*alignment, *downstream))),
        "alignment": part(lambda name: name.startswith(alignment)),
        "downstream": part(lambda name: name.startswith(downstream)),
        "embedding": {"numbers": {}, "table": "t-SNE"},
    }


def segmentation(suite, record, skill):
    """Adds numbers as `SegmentationEvaluation` names them; the heart failure has none."""
    metrics = ("dice", "iou", "false_positive_rate")
    rng = np.random.default_rng(7)
    for row, level in {"segmentation": skill, "mean_mask": 0.3}.items():
        noise = rng.normal(0, 0.05, len(record.index))
        for place, metric in enumerate(metrics):
            of_images = (1 - level if metric == "false_positive_rate" else level) + noise
            for label in LABELS[:2]:
                record.values[f"{row}/{metric}/{label}"] = (of_images - 0.1 * place)[None]
            if metric != "false_positive_rate":
                record.values[f"{row}/{metric}_per_image"] = of_images[None]
        names = [name for name in record.values if name.startswith(f"{row}/")]
        means = {name: float(record.values[name].mean()) for name in names}
        means |= {f"{row}/{metric}": means[f"{row}/{metric}/normal"] for metric in metrics}
        suite["numbers"] |= {name: [one, one - 0.04, one + 0.04] for name, one in means.items()}
    for metric in ("dice", "dice_per_image"):
        suite["numbers"][f"segmentation-mean_mask/{metric}"] = [0.1, 0.0, 0.2]
    lines = block(
        {name: tuple(found) for name, found in suite["numbers"].items()},
        rows={"segmentation": "segmentation", "mean_mask": "mean training mask"},
        columns={name: name for name in metrics},
    )
    lines.append("heart failure: left out of the mean (marked in no image of the test split)")
    suite["table"] = "\n\n".join(["\n".join(lines), "anomaly detection: skipped ([0, 1] <2>)"])


def classifier(suite, record, skill):
    """Adds numbers as `ClassificationEvaluation` names them."""
    record.scores["classifier"] = record.scores["probe"] * 0.9
    means = {f"classifier/{name}": skill for name in ("accuracy", "auc_macro", "ece")}
    means |= {f"classifier/auc/{label}": skill + 0.01 for label in LABELS}
    means |= {f"prior/{name}": 0.5 for name in ("accuracy", "auc_macro", "ece")}
    means["classifier-prior/auc_macro"] = skill - 0.5
    suite["numbers"] |= {name: [one, one - 0.04, one + 0.04] for name, one in means.items()}


def without_gaze(case):
    """What a case holds where nobody's gaze is known."""
    return {
        "gaze": np.zeros_like(case["gaze"]),
        "reader_names": np.array([], dtype=str),
        "reader_gaze": case["reader_gaze"][:0],
        "xy": case["xy"][:0],
        "reader": case["reader"][:0],
    }


def make_case(record, place, skill, image, rng):
    height, width = image.shape
    shared = np.random.default_rng(place)
    centres = shared.uniform(0.25, 0.75, (len(READERS), 4, 2)) * (width, height)
    y, x = np.mgrid[:height, :width] + 0.5

    def heat(points):
        spread = 0.09 * width
        return sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * spread**2)) for a, b in points)

    maps = np.stack([heat(points) for points in centres])
    gaze = maps.mean(axis=0)
    patch = height // 8
    noise = np.kron(rng.uniform(size=(8, 8)), np.ones((patch, patch)))
    attention = skill * gaze / gaze.max() + (1 - skill) * noise
    return {
        "image": image,
        "content": np.ones(image.shape, bool),
        "gaze": (gaze / gaze.max()).astype(np.float32),
        "reader_names": np.array(READERS),
        "reader_gaze": maps.astype(np.float32),
        "xy": centres.reshape(-1, 2),
        "reader": np.repeat(np.arange(len(READERS)), 4),
        "attention": attention,
        "probability": record.scores["probe"][0, place],
        "label": record.label[place],
        "label_names": record.label_names,
        "image_id": np.array(record.image_id[place]),
    }


def make_image(data, place, size):
    """[size, size] uint8: two dark fields on a bright ground."""
    rng = np.random.default_rng((data, place))
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    lungs = sum(np.exp(-(((x - at) / 0.14) ** 2 + ((y - 0.5) / 0.3) ** 2)) for at in (0.3, 0.7))
    return np.clip(200 - 130 * lungs + rng.normal(0, 6, x.shape), 0, 255).astype(np.uint8)


def softmax(logits):
    odds = np.exp(logits)
    return odds / odds.sum(axis=-1, keepdims=True)


def write(path, value):
    path.write_text(json.dumps(value))
