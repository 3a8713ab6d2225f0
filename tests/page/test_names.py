import pytest

from gazax.page.names import (
    attention_title,
    column_title,
    lower_is_better,
    row_title,
    split_name,
)

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("probe", "Linear probe"),
        ("attention-mean_map", f"Attention {MINUS} training-mean gaze map"),
        ("segmentation-mean_mask", f"Segmentation {MINUS} mean training mask"),
        (
            "knn-knn_step_0",
            f"k nearest neighbours {MINUS} k nearest neighbours, untrained features",
        ),
        ("attention@readers", "Attention against each reader alone"),
        ("saliency-mean_map", f"Predicted saliency {MINUS} training-mean gaze map"),
        ("attention@dr-x", "Attention against dr-x"),
        (
            "attention@readers-readers",
            f"Attention against each reader alone {MINUS} other readers (ceiling)",
        ),
        ("a_new_row", "a new row"),
    ],
)
def test_rows_have_names_that_people_read(name, title):
    assert row_title(name) == title


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("auc", "AUC (Judd)"),
        ("kl", "KL (lower is better)"),
        ("a_new_column", "a new column"),
        ("auc/heart_failure", "AUC, heart_failure"),
        ("dice/mass", "Dice, mass"),
        ("false_positive_rate/mass", "False positive rate, mass (lower is better)"),
    ],
)
def test_columns_have_names_that_people_read(name, title):
    assert column_title(name) == title


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("probe/accuracy", ("probe", "accuracy")),
        ("segmentation/dice/a/b", ("segmentation", "dice/a/b")),
        ("attention@site/7/cc", ("attention@site/7", "cc")),
    ],
)
def test_a_name_is_a_row_and_a_column(name, parts):
    assert split_name(name) == parts


def test_less_is_better_of_each_label_too():
    assert lower_is_better("false_positive_rate/mass")
    assert not lower_is_better("dice/kl")


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ({"method.name": "gazat", "method.attention": "rows"}, "attention"),
        ({"method.name": "supervised", "method.attention": "grad_cam"}, "Grad-CAM"),
        ({"method.name": "fusion"}, "Grad-CAM"),
        ({"method.name": "gg_cam", "method.attention": "grad_cam"}, "class activation"),
        ({}, "attention"),
    ],
)
def test_an_attention_is_called_by_what_it_is(settings, title):
    assert attention_title(settings) == title
