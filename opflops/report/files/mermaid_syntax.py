"""Write layers in Mermaid's language: as states, or as entities."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from opflops.units import exact, scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opflops.records.cost import Cost
    from opflops.report.files.layers import Layer

_MAX_NAMES = 3
_MAX_NOTE_LENGTH = 300
_MAX_NAME_LENGTH = 60
_MAX_NUMBER_LENGTH = 200
_SPECIAL = re.compile(
    r"[^A-Za-z0-9 _.,:()/+…-]"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=\S)|d(?=irection)",
    re.IGNORECASE,
)
"""What means something to Mermaid, to Markdown or to HTML.

Within quotes too, ``_it_`` is slanted, ``fa:fa-ban`` a picture, and ``direction LR`` turns the diagram.
"""


class DiagramSummary(NamedTuple):
    """Hold what a diagram says of all that was counted.

    Attributes:
        total: What it costs.
        lacking: What the total lacks, or "".
        roots: The outermost layers that are modules.
        outside: Whether some work was outside any module.
        notes: Sentences.
    """

    total: Cost
    lacking: str
    roots: Sequence[Layer]
    outside: bool
    notes: Sequence[str]

    def named(self) -> str:
        """Name the outermost modules, or as many as a line holds."""
        names = [_elided(root.name) for root in self.roots[:_MAX_NAMES]]
        if len(self.roots) > _MAX_NAMES:
            return f"{', '.join(names)} and {len(self.roots) - _MAX_NAMES} more"
        return ", ".join(names)


def _states(model: DiagramSummary, shown: Sequence[Layer], told: str) -> str:
    numbers = count(1)
    # The title stands for the only root.
    outermost = list(shown[0].inside.values()) if len(shown) == 1 and shown[0].inside else shown
    lines = list(_described(outermost, "    ", numbers))
    if told and outermost:
        lines.append(f"    note right of s1 : {_escaped(told)}")
    if not outermost:
        lines = ['    state "no floating-point work" as s1', "    [*] --> s1", "    s1 --> [*]"]
    return "\n".join([*_front(model), "stateDiagram-v2", *_comments(model, told), *lines]) + "\n"


def _described(several: Sequence[Layer], indent: str, numbers: Iterator[int]) -> Iterator[str]:
    """Describe states, and the states inside them, and the way from each to the next."""
    names = [f"s{next(numbers)}" for _ in several]
    for name, layer in zip(names, several, strict=True):
        if layer.inside:
            # One line: a second one would lie under the first of the states inside.
            yield f'{indent}state "{_titled(layer)}: {"; ".join(_costs(layer))}" as {name} {{'
            yield from _described(list(layer.inside.values()), indent + "    ", numbers)
            yield f"{indent}}}"
        else:
            yield f'{indent}state "{"<br/>".join([_titled(layer), *_costs(layer)])}" as {name}'
    for before, after in zip(["[*]", *names], [*names, "[*]"], strict=True):
        yield f"{indent}{before} --> {after}"


def _entities(model: DiagramSummary, shown: Sequence[Layer], told: str) -> str:
    names = model.named() or ("work outside any module" if model.outside else "no model")
    kinds = dict.fromkeys(layer.kind or layer.name.partition("#")[0] for layer in model.roots)
    lines = _entity("MODEL", names, names, ", ".join(kinds), model.total, model.lacking)
    lines += ["    MODEL ||--o{ LAYER : contains", "    LAYER {", '        string id "path of the module"']
    lines += ['        string type "class of the module"', '        int macs "multiply-accumulates"']
    lines += ['        int flops "2 macs + other operations"', "    }"]
    found = [leaf for layer in shown for leaf in layer.leaves()]
    for number, (path, times, layer) in enumerate(found, 1):
        alias = path.partition(".")[2] if len(shown) == 1 and "." in path else path
        alias = f"{alias} itself" if layer.own else alias
        kind = f"{times} x {layer.kind}" if times > 1 else layer.kind
        lines += _entity(f"LAYER_{number}", alias, path, kind, times * layer.cost, _lacking(layer))
        lines.append(f'    LAYER ||..|| LAYER_{number} : "{number}"')
    # From left to right, layers stand below each other.
    return "\n".join([*_front(model), "erDiagram", "    direction LR", *_comments(model, told), *lines]) + "\n"


def _entity(entity: str, alias: str, path: str, kind: str, cost: Cost, lacking: str) -> list[str]:
    """Write an entity; attributes have a type, a name, and what Mermaid calls a comment, which is the value here."""
    values = [("string", "id", _elided(path)), ("string", "type", _elided(kind))]
    values += [("int", name, _number(getattr(cost, name))) for name in ("macs", "flops")]
    values += [("string", "lacks", lacking)] if lacking else []
    attributes = [f'        {type_} {name} "{_escaped(value)}"' for type_, name, value in values]
    return [f'    {entity}["{_escaped(_elided(alias)) or entity}"] {{', *attributes, "    }"]


WRITERS: dict[str, Callable[[DiagramSummary, Sequence[Layer], str], str]] = {"state": _states, "er": _entities}


def _front(model: DiagramSummary) -> list[str]:
    """Write the block that holds the title, which Mermaid shows as it is; a JSON string is a YAML one."""
    of = " and ".join([model.named()] * bool(model.roots) + ["work outside"] * (bool(model.roots) and model.outside))
    flops = f"{scaled(model.total.flops)} flops{f' {model.lacking}' if model.lacking else ''}"
    title = f"{of}: {flops}" if of else flops
    return ["---", f"title: {json.dumps(printable(title), ensure_ascii=False)}", "---"]


def _comments(model: DiagramSummary, told: str) -> list[str]:
    # Two percent signs and a brace would begin a directive.
    lines = [printable(sentence).replace("%%", "% %") for sentence in [*model.notes, told] if sentence]
    return [f"    %% {line if len(line) <= _MAX_NOTE_LENGTH else f'{line[:_MAX_NOTE_LENGTH]}…'}" for line in lines]


def _titled(layer: Layer) -> str:
    """Write a layer's name and class, and how many equal ones it stands for."""
    if layer.own:
        return _escaped(f"{_elided(layer.kind or layer.name)} itself")
    known = layer.name.partition("#")[0].removesuffix("()")
    kind = "" if layer.kind in ("", known) else _elided(layer.kind)
    blocks = f"{layer.times} x {kind}".removesuffix(" x ") if layer.times > 1 else kind
    return _escaped(f"{_elided(layer.name)} ({blocks})" if blocks else _elided(layer.name))


def _costs(layer: Layer) -> list[str]:
    """Write what a layer costs, a phrase for each phase if there are others than forward."""
    each = "each " if layer.times > 1 else ""
    alone = set(layer.costs) == {"forward"}
    phrases = [f"{each}{'' if alone else f'{phase} '}{_work(cost)}" for phase, cost in layer.costs.items() if cost]
    return [_escaped(phrase) for phrase in [*phrases, _lacking(layer)] if phrase]


def _work(cost: Cost) -> str:
    if cost.flops != 0:
        return f"{scaled(cost.flops)} flops"
    if cost.transcendentals != 0:
        return f"{scaled(cost.transcendentals)} transcendentals"
    return f"{scaled(cost.bytes)} bytes moved"


def _lacking(layer: Layer) -> str:
    return f"{exact(layer.unpriced)} calls unpriced" if layer.unpriced else ""


def _number(value: int) -> str:
    written = exact(value)
    return written if len(written) <= _MAX_NUMBER_LENGTH else scaled(value)


def _elided(name: str) -> str:
    """Shorten a name in the middle, so that no diagram is too long for its names; show one that is all spaces."""
    if name.isspace():
        name = repr(name)
    half = _MAX_NAME_LENGTH // 2
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: half - 1]}…{name[1 - half :]}"


def _escaped(text: str) -> str:
    """Write special characters by their numbers, as Mermaid reads them in texts."""
    return _SPECIAL.sub(lambda found: f"#{ord(found.group())};", printable(text))
