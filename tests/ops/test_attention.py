import jax
import jax.numpy as jnp
import numpy as np

from gazax.ops.attention import activation_energy, grad_cam, rollout
from tests.reference import gaze as reference


def attention(seed=0, blocks=3, heads=2, tokens=5):
    logits = np.random.default_rng(seed).normal(size=(blocks, heads, tokens, tokens))
    return jax.nn.softmax(jnp.asarray(logits, jnp.float32), axis=-1)


def test_rollout_of_one_uniform_block_is_half_the_uniform():
    # (1/4 + 0) / 2 for a patch; the class token keeps (1/4 + 1) / 2.
    got = rollout(jnp.full((1, 2, 4, 4), 0.25))
    np.testing.assert_allclose(got, [0.125, 0.125, 0.125], atol=1e-6)


def test_rollout_equals_the_product_of_whole_matrices():
    matrices = attention()
    expected = reference.rollout(np.asarray(matrices, float))
    np.testing.assert_allclose(jax.jit(rollout)(matrices), expected, atol=1e-6)


def test_rollout_follows_the_order_of_blocks():
    matrices = attention()
    assert jnp.abs(rollout(matrices) - rollout(matrices[::-1])).max() > 1e-3


def test_rollout_of_identity_attention_reaches_no_patch():
    np.testing.assert_array_equal(rollout(jnp.tile(jnp.eye(4), (2, 3, 1, 1))), 0)


def test_activation_energy_by_hand():
    features = jnp.array([[[3.0, 1.0], [0.0, 2.0]]])
    np.testing.assert_allclose(activation_energy(features), [[5.0, 2.0]])


def test_grad_cam_by_hand():
    # Weights: means of the gradient, 1 and -2. Cells: 3 - 2 = 1, and 1 - 4 cut to 0.
    features = jnp.array([[[3.0, 1.0], [1.0, 2.0]]])
    gradient = jnp.array([[[2.0, -4.0], [0.0, 0.0]]])
    np.testing.assert_allclose(grad_cam(features, gradient), [[1.0, 0.0]])


def test_a_map_of_zeros_has_a_finite_gradient():
    features = -jnp.ones((2, 2, 3))
    grads = jax.grad(lambda x: grad_cam(x, jnp.ones((2, 2, 3))).sum())(features)
    np.testing.assert_array_equal(grads, jnp.zeros_like(features))


def test_soft_grad_cam_by_hand():
    # x = 1 and -3, so t = 0.5 * 2 = 1.
    features = jnp.array([[[3.0, 1.0], [1.0, 2.0]]])
    gradient = jnp.array([[[2.0, -4.0], [0.0, 0.0]]])
    found = grad_cam(features, gradient, softness=0.5)
    np.testing.assert_allclose(found, [[np.log1p(np.exp(1.0)), np.log1p(np.exp(-3.0))]], rtol=1e-6)
    hard = grad_cam(features, gradient, softness=1e-4)
    np.testing.assert_allclose(hard, grad_cam(features, gradient), atol=1e-6)


def test_soft_grad_cam_moves_what_relu_cuts_off_and_bears_zeros():
    features, gradient = jnp.ones((1, 2, 1)) * jnp.array([[[1.0], [-1.0]]]), jnp.ones((1, 2, 1))
    slope = jax.grad(lambda x, softness: grad_cam(x, gradient, softness=softness)[0, 1])
    assert slope(features, 0.0)[0, 1, 0] == 0.0
    assert slope(features, 0.5)[0, 1, 0] > 0.1
    nothing = jnp.zeros((2, 2, 3))
    value, grads = jax.value_and_grad(lambda x: grad_cam(x, nothing, softness=0.5).sum())(nothing)
    assert value == 0.0
    assert np.isfinite(grads).all()
