"""Modules of a model that never ran, such as the vision tower of a model that was given text alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn
from torch.nn.parameter import is_lazy

from opflops.records.rows import ancestry
from opflops.report.text.collapse import format_ranges, split_number
from opflops.torch_internals.modules import class_name, has_forward, named_paths, own_parameters
from opflops.units import exact
from opflops.wording import join, printable

if TYPE_CHECKING:
    from opflops.dispatch.parameter_reads import ParameterReads
    from opflops.profile.profile import Profile

_MAX_NAMED = 8
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


class UncalledModules(NamedTuple):
    """Hold modules that never ran, which have one name apart from numbers in it.

    Attributes:
        name: Their path below the model, as ``layers.0-11.adapter``.
        modules: How many they are.
        parameters: The elements of the parameters that they and all modules below them have.
    """

    name: str
    modules: int
    parameters: int

    def __str__(self) -> str:
        modules = f"{exact(self.modules)} modules, " if self.modules > 1 else ""
        plural = "" if self.parameters == 1 else "s"
        return f"{printable(self.name)} ({modules}{exact(self.parameters)} parameter{plural})"


def find_uncalled(model: Any, profile: Profile, reads: ParameterReads) -> list[UncalledModules]:
    """List the topmost modules that were not called, in which none was called, and whose parameters no operator read.

    Modules without parameters are left out: whether a function did their work instead, as ``functional.relu`` may,
    cannot be seen. So are containers such as ``nn.ModuleList``, in favor of the modules in them.
    """
    if not isinstance(model, nn.Module) or (root := class_name(model)) not in profile.called:
        return []
    ran = {above for path in (*profile.called, *reads.modules) for above in ancestry(path)}
    found: dict[str, int] = {}
    counted: set[int] = set()
    inside: set[str] = set()
    for module, path in named_paths(model, root).values():
        above = ancestry(path)
        if path in ran or not inside.isdisjoint(above) or not has_forward(module):
            continue
        inside.add(path)
        below = {id(each): each for part in module.modules() for _, each in own_parameters(part)}
        elements = sum(each.numel() for key, each in below.items() if key not in counted and not is_lazy(each))
        counted |= below.keys()
        if elements:
            found[path.removeprefix(f"{root}.")] = elements
    return _fold(found)


def _fold(parameters: dict[str, int]) -> list[UncalledModules]:
    """Put modules under one name that differ in one number of their paths."""
    groups: dict[str, list[str]] = {}
    for path in parameters:
        groups.setdefault(_NUMBER.sub("*", path), []).append(path)
    return [
        UncalledModules(_name_together(pattern, paths), len(paths), sum(parameters[path] for path in paths))
        for pattern, paths in groups.items()
    ]


def _name_together(pattern: str, paths: list[str]) -> str:
    """Write the numbers in which paths differ as ranges: ``layers.0-11.adapter``."""
    columns = [list(dict.fromkeys(column)) for column in zip(*(_NUMBER.findall(path) for path in paths), strict=True)]
    texts = iter([format_ranges([name for name in map(split_number, column) if name]) for column in columns])
    return re.sub(r"\*", lambda _: next(texts), pattern)


def sentence_on_uncalled(found: list[UncalledModules]) -> str:
    """Say which modules never ran, the largest first; "" if all did."""
    if not found:
        return ""
    ordered = sorted(found, key=lambda each: -each.parameters)
    texts = list(map(str, ordered[:_MAX_NAMED]))
    if others := ordered[_MAX_NAMED:]:
        modules, parameters = (sum(getattr(each, what) for each in others) for what in ("modules", "parameters"))
        texts.append(str(UncalledModules("others", modules, parameters)))
    number = sum(each.modules for each in found)
    verbs = " never ran and is" if number == 1 else "s never ran and are"
    return f"{exact(number)} module{verbs} not counted: {join(texts, 'and')}."
