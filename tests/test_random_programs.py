"""Random module trees, with sharing, checkpoints and functional calls, whose generator knows what each part costs."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_backward import LINEAR, macs
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from opflops import OpFlopMode

IDENTITY = torch.eye(4)


def product(x):
    """Multiply by a constant: one product forward, and one backward, for the input alone."""
    return x @ IDENTITY


class Block(nn.Module):
    """Run some steps: modules of its own or of others, and products, each under a checkpoint or not."""

    def __init__(self, steps, *, reentrant):
        super().__init__()
        self.steps = steps
        self.reentrant = reentrant
        for number, (what, _) in enumerate(steps):
            if isinstance(what, nn.Module):
                self.register_module(f"step{number}", what)

    def forward(self, x):
        for what, checkpointed in self.steps:
            x = checkpoint(what, x, use_reentrant=self.reentrant) if checkpointed else what(x)
        return x


def expected(root):
    """Add up what every module does, by the names that PyTorch gives them."""
    names = {module: f"Block.{name}" if name else "Block" for name, module in root.named_modules()}
    work = Counter()

    def visit(what, caller, checkpoints):
        if isinstance(what, Block):
            for step, checkpointed in what.steps:
                visit(step, what, checkpoints + checkpointed)
            return
        owner, gradients = (names[what], 2) if isinstance(what, nn.Linear) else (names[caller], 1)
        work[owner, "forward"] += LINEAR
        work[owner, "backward"] += gradients * LINEAR
        # Every checkpoint around it computes it once more.
        work[owner, "recompute"] += checkpoints * LINEAR

    visit(root, None, 0)
    return {key: cost for key, cost in work.items() if cost}


@st.composite
def programs(draw):
    """Make a root block of blocks of linear layers, shared ones among them, and products."""
    reentrant = draw(st.booleans())
    made = []

    def module(depth):
        kind = draw(
            st.sampled_from(["linear", "product", "shared", "block"] if depth else ["linear", "product", "shared"])
        )
        if kind == "product":
            return product
        if kind == "shared" and made:
            return draw(st.sampled_from(made))
        made.append(block(depth - 1) if kind == "block" else nn.Linear(4, 4, bias=False))
        return made[-1]

    def block(depth):
        steps = [(module(depth), draw(st.booleans())) for _ in range(draw(st.integers(1, 3)))]
        return Block(steps, reentrant=reentrant)

    return block(2)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # a checkpoint inside another's forward
@settings(max_examples=60, deadline=None)
@given(root=programs(), passes=st.integers(1, 2))
def test_every_module_and_phase_of_a_random_program_is_known(root, passes):
    """Forward, backward and recomputation, in the module that asked for each."""
    x = torch.ones(2, 4, requires_grad=True)
    with OpFlopMode(strict=True) as mode, set_checkpoint_early_stop(False):
        for _ in range(passes):
            root(x).sum().backward()
    assert macs(mode) == {key: passes * cost for key, cost in expected(root).items()}
