"""Write a model's ``repr`` with the cost of each module at the end of its line."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.annotation_facts import AnnotatedFacts, format_facts
from opflops.profile.argument_checks import check_module_instance, check_profile
from opflops.profile.difference import BothSides
from opflops.profile.example_counts import at_example
from opflops.profile.views import Views
from opflops.records.algebra import substitute
from opflops.records.arguments import check_text, explain_arguments
from opflops.records.cost import ZERO, Cost
from opflops.records.dimensions import example_sizes
from opflops.records.display import ReportText
from opflops.records.rows import ancestry
from opflops.report.files.counts import MEASURES as ALL_MEASURES
from opflops.report.files.counts import SECONDS, check_measure
from opflops.report.notes import format_calls
from opflops.report.text.terminal import pad_right, width_of
from opflops.torch_internals.modules import class_name, named_paths, wrapped_attribute
from opflops.units import exact, scaled, share
from opflops.wording import nearest, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from opflops.profile.profile import Profile

    _Writer = Generator[tuple[nn.Module | None, str, int], list["_Line"], list["_Line"]]

MEASURES = tuple(measure for measure in ALL_MEASURES if measure != SECONDS)
# A batch norm inside eight modules is as wide.
_MAX_ALIGNED_WIDTH = 120
_MAX_PARTS = 3
_POSITIONAL = 2
_INDENT = "  "
_FORMATTERS = {"scaled": scaled, "exact": exact}


def _advise(args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> str:
    return "Name the options, as in annotate(model, profile, measure='macs')." if len(args) > _POSITIONAL else ""


@explain_arguments(_advise, ProfileArgumentError)
def annotate(
    model: nn.Module,
    profile: Profile,
    *,
    root: str | None = None,
    measure: str = "flops",
    numbers: Literal["scaled", "exact"] = "scaled",
) -> ReportText:
    """Write a model's ``repr`` with the cost of each module, including all below it, at the end of its line.

    >>> from opflops import count
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> print(annotate(model, count(model, torch.ones(2, 4)), numbers="exact"))
    Sequential(                                              # 36 macs, 88 flops, 100.0 %, 23 params; output 2×2
      (0): Linear(in_features=4, out_features=3, bias=True)  # 24 macs, 54 flops,  61.4 %, 15 params; output 2×3
      (1): ReLU()                                            #  0 macs,  6 flops,   6.8 %,  0 params; output 2×3
      (2): Linear(in_features=3, out_features=2, bias=True)  # 12 macs, 28 flops,  31.8 %,  8 params; output 2×2
    )

    Before each ``#`` the lines are the model's ``repr``, with one exception: equal modules of a ``ModuleList``, which
    ``repr`` writes as one (``(0-79): 80 x Block(``), are separate lines if their costs differ. If their costs are
    equal, the line and those inside show their sum, and then that of one (``80 x 3 M flops``). Work that a module does
    itself, beside its child modules, is shown as ``own``. Notes mark modules that were never called, repeated ones, and
    those with several call sites.

    If the profile knows them, the parameters of a module and all below it follow, then, of a profile with memory, the
    bytes that these keep for the backward pass (``saved``) and the highest number of live bytes while they ran
    (``peak``). Notes name the shape of its output, its ``own`` parameters beside those of its child modules, how many
    are ``trainable`` if not all, and those that it shares with a module that they count for.

    The model is not run. Costs include all phases in the profile; pass ``profile.where(phase="forward")`` for one.

    Args:
        model: A model that was counted.
        profile: The profile of the model.
        root: The model's path in the profile; by default its class name. The second model of a class is ``"Net#2"``.
        measure: The count to show, with its share of the total: ``"flops"`` (which shows macs too), ``"macs"``,
            ``"ops"``, ``"transcendentals"``, ``"bytes"``, ``"bytes_read"``, ``"bytes_written"`` or
            ``"sent"``.
        numbers: ``"scaled"`` with SI prefixes, or ``"exact"``.

    Raises:
        ProfileError: No such model was called, or ``measure`` or ``numbers`` is unknown.
    """
    if isinstance(model, Views) and isinstance(profile, nn.Module):
        raise ProfileArgumentError("annotate() takes the model first, then its profile: annotate(model, profile).")
    check_module_instance(model, "annotate()", root)
    check_profile(profile, "annotate()")
    if isinstance(profile, BothSides):
        raise ProfileArgumentError(
            "annotate() shows the costs of one profile, and this is a difference. "
            "Annotate each side: annotate(model, difference.before) or annotate(model, difference.after)."
        )
    check_text("measure", measure, "measure='macs'")
    check_text("numbers", numbers, "numbers='exact'")
    check_measure(measure, MEASURES)
    if numbers not in _FORMATTERS:
        raise ProfileError(f"numbers must be {' or '.join(map(repr, _FORMATTERS))}, not {numbers!r}.")
    costs = _ModuleCosts(model, profile, root or class_name(model))
    return ReportText("\n".join(_align_comments(_lines(model, costs.root, costs), costs, measure, numbers)))


@dataclass(frozen=True)
class _Line:
    """Hold a line of the model's repr and, if it is the first line of a module, the module's cost and notes.

    Attributes:
        text: The line.
        cost: The cost of one module with all below it.
        notes: Notes on the module.
        repeats: How many equal modules the line stands for. Its numbers are of all of them, its notes of one.
        amounts: Notes that hold amounts of one module.
        params: The parameters of one module with all below it; None if they are not known.
        saved: The bytes that one module with all below it keeps for the backward pass; None if they are not known.
        peak: The highest number of live bytes while one of the modules ran. Equal modules differ in it.
        depth: How many modules the line is in, by which it is indented.
    """

    text: str
    cost: Cost | None = None
    notes: tuple[str, ...] = ()
    repeats: int = 1
    amounts: tuple[str, ...] = ()
    params: int | None = None
    saved: int | None = None
    peak: int | None = field(default=None, compare=False)
    depth: int = 0


class _ModuleCosts:
    """Look up the costs and notes of a model's modules by their paths in a profile."""

    def __init__(self, model: nn.Module, profile: Profile, root: str) -> None:
        profile = at_example(profile)
        self.root = root
        self.ran = {above for path in profile.called for above in ancestry(path)}
        if root not in self.ran:
            near = nearest(root, self.ran, 1)
            hint = f"; did you mean root={near[0]!r}?" if near else "."
            called = ", ".join(dict.fromkeys(path.partition(".")[0] for path in profile.called)) or "no modules"
            raise ProfileError(f"No {root!r} was called in this profile; called were {called}{hint}")
        self.sizes = example_sizes(profile.dimensions)
        self.inclusive = profile.inclusive()
        self.whole = self.inclusive.get(root, ZERO)
        # As in a profile, a module with two paths has the first one.
        self.paths = {key: path for key, (_, path) in named_paths(model, root).items()}
        self.call_sites = _call_site_counts(profile)
        self.facts = AnnotatedFacts(profile)
        self.unpriced: dict[str, int] = {}
        self.own: dict[str, dict[str, Cost]] = {}
        known = set(self.paths.values())
        nearest_of: dict[str, str] = {}
        unpriced: dict[str, int] = {}
        for row in profile.rows:
            path = nearest_of.get(row.module)
            if path is None:
                path = row.module
                while path and path not in known:
                    path = path.rpartition(".")[0]
                nearest_of[row.module] = path
            if not row.priced:
                unpriced[row.module] = unpriced.get(row.module, 0) + row.calls
            if row.floating:
                part = row.op if row.module == path else row.module[len(path) + 1 :]
                parts = self.own.setdefault(path, {})
                parts[part] = parts.get(part, ZERO) + row.cost
        for module, calls in unpriced.items():
            for path in ancestry(module):
                self.unpriced[path] = self.unpriced.get(path, 0) + calls

    def is_repeated(self, module: nn.Module, path: str) -> bool:
        """Tell whether the model contains the module under an earlier path, where its costs are shown."""
        return self.paths[id(module)] != path

    def line(self, text: str, module: nn.Module, path: str, depth: int, *, opened: bool = False) -> _Line:
        """Make the first line of a module, which is in ``depth`` others; ``opened`` tells whether lines are in it."""
        if self.is_repeated(module, path):
            first = self.paths[id(module)].removeprefix(f"{self.root}.")
            return _Line(text, notes=(printable(f"the same module as {first}"),), depth=depth)
        cost = self.inclusive.get(path, ZERO)
        known = self.facts.of_line(path)
        if path not in self.ran and not cost:
            notes = ["never ran", *self.facts.notes(path, self.root)]
            own = tuple(self.facts.amounts(path, opened=opened))
            return _Line(text, notes=tuple(notes), amounts=own, depth=depth, **known)
        notes = [f"shares at {', '.join(f'{name} = {size}' for name, size in self.sizes.items())}"]
        if path != self.root or not self.sizes:
            notes = []
        amounts = [*(self._own(path) if opened else []), *self.facts.amounts(path, opened=opened)]
        if (sites := self.call_sites.get(path, 1)) > 1:
            notes.append(f"called from {sites} places")
        if calls := self.unpriced.get(path):
            amounts.append(f"{format_calls(calls)} unpriced")
        return _Line(
            text, cost, (*notes, *self.facts.notes(path, self.root)), amounts=tuple(amounts), depth=depth, **known
        )

    def _own(self, path: str) -> Iterator[str]:
        """Describe the work that a module does itself, the most costly part first."""
        parts = {name: cost for name, cost in self.own.get(path, {}).items() if cost.flops != 0}
        if parts:
            ranked = sorted(parts, key=lambda name: -substitute(parts[name].flops, self.sizes))
            more = [f"{len(ranked) - _MAX_PARTS} more"] if len(ranked) > _MAX_PARTS else []
            total = sum(parts.values(), ZERO).flops
            yield printable(f"own {scaled(total)} flops: {', '.join([*ranked[:_MAX_PARTS], *more])}")


def _call_site_counts(profile: Profile) -> dict[str, int]:
    sites: dict[str, set[str]] = {}
    for row in profile.sites:
        sites.setdefault(row.module, set()).add(row.site)
    return {path: len(found) for path, found in sites.items()}


def _lines(module: nn.Module, path: str, costs: _ModuleCosts) -> list[_Line]:
    """Write a module as its repr does, which recurses; this does not, so that depth has no limit."""
    writers = [_module_lines(module, path, 0, costs)]
    lines: list[_Line] | None = None
    while writers:
        try:
            below = writers[-1].send(lines)  # type: ignore[arg-type]
        except StopIteration as ended:  # noqa: PERF203 - how a generator returns
            writers.pop()
            lines = ended.value
        else:
            writers.append(_module_lines(*below, costs))
            lines = None
    return lines or []


def _module_lines(module: nn.Module | None, path: str, depth: int, costs: _ModuleCosts) -> _Writer:
    """Write the lines of a module; for each child module, ask for its lines by yielding what they are of.

    Modules with their own ``__repr__``, and repeated ones, are not opened.

    Args:
        module: The module; None for one that was taken out.
        path: Its path.
        depth: How many modules it is in, by which its lines are indented.
        costs: The costs of modules.
    """
    if module is None:
        return [_Line("None", depth=depth)]
    layout = type(module).__repr__
    if layout not in (nn.Module.__repr__, nn.ModuleList.__repr__) or costs.is_repeated(module, path):
        first, *others = _repr(module, path).split("\n")
        return [costs.line(first, module, path, depth), *(_Line(text, depth=depth) for text in others)]
    name = module._get_name()  # noqa: SLF001 - repr uses it
    children = module._modules  # noqa: SLF001 - named_children() skips None and repeated modules
    wrapped = wrapped_attribute(module)
    extra: list[str] = []
    inner: list[_Line] = []
    if layout is nn.ModuleList.__repr__:
        blocks = []
        for key, child in children.items():
            blocks.append((yield child, f"{path}.{key}", depth + 1))
        inner = _merge_equal(blocks)
    else:
        extra_repr = module.extra_repr()
        extra = extra_repr.split("\n") if extra_repr else []
        for key, child in children.items():
            inner += _label_first_line(key, (yield child, path if key == wrapped else f"{path}.{key}", depth + 1))
    if not inner and len(extra) <= 1:
        return [costs.line(f"{name}({''.join(extra)})", module, path, depth)]
    opening = costs.line(f"{name}(", module, path, depth, opened=bool(inner) and not wrapped)
    return [opening, *(_Line(text, depth=depth + 1) for text in extra), *inner, _Line(")", depth=depth)]


def _repr(module: nn.Module, path: str) -> str:
    """Return a module's own repr.

    Raises:
        ProfileError: It has too many modules in one another for PyTorch to write it.
    """
    try:
        return repr(module)
    except RecursionError as error:
        raise ProfileError(
            f"{path or class_name(module)} cannot be annotated: its repr() recurses into modules that are nested "
            "deeper than sys.getrecursionlimit(). Raise the limit with sys.setrecursionlimit()."
        ) from error


def _label_first_line(label: str, lines: Sequence[_Line]) -> list[_Line]:
    first, *others = lines
    return [replace(first, text=f"({label}): {first.text}"), *others]


def _merge_equal(blocks: Sequence[list[_Line]]) -> list[_Line]:
    """Write the modules of a ModuleList; consecutive modules with equal lines and costs are merged."""
    lines: list[_Line] = []
    start = 0
    for _, group in groupby(blocks):
        equal = list(group)
        repeats = len(equal)
        end = start + repeats - 1
        if repeats == 1:
            lines += _label_first_line(str(start), equal[0])
        else:
            block = [_with_highest_peak(lines) for lines in zip(*equal, strict=True)]
            first, *others = _label_first_line(
                f"{start}-{end}", [replace(block[0], text=f"{repeats} x {block[0].text}"), *block[1:]]
            )
            lines.append(replace(first, repeats=first.repeats * repeats))
            lines += [replace(line, repeats=line.repeats * repeats) for line in others]
        start = end + 1
    return lines


def _with_highest_peak(lines: Sequence[_Line]) -> _Line:
    return replace(lines[0], peak=max((line.peak for line in lines if line.peak is not None), default=None))


def _align_comments(lines: Sequence[_Line], costs: _ModuleCosts, measure: str, numbers: str) -> list[str]:
    """Align the comments of the lines of each block in one column, except on very long lines, and all numbers."""
    lines = [replace(line, text=printable(f"{_INDENT * line.depth}{line.text}")) for line in lines]
    cells = [_comment_parts(line, costs, measure, _FORMATTERS[numbers]) for line in lines]
    widths = [max(map(len, column)) for column in zip(*(numbers for numbers, _ in cells), strict=True)]
    comments = []
    for figures, notes in cells:
        aligned = [figure.rjust(width) for figure, width in zip(figures, widths, strict=True) if figure]
        comments.append("; ".join([*([", ".join(aligned)] if aligned else []), *notes]))
    written: list[str] = []
    # A block ends at a line without a comment, such as a closing parenthesis, so that a long line moves few comments.
    for has_comment, block in groupby(zip(lines, comments, strict=True), lambda each: bool(each[1])):
        pairs = list(block)
        fitting = [width_of(line.text) for line, _ in pairs if width_of(line.text) <= _MAX_ALIGNED_WIDTH]
        column = max(fitting, default=0)
        written += [
            f"{pad_right(line.text, column)}  # {comment}" if has_comment else line.text for line, comment in pairs
        ]
    return written


def _comment_parts(
    line: _Line, costs: _ModuleCosts, measure: str, write: Callable[[Any], str]
) -> tuple[list[str], list[str]]:
    """Return the numbers of a line, always equally many, and its notes."""
    measures = ("macs", "flops") if measure == "flops" else (measure,)
    whole = None if line.cost is None else line.repeats * line.cost
    has_work = whole is not None and any(getattr(whole, each) != 0 for each in measures)
    # A module without work shows parameters only if it has some; elsewhere a 0 keeps the columns aligned.
    params = line.params if has_work else line.params or None
    facts = format_facts(params, line.saved, line.peak, line.repeats, write)
    nothing = [""] * (len(measures) + 1)
    notes = [*(f"each {amount}" if line.repeats > 1 else amount for amount in line.amounts), *line.notes]
    if line.cost is None or whole is None:
        return [*nothing, *facts], notes
    if not has_work:
        return [*nothing, *facts], [f"no {' or '.join(measures)}", *notes]
    figures = [f"{write(getattr(whole, each))} {each}" for each in measures]
    part, total = (substitute(getattr(cost, measure), costs.sizes) for cost in (whole, costs.whole))
    percent = share(part, total)
    several = [f"{line.repeats} x {write(getattr(line.cost, measure))} {measure}"] if line.repeats > 1 else []
    return [*figures, f"{percent} %" if percent else "", *facts], [*several, *notes]
