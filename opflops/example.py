"""Example models: a small convolutional network that creates its activations inside ``forward``, and GPT-2."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_SHAPE = (1, 3, 32, 32)


class SimpleCNN(nn.Module):
    """Classify 32x32 color images.

    Counters that walk the registered children never see its ReLUs, since each is created where it is used. The 2x2
    max-pools follow from the sizes of the layers: 32 to 30 to 15 to 13 to 6.
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
        x = functional.max_pool2d(nn.ReLU()(self.conv1(x)), 2)
        x = functional.max_pool2d(nn.ReLU()(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = nn.ReLU()(self.fc1(x))
        x = nn.ReLU()(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


class GPT(nn.Module):
    """Predict the next token; the default sizes are those of the smallest GPT-2, with 124 million parameters.

    Args:
        layers: The number of blocks.
        width: The number of features of a token.
        heads: The number of heads in each attention.
        vocabulary: The number of different tokens.
        longest: The maximum sequence length.
    """

    def __init__(
        self, layers: int = 12, width: int = 768, heads: int = 12, vocabulary: int = 50257, longest: int = 1024
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(longest, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Map tokens (batch, sequence) to the logits (batch, sequence, vocabulary) of the tokens that follow."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class Block(nn.Module):
    """Apply attention, then an MLP, each with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (batch, sequence, width) to others of the same shape."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Attention(nn.Module):
    """Apply causal multi-head attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (batch, sequence, width) to others of the same shape."""
        # (batch, sequence, width) to (batch, heads, sequence, head_dim)
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out
