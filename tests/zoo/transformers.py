"""Networks of attention: for images, for images in windows, and for text."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    def __init__(self, width, heads, *, causal):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x, bias=None):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in self.qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, bias, is_causal=self.causal)
        return self.out(mixed.transpose(-3, -2).flatten(-2))


class TransformerBlock(nn.Module):
    """A pre-norm block: attention and a feed-forward four times as wide."""

    def __init__(self, width, heads, *, causal):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Dosovitskiy et al. (2020), base size with patches of 16."""

    def __init__(self, width=768, heads=12, depth=12, patch=16, image=224):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, causal=False) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class GPT(nn.Module):
    """Radford et al. (2019), GPT-2 of 124 million parameters, with the output tied to the token table."""

    def __init__(self, vocabulary=50257, context=1024, width=768, heads=12, depth=12):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, causal=True) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))


class SwinBlock(TransformerBlock):
    """Attend within windows, which every other block shifts by half a window, around the edges of the image."""

    def __init__(self, width, heads, size, window, *, shifted):
        super().__init__(width, heads, causal=False)
        self.window, self.windows = window, size // window
        self.shift = window // 2 if shifted and window < size else 0
        places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        rows, columns = (places[:, None] - places + window - 1).unbind(-1)
        self.register_buffer("distances", rows * (2 * window - 1) + columns)
        self.biases = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        # What the shift brought from the other edge is no neighbour.
        place = torch.arange(size)
        region = (place >= size - window).int() + (place >= size - self.shift).int()
        regions = self.split((region[:, None] * 3 + region)[None, ..., None])[0, ..., 0]
        self.register_buffer("strangers", (regions[:, None] != regions[..., None])[:, None])

    def split(self, x):
        """Turn (batch, height, width, channels) into (batch, windows, places, channels)."""
        tiles = (self.windows, self.window)
        return x.unflatten(2, tiles).unflatten(1, tiles).transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def join(self, x):
        x = x.unflatten(2, (self.window, self.window)).unflatten(1, (self.windows, self.windows))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def forward(self, x):
        bias = self.biases[self.distances].movedim(-1, 0)
        if self.shift:
            bias = bias.masked_fill(self.strangers, -100.0)
        turned = self.norm1(x).roll((-self.shift, -self.shift), (1, 2))
        attended = self.join(self.attention(self.split(turned), bias))
        x = x + attended.roll((self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Make one patch of two by two, twice as wide."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], -1)
        return self.reduction(self.norm(x))


class Swin(nn.Module):
    """Liu et al. (2021), the tiny one: attention in windows of 7 by 7 patches."""

    def __init__(self, blocks=(2, 2, 6, 2), width=96, heads=3, window=7, image=224):
        super().__init__()
        self.patches, size = nn.Conv2d(3, width, 4, 4), image // 4
        layers = [nn.LayerNorm(width)]
        for index, count in enumerate(blocks):
            if index:
                layers.append(PatchMerging(width))
                width, heads, size = 2 * width, 2 * heads, size // 2
            layers += [SwinBlock(width, heads, size, window, shifted=block % 2 == 1) for block in range(count)]
        self.layers = nn.Sequential(*layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, 1000)

    def forward(self, x):
        return self.head(self.layers(self.patches(x).movedim(1, -1)).mean([1, 2]))


class LlamaLayer(nn.Module):
    def __init__(self, width, heads, key_value_heads, inner):
        super().__init__()
        self.heads, self.key_value_heads, features = heads, key_value_heads, width // heads
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key, self.value = (nn.Linear(width, key_value_heads * features, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)

    @staticmethod
    def rotate(x, cos, sin):
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat((-right, left), -1) * sin

    def forward(self, x, cos, sin):
        y = self.norm1(x)
        q = self.query(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (each(y).unflatten(-1, (self.key_value_heads, -1)).transpose(1, 2) for each in (self.key, self.value))
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Touvron et al. (2023) with grouped queries, by default of 70 billion parameters."""

    def __init__(self, layers=80, width=8192, heads=64, key_value_heads=8, inner=28672, vocabulary=128256):
        super().__init__()
        self.tokens, self.features = nn.Embedding(vocabulary, width), width // heads
        self.layers = nn.ModuleList(LlamaLayer(width, heads, key_value_heads, inner) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids):
        x = self.tokens(ids)
        steps = torch.arange(ids.shape[1], device=ids.device)[:, None]
        angles = steps * torch.ones(self.features, device=ids.device)
        cos, sin = angles.cos(), angles.sin()
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.head(self.norm(x))
