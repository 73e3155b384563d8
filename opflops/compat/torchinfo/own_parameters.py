"""Which modules have parameters themselves, so that a summary counts the bytes of their outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from opflops.compat.torchinfo.layer_info import LayerInfo

if TYPE_CHECKING:
    from collections.abc import Iterator


def has_own_parameters(module: nn.Module) -> bool:
    """Tell whether a module has parameters itself, rather than the modules in it.

    Lists of parameters and parametrizations belong to the module that has them, as does all in a scripted module.
    """
    return any(
        not is_lazy(parameter) and LayerInfo.get_param_count(part, name, parameter)[0] > 0
        for part in _parts(module)
        for name, parameter in part.named_parameters(recurse=isinstance(part, ScriptModule))
    )


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield a module and what it keeps parameters in."""
    if isinstance(module, ParametrizationList):
        return
    yield module
    if isinstance(module, ScriptModule):
        return
    if is_parametrized(module):
        # Named parametrizations by PyTorch, and typed as any attribute of a module.
        parametrizations: Any = module.parametrizations
        yield from parametrizations.values()
    for child in module.children():
        if isinstance(child, nn.ParameterList | nn.ParameterDict):
            yield from _parts(child)
