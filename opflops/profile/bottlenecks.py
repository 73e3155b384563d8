"""Where to optimize: modules and operators by the time that they take, and what holds them back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from opflops.devices import device as find_device
from opflops.devices.bounds import ARITHMETIC, MEMORY, bound
from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.algebra import as_int
from opflops.records.arguments import check_count, check_flag, explain_methods, no_advice
from opflops.records.bottlenecks import LAUNCHES, MODULE, OPERATOR, Bottleneck, Ranking
from opflops.records.datasheets import split_tf32
from opflops.records.display import Displayed, ReportText
from opflops.records.rows import check_concrete, unpriced
from opflops.report import format_bottlenecks
from opflops.report.text.collapse import Expansion
from opflops.report.text.terminal import TIMES
from opflops.report.text.tree import OUTSIDE, Node, build_tree
from opflops.report.timing_notes import ONCE_MARK, sum_over_ranks, timing_notes
from opflops.units import duration
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opflops.devices import Device
    from opflops.records.rows import Row
    from opflops.records.timing import Timing
    from opflops.report.notebook import Limits, Part

MAX_LAUNCH_SECONDS = 20e-6
"""The longest time of a call that counts as one of launching; PyTorch and a GPU's driver take a few microseconds."""

MIN_EXCESS = 2.0
"""How many times its bound an operator must take, at least, to be held back by launches."""

_SHOWN = 10


@explain_methods(no_advice, ProfileArgumentError)
@dataclass(frozen=True)
class Bottlenecks(Ranking, Displayed):
    """Hold what takes the time; printing it shows a table of modules and one of operators."""

    def table(self, top: int | None = None) -> ReportText:
        """Write a line for each module, and one for each operator, longest time first.

        Args:
            top: How many modules and how many operators to show. None shows all; ``print`` shows ten of each.

        Raises:
            ProfileError: ``top`` is less than 1.
        """
        check_count("top", top)
        return ReportText(format_bottlenecks(self, top))

    def _notebook_parts(self, _limits: Limits) -> list[Part]:
        from opflops.report.notebook import ranking_parts  # noqa: PLC0415 - keeps import opflops fast

        return ranking_parts(self, _SHOWN)

    def __str__(self) -> str:
        return str(self.table(_SHOWN))

    def __repr__(self) -> str:
        how = "measured" if self.measured or self.device is None else f"at least, on {self.device.name}"
        most = [f"{each[0].label} {100 * each[0].share:.1f} %" for each in (self.modules, self.operators) if each]
        parts = ", ".join([f"{duration(self.seconds)} {how}", *most])
        return f"<Bottlenecks: {printable(parts)}. print() shows the tables>"


class _Part(NamedTuple):
    """Hold the time of a row, its lower bound, and what holds it back; "" if that is not known."""

    seconds: float
    bound: float
    limit: str


@dataclass
class _Sum:
    """Add up the times of rows."""

    seconds: float = 0.0
    bound: float = 0.0
    calls: int = 0
    limits: dict[str, float] = field(default_factory=dict)

    def add_row(self, part: _Part, calls: int) -> None:
        self.seconds += part.seconds
        self.bound += part.bound
        self.calls += calls
        self.limits[part.limit] = self.limits.get(part.limit, 0.0) + part.seconds

    def add(self, other: _Sum) -> None:
        self.seconds += other.seconds
        self.bound += other.bound
        self.calls += other.calls
        for limit, seconds in other.limits.items():
            self.limits[limit] = self.limits.get(limit, 0.0) + seconds


def bottlenecks(
    rows: Iterable[Row],
    device: str | Device | None = None,
    *,
    tf32: bool = False,
    remarks: Sequence[str] = (),
    timing: Timing | None = None,
    ranks: int = 0,
) -> Bottlenecks:
    """Rank the modules and operators of rows, as :meth:`opflops.Profile.bottlenecks` says.

    Args:
        rows: All rows of a profile.
        device: A device or its name; None to rank by times alone.
        tf32: Whether float32 is computed in TF32.
        remarks: Sentences of the profile on what it leaves out.
        timing: How the profile was timed.
        ranks: How many ranks the rows are of, if they were gathered.

    Raises:
        ProfileError: Nothing was timed and there is no device, the device is unknown or has no known peak for a dtype,
            or a count is an expression, or negative as in a difference.
    """
    rows = tuple(rows)
    check_flag("tf32", tf32)
    measured = any(row.seconds is not None for row in rows)
    if device is None and not measured:
        raise ProfileError(
            "bottlenecks() ranks by time, and this profile has no times. Count with OpFlopMode(timing=True), or give a "
            "device to rank by lower bounds on it, as in bottlenecks('h100-sxm')."
        )
    found = None
    if device is not None:
        device, with_tf32 = split_tf32(device)
        found, tf32 = find_device(device), tf32 or with_tf32
    _check_numbers(rows, with_counts=found is not None)
    ranked = [row for row in rows if row.seconds is not None or not measured]
    try:
        parts = {id(row): _part(row, found, tf32=tf32) for row in ranked}
    except OverflowError as error:
        raise ProfileError(f"A count is too large to compute a time from it: {error}.") from error
    whole = _Sum()
    for row in ranked:
        whole.add_row(parts[id(row)], row.calls)
    make = _Entries(whole.seconds, measured=measured, bounded=found is not None)
    is_warm = timing is not None and timing.warmup > 0
    untimed = [row for row in rows if measured and row.seconds is None]
    return Bottlenecks(
        _sorted(_rank_modules(ranked, parts, make)),
        _sorted(_rank_operators(ranked, parts, make)),
        whole.seconds,
        measured,
        found,
        tf32,
        make.known(whole.limits),
        _calls_by_operator(untimed),
        unpriced(ranked),
        tuple(dict.fromkeys(row.op for row in ranked if row.estimate and found is not None)),
        tuple(dict.fromkeys(row.dtype for row in ranked if not row.floating and parts[id(row)].seconds)),
        tuple(dict.fromkeys(row.op for row in ranked if row.timed_once and row.seconds and not is_warm)),
        # What was timed in a single call is named instead of marked.
        (
            *sum_over_ranks(ranks),
            *(each for each in timing_notes(ranked, timing, ranks) if not each.startswith(ONCE_MARK)),
            *remarks,
        ),
    )


def _check_numbers(rows: Sequence[Row], *, with_counts: bool) -> None:
    counts = [(row, "seconds", row.seconds or 0) for row in rows]
    if with_counts:
        counts += [(row, "flops", as_int(row.cost.flops)) for row in rows]
        counts += [(row, "bytes", as_int(row.cost.bytes)) for row in rows]
    check_concrete(counts, "The ranking")


def _part(row: Row, device: Device | None, *, tf32: bool) -> _Part:
    """Return the time of a row, measured if it is known; the limit is that of :meth:`opflops.Profile.bottlenecks`."""
    if device is None:
        return _Part(row.seconds or 0.0, 0.0, "")
    least = bound(None, [row], device, tf32=tf32)
    if row.seconds is None:
        return _Part(least.seconds, least.seconds, least.limit if least.seconds else "")
    if not least.seconds:
        # Nothing but the call itself takes the time of a view; an operator without a formula may do anything.
        return _Part(row.seconds, 0.0, LAUNCHES if row.priced else "")
    is_short = row.seconds <= MAX_LAUNCH_SECONDS * row.calls
    is_launch = is_short and row.seconds >= MIN_EXCESS * least.seconds
    return _Part(row.seconds, least.seconds, LAUNCHES if is_launch else least.limit)


class _Entries:
    """Make the entries of a ranking."""

    def __init__(self, whole: float, *, measured: bool, bounded: bool) -> None:
        self.whole, self.measured, self.bounded = whole, measured, bounded

    def known(self, limits: dict[str, float]) -> dict[str, float]:
        """Return the limits that are known, in a fixed order, with the seconds of each."""
        return {limit: limits[limit] for limit in (ARITHMETIC, MEMORY, LAUNCHES) if limits.get(limit)}

    def __call__(
        self, label: str, kind: str, total: _Sum, own: float, paths: tuple[str, ...] = (), within: str = ""
    ) -> Bottleneck:
        return Bottleneck(
            label,
            kind,
            total.seconds,
            total.seconds / self.whole if self.whole else 0.0,
            max(total.limits, key=lambda limit: total.limits[limit], default=""),
            self.known(total.limits),
            total.calls,
            own,
            total.bound if self.bounded else None,
            self.measured,
            paths,
            within,
        )


def _rank_operators(rows: Sequence[Row], parts: dict[int, _Part], make: _Entries) -> list[Bottleneck]:
    sums: dict[str, _Sum] = {}
    for row in rows:
        sums.setdefault(row.op, _Sum()).add_row(parts[id(row)], row.calls)
    return [make(op, OPERATOR, total, total.seconds) for op, total in sums.items()]


class _Place(NamedTuple):
    """Hold a module, or several equal ones: its label without how many they are, its own time, and that with all below.

    Attributes:
        node: The module in the tree.
        label: Its path, with the numbers of equal modules.
        above: The position of the module around it; -1 for an outermost one.
        own: The time of its own operators.
        total: That with all modules below.
    """

    node: Node
    label: str
    above: int
    own: _Sum
    total: _Sum


def _rank_modules(rows: Sequence[Row], parts: dict[int, _Part], make: _Entries) -> list[Bottleneck]:
    """List modules that share out the time.

    Not those that only pass on the time of a single one below. Of the only outermost module, which is what everything
    is in, just its own work.
    """
    places = _list_places(build_tree((row.module, row.op, row) for row in rows), parts)
    below = [0] * len(places)
    for place in places:
        if place.above >= 0 and place.total.seconds:
            below[place.above] += 1
    roots = [position for position, place in enumerate(places) if place.above < 0 and place.node.path]
    shown: list[str] = []  # By position, the label of the module itself or of the closest one around it that is listed.
    entries = []
    for position, (node, name, above, own, total) in enumerate(places):
        within = shown[above] if above >= 0 else ""
        label = f"{name} {TIMES}{node.repeats}" if node.repeats > 1 else name
        if below[position] == 1 and not own.seconds:
            shown.append(within)
        elif below[position] and roots == [position] and node.repeats == 1:
            shown.append(within)
            if own.seconds:
                entries.append(make(f"{label} (own work)", MODULE, own, own.seconds, node.paths))
        else:
            shown.append(label)
            entries.append(make(label, MODULE, total, own.seconds, node.paths, within))
    return entries


def _list_places(root: Node, parts: dict[int, _Part]) -> list[_Place]:
    """List all modules, parents first; equal ones that follow each other are one, as in the module tree of reports."""
    expansion = Expansion(expand=False)
    places = [_Place(root, "", -1, _Sum(), _Sum())]
    for position, parent in enumerate(places):
        for child in parent.node.collapsed_children(expansion):
            repeats = child.repeats // parent.node.repeats
            name = child.name.removesuffix(f" {TIMES}{repeats}") if repeats > 1 else child.name
            label = name if position == 0 or name == OUTSIDE else f"{parent.label}.{name}"
            own, total = _Sum(), _Sum()
            for row in (row for part in child.own().values() for row in part):
                own.add_row(parts[id(row)], row.calls)
            total.add(own)
            places.append(_Place(child, label, position - 1, own, total))
    for place in reversed(places[1:]):
        if place.above >= 0:
            places[place.above + 1].total.add(place.total)
    return places[1:]


def _sorted(entries: Iterable[Bottleneck]) -> tuple[Bottleneck, ...]:
    return tuple(sorted(entries, key=lambda each: -each.seconds))


def _calls_by_operator(rows: Iterable[Row]) -> dict[str, int]:
    calls: dict[str, int] = {}
    for row in rows:
        calls[row.op] = calls.get(row.op, 0) + row.calls
    return calls


def ranking_to_show(rows: Sequence[Row]) -> Bottlenecks | None:
    """Rank timed rows for a report; None if nothing was timed, or a time is negative as in a difference."""
    seconds = [row.seconds for row in rows if row.seconds is not None]
    return bottlenecks(rows) if any(seconds) and min(seconds) >= 0 else None
