"""Does the model look at what was found: attention, or predicted saliency, against boxes and masks.

The region of an image is the union of what is drawn of the labels that are present in it. A map
points to it if its highest pixel lies inside (the pointing game), or by the share of the map that
lies inside (its energy version). The constant map, ``uniform``, says what chance is: the region's
share of the image.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gazax.eval.encode import OfBatch, Split, look
from gazax.eval.record import Part
from gazax.eval.report import Numbers, block
from gazax.eval.saliency import baseline_maps
from gazax.eval.values import Values
from gazax.metrics.localization import energy_inside, pointing_hit
from gazax.ops.boxes import box_masks
from gazax.train.sharding import replicated
from gazax.typing import Batch

SOURCES = {"box": "", "mask": "_mask"}
"""What regions are drawn by, and what the names of their columns end in."""


@functools.partial(jax.jit, static_argnames="mesh")
def regions(batch: Batch, *, mesh: Mesh) -> dict[str, jax.Array]:
    """[b, h, w] bool of each source that the batch has: the pixels of labels that are present."""
    _, height, width, _ = batch["image"].shape
    label = jnp.asarray(batch["label"])
    if not label.shape[1]:
        return {}
    draw = functools.partial(box_masks, size=(height, width), num_labels=label.shape[1])
    drawn = {"box": jax.vmap(draw)(jnp.asarray(batch["box"]), jnp.asarray(batch["box_label"]))}
    if "mask" in batch:
        drawn["mask"] = jnp.asarray(batch["mask"])
    present = (label == 1)[:, None, None, :]
    found = {source: ((planes > 0) & present).any(axis=3) for source, planes in drawn.items()}
    return jax.lax.with_sharding_constraint(found, replicated(mesh))


def measure(
    split: Split,
    predicted: Mapping[str, OfBatch],
    *,
    mean_map: np.ndarray,
    mesh: Mesh,
    seed: int,
    tolerance_px: float = 0.0,
) -> Part:
    """Pointing game and energy inside, image by image, in one pass.

    Rows: what is given (``attention``, ``attention_step_0``, ``saliency``), ``mean_map``,
    ``centre``, ``uniform``, and the gaze map itself, ``gaze``, of the images that have one.
    Columns: ``pointing`` and ``energy`` against boxes, ``pointing_mask`` and ``energy_mask``
    against masks. An image in which nothing is drawn of a present label is left out.

    Args:
      split: with boxes, or masks in its batches, or both.
      predicted, mean_map, mesh, seed: see `gazax.eval.saliency.measure`.
      tolerance_px: how far from the region the highest pixel may lie, px.
    """
    values = Values(split.index)
    functions = [functools.partial(regions, mesh=mesh), *predicted.values()]
    for _, looks, (drawn, *found) in look(split.batches(), *functions, mesh=mesh):
        for row, seen in enumerate(looks):
            inside = {source: of_batch[row] & seen.content for source, of_batch in drawn.items()}
            inside = {source: region for source, region in inside.items() if region.any()}
            if not inside:
                continue
            maps = {
                **{name: of_batch[row] for name, of_batch in zip(predicted, found, strict=True)},
                **baseline_maps(seen.content, mean_map=mean_map),
                "uniform": np.ones(seen.content.shape),
                **({"gaze": seen.gaze} if seen.has_gaze else {}),
            }
            for source, region in inside.items():
                for name, one in maps.items():
                    of_map = {
                        "pointing": pointing_hit(
                            one, region, tolerance_px=tolerance_px, where=seen.content
                        ),
                        "energy": energy_inside(one, region, where=seen.content),
                    }
                    named = {f"{column}{SOURCES[source]}": x for column, x in of_map.items()}
                    values.put(name, seen.index, named)
    if not values.rows:
        return Part({}, "pointing: skipped (nothing is drawn of a label that is present)")
    differences = [(row, "mean_map") for row in ("attention", "saliency") if row in predicted]
    numbers = values.numbers(
        split.patient, columns=tuple(COLUMNS), differences=differences, seed=seed
    )
    return Part(numbers, _table(numbers, values, tolerance_px), values.draws)


ROWS = {
    "attention": "attention, trained",
    "attention_step_0": "attention, step 0",
    "saliency": "saliency, predicted",
    "gaze": "gaze map",
    "mean_map": "training-mean gaze map",
    "centre": "centred Gaussian",
    "uniform": "chance (uniform map)",
    "attention-mean_map": "trained - mean map",
    "saliency-mean_map": "predicted - mean map",
}
COLUMNS = {
    "pointing": "pointing, boxes",
    "energy": "energy, boxes",
    "pointing_mask": "pointing, masks",
    "energy_mask": "energy, masks",
}


def _table(numbers: Numbers, values: Values, tolerance_px: float) -> str:
    """A block a source, and how many images it is made of."""
    lines: list[str] = []
    for source, suffix in SOURCES.items():
        columns = {f"{name}{suffix}": "" for name in ("pointing", "energy")}
        of_source = block(numbers, rows=ROWS, columns={name: COLUMNS[name] for name in columns})
        if of_source:
            count = int((~np.isnan(values[f"uniform/energy{suffix}"])).sum())
            of_source.append(f"images with a {source}: {count}; tolerance {tolerance_px:g} px")
        lines += of_source
    return "\n".join(lines)
