"""The names of modules, as fvcore has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Modules without work of their own, which nobody expects to be called.
_WITHOUT_FORWARD = (nn.ModuleList, nn.ModuleDict, nn.Module, nn.Identity)


def named_modules_with_duplicates(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield all modules of a model with all their names; a shared module has several."""

    def walk(name: str, module: nn.Module, above: tuple[nn.Module, ...]) -> Iterator[tuple[str, nn.Module]]:
        yield name, module
        for key, child in module._modules.items():  # noqa: SLF001 - named_children() leaves out second names
            if child is not None and not any(child is each for each in (*above, module)):
                yield from walk(f"{name}.{key}" if name else key, child, (*above, module))

    yield from walk("", model, ())


def owners(name: str) -> set[str]:
    """Return a name and those of the modules that contain it."""
    parts = name.split(".")
    return {"", *(".".join(parts[: length + 1]) for length in range(len(parts)))}


def has_forward(module: nn.Module) -> bool:
    """Return whether a module is one that is expected to be called."""
    forward: Callable[..., Any] = type(module).forward
    return all(forward is not each.forward for each in _WITHOUT_FORWARD)
