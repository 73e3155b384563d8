"""The built-in example: a small convolutional network that makes its activations inside ``forward``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUT_SHAPE = (1, 3, 32, 32)


class SimpleCNN(nn.Module):
    """Classify 32x32 colour images.

    Counters that walk the registered children never see its ReLUs: each is made where it is used. The 2x2 max-pools
    are what the sizes of the layers imply: 32 to 30 to 15 to 13 to 6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.fc1 = nn.Linear(32 * 6 * 6, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, 3, 32, 32) to the logits (batch, 10) of ten classes."""
        x = nn.functional.max_pool2d(nn.ReLU()(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(nn.ReLU()(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = nn.ReLU()(self.fc1(x))
        x = nn.ReLU()(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits
