"""Sentences for wrong uses of ``OpFlopMode``: its arguments, and the ``with`` block around the model."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Mapping
from typing import Any, NoReturn

from torch import Tensor, nn

from opflops.errors import ArgumentError, FormulaError, RootError
from opflops.records.arguments import check_flag, describe
from opflops.records.memory import ALLOCATORS
from opflops.torch_internals.modules import name_of

_BLOCK = "with OpFlopMode() as m: model(x)."
FORGOTTEN_PARENTHESES = f"OpFlopMode needs parentheses, which make the mode: {_BLOCK}"
NOT_CALLABLE = f"An OpFlopMode is not called and is no decorator. It counts what runs in its block: {_BLOCK}"
NOT_COPIED = (
    "An OpFlopMode cannot be copied or pickled, as for another process, since it counts in one thread of its process. "
    "Make one where the model runs. Copy or pickle its profile: m.profile."
)
NOT_ENTERED = f"Nothing was counted, since this OpFlopMode has not been entered. Run the model in its block: {_BLOCK}"
NOT_COUNTING = (
    "This OpFlopMode is not counting, so it has no block to end: __exit__ was called once too often, or before "
    "__enter__. A with statement calls both, once each: with OpFlopMode() as m: ..."
)
OTHER_THREAD = (
    "This OpFlopMode counts in the thread that its block began in, and the block cannot end in another one. Let it end "
    "there. OpFlopMode(threads=True) counts the modules of other threads, too."
)
IN_OPERATOR = (
    "This OpFlopMode is running an operator, and its block cannot end before that has ended. Call __exit__ outside the "
    "operator."
)
IN_INFERENCE_MODE = "The inference mode that runs began inside the block."
CAUSAL = ("dense", "exact")
_FOR_TABLES = ("depth", "top", "columns", "sort", "tablefmt", "expand", "numbers", "width", "by")
_FOR_COUNT = ("backward", "optimizer", "dynamic_shapes", "device", "time_limit")


class NeedsInstance(ABCMeta):
    """The class of :class:`OpFlopMode`, which says what is wrong with ``with OpFlopMode as m:``.

    It is one of ``ABCMeta``, so that a subclass of the mode can be an abstract class too.
    """

    def __enter__(cls) -> NoReturn:
        raise ArgumentError(FORGOTTEN_PARENTHESES)

    def __exit__(cls, *_: object) -> None:
        """Do nothing; Python looks for this method before it enters a block."""


def advise(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Say where an argument belongs that :class:`opflops.OpFlopMode` does not take."""
    if tables := [name for name in kwargs if name in _FOR_TABLES]:
        return f"{tables[0]} is an option of tables: print(m.table({tables[0]}={describe(kwargs[tables[0]])}))."
    if counts := [name for name in kwargs if name in _FOR_COUNT]:
        return f"{counts[0]} is an option of count(). In a block, run that yourself: model(x).sum().backward()."
    if "display" in kwargs:
        return "It prints nothing by itself: print(m) after the block."
    given = [*args[1:], *(kwargs[name] for name in ("mods", "model", "module") if name in kwargs)]
    if any(isinstance(value, (nn.Module, list, tuple)) for value in given):
        return f"It needs no model: {_BLOCK} To name modules below a model, give OpFlopMode(root=model)."
    if given and not isinstance(given[0], (Tensor, str)) and callable(given[0]):
        return f"It is no decorator; call the function in a block: {_BLOCK}"
    return ""


def check_root(root: object) -> None:
    """Check that ``root`` is a module, or None.

    Raises:
        RootError: It is not.
    """
    if root is None or isinstance(root, nn.Module):
        return
    if isinstance(root, type) and issubclass(root, nn.Module):
        raise RootError(
            f"root must be an instance of nn.Module, not the class {root.__name__}. "
            f"Make the model first, as in model = {root.__name__}(...), and pass it: OpFlopMode(root=model)."
        )
    if isinstance(getattr(root, "__self__", None), nn.Module):
        given, advice = f"the method {name_of(root)}", "Pass the method's model: OpFlopMode(root=model)."
    else:
        given = " ".join(f"{root!r:.100}".split()) if isinstance(root, (list, tuple)) else describe(root)
        advice = "It is the model whose names are used."
    raise RootError(f"root must be an nn.Module, not {given}. {advice}")


def check_flags(**flags: object) -> None:
    """Check that options are True or False.

    Raises:
        ArgumentError: One is not.
    """
    for name, value in flags.items():
        check_flag(name, value)


def check_causal(value: object) -> None:
    """Check that an option is ``"dense"`` or ``"exact"``.

    Raises:
        ArgumentError: It is neither.
    """
    if value.__class__ is not str or value not in CAUSAL:
        raise ArgumentError(f"causal must be 'dense' or 'exact', not {describe(value)}.")


_FIRST_ARGUMENTS = {"count": "model, x, ", "plan": "build, x, mesh=mesh, "}


def check_memory(memory: object, allocator: object, caller: str = "OpFlopMode") -> None:
    """Check the options of memory.

    Args:
        memory: The first one.
        allocator: The second one.
        caller: What takes them, for errors.

    Raises:
        ArgumentError: ``memory`` is not True or False, ``allocator`` is unknown, or is given without ``memory``.
    """
    check_flag("memory", memory)
    if allocator is None:
        return
    if allocator.__class__ is not str or allocator not in ALLOCATORS:
        raise ArgumentError(
            "allocator must be 'cuda', which rounds sizes up as PyTorch's allocator for CUDA does, or None, not "
            f"{describe(allocator)}."
        )
    if not memory:
        raise ArgumentError(
            f"allocator={describe(allocator)} says how memory is measured, which needs memory=True: "
            f"{caller}({_FIRST_ARGUMENTS.get(caller, '')}memory=True, allocator={describe(allocator)})."
        )


def check_formulas(formulas: object) -> None:
    """Check that formulas are functions, by the operator that each is for.

    Raises:
        FormulaError: A formula is not a function.
        ArgumentError: They are no mapping.
    """
    if not isinstance(formulas, Mapping):
        raise ArgumentError(
            f"formulas must be a dict of functions by operator, as in {{torch.ops.aten.mm: my_formula}}, not "
            f"{describe(formulas)}."
        )
    for op, function in formulas.items():
        if not callable(function) or isinstance(function, type):
            raise FormulaError(
                f"The formula for {op} must be a function that returns a Cost, not {describe(function)}."
            )
