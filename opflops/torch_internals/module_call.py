"""What ``nn.Module.__call__`` runs, and how to run something else in its place for a while.

A block does so twice. To set the attribute takes Python half a millisecond in a process that has loaded a few libraries
of models: it looks the method up again for each class derived from ``nn.Module``, and forgets what it knew of all their
attributes. So the function stays where it is, and gets another code object.
"""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.fx import _symbolic_trace as symbolic_trace

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE_CALL: Any = nn.Module._wrapped_call_impl
"""PyTorch's ``Module.__call__``: ``_compiled_call_impl`` after ``module.compile()``, else ``_call_impl``.

Read by its own name, since ``__call__`` may be patched already.
"""

MODULE_CALL_CODE: CodeType = MODULE_CALL.__code__
"""Its code, unless that is replaced."""

UNPATCHED_CALL: Any = FunctionType(MODULE_CALL_CODE, MODULE_CALL.__globals__, MODULE_CALL.__name__)
"""The same function, which is never changed."""

FX_MODULE_CALL = symbolic_trace, "_orig_module_call"
"""Where torch.fx keeps the function, to call modules that its tracers have seen already."""

_REPLACEMENT = "replacement"


def _template(self, *args, **kwargs):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN003, ANN202
    replacement = "replacement"
    return replacement(self, args, kwargs)  # type: ignore[operator]


def replaced_code(
    replacement: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any], original: CodeType = MODULE_CALL_CODE
) -> CodeType:
    """Return code that calls a function with the first argument, and with the others as a tuple and a dict.

    Args:
        replacement: The function.
        original: What the code stands for.
    """
    code = _template.__code__
    assert _REPLACEMENT in code.co_consts  # noqa: S101 - a constant of the template above
    return code.replace(
        co_consts=tuple(replacement if each == _REPLACEMENT else each for each in code.co_consts),
        co_filename=original.co_filename,
        co_firstlineno=original.co_firstlineno,
        co_name=original.co_name,
    )
