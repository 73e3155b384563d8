"""Profiles of many kinds, each counted once, whose text is read by the tests of all views."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import nn
from torch.nn import functional
from zoo import GPT, resnet18
from zoo.dynamic import CachedDecoder, DeepUNet, MixtureOfExperts
from zoo.transformers import Llama

from opflops import Cost, OpFlopMode, Profile, Row, count
from opflops.example import INPUT_SHAPE, SimpleCNN
from opflops.profile.gathering import combine_ranks

DIM = torch.export.Dim


class Mixed(nn.Module):
    """Compute in integers, half precision and full precision, in modules and outside of them."""

    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Linear(32, 32, dtype=torch.bfloat16), nn.Linear(32, 8)
        self.last = nn.Linear(8, 8, dtype=torch.float64)

    def forward(self, x, ids):
        places = (ids * 2 + 1) % 32
        x = x + functional.one_hot(places, 32)
        return self.last(self.wide(self.narrow(x.bfloat16()).float()).double()), places.cumsum(0)


def _symbolic(names):
    axes = dict(zip(("batch", "sequence", "past"), (DIM(each) for each in ("batch", "sequence", "past")), strict=True))
    model = CachedDecoder()
    if names == 3:
        # A prompt after what is in the cache: three sizes.
        return count(
            Attend(),
            *[torch.zeros(3, 4, size, 8) for size in (5, 7, 7)],
            dynamic_shapes=[{0: axes["batch"], 2: axes["sequence"]}, *[{0: axes["batch"], 2: axes["past"]}] * 2],
        )
    shapes = {0: axes["batch"]} if names == 1 else {0: axes["batch"], 1: axes["sequence"]}
    return count(model, torch.zeros(3, 6, dtype=torch.long), dynamic_shapes={"ids": shapes})


class Attend(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, q, k, v):
        return self.out(functional.scaled_dot_product_attention(self.norm(q), self.norm(k), self.norm(v)))


def _ranks():
    def of_rank(rank):
        rows = [
            Row("Net.layers.0", "Linear", "aten.mm", "forward", "float32", 4, Cost(10**9 + rank, 5, 0, 4096, 1024)),
            Row("Net.layers.0", "Linear", "aten.mm", "backward", "float32", 8, Cost(2 * 10**9, 0, 0, 8192, 4096)),
            Row(
                "Net.norm", "LayerNorm", "aten.native_layer_norm", "forward", "float32", 2, Cost(0, 7_000, 100, 64, 64)
            ),
            Row(
                "Net",
                "Net",
                "c10d.allreduce_",
                "backward",
                "float32",
                3,
                Cost(0, 4096, 0, 4096, 4096, 96 * 1024),
                group="dp/tp (3)",
            ),
            Row(
                "Net",
                "Net",
                "c10d._allgather_base_",
                "forward",
                "bfloat16",
                1,
                Cost(0, 0, 0, 4096, 4096, 512),
                group="tp (3)",
            ),
        ]
        return Profile(rows, called=("Net", "Net.layers.0", "Net.norm"))

    return combine_ranks({rank: of_rank(rank) for rank in range(3)})


def _several_roots():
    with OpFlopMode() as mode:
        x = SimpleCNN()(torch.zeros(INPUT_SHAPE))
        nn.Sequential(nn.Linear(10, 512), nn.GELU())(x)
        nn.Linear(10, 10)(nn.Linear(10, 10)(x)).softmax(-1).sum().backward()
    return mode.profile


def _timed():
    """Give the operators of a network times by their size, as measured in repeated runs."""
    profile = count(resnet18(), torch.zeros(2, 3, 64, 64), backward=True)
    rows = [replace(row, seconds=1e-5 * row.calls + row.cost.flops / 1e11, spread=1e-6) for row in profile.rows]
    return replace(profile, rows=tuple(rows))


def _long_names():
    stage = "VisionLanguageModelForConditionalGeneration.vision_tower.encoder_stage"
    block, kind = "residual_block_with_a_long_name.sub", "ResidualBlockWithSqueezeAndExcitation"
    operators = ("aten.convolution", "aten.native_batch_norm", "aten.relu", "aten.max_pool2d_with_indices")
    rows = [
        Row(
            *(f"{stage}_{level}.{block}_{'x' * index}", kind, op, "forward", "float32", 7**level),
            Cost(10 ** (index * 3 + level), 10**7, 10 * level, 10**8, 10**7),
        )
        for index, op in enumerate(operators)
        for level in range(3)
    ]
    fused = Row("", "", "mylib.a_fused_kernel_of_my_own", "forward", "float32", 2, Cost(bytes_read=10), priced=False)
    return Profile([*rows, fused])


def _llama():
    with torch.device("meta"):
        return count(Llama(), torch.zeros(1, 128, dtype=torch.long))


BUILDERS = {
    "cnn": lambda: count(SimpleCNN(), torch.zeros(INPUT_SHAPE)),
    "unet": lambda: count(DeepUNet(), torch.zeros(1, 3, 64, 64)),
    "resnet": lambda: count(resnet18(), torch.zeros(1, 3, 224, 224)),
    "gpt": lambda: count(GPT(depth=4), torch.zeros(1, 64, dtype=torch.long), backward=True),
    "llama": _llama,
    "experts": lambda: count(MixtureOfExperts(), torch.zeros(2, 16, 16)),
    "dtypes": lambda: count(Mixed(), torch.zeros(16, 32), torch.arange(16)),
    "roots": _several_roots,
    "ranks": _ranks,
    "batch": lambda: _symbolic(1),
    "batch and sequence": lambda: _symbolic(2),
    "three dimensions": lambda: _symbolic(3),
    "memory": lambda: count(
        DeepUNet(8, 2), torch.zeros(1, 3, 32, 32), backward=True, optimizer=torch.optim.AdamW, memory=True
    ),
    "timed": _timed,
    "long names": _long_names,
    "activations": lambda: count(nn.Sequential(nn.ReLU(), nn.Softmax(-1)), torch.zeros(2, 3)),
    "copies": lambda: count(nn.Sequential(nn.Flatten(), nn.Embedding(3, 4)), torch.zeros(3, 2, dtype=torch.long)),
    "empty": Profile,
}


@cache
def profile_of(name):
    return BUILDERS[name]()
