"""Modules: what calling one does."""

from __future__ import annotations

import torch

MODULE_CALL = torch.nn.Module._wrapped_call_impl
"""What calling a module does: ``_compiled_call_impl`` if ``module.compile()`` made one, else ``_call_impl``.

By the name of PyTorch's own function: somebody may have put another in the place of ``__call__`` already.
"""


def callable_module(module: torch.nn.Module) -> bool:
    """Tell a module that has a forward from a mere container."""
    return type(module).forward is not torch.nn.Module.forward
