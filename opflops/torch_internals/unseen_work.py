"""Work that runs past the dispatcher: captured graphs of an accelerator that are replayed, and compiled packages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_GRAPHS = (("cuda", "CUDAGraph"), ("xpu", "XPUGraph"), ("accelerator", "Graph"))
CAPTURE_BEGIN, CAPTURE_END, REPLAY = "capture_begin", "capture_end", "replay"


def device_graphs() -> Iterator[type]:
    """Yield the classes of graphs that this PyTorch can capture, one for each kind of device."""
    for device, name in _GRAPHS:
        graph = getattr(getattr(torch, device, None), name, None)
        if isinstance(graph, type) and all(method in vars(graph) for method in (CAPTURE_BEGIN, CAPTURE_END, REPLAY)):
            yield graph


PACKAGE_MODULES = ("torch.export.pt2_archive._package", "torch._inductor.package.package")
"""Modules that may define the class of loaded packages of AOTInductor; nothing loads them before a package."""

_PACKAGE = "AOTICompiledModel"


def package_callables(module: ModuleType) -> Iterator[tuple[type, str]]:
    """Yield the class of loaded packages with the name of the method that runs one, if a module defines it."""
    package = vars(module).get(_PACKAGE)
    if isinstance(package, type) and package.__module__ == module.__name__:
        yield package, "__call__"


def loaded_package_callables() -> Iterator[tuple[type, str]]:
    """Yield those of the modules that are loaded."""
    for name in PACKAGE_MODULES:
        if name in sys.modules:
            yield from package_callables(sys.modules[name])
