"""Modules: their call and forward, the wrappers around them, and the names that they have in a profile.

A wrapper runs another module and has no layers of its own: those of ``torch.compile``, data parallelism, FSDP and
activation checkpointing. It shares the path and the class name of the module inside, so that a profile of a wrapped
model is that of the model. Wrappers are told by their class, since a module of the user may be called ``module`` too.

Some modules hold another one and are no wrappers. ``torch.optim.swa_utils.AveragedModel`` holds a copy with parameters
of its own; the layers of ``torch.ao.quantization.QuantWrapper`` and of a ``PeftModel`` do work.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakKeyDictionary

import torch

from opflops.torch_internals.references import PROXIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FSDP_ATTRIBUTE = "_fsdp_wrapped_module"
"""The name by which ``FullyShardedDataParallel`` holds the wrapped module."""

COMPILED_ATTRIBUTE = "_orig_mod"
"""The name by which the wrapper of ``torch.compile`` holds the module."""

WRAPPED_ATTRIBUTES = {
    "torch._dynamo.eval_frame.OptimizedModule": COMPILED_ATTRIBUTE,
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": FSDP_ATTRIBUTE,
    # The base class of CheckpointWrapper and OffloadWrapper.
    "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.ActivationWrapper": "_checkpoint_wrapped_module",
    # The same class in two packages, around what Fabric's strategy makes of the module.
    "lightning.fabric.wrappers._FabricModule": "_forward_module",
    "lightning_fabric.wrappers._FabricModule": "_forward_module",
}
"""The classes of wrappers, with the attribute that holds the wrapped module. By name, as few of them are imported."""

CLASS_EXTENSIONS = {"FSDPModule": "fully_shard", "DDP": "replicate", "ReplicateModule": "replicate"}
"""The classes of torch.distributed that functions put before a module's own class, and these functions.

They make a class of both, such as ``FSDPLinear``.
"""

DATA_PARALLEL = "DistributedDataParallel"

_ATTRIBUTES = frozenset(WRAPPED_ATTRIBUTES.values())


@contextmanager
def global_forward_hook(hook: Callable[..., Any]) -> Iterator[None]:
    """Call a hook after the forward of every module, also of one that raises, with the keyword arguments it was given.

    PyTorch leaves a part of such a hook behind when it is removed, so that the compiler warns of global hooks.
    """
    handle = torch.nn.modules.module.register_module_forward_hook(hook, with_kwargs=True, always_call=True)
    try:
        yield
    finally:
        handle.remove()
        torch.nn.modules.module._global_forward_hooks_with_kwargs.pop(handle.id, None)


def has_forward(module: torch.nn.Module) -> bool:
    """Return whether a module has a forward; a container such as ``ModuleList`` has none."""
    return type(module).forward is not torch.nn.Module.forward


def wrapped_attribute(module: torch.nn.Module) -> str:
    """Return the name by which a wrapper holds the wrapped module; "" if the module is no wrapper."""
    children = module._modules
    # Those of a scripted module are no dict.
    if not children or not isinstance(children, dict) or _ATTRIBUTES.isdisjoint(children):
        return ""
    attribute = _wrapped_attribute_of(type(module))
    return attribute if children.get(attribute) is not None else ""


def _wrapped_attribute_of(module_class: type) -> str:
    names = (f"{each.__module__}.{each.__qualname__}" for each in module_class.__mro__)
    return next((WRAPPED_ATTRIBUTES[name] for name in names if name in WRAPPED_ATTRIBUTES), "")


def unwrap(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module inside a wrapper, or inside several; a module that is no wrapper itself."""
    while attribute := wrapped_attribute(module):
        inner = module._modules[attribute]
        assert inner is not None, attribute  # noqa: S101 - wrapped_attribute() looked
        module = inner
    return module


def wraps(wrapper: torch.nn.Module, module: torch.nn.Module) -> bool:
    """Return whether a module is a wrapper around another one."""
    attribute = wrapped_attribute(wrapper)
    return bool(attribute) and wrapper._modules[attribute] is module


def modules_below(top: torch.nn.Module) -> list[torch.nn.Module]:
    """List a module and all below it, each once; as ``modules()`` does in another order, without a call for each."""
    found, waiting = {id(top): top}, [top]
    while waiting:
        for child in waiting.pop()._modules.values():
            # A proxy of a module says that it is one, and is registered too.
            if child is not None and id(child) not in found and type(child) not in PROXIES:
                found[id(child)] = child
                waiting.append(child)
    return [*found.values()]


def registered_below(top: torch.nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """List the parameters, and the buffers, that a module and all below it register; those of several more than once.

    As ``parameters()`` and ``buffers()``, in few function calls.
    """
    parameters: list[Any] = []
    buffers: list[Any] = []
    for module in modules_below(top):
        if own := module._parameters:
            parameters += own.values()
        if own_buffers := module._buffers:
            buffers += own_buffers.values()
    return [each for each in parameters if each is not None], [each for each in buffers if each is not None]


def attribute_spaces(module: torch.nn.Module) -> tuple[dict[str, Any], dict[str, torch.Tensor | None]]:
    """Return where a module keeps plain attributes, and where it keeps buffers; a plain one hides a buffer."""
    return vars(module), module._buffers


def own_parameters(module: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """List the parameters that a module itself registers, with their names, and the flat one of FSDP's wrapper."""
    parameters = [item for item in module._parameters.items() if item[1] is not None]
    if (flat := own_parameter(module, "")) is not None:
        parameters.append(("", flat))
    return parameters  # type: ignore[return-value]


def own_parameter(module: torch.nn.Module, name: str) -> torch.nn.Parameter | None:
    """Return the parameter that a module registers by a name; by the name "", what FSDP's wrapper keeps."""
    if name:
        # A scripted module's table has no get().
        return module._parameters[name] if name in module._parameters else None  # noqa: SIM401
    handle = getattr(module, "_handle", None) if wrapped_attribute(module) == FSDP_ATTRIBUTE else None
    return None if handle is None else handle.flat_param


def class_name(module: torch.nn.Module) -> str:
    """Return the name of a module's class: a wrapped module's for its wrapper, the original one of a sharded module.

    A module that ``torch.export`` took apart, as for a pipeline, has that of the module that it was.
    """
    inner = unwrap(module)
    traced = getattr(inner, "_ty", None) if _is_traced(type(inner)) else None
    return str(traced).rpartition(".")[2] if traced else _class_name_of(type(inner))


def _is_traced(module_class: type) -> bool:
    return module_class.__module__ == "torch.export.unflatten" and module_class.__name__.startswith("InterpreterModule")


def _class_name_of(module_class: type) -> str:
    return _class_name_of(module_class.__bases__[1]) if _extension_of(module_class) else module_class.__name__


def _extension_of(module_class: type) -> str:
    """Return the name of the class that a function of torch.distributed put before a module's own; "" if none did."""
    first, *others = module_class.__bases__
    is_extended = others and first.__name__ in CLASS_EXTENSIONS and first.__module__.startswith("torch.distributed.")
    return first.__name__ if is_extended else ""


def distributed_by(module: torch.nn.Module) -> str:
    """Return the function or wrapper that distributed a module, if hooks or C++ code refer to its tensors; else "".

    Those of ``DistributedDataParallel`` take part in the backward only.
    """
    if extension := _extension_of(type(module)):
        return CLASS_EXTENSIONS[extension]
    attribute = wrapped_attribute(module)
    if attribute == FSDP_ATTRIBUTE:
        return "FullyShardedDataParallel"
    is_parallel = attribute == "module" and any(each.__name__ == DATA_PARALLEL for each in type(module).__mro__)
    return DATA_PARALLEL if is_parallel else ""


def forward_of(model: Any) -> Callable[..., Any]:
    """Return what has a model's parameters in its signature: a module's forward, inside its wrappers; or a function."""
    inner = unwrap(model) if isinstance(model, torch.nn.Module) else model
    return cast("Callable[..., Any]", getattr(inner, "forward", inner))


def name_of(model: object) -> str:
    """Return the name of a function, or of the class of a module or another callable, for messages."""
    default = class_name(model) if isinstance(model, torch.nn.Module) else type(model).__name__
    return str(getattr(model, "__name__", default))


class ClassNames(dict[type, str]):
    """Map classes to the names of :func:`class_name`; "" for wrappers, whose names depend on the wrapped module.

    A look-up of a class that is known takes no function call, if its module refers to it by its name. Other classes are
    referred to weakly: PyTorch makes one for each module with parametrizations, which refers to the module.
    """

    # Made when there is one: each block has tables of its own.
    _of_others: WeakKeyDictionary[type, str] | None = None

    def __missing__(self, module_class: type) -> str:
        """Add a class, unless it is known weakly."""
        others = self._of_others
        name = None if others is None else others.get(module_class)
        if name is None:
            is_by_module = _is_traced(module_class) or _wrapped_attribute_of(module_class)
            name = "" if is_by_module else _class_name_of(module_class)
            names_there = getattr(sys.modules.get(module_class.__module__), "__dict__", {})
            is_global = names_there.get(module_class.__qualname__) is module_class
            if is_global:
                self[module_class] = name
            elif others is None:
                self._of_others = WeakKeyDictionary({module_class: name})
            else:
                others[module_class] = name
        return name


class HasPath(Protocol):
    """What has the path of a module."""

    path: str


def named_paths(
    top: torch.nn.Module, path: str, known: Mapping[int, HasPath] | None = None
) -> dict[int, tuple[torch.nn.Module, str]]:
    """Return a module and all below it with their paths, by identity, in the order of ``named_modules()``.

    A module that is registered twice has its first path. Wrappers have the path of the module inside.

    Args:
        top: The module.
        path: Its path.
        known: What has the paths of modules that have one already, by identity.
    """
    found: dict[int, tuple[torch.nn.Module, str]] = {}
    stack = [(top, path)]
    while stack:
        module, path = stack.pop()
        key = id(module)
        if key in found:
            continue
        if known and key in known:
            path = known[key].path
        children = module._modules
        if not children:
            found[key] = module, path
            continue
        wrapped = wrapped_attribute(module)
        if wrapped and known and (inner := id(unwrap(module))) in known:
            path = known[inner].path
        found[key] = module, path
        # A statement takes no function calls.
        stack += [
            (child, path if name == wrapped else f"{path}.{name}")
            for name, child in reversed(children.items())
            if child is not None and type(child) not in PROXIES
        ]
    return found


def replace_tensors(top: torch.nn.Module, replace: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Replace the parameters and buffers of a module and all below it, also sharded ones, as ``Module.to()`` does.

    A parameter of several modules stays one.
    """
    owners: dict[int, list[tuple[torch.nn.Module, str]]] = {}
    for module in top.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append((module, name))
    top._apply(replace)
    for (first, first_name), *others in owners.values():
        for module, name in others:
            module._parameters[name] = first._parameters[first_name]
