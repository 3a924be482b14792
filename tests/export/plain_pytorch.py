"""Plain PyTorch: modules written by hand, which take over what was exported.

python plain_pytorch.py MODEL STATE INPUTS OUTPUTS
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class CnnBn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4, eps=1e-5, momentum=0.1)
        self.conv2 = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8, eps=1e-5, momentum=0.1)
        self.dense = nn.Linear(128, 16)
        self.logits = nn.Linear(16, 10)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = functional.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)
        return self.logits(functional.relu(self.dense(x)))


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.logits = nn.Linear(8, 4)

    def forward(self, ids):
        outputs, _ = self.lstm(self.embedding(ids))
        return self.logits(outputs[:, -1])


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.logits = nn.Linear(8, 4)

    def forward(self, ids):
        outputs, _ = self.gru(self.embedding(ids))
        return self.logits(outputs[:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(16, 16), nn.Linear(16, 16)
        self.value, self.output = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        parts = [part(x).unflatten(2, (4, -1)) for part in (self.query, self.key, self.value)]
        seen = functional.scaled_dot_product_attention(*(p.transpose(1, 2) for p in parts))
        return self.output(seen.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.norm1, self.norm2 = nn.LayerNorm(16, eps=1e-5), nn.LayerNorm(16, eps=1e-5)
        self.dense1, self.dense2 = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.dense2(functional.relu(self.dense1(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 16)
        self.block1 = Block()
        self.logits = nn.Linear(16, 4)

    def forward(self, ids):
        step, pair = torch.arange(16)[:, None], torch.arange(8)[None]
        angles = step / 10000 ** (2 * pair / 16)
        table = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
        return self.logits(self.block1(self.embedding(ids) + table).mean(1))


MODELS = {"cnn_bn": CnnBn, "lstm": Lstm, "gru": Gru, "transformer_encoder": Transformer}

name, state, inputs, outputs = sys.argv[1:]
model = MODELS[name]()
if state.endswith(".safetensors"):
    from safetensors.torch import load_file

    model.load_state_dict(load_file(state))
else:
    model.load_state_dict(torch.load(state, weights_only=True))
model.eval()
with torch.no_grad():
    np.save(outputs, model(torch.from_numpy(np.load(inputs, allow_pickle=False))).numpy())
assert not any(module.startswith("fwcompare") for module in sys.modules)
