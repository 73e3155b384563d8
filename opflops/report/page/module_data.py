"""Encode what the page shows of modules beside their work: parameters, buffers, and the shapes of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.modules import ModuleTotals, inclusive_totals
from opflops.records.rows import ancestry
from opflops.report.text.shapes import format_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.records.modules import ModuleRecord, TensorShape

_MAX_EXACT = 2**53
_MAX_CALLS, _MAX_TENSORS, _MAX_ROOTS = 6, 8, 3
_SUMS = ModuleTotals._fields[:-1]  # activations are sums of rows


def whole(value: int) -> int | str:
    """Write a whole number as JSON that JavaScript reads without loss: as text, where a float could not hold it."""
    return value if abs(value) <= _MAX_EXACT else str(value)


def inclusive_sums(own: Mapping[str, int]) -> dict[str, int]:
    """Add up, for every module path, what the module and all modules below it have."""
    sums: dict[str, int] = {}
    for module, value in own.items():
        for path in ancestry(module):
            sums[path] = sums.get(path, 0) + value
    return sums


def module_data(
    modules: Sequence[ModuleRecord], nodes: Mapping[Any, int], text: Callable[[str], int]
) -> dict[str, Any] | None:
    """Encode records of modules by the index of their node in the tree.

    Args:
        modules: The records.
        nodes: The index of each path that has a node.
        text: What numbers strings.

    Returns:
        ``total``, the sums over all modules in the order of ``sums``; ``nodes``, by index the sums of a module and
        those below it, and its own parameters; ``shared``, by index the parameters that count elsewhere; ``calls``, by
        index the inputs, outputs and number of calls. None without records.
    """
    if not modules:
        return None
    own = {each.module: each for each in modules}
    sums = inclusive_totals(modules)
    placed = {path: nodes[path] for path in sums if path in nodes}
    return {
        "sums": _SUMS,
        "total": [whole(sum(getattr(each, name) for each in own.values())) for name in _SUMS],
        "nodes": {
            node: [*map(whole, sums[path][: len(_SUMS)]), whole(own[path].parameters if path in own else 0)]
            for path, node in placed.items()
        },
        "shared": {
            placed[path]: [[text(part.name), text(part.owner), whole(part.elements)] for part in each.shared]
            for path, each in own.items()
            if each.shared and path in placed
        },
        "calls": {
            placed[path]: _encode_calls(each, text) for path, each in own.items() if each.calls and path in placed
        },
    }


def call_facts(modules: Sequence[ModuleRecord]) -> dict[str, str]:
    """Write what the outermost modules were given, and how many parameters there are; nothing without records."""
    roots = [each for each in modules if "." not in each.module and each.calls]
    facts = {}
    for root in roots[:_MAX_ROOTS]:
        first = root.calls[0]
        others = len(root.calls) - 1
        beside = f" and {others} other shape{'' if others == 1 else 's'}" if others else ""
        name = "inputs" if len(roots) == 1 else f"inputs of {root.module}"
        facts[name] = f"{_format_tensors(first.inputs)}{beside}"
    if len(roots) > _MAX_ROOTS:
        facts["further models"] = str(len(roots) - _MAX_ROOTS)
    if modules:
        facts["parameters"] = f"{sum(each.parameters for each in modules):,}"
    return facts


def _encode_calls(record: ModuleRecord, text: Callable[[str], int]) -> list[list[int]]:
    """Encode what calls were given and returned, the first few; what is left out is counted by calls alone."""
    written = [
        [text(_format_tensors(each.inputs)), text(_format_tensors(each.outputs)), each.calls]
        for each in record.calls[:_MAX_CALLS]
    ]
    if left := sum(each.calls for each in record.calls[_MAX_CALLS:]):
        written.append([-1, -1, left])
    return written


def _format_tensors(tensors: Sequence[TensorShape]) -> str:
    """Write shapes with dtypes; of many tensors, the first."""
    texts = list(map(format_shape, tensors[:_MAX_TENSORS]))
    if len(tensors) > _MAX_TENSORS:
        texts.append(f"and {len(tensors) - _MAX_TENSORS} more")
    return ", ".join(texts) or "no tensor"
