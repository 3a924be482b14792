"""The port to Flax: NNX modules, each under the name that it has in PyTorch."""

from flax import nnx


class Digits(nnx.Module):
    def __init__(self, filters, hidden, outputs, rngs):
        self.conv = nnx.Conv(1, filters, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(4 * 4 * filters, hidden, rngs=rngs)
        # PyTorch's LayerNorm adds 1e-5 to the variance, Flax's 1e-6.
        self.norm = nnx.LayerNorm(hidden, epsilon=1e-5, rngs=rngs)
        self.logits = nnx.Linear(hidden, outputs, rngs=rngs)

    def __call__(self, images):
        x = nnx.max_pool(nnx.relu(self.conv(images)), (2, 2), strides=(2, 2))
        x = self.norm(self.dense(x.reshape(x.shape[0], -1)))
        return self.logits(nnx.relu(x))


def build(filters, hidden, outputs, rngs):
    return Digits(filters, hidden, outputs, rngs)
