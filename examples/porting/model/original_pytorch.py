"""The original: a small network for digits, as its author wrote it in PyTorch."""

from torch import nn
from torch.nn import functional


class Digits(nn.Module):
    def __init__(self, filters, hidden, outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, filters, 3, padding="same")
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.dense = nn.Linear(4 * 4 * filters, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.logits = nn.Linear(hidden, outputs)

    def forward(self, images):
        x = self.pool(functional.relu(self.conv(images)))
        x = self.norm(self.dense(self.flatten(x)))
        return self.logits(functional.relu(x))


def build(filters, hidden, outputs):
    return Digits(filters, hidden, outputs)
