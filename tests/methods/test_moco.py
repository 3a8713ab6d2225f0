import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.methods import MoCo, build
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.devices import check_same_step
from tests.methods.siamese import normed_head, settings


def make(**changes) -> MoCo:
    own = dict(temperature=0.2, momentum=0.9, queue_size=10)
    return build("moco", **settings(**{**own, **changes}))


def of_images(batch, images, places):
    index, place = np.array(images, np.int32), np.array(places, np.int32)
    return {**batch, "index": index, "place": place}


def test_queries_are_told_from_the_queue_but_not_from_their_own_images_earlier_keys(rng):
    method = make()
    batch = of_images(tiny_batch(4), [0, 1, 2, 3], [0, 1, 2, 3])
    params, state = method.init(rng, batch)

    @jax.jit
    def step(state, batch, rng):
        loss, (after, _) = method.loss(params, state, batch, rng, step=jnp.int32(0), train=True)
        views = method.views(batch, rng)
        seen, _ = method.embed(params, state, views[::2], train=True)
        keys, _ = method.embed(params, state, views[1::2], train=True)
        return loss, method.after_step(params, after, step=jnp.int32(0)), seen.z, keys.z

    loss, state, _, first_keys = step(state, batch, rng)
    assert loss == 0  # nothing to be told from yet
    assert state["queue"]["index"].tolist() == [-1] * 6 + [0, 1, 2, 3]
    np.testing.assert_allclose(state["queue"]["key"][6:], unit(first_keys), atol=1e-6)

    again = of_images(batch, [3, 4, 5, 6], [4, 5, 6, 7])  # image 3 has a key in the queue
    loss, state, z, keys = step(state, again, jax.random.fold_in(rng, 1))
    z, keys, queue = unit(z), unit(keys), unit(first_keys)
    by_hand = []
    for i, image in enumerate([3, 4, 5, 6]):
        own = np.exp(z[i] @ keys[i] / 0.2)
        others = sum(np.exp(z[i] @ queue[k] / 0.2) for k in range(4) if k != image)
        by_hand.append(-np.log(own / (own + others)))
    np.testing.assert_allclose(loss, np.mean(by_hand), rtol=1e-5)
    assert state["queue"]["index"].tolist() == [-1, -1, 0, 1, 2, 3, 3, 4, 5, 6]


def test_the_target_follows_at_one_rate(rng):
    method, batch = make(), tiny_batch(4)
    params, state = method.init(rng, batch)
    step = jax.jit(lambda: method.loss(params, state, batch, rng, step=jnp.int32(7), train=True))
    _, (after, _) = step()
    ahead = jax.tree.map(lambda x: x + 1.0, params)
    moved = method.after_step(ahead, after, step=jnp.int32(7))["target"]["params"]
    before = after["target"]["params"]
    jax.tree.map(
        lambda new, old: np.testing.assert_allclose(new - old, 0.1, atol=1e-5), moved, before
    )


def test_the_same_step_and_queue_on_any_devices():
    batch = tiny_batch(8)  # the first step fills the queue, the second one uses it
    check_same_step(
        make(projector=normed_head()), batch, of_images(batch, range(4, 12), range(8, 16))
    )


def test_a_queue_that_holds_no_batch_is_refused(rng):
    with pytest.raises(InputError, match=r"queue_size is 3 and train\.batch_size 4"):
        make(queue_size=3).init(rng, tiny_batch(4))


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)
