"""Compare peaks of memory with those that PyTorch's allocator for CUDA measured, or on the CPU with another tracker's.

Run ``python benchmarks/gpu_memory.py`` where PyTorch can use a GPU, or with ``--cpu`` anywhere. Each case is the second
of two training steps with AdamW: gradients are None before it, and its outputs are deleted before the optimizer steps.

On a GPU the peak is ``torch.cuda.max_memory_allocated()`` of a step without opflops, above what was allocated before
the model was made. It includes the workspaces of cuBLAS, which opflops does not see; so the models need gigabytes. On
the CPU the models are small, and the other tracker is that of the tests, which must agree to the byte.
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tabulate import tabulate
from torch import nn
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode, count
from opflops.example import GPT, Block

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import zoo
from storage_tracker import StorageTracker, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Built = tuple[nn.Module, tuple[torch.Tensor, ...]]

_TOLERANCE = 0.02


class Checkpointed(nn.Module):
    """Run a block with checkpointing, so that it keeps only its input for the backward."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        out: torch.Tensor = checkpoint(self.block, x, use_reentrant=False)
        return out


def gpt(*, small: bool, checkpointed: bool = False) -> Built:
    """Make GPT-2 and 8 texts of 1024 tokens, or a small one and 2 texts of 64."""
    model = GPT(layers=2, width=64, heads=4, vocabulary=500, longest=64) if small else GPT()
    if checkpointed:
        model.blocks = nn.ModuleList(Checkpointed(block) for block in model.blocks if isinstance(block, Block))
    return model, (torch.zeros((2, 64) if small else (8, 1024), dtype=torch.int64),)


def resnet(*, small: bool) -> Built:
    """Make ResNet-50 and 128 images of 224 x 224, or ResNet-18 and 2 of 32 x 32."""
    model: nn.Module = zoo.resnet18() if small else zoo.resnet50()
    return model, (torch.rand((2, 3, 32, 32) if small else (128, 3, 224, 224)),)


CASES: dict[str, Callable[[bool], Built]] = {
    "GPT": lambda small: gpt(small=small),
    "ResNet": lambda small: resnet(small=small),
    "GPT, checkpointed": lambda small: gpt(small=small, checkpointed=True),
}


class Peaks(NamedTuple):
    """Hold the peak of a training step in bytes, as measured and by opflops in a run and without running."""

    measured: int
    run: int
    count: int

    @property
    def largest_difference(self) -> float:
        """Return the larger difference from what was measured, as a share of that."""
        return max(abs(each / self.measured - 1) for each in (self.run, self.count))


def train(model: nn.Module, inputs: tuple[Any, ...], optimizer: torch.optim.Optimizer) -> None:
    """Make a training step, against gradients of ones."""
    outputs = model(*inputs)
    outputs.backward(torch.ones_like(outputs))
    del outputs
    optimizer.step()


def measure(name: str, device: str) -> Peaks:
    """Measure the peak of the second step of a case in three ways."""
    on_gpu = device == "cuda"
    before = torch.cuda.memory_allocated() if on_gpu else 0
    model, inputs = CASES[name](not on_gpu)
    model, inputs = model.to(device), tuple(each.to(device) for each in inputs)
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        train(model, inputs, optimizer)
        optimizer.zero_grad()

    step()
    allocator = "cuda" if on_gpu else None
    measured = _gpu_peak(step, before) if on_gpu else _tracked_peak(step, model, inputs, optimizer)
    with OpFlopMode(memory=True, allocator=allocator) as mode:
        train(model, inputs, optimizer)
    optimizer.zero_grad()
    counted = count(model, *inputs, optimizer=optimizer, memory=True, allocator=allocator)
    memories = mode.profile.memory, counted.memory
    return Peaks(measured, *(each.on_accelerator().peak for each in memories if each is not None))


def _gpu_peak(step: Callable[[], None], before: int) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _tracked_peak(step: Callable[[], None], *state: Any) -> int:
    model, inputs, optimizer = state
    with StorageTracker(*state_of(model, *inputs, optimizer)) as tracker:
        step()
    return tracker.peak


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit code is 1 if a difference is too large."""
    parser = argparse.ArgumentParser(description="Compare peaks of memory with those that were measured.")
    parser.add_argument("--cpu", action="store_true", help="compare small models on the CPU, to the byte")
    options = parser.parse_args(arguments)
    if not options.cpu and not torch.cuda.is_available():
        print("no CUDA device: nothing was measured. --cpu compares small models on the CPU with another tracker.")
        return 0
    device = "cpu" if options.cpu else "cuda"
    tolerance = 0.0 if options.cpu else _TOLERANCE
    peaks = {}
    for name in CASES:
        peaks[name] = measure(name, device)
        gc.collect()
    rows = [
        (name, *(f"{each:,}" for each in found), f"{100 * found.largest_difference:.2f} %")
        for name, found in peaks.items()
    ]
    headers = ("training step", "measured", "opflops, run", "opflops, count", "difference")
    print(tabulate(rows, headers, tablefmt="github", colalign=("left", *["right"] * 4)))
    where = "CPU" if options.cpu else torch.cuda.get_device_name()
    print(f"\nBytes, on {where} with torch {torch.__version__}.")
    wrong = [name for name, found in peaks.items() if found.largest_difference > tolerance]
    if wrong:
        print(f"More than {100 * tolerance:g} % apart: {', '.join(wrong)}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
