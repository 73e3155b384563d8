"""The cases of the accuracy table: models and layers, each with a figure that is derived by hand.

The figure counts multiply-accumulates in contractions, which every peer counts. The one case without contractions
counts elementwise operations. Each figure is next to the sizes that it follows from; none comes from a counter.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    Built = tuple[nn.Module, tuple[Tensor, ...]]

Unit = Literal["macs", "ops"]


@dataclass(frozen=True)
class Case:
    """Hold a model, its inputs, and the right figure.

    Attributes:
        build: Makes a new model and its inputs.
        right: The figure, derived by hand.
        unit: Whether the figure counts multiply-accumulates or elementwise operations.
        training: Whether the backward pass is counted too; otherwise the model runs in eval mode without gradients.
    """

    build: Callable[[], Built]
    right: int
    unit: Unit = "macs"
    training: bool = False


CASES: dict[str, Case] = {}


def case(name: str, *, training: bool = False, **right: int) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
    """Add the decorated function as a case; ``macs=`` or ``ops=`` is the right figure."""

    def decorate(build: Callable[[], Built]) -> Callable[[], Built]:
        ((unit, figure),) = right.items()
        CASES[name] = Case(build, figure, "ops" if unit == "ops" else "macs", training)
        return build

    return decorate


class Call(nn.Module):
    """Call a function from a module, so that no hook on a submodule sees it.

    The function is looked up at each call, for peers that patch functions of torch.
    """

    def __init__(self, owner: ModuleType, name: str, *first: Any, weight: Tensor | None = None, **options: Any) -> None:
        super().__init__()
        self.owner, self.name, self.first, self.options = owner, name, first, options
        if weight is not None:
            self.weight = nn.Parameter(weight)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Call the function with the inputs, then the weight."""
        function = getattr(self.owner, self.name)
        return function(*self.first, *inputs, *self.parameters(recurse=False), **self.options)


class SelfAttention(nn.Module):
    """Call an attention module with one input as query, key and value."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        return self.attention(x, x, x, need_weights=False)[0]


class Checkpointed(nn.Module):
    """Checkpoint a block, which then runs again in the backward pass."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(16, 32, bias=False), nn.ReLU(), nn.Linear(32, 16, bias=False))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        """Run the block under a checkpoint."""
        return checkpoint(self.block, x, use_reentrant=self.reentrant)


# The stem, four convolutions on 56 x 56, then per stage (side, width) one convolution from half the width, three within
# it and the shortcut, and the classifier: the 1.814 G that is published.
RESNET_18 = (
    112**2 * 64 * 3 * 7**2
    + 4 * 56**2 * 64**2 * 9
    + sum(
        side**2 * (width**2 // 2 * 9 + 3 * width**2 * 9 + width**2 // 2)
        for side, width in ((28, 128), (14, 256), (7, 512))
    )
    + 512 * 1000
)


@case("ResNet-18", macs=RESNET_18)
def resnet_18() -> Built:
    """One image of 224 x 224."""
    return zoo.resnet18(), (torch.rand(1, 3, 224, 224),)


# Each of 2 x 64 tokens meets 12 width² of matrices a block and the output's, and 64 keys and values a block.
@case("GPT, 4 blocks", macs=2 * 64 * (4 * 12 * 64**2 + 100 * 64 + 4 * 2 * 64 * 64))
def gpt() -> Built:
    """Width 64, 100 words, two texts of 64 tokens."""
    return zoo.GPT(vocabulary=100, width=64, heads=4, depth=4), (torch.randint(100, (2, 64)),)


GROUPED = 2 * 8 * 8 * 32 * (16 // 4) * 3 * 3


@case("grouped convolution", macs=GROUPED)
def grouped() -> Built:
    """Positions 2 x 8 x 8, 32 channels out, 4 in a group, 9 taps."""
    return nn.Conv2d(16, 32, 3, groups=4, bias=False), (torch.rand(2, 16, 10, 10),)


@case("grouped convolution, trained", macs=3 * GROUPED, training=True)
def grouped_trained() -> Built:
    """Forward, the gradient of the weight and that of the input: as much each."""
    return nn.Conv2d(16, 32, 3, groups=4, bias=False), (torch.rand(2, 16, 10, 10, requires_grad=True),)


@case("transposed convolution", macs=2 * 6 * 5 * 8 * 16 * 3 * 3)
def transposed() -> Built:
    """Each of 2 x 6 x 5 input positions times the 8 x 16 x 3 x 3 weights."""
    return nn.ConvTranspose2d(8, 16, 3, stride=2, bias=False), (torch.rand(2, 8, 6, 5),)


@case("attention, one function", macs=12 * 64 * 64 * (64 + 64))
def attention() -> Built:
    """Query, key and value of 12 heads, 64 tokens and width 64: two matmuls."""
    q, k, v = torch.rand(3, 1, 12, 64, 64)
    return Call(functional, "scaled_dot_product_attention"), (q, k, v)


@case("attention, grouped queries", macs=8 * 32 * 32 * (16 + 16))
def grouped_queries() -> Built:
    """Eight query heads on two key and value heads, each of 32 tokens and width 16."""
    k, v = torch.rand(2, 1, 2, 32, 16)
    attend = Call(functional, "scaled_dot_product_attention", enable_gqa=True)
    return attend, (torch.rand(1, 8, 32, 16), k, v)


# 2 x 10 tokens: four projections width x width, and 10 keys and values of that width.
ATTENDED = 2 * 10 * (4 * 32 * 32 + 2 * 10 * 32)


@case("MultiheadAttention", macs=ATTENDED)
def multihead() -> Built:
    """Width 32, four heads, two sequences of ten."""
    return SelfAttention(nn.MultiheadAttention(32, 4, batch_first=True)), (torch.rand(2, 10, 32),)


@case("TransformerEncoderLayer", macs=ATTENDED + 2 * 10 * 2 * 32 * 64)
def encoder_layer() -> Built:
    """The same attention and a feed-forward of 64."""
    return nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (torch.rand(2, 10, 32),)


@case("LSTM", macs=5 * 3 * 4 * 20 * (10 + 20))
def lstm() -> Built:
    """Five steps of a batch of three, four gates of 20 from 10 inputs and 20 of state."""
    return nn.LSTM(10, 20), (torch.rand(5, 3, 10),)


@case("module shared by two blocks", macs=2 * 4 * 16 * 16)
def shared() -> Built:
    """Two calls on four rows of 16."""
    linear = nn.Linear(16, 16, bias=False)
    return nn.Sequential(nn.Sequential(linear, nn.ReLU()), nn.Sequential(linear, nn.ReLU())), (torch.rand(4, 16),)


@case("functional linear", macs=4 * 16 * 8)
def functional_linear() -> Built:
    """Four rows, from 16 to 8."""
    return Call(functional, "linear", weight=torch.rand(8, 16)), (torch.rand(4, 16),)


@case("functional ReLU (ops)", ops=4 * 16)
def functional_relu() -> Built:
    """One comparison for each of 4 x 16 numbers, where a peer counts elementwise work at all."""
    return Call(functional, "relu"), (torch.rand(4, 16),)


@case("matmul, broadcast", macs=2 * 3 * 4 * 8 * 5)
def broadcast() -> Built:
    """The batches 2 x 1 and 3 make six products of 4 x 8 and 8 x 5."""
    return Call(torch, "matmul"), (torch.rand(2, 1, 4, 8), torch.rand(3, 8, 5))


@case("einsum", macs=2 * 4 * 10 * 10 * 8)
def einsum() -> Built:
    """Scores of four heads, 10 tokens and width 8, twice."""
    return Call(torch, "einsum", "bihd,bjhd->bhij"), tuple(torch.rand(2, 2, 10, 4, 8))


@case("matmul, complex", macs=4 * 4 * 8 * 5)
def complex_matmul() -> Built:
    """Four real multiply-accumulates for each complex one."""
    a, b = torch.rand(4, 8, dtype=torch.complex64), torch.rand(8, 5, dtype=torch.complex64)
    return Call(torch, "matmul"), (a, b)


@case("trained, first layer frozen", macs=4 * (8 * 16 + 2 * 16 * 2), training=True)
def frozen() -> Built:
    """Four rows: forward through both layers, then the gradient of the second's weight alone."""
    first, second = nn.Linear(8, 16, bias=False), nn.Linear(16, 2, bias=False)
    first.requires_grad_(requires_grad=False)
    return nn.Sequential(first, second), (torch.rand(4, 8),)


# Four rows and a weight of 16 x 32, twice: forward, and two gradients each.
WITHOUT_RECOMPUTING = 4 * (2 * 16 * 32) * 3


@case("trained, checkpoint", macs=WITHOUT_RECOMPUTING + 4 * 16 * 32, training=True)
def checkpointed() -> Built:
    """The first layer runs again; the second does not, since backward needs nothing that comes after its input."""
    return Checkpointed(reentrant=False), (torch.rand(4, 16, requires_grad=True),)


@case("trained, reentrant checkpoint", macs=WITHOUT_RECOMPUTING + 4 * (2 * 16 * 32), training=True)
def reentrant() -> Built:
    """Both layers run again: this kind stops nowhere."""
    return Checkpointed(reentrant=True), (torch.rand(4, 16, requires_grad=True),)


def run(model: nn.Module, inputs: tuple[Tensor, ...], *, training: bool) -> None:
    """Run the model, and its backward for training."""
    out = model(*inputs)
    if training:
        out.sum().backward()
