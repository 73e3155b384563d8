"""A model as it prints itself, with what each module cost at the end of its line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from opflops.errors import ProfileError
from opflops.records.algebra import substitute
from opflops.records.cost import ZERO, Cost
from opflops.records.dimensions import examples
from opflops.records.rows import ancestry
from opflops.report.files.counts import MEASURES as ALL_MEASURES
from opflops.report.files.counts import SECONDS, check_measure
from opflops.units import exact, scaled, share
from opflops.wording import nearest, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opflops.profile.profile import Profile

MEASURES = tuple(measure for measure in ALL_MEASURES if measure != SECONDS)
_WIDEST = 100
_MOST_PARTS = 3
_WRITTEN = {"scaled": scaled, "exact": exact}


def annotate(
    model: nn.Module,
    profile: Profile,
    *,
    root: str | None = None,
    measure: str = "flops",
    numbers: Literal["scaled", "exact"] = "scaled",
) -> str:
    """Write a model as ``repr`` does, with what each module and all below it cost at the end of its line.

    >>> from opflops import count
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> print(annotate(model, count(model, torch.ones(2, 4)), numbers="exact"))
    Sequential(                                              # 36 macs, 88 flops, 100.0 %
      (0): Linear(in_features=4, out_features=3, bias=True)  # 24 macs, 54 flops,  61.4 %
      (1): ReLU()                                            #  0 macs,  6 flops,   6.8 %
      (2): Linear(in_features=3, out_features=2, bias=True)  # 12 macs, 28 flops,  31.8 %
    )

    Without what stands behind ``#`` it is the model's ``repr``, apart from equal modules of a ``ModuleList`` that print
    as one, ``(0-79): 80 x Block(``, and do not cost the same: they are apart here. Those that do cost the same have
    their sum, and ``each`` inside. What a module does itself, beside the modules inside it, is told at its line as
    ``own``. A module that was never called says so, and so does one that is shown a second time, or is called from
    several places.

    The model is not run. Costs are of all phases in the profile; ``profile.where(phase="forward")`` has some only.

    Args:
        model: A model that was counted.
        profile: What was counted.
        root: The model's path in the profile, where that is not its class name (the second model of a class is
            ``"Net#2"``).
        measure: What to show, and to take the share of: ``"flops"`` (which shows macs too), ``"macs"``, ``"ops"``,
            ``"transcendentals"``, ``"bytes"``, ``"bytes_read"`` or ``"bytes_written"``.
        numbers: ``"scaled"`` with SI prefixes, or ``"exact"``.

    Raises:
        ProfileError: No such model was called, or there is no such measure or way to write numbers.
    """
    check_measure(measure, MEASURES)
    if numbers not in _WRITTEN:
        raise ProfileError(f"Numbers cannot be {numbers!r}; they can be {' or '.join(map(repr, _WRITTEN))}.")
    costs = _Costs(model, profile, root or type(model).__name__)
    return "\n".join(_laid_out(_lines(model, costs.root, costs), costs, measure, numbers))


@dataclass(frozen=True)
class _Line:
    """Hold a line of the model's repr, and what there is to say of the module whose first line it is.

    Attributes:
        text: The line.
        cost: Of the module and all below it; of one of them, where several stand as one.
        notes: What else there is to say.
        times: How many equal modules it stands for.
        each: Whether it is inside such a module.
    """

    text: str
    cost: Cost | None = None
    notes: tuple[str, ...] = ()
    times: int = 1
    each: bool = False


class _Costs:
    """Answer what there is to say of the modules of a model, by their paths in a profile."""

    def __init__(self, model: nn.Module, profile: Profile, root: str) -> None:
        self.root = root
        self.ran = {above for path in profile.called for above in ancestry(path)}
        if root not in self.ran:
            near = nearest(root, self.ran, 1)
            hint = f"; did you mean root={near[0]!r}?" if near else "."
            called = ", ".join(dict.fromkeys(path.partition(".")[0] for path in profile.called)) or "no modules"
            raise ProfileError(f"No {root!r} was called in this profile; called were {called}{hint}")
        self.sizes = examples(profile.dimensions)
        self.inclusive = profile.inclusive()
        self.whole = self.inclusive.get(root, ZERO)
        # As paths are given in a profile: a module that is there twice has the first one's.
        self.paths = {id(module): f"{root}.{name}" if name else root for name, module in model.named_modules()}
        self.places = _numbers_of_places(profile)
        self.unpriced: dict[str, int] = {}
        self.own: dict[str, dict[str, Cost]] = {}
        known = set(self.paths.values())
        for row in profile.rows:
            above = ancestry(row.module)
            if not row.priced:
                for path in above:
                    self.unpriced[path] = self.unpriced.get(path, 0) + row.calls
            if row.floating:
                holder = next((path for path in reversed(above) if path in known), "")
                part = row.op if row.module == holder else row.module[len(holder) + 1 :]
                parts = self.own.setdefault(holder, {})
                parts[part] = parts.get(part, ZERO) + row.cost

    def shown_before(self, module: nn.Module, path: str) -> bool:
        """Tell a module that is in the model under another path too, where its costs are told."""
        return self.paths[id(module)] != path

    def line(self, text: str, module: nn.Module, path: str, *, opened: bool = False) -> _Line:
        """Say what there is to say of a module at its first line, whose modules inside are shown or not."""
        if self.shown_before(module, path):
            first = self.paths[id(module)].removeprefix(f"{self.root}.")
            return _Line(text, notes=(printable(f"the same module as {first}"),))
        cost = self.inclusive.get(path, ZERO)
        if path not in self.ran and not cost:
            return _Line(text, notes=("never ran",))
        notes = [f"shares at {', '.join(f'{name} = {size}' for name, size in self.sizes.items())}"]
        if path != self.root or not self.sizes:
            notes = []
        notes += self._own(path) if opened else []
        if (places := self.places.get(path, 1)) > 1:
            notes.append(f"called from {places} places")
        if calls := self.unpriced.get(path):
            notes.append(f"{exact(calls)} calls unpriced")
        return _Line(text, cost, tuple(notes))

    def _own(self, path: str) -> Iterator[str]:
        """Name what a module does itself, the most costly part first."""
        parts = {name: cost for name, cost in self.own.get(path, {}).items() if cost.flops != 0}
        if parts:
            ranked = sorted(parts, key=lambda name: -substitute(parts[name].flops, self.sizes))
            more = [f"{len(ranked) - _MOST_PARTS} more"] if len(ranked) > _MOST_PARTS else []
            total = sum(parts.values(), ZERO).flops
            yield printable(f"own {scaled(total)} flops: {', '.join([*ranked[:_MOST_PARTS], *more])}")


def _numbers_of_places(profile: Profile) -> dict[str, int]:
    places: dict[str, set[str]] = {}
    for row in profile.sites:
        places.setdefault(row.module, set()).add(row.site)
    return {path: len(found) for path, found in places.items()}


def _lines(module: nn.Module, path: str, costs: _Costs) -> list[_Line]:
    """Lay a module out as its repr does; one with a repr of its own, and one that is shown already, as they print."""
    layout = type(module).__repr__
    if layout not in (nn.Module.__repr__, nn.ModuleList.__repr__) or costs.shown_before(module, path):
        first, *others = repr(module).split("\n")
        return [costs.line(first, module, path), *map(_Line, others)]
    name = module._get_name()  # noqa: SLF001 - a subclass that overrides it prints otherwise
    children = module._modules  # noqa: SLF001 - those that are None, or there twice, are printed too
    if layout is nn.ModuleList.__repr__:
        extra, inside = [], _numbered(children, path, costs)
    else:
        words = module.extra_repr()
        extra = words.split("\n") if words else []
        inside = [line for key, child in children.items() for line in _labelled(key, _child(key, child, path, costs))]
    if not inside and len(extra) <= 1:
        return [costs.line(f"{name}({''.join(extra)})", module, path)]
    body = [replace(line, text=f"  {line.text}") for line in [*map(_Line, extra), *inside]]
    return [costs.line(f"{name}(", module, path, opened=bool(inside)), *body, _Line(")")]


def _child(key: str, child: nn.Module | None, path: str, costs: _Costs) -> list[_Line]:
    return [_Line("None")] if child is None else _lines(child, f"{path}.{key}", costs)


def _labelled(label: str, lines: Sequence[_Line]) -> list[_Line]:
    first, *others = lines
    return [replace(first, text=f"({label}): {first.text}"), *others]


def _numbered(children: Mapping[str, nn.Module | None], path: str, costs: _Costs) -> list[_Line]:
    """Lay out the modules of a ModuleList; those that follow each other and are equal, costs included, are one."""
    blocks = [_child(key, child, path, costs) for key, child in children.items()]
    lines: list[_Line] = []
    start = 0
    for block, equal in groupby(blocks):
        times = len(list(equal))
        end = start + times - 1
        if times == 1:
            lines += _labelled(str(start), block)
        else:
            first, *others = _labelled(
                f"{start}-{end}", [replace(block[0], text=f"{times} x {block[0].text}"), *block[1:]]
            )
            lines += [replace(first, times=times), *(replace(line, each=True) for line in others)]
        start = end + 1
    return lines


def _laid_out(lines: Sequence[_Line], costs: _Costs, measure: str, numbers: str) -> list[str]:
    """Put the comments into one column, unless a line is very long, and their numbers below each other."""
    cells = [_cells(line, costs, measure, _WRITTEN[numbers]) for line in lines]
    widths = [max(map(len, column)) for column in zip(*(numbers for numbers, _ in cells), strict=True)]
    widest = max((width for width in (len(line.text) for line in lines) if width <= _WIDEST), default=0)
    written = []
    for line, (figures, notes) in zip(lines, cells, strict=True):
        aligned = [figure.rjust(width) for figure, width in zip(figures, widths, strict=True) if figure]
        comment = "; ".join([*([", ".join(aligned)] if aligned else []), *notes])
        written.append(f"{line.text:<{widest}}  # {comment}" if comment else line.text)
    return written


def _cells(line: _Line, costs: _Costs, measure: str, write: Callable[[Any], str]) -> tuple[list[str], list[str]]:
    """Write the figures of a line, as many as any line has, and what else there is to say."""
    measures = ("macs", "flops") if measure == "flops" else (measure,)
    nothing = [""] * (len(measures) + 1)
    if line.cost is None:
        return nothing, list(line.notes)
    whole = line.times * line.cost
    if not any(getattr(whole, each) != 0 for each in measures):
        return nothing, [f"no {' or '.join(measures)}", *line.notes]
    figures = [f"{write(getattr(whole, each))} {each}" for each in measures]
    part, total = (substitute(getattr(cost, measure), costs.sizes) for cost in (whole, costs.whole))
    percent = share(part, total)
    notes = [f"{line.times} x {write(getattr(line.cost, measure))} {measure}"] if line.times > 1 else []
    notes += ["each"] if line.each else []
    return [*figures, f"{percent} %" if percent else ""], [*notes, *line.notes]
