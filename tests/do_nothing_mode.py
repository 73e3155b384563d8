"""A dispatch mode that does nothing, around every block of a test: the counts must be the same with and without it."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class DoNothingMode(TorchDispatchMode):
    """Pass every operator on, higher-order ones too, and let the compiler work as if there were no mode."""

    supports_higher_order_operators = True

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))
