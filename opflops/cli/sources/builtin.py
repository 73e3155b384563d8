"""The built-in example, which is counted where no target is named."""

from __future__ import annotations

from typing import Any

import torch

from opflops import example
from opflops.cli.arranged import Inputs
from opflops.cli.sources import Asked, Target, python_code


def find(text: str, asked: Asked) -> Target:
    """Return the example."""
    if asked.arguments or asked.inputs:
        return python_code.find(text, asked)
    return Target(text, example.SimpleCNN, _inputs)


def _inputs(_: Any, batch: int) -> Inputs:
    return Inputs((torch.zeros(batch, *example.INPUT_SHAPE[1:]),))
