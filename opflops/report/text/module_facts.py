"""What tables show of modules beside their work: which modules it is known of, and the notes on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.report.amounts import ModuleFacts, sum_facts
from opflops.report.notes import join_names
from opflops.report.text.shapes import INPUT, OUTPUT, distinct_tensors
from opflops.units import exact

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord, SharedParameter
    from opflops.report.amounts import Amount

SHARED_MARK = "*"
"""What stands before the parameters of a module that shares some with a module before it."""

_MAX_NAMES = 3


def module_facts(modules: Iterable[ModuleRecord], memory: Memory | None = None) -> dict[str, ModuleFacts]:
    """Return what is known of each module by its path, without the modules below it."""
    found = {
        each.module: ModuleFacts(each.parameters, each.trainable, shared=bool(each.shared), calls=each.calls)
        for each in modules
    }
    if memory is not None:
        for path in dict.fromkeys((*found, *memory.saved, *memory.module_peaks)):
            found[path] = found.get(path, ModuleFacts())._replace(
                saved=memory.saved.get(path, 0), peak=memory.module_peaks.get(path)
            )
    return found


def total_facts(facts: Mapping[str, ModuleFacts], memory: Memory | None = None) -> ModuleFacts | None:
    """Return what is known of all modules together; None if nothing is."""
    if not facts and memory is None:
        return None
    whole = sum_facts(list(facts.values()))
    return whole if memory is None else whole._replace(saved=sum(memory.saved.values()), peak=memory.peak)


def facts_by_shown_module(facts: Mapping[str, ModuleFacts], shown: Collection[str]) -> dict[str, ModuleFacts]:
    """Add up what is known of modules by the nearest module at or above each that is shown; drop what has none."""
    parts: dict[str, list[ModuleFacts]] = {}
    for path, each in facts.items():
        place = path
        while place not in shown and "." in place:
            place = place.rpartition(".")[0]
        if place in shown:
            parts.setdefault(place, []).append(each)
    found = {}
    for place, listed in parts.items():
        own = facts.get(place, ModuleFacts())
        if len(listed) == 1 and listed[0] is own:
            found[place] = own
            continue
        found[place] = sum_facts(listed)._replace(shared=own.shared, calls=own.calls)
    return found


def facts_key(facts: ModuleFacts, columns: Collection[str]) -> Hashable:
    """Return a key that is equal for modules of which these columns show equal parameters and shapes."""
    return (
        (facts.params, facts.shared) if "params" in columns else None,
        (facts.trainable, facts.shared) if "trainable" in columns else None,
        *(distinct_tensors(name, facts.calls) for name in (INPUT, OUTPUT) if name in columns),
    )


def mark_shared(cells: Sequence[str], amounts: Sequence[Amount]) -> list[str]:
    """Mark the numbers of modules that share parameters with a module before them."""
    return [
        f"{SHARED_MARK}{cell}" if cell and amount.facts is not None and amount.facts.shared else cell
        for cell, amount in zip(cells, amounts, strict=True)
    ]


def parameter_notes(modules: Sequence[ModuleRecord], shown: Collection[str]) -> list[str]:
    """Say which parameters are shared, and which belong to modules that have no line.

    Args:
        modules: What is known of modules.
        shown: The paths of the modules with lines.
    """
    shared = [(each.module, parameter) for each in modules for parameter in each.shared]
    idle = {each.module: each.parameters for each in modules if each.parameters and each.module not in shown}
    sentences = []
    if shared:
        names = [_format_shared(*each) for each in shared]
        sentences.append(f"{SHARED_MARK} Shared parameters count once, for their first owner: {_first_names(names)}.")
    if idle:
        number = exact(sum(idle.values()))
        sentences.append(
            f"{number} of the params are in modules without floating-point work here: {_first_names(idle)}."
        )
    return sentences


def _format_shared(module: str, parameter: SharedParameter) -> str:
    return f"{module}.{parameter.name} counts for {parameter.owner}"


def _first_names(names: Iterable[str]) -> str:
    """Join names; of many, write the first one and how many more there are."""
    listed = list(names)
    return join_names(listed if len(listed) <= _MAX_NAMES else [listed[0], f"{len(listed) - 1} more"])
