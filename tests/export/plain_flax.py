"""Plain Flax NNX: modules written by hand, which take over what was exported.

python plain_flax.py MODEL FILE INPUTS OUTPUTS
"""

import sys
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx, serialization


class CnnBn(nnx.Module):
    def __init__(self, rngs):
        conv = partial(nnx.Conv, kernel_size=(3, 3), use_bias=False, rngs=rngs)
        norm = partial(nnx.BatchNorm, epsilon=1e-5, momentum=0.9, rngs=rngs)
        self.conv1, self.bn1 = conv(1, 4), norm(4)
        self.conv2, self.bn2 = conv(4, 8), norm(8)
        self.dense, self.logits = nnx.Linear(128, 16, rngs=rngs), nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        x = nnx.max_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
        return self.logits(nnx.relu(self.dense(x)))


class Lstm(nnx.Module):
    def __init__(self, rngs):
        self.embedding = nnx.Embed(12, 8, rngs=rngs)
        self.lstm = nnx.RNN(nnx.OptimizedLSTMCell(8, 8, rngs=rngs), rngs=rngs)
        self.logits = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, ids):
        return self.logits(self.lstm(self.embedding(ids))[:, -1])


class Attention(nnx.MultiHeadAttention):
    def __call__(self, x):
        return super().__call__(x, decode=False)


class Block(nnx.Module):
    def __init__(self, rngs):
        norm = partial(nnx.LayerNorm, 16, epsilon=1e-5, rngs=rngs)
        self.attention = Attention(4, 16, rngs=rngs)
        self.norm1, self.norm2 = norm(), norm()
        self.dense1, self.dense2 = nnx.Linear(16, 32, rngs=rngs), nnx.Linear(32, 16, rngs=rngs)

    def __call__(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.dense2(nnx.relu(self.dense1(x))))


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.embedding = nnx.Embed(12, 16, rngs=rngs)
        self.block1 = Block(rngs)
        self.logits = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, ids):
        angles = np.arange(16)[:, None] / 10000 ** (2 * np.arange(8)[None] / 16)
        table = np.stack([np.sin(angles), np.cos(angles)], 2).reshape(16, 16)
        return self.logits(self.block1(self.embedding(ids) + jnp.float32(table)).mean(1))


MODELS = {"cnn_bn": CnnBn, "lstm": Lstm, "transformer_encoder": Transformer}

name, file, inputs, outputs = sys.argv[1:]
model = MODELS[name](nnx.Rngs(0))
with Path(file).open("rb") as exported:
    trained = serialization.msgpack_restore(exported.read())
state = nnx.state(model)
nnx.replace_by_pure_dict(state, trained)
nnx.update(model, state)
model.eval()
np.save(outputs, model(jnp.asarray(np.load(inputs, allow_pickle=False))))
assert not any(module.startswith("fwcompare") for module in sys.modules)
