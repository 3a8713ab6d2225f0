"""A page on which people rate heat maps without knowing whose they are, and its key."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from gazax.eval.agreement import READERS
from gazax.page import html, pictures
from gazax.page.runs import Case, Run, same_images
from gazax.typing import InputError

_TOKEN = 12  # characters


def make_study(runs: Sequence[Run], *, secret: str) -> tuple[str, dict[str, Any]]:
    """The rating page and the key that says what its heat maps are.

    Each image with gaze that every run set aside is shown with a map of each run (the gaze that it
    predicts, or else its attention) and with the gaze of its readers, all in the same colours on
    their own scale, in an order drawn anew for each image. The page knows the heat maps by tokens
    only, and neither those nor the order can be worked out without the secret.

    Args:
      runs: of the same test images.
      secret: of which tokens, and the order of images and heat maps, are made; in neither of the
        two that are returned. The same gives the same study.

    Returns:
      The page, and the key: ``systems``, name -> 'model' or 'readers'; ``cases``, token ->
      image_id and patient; ``overlays``, token -> case, system.

    Raises:
      InputError: the runs have other test images, or set no image with gaze in common aside.
    """
    cases = _common_cases(runs)
    systems = {run.name: "model" for run in runs}
    if READERS in systems:
        raise InputError(f"a run is called '{READERS}', as the gaze is; rename its folder.")
    systems[READERS] = "readers"
    record = runs[0].record
    patients = dict(zip(record.image_id.tolist(), record.patient.tolist(), strict=True))
    # Not a seed that can be guessed: with the order of the command line it would unblind the page.
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(secret.encode()).digest()))
    key: dict[str, Any] = {"systems": systems, "cases": {}, "overlays": {}}
    shown = []
    for image_id in rng.permutation(sorted(cases)):
        of_runs = cases[str(image_id)]
        case = of_runs[0]
        case_token = _token(secret, str(image_id))
        patient = str(patients.get(str(image_id), image_id))
        key["cases"][case_token] = {"image_id": str(image_id), "patient": patient}
        gaze = next(own.gaze for own in of_runs if own.has_gaze)
        heats = [own.answer for own in of_runs] + [gaze]
        overlays = []
        for place in rng.permutation(len(systems)):
            system = list(systems)[place]
            token = _token(secret, str(image_id), system)
            key["overlays"][token] = {"case": case_token, "system": system}
            address = pictures.heat(heats[place], content=case.content)
            overlays.append({"token": token, "picture": address})
        shown.append(
            {
                "token": case_token,
                "picture": pictures.grey(case.image),
                "ratio": f"{case.size[1]} / {case.size[0]}",
                "overlays": overlays,
            }
        )
    return _page(shown, study=_token(secret)), key


def _common_cases(runs: Sequence[Run]) -> dict[str, list[Case]]:
    """image_id -> its case in each run, of the images with gaze that all runs set aside."""
    for run in runs[1:]:
        if not same_images(run.record, runs[0].record):
            raise InputError(
                f"'{run.name}' and '{runs[0].name}' have other test images, patients or labels; a "
                "reader study needs runs of the same data."
            )
    found = [{case.image_id: case for case in run.cases()} for run in runs]
    common = [image_id for image_id in found[0] if all(image_id in own for own in found)]
    if not common:
        raise InputError(
            "no image was set aside by every run; evaluate them with the same --gallery=NUMBER."
        )
    count = len(common)
    common = [one for one in common if any(own[one].has_gaze for own in found)]
    if not common:
        which = "the image" if count == 1 else f"any of the {count} images"
        raise InputError(
            f"nobody's gaze is known on {which} that every run set aside, and a reader study "
            "shows it beside the maps; if other test images have gaze, evaluate the runs "
            "with a larger --gallery=NUMBER."
        )
    for image_id in common:
        if not all(np.array_equal(own[image_id].image, found[0][image_id].image) for own in found):
            raise InputError(
                f"image {image_id} is not the same in every run; a reader study needs runs of the "
                "same image size."
            )
    return {image_id: [own[image_id] for own in found] for image_id in common}


def _token(secret: str, *names: str) -> str:
    """It begins with a letter that is no digit: spreadsheets rewrite what looks like a number."""
    return f"t{hashlib.sha256(json.dumps([secret, *names]).encode()).hexdigest()}"[:_TOKEN]


def _page(shown: Sequence[dict[str, Any]], *, study: str) -> str:
    data = json.dumps({"study": study, "cases": shown}).replace("<", "\\u003c")
    return html.document(
        title="Rating heat maps",
        style=html.asset("base.css") + html.asset("study.css"),
        body_html=(
            html.asset("study.html")
            + f'\n<script type="application/json" id="data">{data}</script>'
        ),
        script=html.asset("study.js"),
    )
