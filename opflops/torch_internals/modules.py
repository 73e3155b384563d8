"""Modules: their call and forward."""

from __future__ import annotations

import torch

MODULE_CALL = torch.nn.Module._wrapped_call_impl
"""PyTorch's ``Module.__call__``: ``_compiled_call_impl`` after ``module.compile()``, else ``_call_impl``.

Read by its own name, since ``__call__`` may be patched already.
"""


def has_forward(module: torch.nn.Module) -> bool:
    """Return whether a module has a forward; a container such as ``ModuleList`` has none."""
    return type(module).forward is not torch.nn.Module.forward
