"""Integrations into other programs: a pytest plugin, and meters of training loops.

Importing this package imports neither PyTorch nor Lightning nor transformers; each is imported with what needs it:
:class:`Throughput` is for a loop written by hand, :class:`opflops.integrations.lightning.FlopsCallback` for Lightning's
``Trainer``, and :class:`opflops.integrations.huggingface.FlopsCallback` for that of Hugging Face.

May import everything but the command line; nothing in opflops imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opflops.integrations.throughput import Throughput

__all__ = ["Throughput"]

_MODULES = ("huggingface", "lightning")


def __getattr__(name: str) -> Any:
    if name in __all__:
        value = globals()[name] = getattr(import_module("opflops.integrations.throughput"), name)
        return value
    if name in _MODULES:
        return import_module(f"opflops.integrations.{name}")
    raise AttributeError(f"module 'opflops.integrations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
