"""Does the model know where people looked: its maps against held-out gaze.

The maps are its ``attention``, or, of a model that is trained to predict gaze, its ``saliency``.
Beside them stand what knows nothing of the image, and how well people agree among themselves. The
rows of a table of attention (those of saliency are called ``saliency`` where these are called
``attention``):

- ``attention``, ``attention_step_0``: of the trained weights and of those at step 0;
- ``mean_map``: the mean gaze map of training; ``centre``: a centred Gaussian; ``uniform``: a
  constant map;
- ``readers``: the inter-reader ceiling. Each reader's fixations and gaze map against the gaze map
  of all the OTHER readers of the image; the mean over readers, of images with two or more. Not in
  information gain and KL: both take the logarithm of the map, and Gaussians about a few fixations
  are all but 0 where nobody else happened to look. There they say how narrow the Gaussians are
  and not how well readers agree, and a constant map scores higher;
- ``attention@readers``, ``mean_map@readers``: the attention and the mean map scored as the ceiling
  is, against each reader by himself, of the same images. One reader's gaze is noisier than that of
  all together, so that the ceiling is to be compared with these rows and not with ``attention``
  and ``mean_map``;
- ``attention@NAME``: the attention against one reader's gaze, in the images that he read.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from gazax.eval.encode import Look, OfBatch, Split, fixations, look, render_readers, walk
from gazax.eval.record import Part
from gazax.eval.report import Numbers, block
from gazax.eval.values import Values
from gazax.metrics.saliency import (
    auc_borji,
    auc_judd,
    auc_shuffled,
    cc,
    information_gain,
    kl,
    nss,
    sim,
)

METRICS = ("cc", "nss", "auc")
"""Of attention, those followed during training."""
SALIENCY_METRICS = ("kl", "cc", "sim", "nss", "auc")
"""Of predicted saliency, those followed during training: the paper's three come first."""
ALL_METRICS = (*METRICS, "auc_borji", "auc_shuffled", "information_gain", "sim", "kl")
OF_DENSITIES = ("information_gain", "kl")
"""Those that ask how likely gaze is by a map, which makes no ceiling of other readers' gaze."""
NUM_OTHER_IMAGES = 10
"""Images that the negatives of the shuffled AUC come from, as in the MIT benchmark."""


def centred_gaussian(content: np.ndarray) -> np.ndarray:
    """A Gaussian about the centre of the content [h, w]; deviation 1/4 of its sides (ours)."""
    rows, columns = (np.flatnonzero(content.any(axis=axis)) for axis in (1, 0))
    y, x = np.indices(content.shape)

    def profile(position: np.ndarray, inside: np.ndarray) -> np.ndarray:
        centre, side = (inside[0] + inside[-1]) / 2, inside[-1] - inside[0] + 1
        return np.exp(-0.5 * ((position - centre) / (side / 4)) ** 2)

    return profile(y, rows) * profile(x, columns)


def baseline_maps(content: np.ndarray, *, mean_map: np.ndarray) -> dict[str, np.ndarray]:
    """The training-mean map and a centred Gaussian, for an image of this content."""
    return {"mean_map": mean_map, "centre": centred_gaussian(content)}


def score(one: np.ndarray, seen: Look) -> dict[str, float]:
    """CC with the gaze map, NSS and AUC (Judd) at the fixations; padding is left out.

    Args:
      one: [h, w], any scale.
      seen: an image with gaze.
    """
    one, where = np.asarray(one, np.float64), seen.content
    return {
        "cc": cc(one, seen.gaze, where=where),
        "nss": nss(one, seen.xy, where=where),
        "auc": auc_judd(one, seen.xy, where=where),
    }


def score_saliency(one: np.ndarray, seen: Look) -> dict[str, float]:
    """`score`, with SIM and KL (nats) of the map's density against the gaze's over the content.

    Args:
      one: [h, w], not negative, any scale.
      seen: an image with gaze.
    """
    one, where = np.asarray(one, np.float64), seen.content
    return {
        **score(one, seen),
        "sim": sim(one, seen.gaze, where=where),
        "kl": kl(one, seen.gaze, where=where),
    }


def score_all(
    one: np.ndarray, seen: Look, *, other_xy: np.ndarray, mean_map: np.ndarray, seed: int
) -> dict[str, float]:
    """`score_saliency` and the rest of `ALL_METRICS`.

    Args:
      one: [h, w], not negative, any scale.
      seen: an image with gaze.
      other_xy: [f, 2] fixations of other images, in the pixels of this one: the negatives of the
        shuffled AUC.
      mean_map: [h, w] mean gaze map of training: the baseline density of the information gain,
        which is 0 for this map itself.
      seed: of the draws of the AUCs; an image's draws are the same for every map.
    """
    one, where = np.asarray(one, np.float64), seen.content

    def rng() -> np.random.Generator:
        return np.random.default_rng([seed, seen.index])

    found = {
        **score_saliency(one, seen),
        "auc_borji": auc_borji(one, seen.xy, rng=rng(), where=where),
        "auc_shuffled": auc_shuffled(one, seen.xy, other_xy, rng=rng(), where=where),
        "information_gain": information_gain(one, seen.xy, mean_map, where=where),
    }
    return {name: found[name] for name in ALL_METRICS}


class OtherFixations:
    """Where people looked in images of other patients of a split.

    For each image, `NUM_OTHER_IMAGES` of those that have gaze (all, if there are fewer) are drawn
    by the seed and the image's index. An image of the same patient is none of them: people look at
    it alike, and its fixations would be hits among the negatives. The fixations are scaled from
    the content rectangle of their image to that of this one.

    Args:
      split: read once, without rendering; what is kept are its fixations.
      mesh: the devices.
      seed: of the draws.
    """

    def __init__(self, split: Split, *, mesh: Mesh, seed: int) -> None:
        self._seed = seed
        self._patient = dict(zip(split.index.tolist(), split.patient.tolist(), strict=True))
        self._content: dict[int, np.ndarray] = {}
        self._relative: dict[int, np.ndarray] = {}
        for batch, _ in walk(split.batches(), mesh=mesh):
            for index, content, (xy, _) in zip(
                batch["index"].tolist(), batch["content"], fixations(batch), strict=True
            ):
                self._content[index] = content = content.astype(np.float64)
                if len(xy):
                    self._relative[index] = (xy - content[:2]) / (content[2:] - content[:2])
        self._looked = np.array(sorted(self._relative), np.int64)
        self._whose = np.array([self._patient[index] for index in self._looked.tolist()])

    def of(self, index: int) -> np.ndarray:
        """[f, 2] px of the image at this place of the data set."""
        others = self._looked[self._whose != self._patient[index]]
        drawn = np.random.default_rng([self._seed, index]).permutation(others)[:NUM_OTHER_IMAGES]
        relative = np.concatenate([np.zeros((0, 2)), *(self._relative[one] for one in drawn)])
        content = self._content[index]
        return content[:2] + relative * (content[2:] - content[:2])


def measure(
    split: Split,
    predicted: Mapping[str, OfBatch],
    *,
    subject: str = "attention",
    mean_map: np.ndarray,
    mesh: Mesh,
    seed: int,
    reader_names: Sequence[Sequence[str]] | None = None,
) -> Part:
    """Every saliency metric of every row of the module's list, image by image, in two passes.

    Args:
      split: the images with gaze count.
      predicted: rows (the subject and, if wanted, that of step 0) -> from a batch on the devices
        to maps [b, h, w], not negative; see `gazax.eval.encode.Encoder.attention`.
      subject: what the maps are, ``attention`` or ``saliency``.
      mean_map: [h, w] mean gaze map of training.
      mesh: the devices.
      seed: of draws and bootstrap.
      reader_names: by `index`, the names of an image's readers in the order of their slots; None =
        no rows of single readers.

    Returns:
      Means over images with 95 % intervals over patients. Differences are paired: those to
      ``readers`` and to ``mean_map@readers`` are of images with two readers or more.
    """
    if not split.has_gaze.any():
        return Part({}, f"{subject} against gaze: skipped (no image of the split has gaze)")
    others = OtherFixations(split, mesh=mesh, seed=seed)
    values = Values(split.index)
    functions = [functools.partial(render_readers, mesh=mesh), *predicted.values()]
    for _, looks, (reader_maps, *found) in look(split.batches(), *functions, mesh=mesh):
        for row, seen in enumerate(looks):
            if not seen.has_gaze:
                continue
            scores = functools.partial(
                score_all, other_xy=others.of(seen.index), mean_map=mean_map, seed=seed
            )
            maps = {
                **{name: of_batch[row] for name, of_batch in zip(predicted, found, strict=True)},
                **baseline_maps(seen.content, mean_map=mean_map),
                "uniform": np.ones(seen.content.shape),
            }
            for name, one in maps.items():
                values.put(name, seen.index, scores(one, seen))
            own, of_others = (of_batch[row] for of_batch in reader_maps)
            names = reader_names[seen.index] if reader_names is not None else ()
            of_readers = _score_readers(subject, maps, seen, own, of_others, scores, names)
            for name, found_in in of_readers.items():
                values.put(name, seen.index, found_in)
    rows = (f"{subject}_step_0", "mean_map", "centre", "readers")
    differences = [(subject, other) for other in rows if other in values.rows]
    if "readers" in values.rows:
        differences += [(f"{subject}@readers", row) for row in ("readers", "mean_map@readers")]
    numbers = values.numbers(split.patient, columns=ALL_METRICS, differences=differences, seed=seed)
    return Part(numbers, _table(subject, numbers, values), values.draws)


def _score_readers(
    subject: str,
    maps: Mapping[str, np.ndarray],
    seen: Look,
    own: np.ndarray,
    of_others: np.ndarray,
    scores: Callable[[np.ndarray, Look], dict[str, float]],
    names: Sequence[str],
) -> dict[str, dict[str, float]]:
    """The rows of single readers, if they have names, and of the ceiling, for one image.

    ``maps`` has those of the rows of the subject and ``mean_map``; ``own`` and ``of_others`` are
    [r, h, w]: a reader's gaze map and that of all the others.
    """
    alone = [seen.of_reader(slot, own[slot]) for slot in seen.readers]
    predicted = [scores(maps[subject], one) for one in alone]
    rows = {
        f"{subject}@{names[slot]}": found
        for slot, found in zip(seen.readers, predicted, strict=True)
        if names
    }
    if len(alone) > 1:
        by_others = [
            scores(of_others[slot], one) for slot, one in zip(seen.readers, alone, strict=True)
        ]
        ceiling = _mean(by_others)
        rows |= {
            f"{subject}@readers": _mean(predicted),
            "mean_map@readers": _mean([scores(maps["mean_map"], one) for one in alone]),
            "readers": {name: ceiling[name] for name in ceiling if name not in OF_DENSITIES},
        }
    return rows


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over readers; one without a fixation inside the image has no score of some kinds."""
    found = {}
    for metric in scores[0]:
        known = [one[metric] for one in scores if not np.isnan(one[metric])]
        found[metric] = float(np.mean(known)) if known else np.nan
    return found


def rows_of(subject: str) -> dict[str, str]:
    """What a table of the subject calls its rows."""
    trained = {"attention": "trained", "saliency": "predicted"}[subject]
    return {
        subject: f"{subject}, {trained}",
        f"{subject}_step_0": f"{subject}, step 0",
        "mean_map": "training-mean gaze map",
        "centre": "centred Gaussian",
        "uniform": "uniform map",
        f"{subject}-{subject}_step_0": f"{trained} - step 0",
        f"{subject}-mean_map": f"{trained} - mean map",
        f"{subject}-centre": f"{trained} - centred Gaussian",
        "readers": "each reader, by the others",
        f"{subject}@readers": f"each reader, by {subject}",
        "mean_map@readers": "each reader, by mean map",
        f"{subject}@readers-readers": f"by {subject} - by the others",
        f"{subject}@readers-mean_map@readers": f"by {subject} - by mean map",
    }


COLUMNS = {
    "cc": "CC",
    "nss": "NSS",
    "auc": "AUC (Judd)",
    "auc_borji": "AUC (Borji)",
    "auc_shuffled": "AUC (shuffled)",
    "information_gain": "inf. gain (bit)",
    "sim": "SIM",
    "kl": "KL (nat)",
}
BLOCKS = {
    "attention": (METRICS, ("auc_borji", "auc_shuffled", "information_gain"), ("sim", "kl")),
    "saliency": (
        ("kl", "cc", "sim"),
        ("nss", "auc", "auc_borji"),
        ("auc_shuffled", "information_gain"),
    ),
}
"""Three columns are what fits a line."""


def _table(subject: str, numbers: Numbers, values: Values) -> str:
    """The blocks of columns, and how many images they are of."""
    rows = rows_of(subject)
    single = {
        row: f"{subject}, {row.removeprefix(f'{subject}@')}"[:27]
        for row in sorted(values.rows)
        if row.startswith(f"{subject}@") and row not in rows
    }
    lines: list[str] = []
    for columns in BLOCKS[subject]:
        titles = {column: COLUMNS[column] for column in columns}
        lines += block(numbers, rows={**rows, **single}, columns=titles)
    gaze, several = (int((~np.isnan(values[f"{row}/cc"])).sum()) for row in (subject, "readers"))
    lines.append("lower KL is better; information gain is that over the training-mean gaze map")
    lines.append(f"images with gaze: {gaze}; with that of two readers or more: {several}")
    if several:
        lines.append(
            "inf. gain and KL have no row 'by the others', whose maps are all but 0 between "
            "fixations"
        )
    return "\n".join(lines)
