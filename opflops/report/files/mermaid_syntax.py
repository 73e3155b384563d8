"""Write layers in Mermaid's language: as states, or as entities."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from opflops.report.notes import format_calls
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
"""Characters that are special to Mermaid, Markdown or HTML.

Even within quotes ``_it_`` is italic, ``fa:fa-ban`` is an icon, and ``direction LR`` turns the diagram.
"""


class DiagramSummary(NamedTuple):
    """Hold what a diagram says about the whole profile.

    Attributes:
        total: The total cost.
        missing: What is missing from the total, or "".
        roots: The outermost layers that are modules.
        outside: Whether some work was outside any module.
        notes: Notes, which are written as comments.
    """

    total: Cost
    missing: str
    roots: Sequence[Layer]
    outside: bool
    notes: Sequence[str]

    def names(self) -> str:
        """Name the outermost modules, up to three of them."""
        names = [_elide(root.name) for root in self.roots[:_MAX_NAMES]]
        if len(self.roots) > _MAX_NAMES:
            return f"{', '.join(names)} and {len(self.roots) - _MAX_NAMES} more"
        return ", ".join(names)


def _write_states(model: DiagramSummary, shown: Sequence[Layer], note: str) -> str:
    numbers = count(1)
    # The title names the only root.
    outermost = list(shown[0].children.values()) if len(shown) == 1 and shown[0].children else shown
    lines = list(_state_lines(outermost, "    ", numbers))
    if note and outermost:
        lines.append(f"    note right of s1 : {_escape(note)}")
    if not outermost:
        lines = ['    state "no floating-point work" as s1', "    [*] --> s1", "    s1 --> [*]"]
    return "\n".join([*_front_matter(model), "stateDiagram-v2", *_comment_lines(model, note), *lines]) + "\n"


def _state_lines(several: Sequence[Layer], indent: str, numbers: Iterator[int]) -> Iterator[str]:
    """Write states, the states inside them, and the transition from each to the next."""
    names = [f"s{next(numbers)}" for _ in several]
    for name, layer in zip(names, several, strict=True):
        if layer.children:
            # A second line of the title would be hidden behind the first inner state.
            yield f'{indent}state "{_format_title(layer)}: {"; ".join(_format_costs(layer))}" as {name} {{'
            yield from _state_lines(list(layer.children.values()), indent + "    ", numbers)
            yield f"{indent}}}"
        else:
            yield f'{indent}state "{"<br/>".join([_format_title(layer), *_format_costs(layer)])}" as {name}'
    for before, after in zip(["[*]", *names], [*names, "[*]"], strict=True):
        yield f"{indent}{before} --> {after}"


def _write_entities(model: DiagramSummary, shown: Sequence[Layer], note: str) -> str:
    names = model.names() or ("work outside any module" if model.outside else "no model")
    module_types = dict.fromkeys(
        layer.module_type or layer.name.partition("#")[0].partition(" (")[0] for layer in model.roots
    )
    lines = _entity_lines("MODEL", names, names, ", ".join(module_types), model.total, model.missing)
    lines += ["    MODEL ||--o{ LAYER : contains", "    LAYER {", '        string id "path of the module"']
    lines += ['        string type "class of the module"', '        int macs "multiply-accumulates"']
    lines += ['        int flops "2 macs + other operations"', "    }"]
    leaves = [leaf for layer in shown for leaf in layer.leaves()]
    for number, (path, repeats, layer) in enumerate(leaves, 1):
        alias = path.partition(".")[2] if len(shown) == 1 and "." in path else path
        alias = f"{alias} itself" if layer.is_self else alias
        module_type = f"{repeats} x {layer.module_type}" if repeats > 1 else layer.module_type
        cost = repeats * layer.cost
        lines += _entity_lines(f"LAYER_{number}", alias, path, module_type, cost, _format_unpriced(layer))
        lines.append(f'    LAYER ||..|| LAYER_{number} : "{number}"')
    # With direction LR, layers are drawn below each other.
    return (
        "\n".join([*_front_matter(model), "erDiagram", "    direction LR", *_comment_lines(model, note), *lines]) + "\n"
    )


def _entity_lines(entity: str, alias: str, path: str, module_type: str, cost: Cost, missing: str) -> list[str]:
    """Write an entity. Its attributes have a type, a name and a comment; the comment holds the value."""
    values = [("string", "id", _elide(path)), ("string", "type", _elide(module_type))]
    values += [("int", name, _format_count(getattr(cost, name))) for name in ("macs", "flops")]
    values += [("string", "lacks", missing)] if missing else []
    attributes = [f'        {type_} {name} "{_escape(value)}"' for type_, name, value in values]
    return [f'    {entity}["{_escape(_elide(alias)) or entity}"] {{', *attributes, "    }"]


WRITERS: dict[str, Callable[[DiagramSummary, Sequence[Layer], str], str]] = {
    "state": _write_states,
    "er": _write_entities,
}


def _front_matter(model: DiagramSummary) -> list[str]:
    """Write the YAML block with the title, which Mermaid shows unescaped; a JSON string is valid YAML."""
    of = " and ".join([model.names()] * bool(model.roots) + ["work outside"] * (bool(model.roots) and model.outside))
    flops = f"{scaled(model.total.flops)} flops{f' {model.missing}' if model.missing else ''}"
    title = f"{of}: {flops}" if of else flops
    return ["---", f"title: {json.dumps(printable(title), ensure_ascii=False)}", "---"]


def _comment_lines(model: DiagramSummary, note: str) -> list[str]:
    # %%{ would begin a directive.
    lines = [printable(sentence).replace("%%", "% %") for sentence in [*model.notes, note] if sentence]
    return [f"    %% {line if len(line) <= _MAX_NOTE_LENGTH else f'{line[:_MAX_NOTE_LENGTH]}…'}" for line in lines]


def _format_title(layer: Layer) -> str:
    """Write a layer's name and class, and how many equal layers it stands for."""
    if layer.is_self:
        return _escape(f"{_elide(layer.module_type or layer.name)} itself")
    named_type = layer.name.partition("#")[0].partition(" (")[0].removesuffix("()")
    kind = "" if layer.module_type in ("", named_type) else _elide(layer.module_type)
    blocks = f"{layer.repeats} x {kind}".removesuffix(" x ") if layer.repeats > 1 else kind
    return _escape(f"{_elide(layer.name)} ({blocks})" if blocks else _elide(layer.name))


def _format_costs(layer: Layer) -> list[str]:
    """Write the cost of a layer, one phrase for each phase if there are others than forward."""
    each = "each " if layer.repeats > 1 else ""
    forward_only = set(layer.costs) == {"forward"}
    phrases = [
        f"{each}{'' if forward_only else f'{phase} '}{_format_work(cost)}"
        for phase, cost in layer.costs.items()
        if cost
    ]
    return [_escape(phrase) for phrase in [*phrases, _format_unpriced(layer)] if phrase]


def _format_work(cost: Cost) -> str:
    if cost.flops != 0:
        return f"{scaled(cost.flops)} flops"
    if cost.transcendentals != 0:
        return f"{scaled(cost.transcendentals)} transcendentals"
    return f"{scaled(cost.bytes)} bytes moved"


def _format_unpriced(layer: Layer) -> str:
    return f"{format_calls(layer.unpriced)} unpriced" if layer.unpriced else ""


def _format_count(value: int) -> str:
    written = exact(value)
    return written if len(written) <= _MAX_NUMBER_LENGTH else scaled(value)


def _elide(name: str) -> str:
    """Shorten a long name in the middle, and quote a name of spaces only."""
    if name.isspace():
        name = repr(name)
    half = _MAX_NAME_LENGTH // 2
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: half - 1]}…{name[1 - half :]}"


def _escape(text: str) -> str:
    """Escape special characters as Mermaid's numeric entities."""
    return _SPECIAL.sub(lambda found: f"#{ord(found.group())};", printable(text))
