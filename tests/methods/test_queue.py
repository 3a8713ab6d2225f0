import jax
import jax.numpy as jnp
import numpy as np

from gazax.methods.queue import arrive, empty_queue, enqueue


def batch_of(state, images, places, axis_name=None):
    key = jnp.array([[float(image), -float(image)] for image in images])
    described = {"seen": jnp.array(images, jnp.float32)}
    index = jnp.array(images, jnp.int32)
    place = jnp.array(places, jnp.int32)
    return arrive(state, key, index, place, described, axis_name=axis_name)


def test_the_oldest_keys_leave_first_and_rows_stay_together():
    state = {"queue": empty_queue(size=5, dim=2, described={"seen": jnp.zeros(2)})}
    assert state["queue"]["index"].tolist() == [-1] * 5
    state = enqueue(batch_of(state, [10, 11], [0, 1]))
    assert state["queue"]["index"].tolist() == [-1, -1, -1, 10, 11]
    state = enqueue(batch_of(state, [12, 13], [2, 3]))
    state = enqueue(batch_of(state, [14, 15], [4, 5]))
    assert state["queue"]["index"].tolist() == [11, 12, 13, 14, 15]
    np.testing.assert_array_equal(state["queue"]["key"][:, 1], [-11, -12, -13, -14, -15])
    np.testing.assert_array_equal(state["queue"]["described"]["seen"], [11, 12, 13, 14, 15])
    assert "arrivals" not in state


def test_keys_are_queued_in_the_order_of_the_stream_however_the_batch_is_cut():
    """Two hosts that take turns hand over the even places first, then the odd ones."""
    state = {"queue": empty_queue(size=4, dim=2, described={"seen": jnp.zeros(2)})}
    one = enqueue(batch_of(state, [20, 21, 22, 23], [8, 9, 10, 11]))
    two = enqueue(batch_of(state, [20, 22, 21, 23], [8, 10, 9, 11]))
    jax.tree.map(np.testing.assert_array_equal, one, two)

    def shard(key, index, place, seen):
        arrived = arrive({}, key, index, place, {"seen": seen}, axis_name="data")
        return arrived["arrivals"]

    arrivals = batch_of(state, [20, 21, 22, 23], [8, 9, 10, 11])["arrivals"]
    key, index, seen = arrivals["key"], arrivals["index"], arrivals["described"]["seen"]
    cut = [x.reshape(2, 2, *x.shape[1:]) for x in (key, index, jnp.arange(8, 12), seen)]
    found = jax.pmap(shard, axis_name="data")(*cut)
    for device in range(2):
        mine = jax.tree.map(lambda x, device=device: x[device], found)
        jax.tree.map(np.testing.assert_array_equal, mine, arrivals)
