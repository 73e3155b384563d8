"""What the options of ptflops leave out or replace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from opflops.compat.module_figures import is_inside, own_figures
from opflops.compat.ptflops.attribute_names import FLOPS
from opflops.compat.ptflops.operator_hooks import hooked_figure
from opflops.compat.ptflops.pytorch_ops import added_hooks
from opflops.errors import ArgumentError
from opflops.records.arguments import describe
from opflops.torch_internals.dispatch import OpOverloadPacket
from opflops.torch_internals.modules import named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opflops.compat.model_calls import CountedCall
    from opflops.compat.module_hooks import HookedModules
    from opflops.records.rows import Row

_LAYERS = ("torch.nn.modules.", "torch.ao.nn.")
_CONTAINERS = ("torch.nn.modules.module", "torch.nn.modules.container", "torch.nn.modules.lazy")
"""Where PyTorch's own layers are, and what of that holds other modules or is a base class, and computes nothing."""


class Choices(NamedTuple):
    """Hold what the options of one call ignore and replace.

    Attributes:
        ignored: Module types whose work does not count.
        module_hooks: Hooks by module type.
        operator_hooks: Hooks by operator; that of an operator that does not count returns 0.
        hooked_operators: The names of operators that have a hook, as rows have them.
        ignored_operators: Those of operators that do not count.
        functional: Whether work outside the layers of PyTorch counts.
    """

    ignored: frozenset[type]
    module_hooks: dict[type, Callable[..., Any]]
    operator_hooks: dict[Any, Callable[..., Any]]
    hooked_operators: frozenset[str]
    ignored_operators: frozenset[str]
    functional: bool

    def replaced(self, model: nn.Module, call: CountedCall, hooked: HookedModules) -> dict[str, float]:
        """Return what modules count as with all below them, by their paths: hooked ones and ignored ones."""
        paths = {identity: path for identity, (_, path) in named_paths(model, call.root).items()}
        stated: dict[str, float] = {}
        for path, module in hooked.paths(model, call.root):
            stated[path] = stated.get(path, 0) + vars(module)[FLOPS]
        return stated | {paths[id(module)]: 0 for module in model.modules() if type(module) in self.ignored}

    def figure(self, row: Row) -> float:
        """Return what a row counts as."""
        has_hook = row.op in self.hooked_operators or row.op in self.ignored_operators
        return hooked_figure(row) if has_hook else row.cost.macs

    def module_figures(self, model: nn.Module, call: CountedCall, replaced: Mapping[str, float]) -> dict[str, float]:
        """Return what each module itself counts as, by its path."""
        rows = call.profile.rows
        if not self.functional:
            layers = {path for module, path in named_paths(model, call.root).values() if _is_layer(module)}
            rows = tuple(row for row in rows if is_inside(row.module, layers))
        return own_figures(rows, replaced, figure=self.figure)


def _is_layer(module: nn.Module) -> bool:
    """Tell whether a module is a layer of PyTorch, or of a subclass of one."""
    origins = [cls.__module__ for cls in type(module).__mro__]
    return any(origin.startswith(_LAYERS) and origin not in _CONTAINERS for origin in origins)


def choose(
    *, aten: bool, ignore_modules: Iterable[Any], hooks: Mapping[Any, Any], config: Mapping[str, Any]
) -> Choices:
    """Read the options of a call.

    Raises:
        ArgumentError: One is not valid.
    """
    functional = _functional(config, aten=aten)
    types, packets = _split(ignore_modules, "ignore_modules")
    hooked_types, hooked_packets = _split(hooks, "custom_modules_hooks")
    by_type = {**added_hooks(), **{key: hooks[key] for key in hooked_types}}
    for key, hook in hooks.items():
        if not callable(hook):
            raise ArgumentError(f"custom_modules_hooks[{key}] must be a function, not {describe(hook)}.")
    operator_hooks = {packet: hooks[packet] for packet in hooked_packets}
    operator_hooks.update(dict.fromkeys(packets, lambda _inputs, _outputs: 0))
    return Choices(
        frozenset(types),
        {key: hook for key, hook in by_type.items() if key not in types},
        operator_hooks,
        frozenset(map(str, hooked_packets)),
        frozenset(map(str, packets)),
        functional,
    )


def _functional(config: Any, *, aten: bool) -> bool:
    if not isinstance(config, dict):
        raise ArgumentError(f"backend_specific_config must be a dict, not {describe(config)}.")
    unknown = [key for key in config if key != "count_functional"]
    if unknown or (aten and config):
        given = unknown[0] if unknown else "count_functional"
        raise ArgumentError(
            f"backend_specific_config has {given!r}, but the only setting is 'count_functional', of the backend "
            "'pytorch'."
        )
    return bool(config.get("count_functional", True))


def _split(given: Iterable[Any], argument: str) -> tuple[list[type], list[OpOverloadPacket]]:
    """Split keys into module types and operators.

    Raises:
        ArgumentError: One is neither.
    """
    types: list[type] = []
    packets: list[OpOverloadPacket] = []
    for key in given:
        if isinstance(key, OpOverloadPacket):
            packets.append(key)
        elif isinstance(key, type) and issubclass(key, nn.Module):
            types.append(key)
        else:
            raise ArgumentError(
                f"{argument} needs classes of modules, such as torch.nn.Conv2d, or operators, such as "
                f"torch.ops.aten.mm, not {describe(key)}."
            )
    return types, packets
