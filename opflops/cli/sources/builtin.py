"""The built-in example, which is counted if no target is given."""

from __future__ import annotations

from typing import Any

import torch

from opflops import example
from opflops.cli.call_arguments import CallArguments
from opflops.cli.sources import ModelRequest, Target, python_code


def find(text: str, request: ModelRequest) -> Target:
    """Return the example; with arguments or inputs, treat it as any other Python code."""
    if request.arguments or request.has_inputs:
        return python_code.find(text, request)
    return Target(text, example.SimpleCNN, _inputs)


def _inputs(_: Any, batch: int) -> CallArguments:
    return CallArguments((torch.zeros(batch, *example.INPUT_SHAPE[1:]),))
