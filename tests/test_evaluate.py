"""The command that measures a trained workdir: what it prints, leaves behind and refuses."""

import json
import shutil

import numpy as np
import pytest
from etils import epath

from gazax.eval.record import FILE, Record
from gazax.experiment.evaluation import SUITES, Evaluation
from gazax.experiment.results import KEYS, NUMBERS
from gazax.train import workdir
from gazax.train.preemption import Preemption
from gazax.typing import InputError
from tests.runs import CONFIG, ROOT, call, make_run

PROBE = "configs/eval/linear_probe.py"


def evaluate(env, *flags, code=0, cwd=ROOT):
    env = {**env, "PYTHONPATH": str(ROOT)}
    return call(env, "-m", "gazax.evaluate", *flags, code=code, cwd=cwd)


def numbers_of(folder, split="evaluation"):
    return json.loads((folder / split / NUMBERS).read_text())


@pytest.fixture(scope="module")
def measured(env, finished, tmp_path_factory):
    """A copy of the finished run, measured whole; what that printed, and its --json."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(finished[0], folder / "run")
    out = folder / "out.json"
    flags = (f"--json={out}", "--gallery=3", "--suite=all,alignment")  # which is all
    done = evaluate(env, f"--workdir={folder / 'run'}", *flags)
    return folder / "run", done, json.loads(out.read_text())


@pytest.fixture
def copy(measured, tmp_path):
    """Of the measured run, to change."""
    shutil.copytree(measured[0], tmp_path / "run")
    return tmp_path / "run"


def evaluation(env, folder, split="test", spec=CONFIG, **overrides):
    """In this process, which has the test's devices and not one."""
    return Evaluation(make_run(env, folder, spec, **overrides), which="best", split=split)


def test_every_suite_is_printed_and_kept(measured):
    folder, done, _ = measured
    found = numbers_of(folder)
    assert {
        "split": "test",
        "step": 30,
        "phantom_numbers": True,
        "exclusive": True,
        "label_names": ["normal", "pneumonia", "heart_failure"],
    }.items() <= found.items()
    assert 0 < found["patients"] <= found["images"]
    assert list(found["suites"]) == list(SUITES)
    for name, suite in found["suites"].items():
        assert suite.keys() == {"numbers", "table"}
        assert f"\n{name}\n{suite['table']}\n" in done.stdout
    assert "phantom numbers (simulated images and gaze), test split:" in done.stdout
    assert f"{found['images']} images of {found['patients']} patients, step 30" in done.stdout
    assert f"{folder}/evaluation/" in done.stdout


@pytest.mark.parametrize(
    ("suite", "names"),
    [
        ("representation", {"probe/auc_macro", "knn/accuracy", "few_shot_1/f1_macro"}),
        ("representation", {"few_shot_10/accuracy", "probe/auc_micro", "probe/ap_macro"}),
        ("representation", {"probe/sensitivity_at_95", "probe/ece"}),
        ("representation", {"probe_step_0/accuracy", "knn-knn_step_0/auc_macro"}),
        ("representation", {"few_shot_1_step_0/ece", "few_shot_10-few_shot_10_step_0/f1_macro"}),
        ("alignment", {"attention/nss", "attention_step_0/auc", "mean_map/cc", "centre/sim"}),
        ("alignment", {"uniform/kl", "readers/auc_borji", "attention@readers-readers/cc"}),
        ("alignment", {"attention-mean_map/cc", "attention/information_gain"}),
        ("alignment", {"mean_map@readers/nss", "attention@readers-mean_map@readers/cc"}),
        ("alignment", {"attention/auc_shuffled", "attention@reader_1/cc"}),
        ("downstream", {"anomaly_mahalanobis/auc_macro", "anomaly_knn/ap_macro"}),
    ],
)
def test_numbers_have_the_names_that_are_agreed(measured, suite, names):
    assert names <= numbers_of(measured[0])["suites"][suite]["numbers"].keys()


def test_every_number_lies_in_its_interval(measured):
    suites = numbers_of(measured[0])["suites"]
    numbers = {name: one for suite in suites.values() for name, one in suite["numbers"].items()}
    assert len(numbers) > 100
    for name, (estimate, low, high) in numbers.items():
        assert low <= estimate <= high, name


def test_json_has_the_numbers_of_the_workdir(measured):
    folder, _, written = measured
    suites = numbers_of(folder)["suites"]
    assert written == {name: suite["numbers"] for name, suite in suites.items()}


def test_the_summary_of_training_says_the_same_of_the_same_split(measured):
    folder, _, _ = measured
    summary = json.loads((folder / "summary.json").read_text())
    found = numbers_of(folder)
    assert found["step"] == summary["best_step"]
    assert found["images"] == summary["images"]
    alignment = found["suites"]["alignment"]["numbers"]
    for name in ("attention/cc", "attention/nss", "attention/auc", "mean_map/cc"):
        assert alignment[name] == pytest.approx(summary["numbers"][name], abs=1e-6)
    frozen = found["suites"]["representation"]["numbers"]
    for row in ("probe", "probe_step_0", "probe-probe_step_0"):
        ours, theirs = frozen[f"{row}/auc_macro"], summary["numbers"][f"{row}/auc_macro"]
        assert ours[0] == pytest.approx(theirs[0], abs=1e-6)  # the intervals' seeds differ


def test_values_of_single_images_have_the_numbers_as_means(measured):
    folder, _, written = measured
    record = Record.load(epath.Path(folder) / "evaluation")
    images = numbers_of(folder)["images"]
    assert len(record.index) == len(record.patient) == len(record.features) == images
    assert record.embedding.shape == (images, 2)
    assert record.scores["probe"].shape == (1, images, 3)
    assert record.scores["few_shot_1"].shape[0] >= 5
    assert record.target("anomaly_knn").shape == (images, 1)
    checked = 0
    for numbers in written.values():
        for name in numbers.keys() & record.values.keys():
            if "/accuracy" in name or "/cc" in name:
                assert np.nanmean(record.values[name]) == pytest.approx(numbers[name][0]), name
                checked += 1
    assert checked > 8


def test_pictures_are_left(measured):
    folder = measured[0] / "evaluation"
    assert (folder / "tsne.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in (folder / "gallery").iterdir()) == [
        "0.npz",
        "1.npz",
        "2.npz",
    ]
    record = Record.load(epath.Path(folder))
    for path in (folder / "gallery").iterdir():
        case = np.load(path)
        row = record.image_id.tolist().index(str(case["image_id"]))
        np.testing.assert_array_equal(case["label"], record.label[row])
        np.testing.assert_allclose(case["probability"], record.scores["probe"][0, row], rtol=1e-6)
        assert set(case["reader_names"]) <= {f"reader_{i}" for i in range(1, 6)}
    assert not list(folder.glob(".*"))


def test_a_suite_measured_again_leaves_the_others_as_they_are(env, copy):
    before, record = numbers_of(copy), Record.load(epath.Path(copy) / "evaluation")
    again = evaluation(env, copy)
    again.write(again.measure(["interpretability"]), gallery=0)
    after = numbers_of(copy)
    assert list(after["suites"]) == list(SUITES)
    for name in set(SUITES) - {"interpretability"}:
        assert after["suites"][name] == before["suites"][name]
    kept = Record.load(epath.Path(copy) / "evaluation")
    assert kept.values.keys() == record.values.keys()
    np.testing.assert_array_equal(kept.embedding, record.embedding)
    assert not (copy / "evaluation" / "gallery").exists()


def test_other_weights_begin_anew(env, copy):
    """As after more training: what was said of the former weights is not true of these."""
    path = copy / "evaluation" / NUMBERS
    found = json.loads(path.read_text())
    assert set(KEYS) <= found.keys()
    path.write_text(json.dumps({**found, "weights": "others"}))
    again = evaluation(env, copy)
    again.write(again.measure(["embedding"]), gallery=0)
    assert list(numbers_of(copy)["suites"]) == ["embedding"]
    assert not Record.load(epath.Path(copy) / "evaluation").values


@pytest.mark.parametrize("others", [True, False], ids=["others", "the same"])
def test_a_kill_leaves_no_numbers_beside_values_of_other_weights(env, copy, monkeypatch, others):
    """Killed when the values were about to be renamed: what was said before stays if it is true."""
    path = copy / "evaluation" / NUMBERS
    found = json.loads(path.read_text())
    if others:
        path.write_text(json.dumps({**found, "weights": "others"}))
    before = path.read_bytes()
    again = evaluation(env, copy)
    suites = again.measure(["interpretability"])

    def killed(*_):
        raise KeyboardInterrupt

    for where, name in ((Record, "save"), (workdir, "write_json")):
        path.write_bytes(before)
        with monkeypatch.context() as patch:
            patch.setattr(where, name, killed)
            with pytest.raises(KeyboardInterrupt):
                again.write(suites, gallery=1)
        assert path.exists() != others
        assert not path.exists() or path.read_bytes() == before


@pytest.mark.parametrize("name", [NUMBERS, FILE])
@pytest.mark.parametrize("content", [None, b"{"], ids=["missing", "damaged"])
def test_what_is_damaged_is_replaced_by_measuring_again(env, copy, capsys, name, content):
    path = copy / "evaluation" / name
    path.unlink()
    if content:
        path.write_bytes(content)
    again = evaluation(env, copy)
    again.write(again.measure(["embedding"]), gallery=0)
    assert list(numbers_of(copy)["suites"]) == ["embedding"]
    assert Record.load(epath.Path(copy) / "evaluation").embedding.shape[1] == 2
    printed = capsys.readouterr().out
    if (name, content) != (NUMBERS, None):  # without numbers there was no evaluation
        assert "replaced, with whatever it held of other suites" in printed
        assert name in printed


def test_validation_has_a_folder_of_its_own(env, copy):
    before = numbers_of(copy)
    chosen = evaluation(env, copy, split="validation")
    folder = chosen.write(chosen.measure(["alignment"]), gallery=1)
    assert folder.name == "evaluation-validation"
    found = numbers_of(copy, folder.name)
    assert found["split"] == "validation"
    assert "validation split" in chosen.title
    logged = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in logged if "validation/attention/cc" in line][-1]
    assert last["step"] == found["step"]
    cc = found["suites"]["alignment"]["numbers"]["attention/cc"]
    assert cc[0] == pytest.approx(last["validation/attention/cc"], abs=1e-6)
    assert numbers_of(copy) == before
    indices = [Record.load(epath.Path(copy) / name).index for name in ("evaluation", folder.name)]
    assert not set(indices[0]) & set(indices[1])


@pytest.fixture(scope="module")
def classifier(env, finished, tmp_path_factory):
    """A linear probe of four steps, and what `evaluation` needs to take it up."""
    folder = tmp_path_factory.mktemp("classifier") / "run"
    steps = ("steps", "eval_every", "checkpoint_every", "log_every")
    config = {
        "spec": f"{PROBE}:init_from={finished[0]},smoke",
        **{f"train__{key}": 4 for key in steps},
    }
    run = make_run(env, folder, **config)
    run.start()
    with Preemption() as preemption:
        run.summarize(run.train(preemption))
    return folder, config


def test_a_classifier_stands_beside_its_prior(env, classifier):
    folder, config = classifier
    found = evaluation(env, folder, **config)
    suites = found.measure(["downstream"])
    found.write(suites, gallery=2)
    numbers = suites["downstream"].numbers
    rows = {name.partition("/")[0] for name in numbers}
    assert {"classifier", "prior", "anomaly_knn", "anomaly_mahalanobis"} <= rows
    assert numbers["prior/auc_macro"][0] == 0.5
    summary = json.loads((folder / "summary.json").read_text())["numbers"]
    shared = summary.keys() & {f"classifier/{name}" for name in ("accuracy", "auc_macro", "ece")}
    assert shared
    for name in shared:
        assert numbers[name] == pytest.approx(summary[name], abs=1e-6)
    record = Record.load(epath.Path(folder) / "evaluation")
    assert record.scores["classifier"].shape == (1, len(record.index), 3)
    for place in range(2):
        case = np.load(folder / "evaluation" / "gallery" / f"{place}.npz")
        row = record.image_id.tolist().index(str(case["image_id"]))
        np.testing.assert_allclose(case["probability"], record.scores["classifier"][0, row])


def stages_of(tmp_path, classifier, finished):
    """A staged workdir of runs that were made alone; the weights of the last one's are gone."""
    folder = tmp_path / "staged"
    before = {"pretrain": "", "finetune": "stage:pretrain", "again": "gone"}
    for name, path in before.items():
        shutil.copytree(classifier[0] if path else finished[0], folder / name)
        config = folder / name / "config.json"
        found = json.loads(config.read_text())
        found["config"]["init_from"]["path"] = path
        config.write_text(json.dumps(found))
    (folder / "config.json").write_text(
        json.dumps({"config": {"stages": list(before)}, "data_fingerprint": ""})
    )
    return folder


@pytest.mark.slow
def test_each_stage_is_measured(env, classifier, finished, tmp_path):
    """Where the weights that a run began with are gone, only the attention of step 0 is."""
    folder = stages_of(tmp_path, classifier, finished)
    out = tmp_path / "out.json"
    # from within: a stage finds the one before it by its own folder, whatever it was called by
    flags = ("--suite=interpretability,interpretability", "--gallery=1")
    done = evaluate(env, "--workdir=.", f"--json={out}", *flags, cwd=folder)
    found = json.loads(out.read_text())
    assert list(found) == ["pretrain", "finetune", "again"]
    for name, suites in found.items():
        assert suites.keys() == {"interpretability"}
        rows = {number.partition("/")[0] for number in suites["interpretability"]}
        assert "attention" in rows
        assert ("attention_step_0" in rows) == (name != "again")
        kept = numbers_of(folder / name)["suites"]["interpretability"]["numbers"]
        assert kept == suites["interpretability"]
    assert done.stdout.count("without step 0") == 1
    assert "'gone' does not exist" in done.stdout


def test_a_stage_that_has_not_begun_is_named_before_anything_is_measured(
    env, classifier, finished, tmp_path
):
    folder = stages_of(tmp_path, classifier, finished)
    shutil.rmtree(folder / "finetune")
    shutil.rmtree(folder / "again")
    done = evaluate(env, f"--workdir={folder}", code=2)
    assert done.stderr.count("error:") == 1
    assert f"stage 'finetune' of '{folder}' has not begun" in done.stderr
    assert f"--workdir={folder / 'pretrain'}" in done.stderr
    assert not (folder / "pretrain" / "evaluation").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--workdir=DIR is needed"),
        (("--workdir=tests",), "'tests' is no workdir: it has no config.json"),
        (("--suite=reader_study",), "--ratings=A.csv,B.csv, the answers, and --key"),
        (("--suite=reader_study", "--ratings=a.csv"), "--key=study.key.json"),
        (("--suite=reader_study,alignment", "--ratings=a", "--key=b"), "stands alone"),
        (("--suite=reader_study", "--workdir=a", "--ratings=a", "--key=b"), "no --workdir"),
        (("--ratings=a.csv", "--workdir=a"), "belong to --suite=reader_study"),
        (("--suite=", "--workdir=a"), "--suite is empty"),
    ],
)
def test_a_mistake_ends_in_one_line(env, flags, message):
    done = evaluate(env, *flags, code=2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_an_unknown_suite_is_named(env, measured):
    done = evaluate(env, f"--workdir={measured[0]}", "--suite=all,alignmet", code=2)
    assert done.stderr.count("error:") == 1
    assert "--suite='alignmet' is unknown (did you mean 'alignment'?)" in done.stderr


def test_a_run_without_a_checkpoint_is_told_to_go_on(env, measured, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(measured[0] / "config.json", tmp_path / "run")
    with pytest.raises(InputError, match="has no checkpoint yet; let its run go on") as error:
        evaluation(env, tmp_path / "run")
    assert f"workdir '{tmp_path / 'run'}'" in str(error.value)
    assert not (tmp_path / "run" / "evaluation").exists()


def test_a_file_in_the_place_of_the_folder_is_found_before_measuring(env, copy):
    shutil.rmtree(copy / "evaluation")
    (copy / "evaluation").touch()
    with pytest.raises(InputError, match="evaluation' cannot be made"):
        evaluation(env, copy)
