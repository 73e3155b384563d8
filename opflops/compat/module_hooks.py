"""Run the hooks of other counters, which write what a module costs into one of its attributes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.nn.modules.lazy import LazyModuleMixin

from opflops.errors import OpflopsError
from opflops.torch_internals.modules import attribute_spaces, class_name, named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn


class ReplacedModuleError(OpflopsError):
    """Report a model that puts another module in the place of one that has a hook, while it runs."""


class HookedModules(list["nn.Module"]):
    """List the modules that have a hook, with the places that they had before the model was called.

    Args:
        modules: The modules.
        places: Their paths below the model, by identity; "" is the model itself.
    """

    def __init__(self, modules: list[nn.Module], places: Mapping[int, str]) -> None:
        super().__init__(modules)
        self._places = places

    def paths(self, model: nn.Module, root: str) -> Iterator[tuple[str, nn.Module]]:
        """Yield the path of each of the modules in a profile, and the module.

        Raises:
            ReplacedModuleError: A module is not in the model any more, and another one has its path.
        """
        now = named_paths(model, root)
        taken = {path for _, path in now.values()}
        for module in self:
            if id(module) in now:
                yield now[id(module)][1], module
                continue
            path = root + self._places[id(module)]
            if path in taken:
                raise ReplacedModuleError(
                    f"The module {path}, for whose class {class_name(module)} there is a hook, was replaced by another "
                    "one while the model ran. The hook knows the first alone, so what the path counts as is unknown. "
                    f"Give no hook for {class_name(module)}, or call the model once before it is counted."
                )
            yield path, module


@contextmanager
def hooked(
    model: nn.Module,
    hooks: Mapping[type, Callable[..., Any]],
    attributes: Callable[[nn.Module], Mapping[str, Any]],
    wanted: Callable[[nn.Module], bool] = lambda _: True,
    *,
    as_buffers: bool = False,
) -> Iterator[HookedModules]:
    """Give modules of exactly these types a forward hook, and attributes that it writes to, for a block.

    A lazy module has the hook of the class that it becomes.

    Args:
        model: The model.
        hooks: The hooks, by type.
        attributes: Returns the attributes of a module.
        wanted: Tells which of these modules get a hook.
        as_buffers: Keep the attributes as buffers.

    Yields:
        These modules. What else was under the names of the attributes, buffers included, is there again afterwards.
    """
    modules = [module for module in model.modules() if _hooked_type(module) in hooks and wanted(module)]
    places = {identity: path for identity, (_, path) in named_paths(model, "").items()}
    handles, before = [], []
    try:
        for module in modules:
            values = attributes(module)
            spaces = attribute_spaces(module)
            before.append((spaces, [{n: space.pop(n) for n in values if n in space} for space in spaces], values))
            spaces[as_buffers].update(values)
            handles.append(module.register_forward_hook(hooks[_hooked_type(module)]))
        yield HookedModules(modules, places)
    finally:
        for handle in handles:
            handle.remove()
        for spaces, kept, values in before:
            for space, items in zip(spaces, kept, strict=True):
                for name in values:
                    space.pop(name, None)
                space.update(items)


def _hooked_type(module: nn.Module) -> type:
    becomes = module.cls_to_become if isinstance(module, LazyModuleMixin) else None
    return becomes or type(module)
