"""The rating page gives nothing away, and its key gives everything back."""

import json
import re

import numpy as np
import pytest

from gazax.page import pictures
from gazax.page.reader_study import make_study
from gazax.page.runs import load_runs
from gazax.typing import InputError
from tests.page.workdirs import make_workdir, without_gaze


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    folders = [make_workdir(folder / name, gallery=4) for name in ("gazat", "simclr")]
    return load_runs([str(one) for one in folders])


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_names_no_run_no_image_and_no_patient(runs):
    page, _ = make_study(runs, secret="s")
    record = runs[0].record
    for name in ("gazat", "simclr", *record.image_id, *record.patient, "ann", "bob"):
        assert not re.search(rf"\b{name}\b", page), name
    assert str(runs[0].folder) not in page


def test_the_key_says_what_each_heat_map_is(runs):
    page, key = make_study(runs, secret="s")
    of_run = {run.name: {case.image_id: case for case in run.cases()} for run in runs}
    shown = [(case, one) for case in data_of(page)["cases"] for one in case["overlays"]]
    assert len(shown) == len(key["overlays"]) == 4 * 3
    for case, one in shown:
        entry = key["overlays"][one["token"]]
        assert entry["case"] == case["token"]
        image_id = key["cases"][case["token"]]["image_id"]
        own = of_run.get(entry["system"], of_run["gazat"])[image_id]
        heat = own.gaze if entry["system"] == "readers" else own.maps["attention"]
        assert one["picture"] == pictures.heat(heat, content=own.content)
        assert case["picture"] == pictures.grey(own.image)
    patients = dict(zip(runs[0].record.image_id, runs[0].record.patient, strict=True))
    assert all(one["patient"] == patients[one["image_id"]] for one in key["cases"].values())


def test_a_model_that_predicts_gaze_is_rated_by_that(tmp_path):
    folder = make_workdir(tmp_path / "run", gallery=1)
    path = folder / "evaluation" / "gallery" / "0.npz"
    saliency = np.linspace(0, 1, 32 * 32).reshape(32, 32)
    np.savez(path, **dict(np.load(path)), saliency=saliency)
    page, key = make_study(load_runs([str(folder)]), secret="s")
    (case,) = data_of(page)["cases"]
    heats = {key["overlays"][one["token"]]["system"]: one["picture"] for one in case["overlays"]}
    assert heats["run"] == pictures.heat(saliency, content=np.ones((32, 32), bool))


def test_tokens_and_order_are_the_secrets(runs):
    """Which is on neither: a page that can be made again by whoever has the runs is not blind."""
    (page, first), again, (_, other) = (make_study(runs, secret=text) for text in ("a", "a", "b"))

    def order(key):
        return [
            (one["system"], key["cases"][one["case"]]["image_id"])
            for one in key["overlays"].values()
        ]

    assert (page, first) == again
    assert not first["overlays"].keys() & other["overlays"].keys()
    assert order(first) != order(other)
    assert sorted(order(first)) == sorted(order(other))


def test_systems_change_places_from_image_to_image(runs):
    _, key = make_study(runs, secret="s")
    systems = [one["system"] for one in key["overlays"].values()]
    assert len({tuple(systems[i : i + 3]) for i in range(0, len(systems), 3)}) > 1


def test_only_images_that_every_run_set_aside_are_shown(tmp_path):
    folders = [make_workdir(tmp_path / f"run{n}", gallery=n) for n in (3, 1)]
    _, key = make_study(load_runs([str(one) for one in folders]), secret="s")
    assert [one["image_id"] for one in key["cases"].values()] == ["set0_image000"]


def test_only_images_with_gaze_are_shown(tmp_path):
    folders = [make_workdir(tmp_path / name, gallery=3) for name in ("own", "none")]
    for folder, places in zip(folders, ((0, 1), (1,)), strict=True):
        for place in places:
            path = folder / "evaluation" / "gallery" / f"{place}.npz"
            with np.load(path) as found:
                case = dict(found)
            np.savez(path, **case | without_gaze(case))
    runs = load_runs([str(one) for one in folders])
    page, key = make_study(runs, secret="s")
    # The second run knows whose gaze the first image has.
    shown = {one["image_id"] for one in key["cases"].values()}
    assert shown == {"set0_image000", "set0_image002"}
    by_id = {one["image_id"]: token for token, one in key["cases"].items()}
    case = next(one for one in data_of(page)["cases"] if one["token"] == by_id["set0_image000"])
    system = {token: one["system"] for token, one in key["overlays"].items()}
    picture = next(o["picture"] for o in case["overlays"] if system[o["token"]] == "readers")
    known = runs[1].cases()[0]
    assert picture == pictures.heat(known.gaze, content=known.content)


def test_images_that_all_have_no_gaze_are_refused(tmp_path):
    folder = make_workdir(tmp_path / "a", gallery=2, gaze=False)
    with pytest.raises(InputError, match="nobody's gaze is known on any of the 2 images"):
        make_study(load_runs([str(folder)]), secret="s")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"data": 1}, "have other test images, patients or labels"),
        ({"gallery": 0}, "no image was set aside by every run"),
        ({"size": 64}, "is not the same in every run"),
    ],
)
def test_runs_that_cannot_be_rated_together_are_refused(tmp_path, other, message):
    folders = [make_workdir(tmp_path / "a"), make_workdir(tmp_path / "b", **other)]
    with pytest.raises(InputError, match=message):
        make_study(load_runs([str(one) for one in folders]), secret="s")


def test_a_run_may_not_be_called_as_the_readers_are(tmp_path):
    folder = make_workdir(tmp_path / "readers")
    with pytest.raises(InputError, match="a run is called 'readers'"):
        make_study(load_runs([str(folder)]), secret="s")


def test_what_the_page_holds_cannot_end_its_script(runs):
    page, _ = make_study(runs, secret="s")
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert "<" not in data
    assert np.all([case["ratio"] == "32 / 32" for case in data_of(page)["cases"]])
