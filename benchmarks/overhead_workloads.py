"""The workloads of the overhead benchmark: many tiny operators, where the overhead is largest, and real models."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention, silu

if TYPE_CHECKING:
    from collections.abc import Callable


class Workload(NamedTuple):
    """Hold a program to time.

    Attributes:
        run: The program.
        model: The module whose forward it calls once; None if it does something else.
        inputs: The inputs of the model.
    """

    run: Callable[[], object]
    model: nn.Module | None = None
    inputs: tuple[Tensor, ...] = ()


def tiny_operators() -> Workload:
    """3,000 operators on 4x4 matrices, outside any module."""
    x = torch.rand(4, 4)

    def run() -> None:
        y = x
        for _ in range(1000):
            y = torch.relu((y + x) * x)

    return Workload(run)


def _small_modules() -> nn.Module:
    return nn.Sequential(*[module for _ in range(150) for module in (nn.Linear(4, 4), nn.ReLU())])


def tiny_modules() -> Workload:
    """Twenty forwards of 300 small modules."""
    model, x = _small_modules(), torch.rand(4, 4)

    @torch.no_grad()
    def run() -> None:
        for _ in range(20):
            model(x)

    return Workload(run)


def tiny_modules_once() -> Workload:
    """One forward of the same 300 modules, in a block of its own, so that each module is new to the mode."""
    model, x = _small_modules(), torch.rand(4, 4)
    return _forward(model, x)


def first_operators() -> Workload:
    """120 times the operators of a linear layer, a layer norm and a GELU on 4x4 matrices, outside any module."""
    x, weight, (bias, scale, shift) = torch.rand(4, 4), torch.rand(4, 4), torch.rand(3, 4)

    @torch.no_grad()
    def run() -> None:
        y = x
        for _ in range(120):
            y = gelu(layer_norm(linear(y, weight, bias), (4,), scale, shift))

    return Workload(run)


def first_modules() -> Workload:
    """One forward of 120 such blocks as modules, each of which is called once."""
    blocks = [module for _ in range(120) for module in (nn.Linear(4, 4), nn.LayerNorm(4), nn.GELU())]
    return _forward(nn.Sequential(*blocks), torch.rand(4, 4))


def first_training() -> Workload:
    """Forward and backward of a transformer encoder of twelve layers and width 16."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model, x = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False), torch.rand(2, 4, 16)

    def run() -> None:
        model.zero_grad()
        loss: Tensor = model(x).sum()
        loss.backward()

    return Workload(run)


def small_transformer() -> Workload:
    """Five training steps of a transformer of four layers."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True), 4)
    optimizer = torch.optim.AdamW(model.parameters())
    x = torch.rand(2, 8, 32)

    def run() -> None:
        for _ in range(5):
            optimizer.zero_grad()
            loss: Tensor = model(x).sum()
            loss.backward()
            optimizer.step()

    return Workload(run)


def _forward(model: nn.Module, *inputs: Tensor) -> Workload:
    model.eval()

    @torch.no_grad()
    def run() -> None:
        model(*inputs)

    return Workload(run, model, inputs)


class Bottleneck(nn.Module):
    """Convolve 1x1, 3x3 and 1x1 beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.branch = nn.Sequential(
            *self.convolution(inputs, width, 1),
            nn.ReLU(),
            *self.convolution(width, width, 3, stride),
            nn.ReLU(),
            *self.convolution(width, outputs, 1),
        )
        straight = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if straight else nn.Sequential(*self.convolution(inputs, outputs, 1, stride))
        self.relu = nn.ReLU()

    @staticmethod
    def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        """Make a convolution with 'same' padding and its batch norm."""
        return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch and the shortcut."""
        out: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return out


def resnet50() -> Workload:
    """Forward of ResNet-50 on 32 images of 224x224, on real tensors."""
    blocks: list[nn.Module] = []
    inputs = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            blocks.append(Bottleneck(inputs, 64 << stage, 2 if stage and not block else 1))
            inputs = 256 << stage
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)]
    return _forward(nn.Sequential(*stem, *blocks, *head), torch.rand(32, 3, 224, 224))


class DecoderLayer(nn.Module):
    """Attend causally with rotary positions, then apply a gated MLP."""

    def __init__(self, hidden: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.RMSNorm(hidden), nn.RMSNorm(hidden)
        self.query, self.key, self.value, self.output = (nn.Linear(hidden, hidden, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(hidden, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, hidden, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """Split heads: (batch, heads, sequence, head_dim)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    @staticmethod
    def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate pairs of features by the position."""
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat((-right, left), -1) * sin

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Apply both with residual connections."""
        y = self.attention_norm(x)
        query, key = (self.rotate(self.split(project(y)), cos, sin) for project in (self.query, self.key))
        mixed = scaled_dot_product_attention(query, key, self.split(self.value(y)), is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        y = self.mlp_norm(x)
        out: Tensor = x + self.down(silu(self.gate(y)) * self.up(y))
        return out


class Decoder(nn.Module):
    """A decoder like Llama."""

    def __init__(self, layers: int, hidden: int, heads: int, inner: int, vocabulary: int) -> None:
        super().__init__()
        self.width = hidden // heads
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.layers = nn.ModuleList(DecoderLayer(hidden, heads, inner) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden)
        self.head = nn.Linear(hidden, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the scores of the next tokens."""
        x = self.embedding(tokens)
        steps = torch.arange(tokens.shape[1], device=tokens.device)[:, None]
        angles = steps * torch.ones(self.width, device=tokens.device)
        cos, sin = angles.cos(), angles.sin()
        for layer in self.layers:
            x = layer(x, cos, sin)
        scores: Tensor = self.head(self.norm(x))
        return scores


def decoder_7b() -> Workload:
    """Forward of a decoder of 7 billion parameters over 2,048 tokens, on meta tensors."""
    with torch.device("meta"):
        model = Decoder(layers=32, hidden=4096, heads=32, inner=11008, vocabulary=32000)
        tokens = torch.zeros(1, 2048, dtype=torch.int64)
    return _forward(model, tokens)


def decoder_symbolic() -> Workload:
    """Forward of a decoder of four layers on fake tensors whose batch and sequence are symbols."""
    fake = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    with FakeCopyMode(fake):
        model = copy.deepcopy(Decoder(layers=4, hidden=64, heads=4, inner=128, vocabulary=100))
    sizes = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC, DimDynamic.DYNAMIC])
    tokens = fake.from_tensor(torch.zeros(2, 16, dtype=torch.int64), symbolic_context=sizes)
    return _forward(model, tokens)
