"""Run the hooks of other counters, which write what a module costs into one of its attributes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opflops.torch_internals.modules import attribute_spaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn


@contextmanager
def hooked(
    model: nn.Module,
    hooks: Mapping[type, Callable[..., Any]],
    attributes: Callable[[nn.Module], Mapping[str, Any]],
    wanted: Callable[[nn.Module], bool] = lambda _: True,
) -> Iterator[list[nn.Module]]:
    """Give modules of exactly these types a forward hook, and attributes that it writes to, for a block.

    Args:
        model: The model.
        hooks: The hooks, by type.
        attributes: Returns the attributes of a module.
        wanted: Tells which of these modules get a hook.

    Yields:
        These modules. What else was under the names of the attributes, buffers included, is there again afterwards.
    """
    modules = [module for module in model.modules() if type(module) in hooks and wanted(module)]
    handles, before = [], []
    try:
        for module in modules:
            values = attributes(module)
            spaces = attribute_spaces(module)
            before.append((spaces, [{n: space.pop(n) for n in values if n in space} for space in spaces], values))
            vars(module).update(values)
            handles.append(module.register_forward_hook(hooks[type(module)]))
        yield modules
    finally:
        for handle in handles:
            handle.remove()
        for spaces, kept, values in before:
            for space, items in zip(spaces, kept, strict=True):
                for name in values:
                    space.pop(name, None)
                space.update(items)
