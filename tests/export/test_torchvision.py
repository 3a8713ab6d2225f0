"""One reader for the architectures of torchvision that have a table."""

import jax
import numpy as np
import pytest

from gazax.export import densenet, resnet
from gazax.export.torchvision import from_torchvision
from gazax.models import MODELS
from gazax.typing import InputError
from tests.export import test_densenet, test_resnet


@pytest.mark.parametrize(
    ("expected", "read", "state_dict"),
    [
        ("densenet", densenet.from_torchvision, test_densenet.random_state_dict()),
        ("resnet", resnet.from_torchvision, test_resnet.random_state_dict(bottleneck=True)),
    ],
)
def test_an_architecture_is_told_by_its_keys(expected, read, state_dict):
    architecture, *variables = from_torchvision(state_dict)
    assert architecture == expected
    assert architecture in MODELS
    jax.tree.map(np.testing.assert_array_equal, tuple(variables), read(state_dict))


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (
            [f"features.{i}.weight" for i in range(5)],
            r"features\.0\.weight, features\.1\.weight, features\.2\.weight and 2 more;",
        ),
        (["module.layer1.0.conv1.weight"], r"found module\.layer1\.0\.conv1\.weight;"),
        ([], "found none;"),
    ],
)
def test_other_keys_are_named_with_the_architectures_that_are_known(keys, found):
    message = f"no architecture that is known: .*{found} known are densenet, resnet"
    with pytest.raises(InputError, match=message):
        from_torchvision({key: np.zeros(2) for key in keys})


def test_keys_that_begin_like_an_architecture_must_be_its_own():
    state_dict = test_densenet.random_state_dict() | {"fc.weight": np.zeros((2, 2))}
    with pytest.raises(InputError, match=r"the DenseNet do not match; without a place: fc\.weight"):
        from_torchvision(state_dict)
