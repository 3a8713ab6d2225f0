"""A sweep in the layout of a paper's table, beside the paper's numbers."""

import dataclasses
import json
import re

import numpy as np
import pytest
from scipy import stats

from gazax.eval.paper_table import (
    ELSEWHERE,
    WIDTH,
    Layout,
    as_dict,
    as_markdown,
    as_text,
    from_dict,
    lay_out,
)
from gazax.eval.record import Record
from gazax.typing import InputError

N = 24
LABEL = np.eye(2)[np.arange(N) % 2]
LAYOUT = Layout(
    title="Table 2",
    systems={"ours": "Ours", "unet": "UNet_S", "absent": "MT-UNet"},
    metrics={"saliency/kl": "KL", "saliency/cc": "CC", "classifier/auc/normal": "AUC (Normal)"},
    beside={"centre": "centre bias", "readers": "other readers"},
    published={
        "saliency/kl": {"ours": "0.706 ± 0.183", "absent": "0.747 ± 0.185"},
        "classifier/auc/normal": {"ours": "0.953*"},
    },
    source="a paper, of 100 other images",
    notes=("One sees gaze.",),
)


def record(level, seed):
    shared = np.random.default_rng(0).normal(size=N)
    own = np.random.default_rng([seed, int(100 * level)])
    values = {
        "saliency/kl": 1 - level + 0.1 * shared + 0.02 * own.normal(size=N),
        "saliency/cc": level + 0.1 * shared,
        "centre/kl": 0.9 + 0.1 * shared,
        "centre/cc": 0.1 + 0.1 * shared,
        "readers/cc": np.where(np.arange(N) % 2, 0.95, np.nan),
    }
    return Record(
        index=np.arange(N),
        image_id=np.array([f"image{i}" for i in range(N)]),
        patient=np.array([f"patient{i // 2}" for i in range(N)]),
        label=LABEL,
        label_names=np.array(["normal", "other"]),
        features=np.zeros((N, 0)),
        embedding=np.zeros((N, 0)),
        values={name: one[None] for name, one in values.items()},
        scores={"classifier": (2 * level * LABEL + own.normal(size=(N, 2)))[None]},
    )


def runs_of(num_seeds=3, **levels):
    return {name: {s: record(one, s) for s in range(num_seeds)} for name, one in levels.items()}


SALIENCY = dataclasses.replace(
    LAYOUT, metrics={"saliency/kl": "KL", "saliency/cc": "CC"}, published={}
)
RUNS = runs_of(ours=0.6, unet=0.4)


@pytest.fixture(scope="module")
def table():
    return lay_out(LAYOUT, RUNS)


def block(text, head):
    """The lines of a metric, each in its cells."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(head))
    return lines[start : start + lines[start:].index("")]


def test_numbers_are_of_the_columns_system_and_its_images(table):
    row = table.rows["saliency/kl"]["UNet_S"]
    ours, unet = (
        np.stack([one.values["saliency/kl"][0] for one in RUNS[name].values()])
        for name in ("ours", "unet")
    )
    assert row.mean == pytest.approx(unet.mean())
    assert row.sd_images == pytest.approx(unet.std(axis=1).mean())
    assert row.sd == pytest.approx(unet.mean(axis=1).std(ddof=1))
    difference = (unet - ours).mean(axis=0).reshape(-1, 2).mean(axis=1)
    assert row.reference == "Ours"
    assert row.difference == pytest.approx(difference.mean())
    assert row.p_t == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert row.difference_low < row.difference < row.difference_high
    assert not table.rows["saliency/kl"]["Ours"].reference


def test_holms_correction_is_over_the_table(table):
    rows = [row for rows in table.rows.values() for row in rows.values() if row.reference]
    assert len(rows) == 5  # three of the UNet_S, two of the centre bias
    least = min(row.p for row in rows)
    assert min(row.p_holm for row in rows) == pytest.approx(5 * least)


def test_columns_beside_are_of_the_first_systems_runs(table):
    centre = table.rows["saliency/kl"]["centre bias"]
    expected = RUNS["ours"][0].values["centre/kl"]
    assert (centre.mean, centre.sd) == pytest.approx((expected.mean(), 0))
    ours = table.rows["saliency/kl"]["Ours"].mean
    assert centre.difference == pytest.approx(expected.mean() - ours)
    assert "centre bias" not in table.rows["classifier/auc/normal"]


def test_readers_are_not_compared_with_what_is_held_against_other_gaze(table):
    readers = table.rows["saliency/cc"]["other readers"]
    assert readers.mean == pytest.approx(0.95)
    assert readers.reference == ""
    assert "other readers" not in table.rows["saliency/kl"]
    metrics = {"saliency@readers/cc": "CC of each reader"}
    one = {"ours": {0: record(0.6, 0)}}
    one["ours"][0].values["saliency@readers/cc"] = one["ours"][0].values["readers/cc"] - 0.25
    layout = dataclasses.replace(LAYOUT, metrics=metrics, published={})
    alike = lay_out(layout, one).rows["saliency@readers/cc"]
    assert alike["other readers"].difference == pytest.approx(0.25)
    assert alike["centre bias"].reference == ""


def test_the_best_system_is_marked_where_less_is_better_too(table):
    assert table.best("saliency/kl") == ("Ours",)
    assert table.best("saliency/cc") == ("Ours",)  # readers are no system
    swapped = lay_out(SALIENCY, {"ours": RUNS["unet"], "unet": RUNS["ours"]})
    assert swapped.best("saliency/kl") == ("UNet_S",)
    assert lay_out(SALIENCY, {"ours": RUNS["ours"]}).best("saliency/kl") == ()


def test_two_systems_that_are_identical_are_both_best_and_show_no_difference():
    found = lay_out(LAYOUT, {"ours": RUNS["ours"], "unet": RUNS["ours"]})
    assert found.best("saliency/cc") == ("Ours", "UNet_S")
    for metric in LAYOUT.metrics:
        row = found.rows[metric]["UNet_S"]
        assert (row.difference, row.p_t, row.p_holm) == (0, 1, 1)
    marked = [cell.split()[-1] for cell in re.split(" {2,}", block(as_text(found), "KL")[0])[1:3]]
    assert marked == ["◆", "◆"]  # without a star


def test_the_text_has_systems_as_columns_and_the_papers_numbers_below(table):
    text = as_text(table)
    assert max(map(len, text.splitlines())) <= WIDTH
    kl = table.rows["saliency/kl"]
    lines = block(text, "KL ↓")
    ours, unet = kl["Ours"], kl["UNet_S"]
    assert lines[0].split("  ")[0] == "KL ↓"
    assert f"{ours.mean:.3f} ± {ours.sd_images:.3f} ◆" in lines[0]
    assert f"{unet.mean:.3f} ± {unet.sd_images:.3f} *†" in lines[0]
    assert lines[1].split() == ["95", "%", *_intervals(kl)]
    assert lines[3].startswith("  minus Ours  ")
    assert f"{unet.difference:+.3f} p < .001" in lines[3]
    assert lines[-1].split("  ")[1] == ELSEWHERE
    assert lines[-1].split("  ", 2)[2].split() == ["0.706", "±", "0.183", "0.747", "±", "0.185"]
    assert "±" not in block(text, "AUC (Normal) ↑")[0]
    for sentence in (LAYOUT.source, *LAYOUT.notes, "3 seeds:"):
        assert sentence in text


def _intervals(rows):
    shown = (f"[{row.low:.3f}, {row.high:.3f}]" for row in rows.values())
    return " ".join(shown).split()


def test_deviations_stand_where_the_paper_has_them_or_has_no_number():
    plain = {"saliency/cc": {"ours": "0.576"}, "saliency/kl": {"ours": "0.7 ± 0.1"}}
    table = lay_out(dataclasses.replace(SALIENCY, published=plain), RUNS)
    text = as_text(table)
    assert "±" in block(text, "KL")[0]
    assert "±" not in block(text, "CC")[0]
    assert "±" in block(as_text(lay_out(SALIENCY, RUNS)), "CC")[0]


def test_a_system_without_a_run_has_dashes_and_is_named(table):
    text = as_text(table)
    assert "MT-UNet" not in table.rows["saliency/kl"]
    assert block(text, "CC ↑")[0].split().count("-") == 1
    assert "MT-UNet (variant absent) has no finished run: its column is empty." in text


def test_without_the_first_system_nothing_is_compared():
    table = lay_out(SALIENCY, {"unet": RUNS["unet"]})
    assert np.isnan(table.rows["saliency/kl"]["UNet_S"].difference)
    assert "Ours (variant ours) has no finished run" in as_text(table)
    assert "UNet_S minus Ours: not compared, they have no seed in common." in table.remarks
    assert "minus Ours" not in "".join(block(as_text(table), "KL"))


def test_nothing_finished_is_a_table_of_dashes():
    text = as_text(lay_out(LAYOUT, {}))
    assert block(text, "CC ↑")[0].split() == ["CC", "↑", *"-----"]


def test_one_seed_has_no_deviation_of_seeds_and_areas_no_t_test():
    table = lay_out(LAYOUT, runs_of(1, ours=0.6, unet=0.4))
    text = as_text(table)
    assert "sd of seeds" not in text
    assert "One seed:" in text
    area = table.rows["classifier/auc/normal"]["UNet_S"]
    assert np.isnan(area.p_t)
    assert not np.isnan(area.p)
    (minus,) = [line for line in block(text, "AUC") if "minus Ours" in line]
    assert "p " not in minus
    assert table.rows["saliency/kl"]["UNet_S"].p_t < 0.05


def test_what_does_not_fit_stands_below():
    systems = {f"v{i}": f"A system called {i}" for i in range(12)}
    layout = dataclasses.replace(SALIENCY, systems=systems)
    text = as_text(lay_out(layout, {"v0": RUNS["ours"], "v11": RUNS["unet"]}))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert sum(line.startswith("KL") for line in text.splitlines()) > 1
    for heading in systems.values():
        assert heading in text


def test_markdown_has_a_cell_a_column(table):
    lines = [line for line in as_markdown(table).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(LAYOUT.columns) + 2}
    ours = table.rows["saliency/kl"]["Ours"]
    kl = next(line for line in lines if line.startswith("| KL"))
    assert f"**{ours.mean:.3f}** ± {ours.sd_images:.3f} ◆<br>[" in kl
    assert " \\*†<br>" in kl
    assert f"| *{ELSEWHERE}* | *0.706 ± 0.183* |  | *0.747 ± 0.185* |" in "\n".join(lines)
    assert f"| *{ELSEWHERE}* | *0.953\\** |" in "\n".join(lines)


def test_json_gives_the_table_back(table):
    found = json.loads(json.dumps(as_dict(table), allow_nan=False))
    again = from_dict(found)
    assert again.layout == table.layout
    assert again.remarks == table.remarks
    assert as_text(again) == as_text(table)
    assert as_dict(again) == as_dict(table)
    cell = found["cells"]["saliency/kl"]["Ours"]
    assert (cell["best"], cell["difference"]) == (True, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"systems": {}}, "has no systems"),
        ({"metrics": {}, "published": {}}, "or no metrics"),
        ({"beside": {"centre": "Ours"}}, "two columns called 'Ours'"),
        ({"published": {"saliency/sim": {}}}, "published numbers of 'saliency/sim'"),
        ({"published": {"saliency/cc": {"unett": "1"}}}, "published number of 'unett'"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(LAYOUT, **change)
