"""``parameter_count``: the elements of a model's parameters, by module and by parameter."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tabulate import tabulate

from opflops.records.display import ReportText

if TYPE_CHECKING:
    from torch import nn

_UNITS = ((1e8, 1e9, "G"), (1e5, 1e6, "M"), (1e2, 1e3, "K"))


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """Return the number of elements of each parameter and of the parameters of each module; ``""`` is the model.

    A parameter with several names counts once, under its first name.
    """
    counts: defaultdict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        for length in range(len(parts) + 1):
            counts[".".join(parts[:length])] += parameter.numel()
    return counts


def parameter_count_table(model: nn.Module, max_depth: int = 3) -> str:
    """Return a table of the parameters of a model: elements of modules, shapes of parameters.

    Args:
        model: The model.
        max_depth: How many levels below the model are shown.
    """
    counts = parameter_count(model)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    rows = [("model", _format_size(counts.pop("", 0)))]

    def add_below(prefix: str, depth: int) -> None:
        for name, count in counts.items() if depth < max_depth else ():
            if name.startswith(prefix) and name.count(".") == depth:
                indent = " " * (depth + 1)
                size = str(shapes[name]) if name in shapes else _format_size(count)
                rows.append((indent + name, indent + size))
                if name not in shapes:
                    add_below(f"{name}.", depth + 1)

    add_below("", 0)
    headers = ["name", "#elements or shape"]
    return ReportText(tabulate(rows, headers=headers, tablefmt="pipe", preserve_whitespace=True))


def _format_size(count: int) -> str:
    for least, unit, letter in _UNITS:
        if count > least:
            return f"{count / unit:.1f}{letter}"
    return str(count)
