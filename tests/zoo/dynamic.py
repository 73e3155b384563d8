"""Networks whose costs depend on their inputs' sizes in more ways than by a factor."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class ConvNet(nn.Module):
    """Strided and padded convolutions, pooling, and a head for any image size."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(8, 12, 5, 3, groups=4),
            nn.ReLU(),
        )
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class UNet(nn.Module):
    """Two levels, with interpolation up and concatenation."""

    def __init__(self, mode="nearest"):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.out = nn.Conv2d(24, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.options = {"mode": mode} if mode == "nearest" else {"mode": mode, "align_corners": False}

    def forward(self, x):
        x1 = torch.relu(self.down1(x))
        x2 = torch.relu(self.down2(functional.max_pool2d(x1, 2)))
        up = functional.interpolate(x2, scale_factor=2, **self.options)
        return self.out(torch.relu(self.up(torch.cat([up, x1], 1))))


class DoubleConv(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class DeepUNet(nn.Module):
    """Ronneberger et al. (2015): four levels down and up, with what was left at each."""

    def __init__(self, width=64, levels=4):
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.encoder = nn.ModuleList(DoubleConv(*pair) for pair in zip([3, *widths], widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * each, each, 2, 2) for each in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(DoubleConv(2 * each, each) for each in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        kept = []
        for block in self.encoder[:-1]:
            x = block(x)
            kept.append(x)
            x = self.pool(x)
        x = self.encoder[-1](x)
        for up, block, skipped in zip(self.up, self.decoder, reversed(kept), strict=True):
            x = block(torch.cat([skipped, up(x)], 1))
        return self.head(x)


class CachedAttention(nn.Module):
    """Attend to what was said before, and return it with what is said now."""

    def __init__(self, width, heads):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x, cache=None):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        return self.out(mixed.transpose(1, 2).flatten(2)), (k, v)


class CachedDecoder(nn.Module):
    """Read a prompt, or say the next token with the keys and values of those before it."""

    def __init__(self, vocabulary=50, width=32, heads=4, layers=2):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.attention = nn.ModuleList(CachedAttention(width, heads) for _ in range(layers))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(layers)
        )
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids, caches=None):
        x, kept = self.tokens(ids), []
        for index, (attention, mlp) in enumerate(zip(self.attention, self.mlp, strict=True)):
            mixed, cache = attention(x, None if caches is None else caches[index])
            kept.append(cache)
            x = x + mixed
            x = x + mlp(x)
        return self.head(x), kept


class MixtureOfExperts(nn.Module):
    """Route each token to one expert, which takes no more than its capacity (Switch Transformer)."""

    def __init__(self, width=16, experts=4, factor=2):
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.up = nn.Parameter(torch.zeros(experts, width, 4 * width))
        self.down = nn.Parameter(torch.zeros(experts, 4 * width, width))
        self.experts, self.factor = experts, factor

    def forward(self, x):
        tokens = x.flatten(0, 1)
        capacity = self.factor * tokens.shape[0] // self.experts
        gates = self.router(tokens).softmax(-1)
        weight, chosen = gates.topk(capacity, 0)
        sent = tokens[chosen.flatten()].view(capacity, self.experts, -1).transpose(0, 1)
        done = torch.bmm(torch.relu(torch.bmm(sent, self.up)), self.down) * weight.t()[..., None]
        out = torch.zeros_like(tokens).index_add(0, chosen.t().flatten(), done.flatten(0, 1))
        return out.view_as(x)
