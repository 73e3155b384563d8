"""Work that runs past the dispatcher: captured graphs of an accelerator that are replayed, and compiled packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_GRAPHS = tuple(
    (vars(module), name)
    for module, name in ((torch.cuda, "CUDAGraph"), (torch.xpu, "XPUGraph"), (torch.accelerator, "Graph"))
)
_CAPTURE_BEGIN, _CAPTURE_END, _REPLAY = "capture_begin", "capture_end", "replay"


def device_graphs() -> list[type]:
    """List the classes of graphs that this PyTorch can capture, one for each kind of device."""
    # A PyTorch without such a device has no such class, or one without these methods of its own.
    found = [names[name] for names, name in _GRAPHS if name in names]
    return [each for each in found if _REPLAY in each.__dict__ and _CAPTURE_BEGIN in each.__dict__]


def capture_beginnings() -> list[tuple[type, str]]:
    """List the methods that begin to capture a graph, with their classes."""
    return [(graph, _CAPTURE_BEGIN) for graph in device_graphs()]


def capture_ends() -> list[tuple[type, str]]:
    """List the methods that end it."""
    return [(graph, _CAPTURE_END) for graph in device_graphs()]


def replays() -> list[tuple[type, str]]:
    """List the methods that repeat what was captured."""
    return [(graph, _REPLAY) for graph in device_graphs()]


PACKAGE_MODULES = ("torch.export.pt2_archive._package", "torch._inductor.package.package")
"""Modules that may define the class of loaded packages of AOTInductor; nothing loads them before a package."""

_PACKAGE = "AOTICompiledModel"


def package_callables(module: ModuleType) -> Iterator[tuple[type, str]]:
    """Yield the class of loaded packages with the name of the method that runs one, if a module defines it."""
    package = vars(module).get(_PACKAGE)
    if isinstance(package, type) and package.__module__ == module.__name__:
        yield package, "__call__"
