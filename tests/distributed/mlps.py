"""The models of most tests of torch.distributed: two layers, and two times two layers."""

import torch
from torch import nn


class MLP(nn.Module):
    """Two layers; 280 parameters in 1,120 bytes by default."""

    def __init__(self, width=8, hidden=16):
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


class Net(nn.Module):
    """Two of them."""

    def __init__(self, width=8, hidden=16):
        super().__init__()
        self.a, self.b = MLP(width, hidden), MLP(width, hidden)

    def forward(self, x):
        return self.b(self.a(x))
