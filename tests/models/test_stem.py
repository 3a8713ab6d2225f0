import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.models import build
from gazax.models.stem import ConvStem
from gazax.typing import InputError


def test_a_token_stands_for_a_patch(rng):
    stem = ConvStem(width=16, patch_size=(8, 8), dtype=jnp.float32)
    tokens, variables = stem.init_with_output(rng, jnp.zeros((2, 32, 48, 1)))
    assert tokens.shape == (2, 4, 6, 16)
    kernels = [variables["params"][f"conv_{i}"]["kernel"].shape for i in range(3)]
    assert kernels == [(3, 3, 1, 8), (3, 3, 8, 8), (3, 3, 8, 16)]


def test_a_token_sees_its_patch_and_little_around_it(rng):
    """Three windows of 3 at strides 1, 2 and 4: 15 px, from 7 before the first of the 8."""
    stem = ConvStem(width=16, patch_size=(8, 8), dtype=jnp.float32)
    image = jax.random.normal(rng, (1, 48, 48, 1))
    variables = stem.init(rng, image)
    slope = jax.grad(lambda image: (stem.apply(variables, image)[0, 2, 3] ** 2).sum())(image)
    rows, columns = np.nonzero(np.asarray(slope)[0, :, :, 0])
    assert (rows.min(), rows.max()) == (9, 23)
    assert (columns.min(), columns.max()) == (17, 31)


def test_a_vit_on_a_stem_has_the_same_outputs_and_one_name_for_its_embedding(rng):
    image = jnp.zeros((2, 32, 32, 1))
    sizes = dict(width=16, depth=2, num_heads=2, patch_size=8)
    patch, conv = (build("vit", stem=stem, **sizes) for stem in ("patch", "conv"))
    shapes = [jax.eval_shape(model.init_with_output, rng, image) for model in (patch, conv)]
    ((_, expected), before), ((_, out), variables) = shapes
    assert jax.tree.map(lambda x: x.shape, out) == jax.tree.map(lambda x: x.shape, expected)
    assert variables["params"].keys() == before["params"].keys()
    assert conv.layer_of("patch_embed") == 0


@pytest.mark.parametrize("patch_size", [(8, 4), (6, 6), (1, 1)])
def test_patches_that_halving_does_not_reach_are_refused(rng, patch_size):
    model = build("vit", stem="conv", width=16, depth=1, num_heads=2, patch_size=patch_size)
    with pytest.raises(InputError, match="not a square of 2, 4, 8"):
        model.init(rng, jnp.zeros((1, 24, 24, 1)))


def test_an_unknown_stem_is_refused():
    with pytest.raises(InputError, match="patch, conv"):
        build("vit", stem="cnn", width=16, depth=1, num_heads=2, patch_size=8)
