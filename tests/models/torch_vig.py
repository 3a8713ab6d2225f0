"""The GazeGNN of `gazax.export.modeling_gazax` as a twin of ours, and what compares numbers.

Both were written here from the papers and the public codes: what both misread would not be seen.
Import it where torch is known to be there.
"""

import numpy as np
import torch

from gazax.models import gaze_gnn
from tests.models import torch_nets


def twins(sizes, given):
    """Ours and the twin with drawn weights, both without a head, and what each is given.

    Args:
      sizes: what ours takes.
      given: (image [b, h, w, 3], gaze).
    """
    image, gaze = given
    model = gaze_gnn.GazeGNN(**sizes)
    net = torch_nets.twin(model, image.shape, gaze.shape)
    numbers = np.random.default_rng(0)
    with torch.no_grad():  # positions start as zeros
        net.position.copy_(torch.tensor(numbers.normal(0, 0.5, net.position.shape)))
    return model, net, given, (torch_nets.nchw(image), torch.tensor(np.asarray(gaze)))


def assert_same_outputs(out, theirs):
    """Features and all levels are torch's, to 1e-4 of their size."""
    pairs = [(out["features"], theirs["features"].detach().numpy())]
    levels = map(torch_nets.nhwc, theirs["feature_maps"])
    pairs += zip(out["feature_maps"], levels, strict=True)
    for found, expected in pairs:
        assert expected.std() > 1e-3
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
