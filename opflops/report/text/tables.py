"""Tables: the module tree, a list by any other key, and the overview that ``print`` shows."""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypedDict

from opflops.errors import ProfileArgumentError
from opflops.records.arguments import check_count, check_flag, check_text, describe, explain_arguments, keys_of
from opflops.records.dimensions import example_sizes
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.rows import floating_rows, group_rows
from opflops.report.amounts import TOTAL, Amount, Line
from opflops.report.notes import NUMBERS, Symbolic, join_names, notes, total_label
from opflops.report.text.bottlenecks_table import bottleneck_lines
from opflops.report.text.columns import (
    MEMORY_COLUMNS,
    PARAMETER_COLUMNS,
    PHASES,
    check_module_columns,
    choose_columns,
    dtype_of_shapes,
    has_several_shapes,
    sort_positions,
)
from opflops.report.text.layout import FittedTable, Numbers, fitting_notes, lay_out
from opflops.report.text.memory_lines import memory_lines
from opflops.report.text.module_facts import module_facts, parameter_notes, total_facts
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.rank_lines import rank_lines
from opflops.report.text.shapes import INPUT, OUTPUT
from opflops.report.text.sheet import is_markup
from opflops.report.text.terminal import TIMES
from opflops.report.text.tree import OUTSIDE
from opflops.report.text.tree_lines import TreeLines, keep_top, split_costless, tree_lines
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.bottlenecks import Ranking
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.report.amounts import ModuleFacts
    from opflops.report.text.layout import Sizes

_NO_RANK = "(no rank)"
_OVERVIEW_LINES = 30
OVERVIEW_OPERATORS = 10
OVERVIEW_RANKS = 16
MODULES = "module / operator"
REPEATS_NOTE = f"{TIMES}N marks N equal modules on one line. It and the lines below it count all N together."
HOW_TO_EXPAND = "Show each one with expand=True or --expand."
_HOW_TO_SHOW_ALL = "with table() or --by module"


class TableOptions(TypedDict, total=False):
    """List the keyword options of :func:`table`, for functions that pass them on."""

    depth: int | None
    expand: bool | str | Collection[str]
    top: int | None
    columns: str | Sequence[str] | None
    tablefmt: str
    sort: str | None
    numbers: Numbers
    width: int | None
    color: bool
    bar: bool | None
    conditions: bool


class OverviewOptions(TypedDict, total=False):
    """List the keyword options of :func:`overview`, for functions that pass them on."""

    expand: bool | str | Collection[str]
    width: int | None
    color: bool
    bar: bool | None
    bottlenecks: bool
    conditions: bool


@with_gc_disabled
@explain_arguments(error=ProfileArgumentError)
def table(
    rows: Sequence[Row],
    by: str | tuple[str, ...] = "module",
    *,
    depth: int | None = None,
    expand: bool | str | Collection[str] = False,
    top: int | None = None,
    columns: str | Sequence[str] | None = None,
    tablefmt: str = "simple",
    sort: str | None = None,
    numbers: Numbers = "auto",
    width: int | None = None,
    color: bool = False,
    bar: bool | None = None,
    conditions: bool = False,
    symbolic: Symbolic = NUMBERS,
    modules: Sequence[ModuleRecord] = (),
    memory: Memory | None = None,
) -> str:
    """Write rows as a table with parameters if known, calls, macs, flops, share of the flops, and times if any.

    In the module tree, consecutive modules that differ only by a number in their names share one line:
    ``0-79 x80 (Block)`` stands for eighty modules, with the sum of their costs.

    Args:
        rows: The rows to show.
        by: ``"module"`` for the module tree with its operators; else a key of rows, or a tuple of keys, for a list.
        depth: How many levels of the module tree to show below the roots. None shows all. The operators of hidden
            modules share lines where the tree would else be longer than that of :func:`overview`, unless ``tablefmt``
            is one for programs.
        expand: True shows the repeated modules of the tree one by one. A path, or a collection of paths, does so for
            the modules right below it (``"Model.layers"``) or for one module (``"Model.layers.3"``). Paths may contain
            the wildcards ``*`` and ``?``.
        top: How many lines to show, the largest by ``sort`` or else by flops; the others are added up in one line. In
            the module tree these are the largest operators wherever they are, below the modules that ran them; in each
            of these one line adds up what is left out.
        columns: Names, as a sequence or separated by commas: ``"calls"``, ``"macs"``, ``"ops"``, ``"flops"``,
            ``"transcendentals"``, ``"bytes"``, ``"bytes_read"``, ``"bytes_written"``,
            ``"sent"`` (bytes that collectives put on the wire), ``"intensity"`` (flops per byte), ``"seconds"``,
            their ``"spread"`` over repeated runs, ``"s/call"`` for the average over the calls of an
            operator, ``"flop/s"``, ``"%"`` of the flops, ``"bar"`` to draw that; ``"forward"``, ``"backward"``,
            ``"recompute"``, ``"optimizer"``, ``"prefill"`` and ``"decode"`` for the flops of a phase, ``"phases"`` for
            all phases in the rows;
            ``"activations"`` for the elements that multiply-accumulates made. In the module tree also ``"params"`` and
            ``"trainable"`` for the parameters of a module and all below it, ``"input"`` and ``"output"`` for the shapes
            of its calls; with ``memory``, ``"saved"`` for the bytes that the module and all below it keep for the
            backward pass, ``"peak"`` for the highest live bytes while it ran. By default as many of the usual columns
            as fit.
        tablefmt: Any format of :mod:`tabulate`.
        sort: A column such as ``"flops"``, largest first, or ``"name"``; None keeps the order of execution.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``: exact numbers if they fit.
        width: In characters; by default the terminal's.
        color: Whether to write escape codes for a terminal; :func:`opflops.report.text.color.wants_color` tells
            if the terminal has colors. Markup formats ignore it.
        bar: Whether to draw shares as bars beside the usual columns where they fit; by default if the output is a
            terminal.
        conditions: Whether to list all conditions under which formulas hold, and not the shortest few of many.
        symbolic: The dimensions of costs that are expressions.
        modules: Parameters and shapes of modules, for the module tree.
        memory: What was kept in memory, for the module tree.

    Raises:
        ProfileError: A key, a column, an order, a path or a format is unknown, or ``depth`` or ``top`` is too small.
    """
    keys = keys_of(by, "table()")
    check_count("depth", depth, 0)
    check_count("top", top)
    check_text("tablefmt", tablefmt, "tablefmt='github'")
    _check_layout(expand, width, color=color, bar=bar, conditions=conditions)
    symbolic = symbolic._replace(lists_conditions=conditions)
    sizes = example_sizes(symbolic.dimensions)
    floating = floating_rows(rows)
    sort = "flops" if sort is None and top is not None else sort
    is_tree = keys == ("module",)
    sentences: list[str] = []
    facts = module_facts(modules, memory) if is_tree else {}
    whole = total_line(rows, floating, total_facts(facts, memory) if is_tree else None, ranks=symbolic.ranks)
    names = choose_columns(columns, whole.amount, symbolic.timing)
    check_module_columns([*names, sort], keys)
    if is_tree:
        options: dict[str, Any] = {"sizes": sizes, "expand": expand, "facts": facts, "columns": names}
        short = {**options, "join_costless": True}
        tree = tree_lines(floating, depth=depth, sort=sort, top=top, **options)
        if depth is not None and top is None and not is_markup(tablefmt):
            usual = len(tree_lines(floating, max_lines=_OVERVIEW_LINES, **short).lines)
            if len(tree.lines) > usual:
                tree = tree_lines(floating, depth=depth, sort=sort, max_lines=usual, keep_depth=True, **short)
                sentences += _summary_notes(tree, depth)
        lines, heading = tree.lines, MODULES
        sentences += [f"{REPEATS_NOTE} {HOW_TO_EXPAND}"] if tree.repeated else []
        sentences += module_notes(names, tree, modules, memory)
    elif keys == ("rank",) and symbolic.ranks:
        found = rank_lines(floating, symbolic.ranks)
        lines, heading = keep_top(found, sort_positions(found, sort, sizes), top), "rank"
    else:
        lines, heading = list_lines(floating, keys, sort, sizes, top), " / ".join(keys)
    laid = lay_out(
        heading,
        lines,
        whole,
        columns=columns,
        tablefmt=tablefmt,
        numbers=numbers,
        width=width,
        sizes=sizes,
        color=color,
        bar=bar,
        timing=symbolic.timing,
    )
    if is_markup(tablefmt):
        return laid.text
    if rows and not floating:
        return "\n".join(wrap_sentences(notes(rows, symbolic), width))
    sentences += [*_column_notes([laid]), *notes(rows, symbolic)]
    return "\n".join([laid.text, "", *wrap_sentences(sentences, width)])


@with_gc_disabled
@explain_arguments(error=ProfileArgumentError)
def overview(
    rows: Sequence[Row],
    symbolic: Symbolic = NUMBERS,
    *,
    expand: bool | str | Collection[str] = False,
    width: int | None = None,
    color: bool = False,
    bar: bool | None = None,
    modules: Sequence[ModuleRecord] = (),
    memory: Memory | None = None,
    fit: str = "",
    bottlenecks: bool = True,
    conditions: bool = False,
    ranking: Ranking | None = None,
) -> str:
    """Write the report that ``print`` shows: the module tree, the operators, what was kept in memory, and notes.

    If there are several phases or dtypes, they get tables too. If the tree is too long to read at once, operators share
    lines and deep modules are hidden; a note says so.

    Args:
        rows: The rows to show.
        symbolic: The dimensions of costs that are expressions.
        expand: As in :func:`table`.
        width: As in :func:`table`.
        color: As in :func:`table`.
        bar: As in :func:`table`.
        modules: As in :func:`table`.
        memory: What was kept in memory; None if that is not known.
        fit: A sentence on whether that fits a device.
        bottlenecks: Whether to show the modules and operators that take most of the time, if that was measured.
        conditions: As in :func:`table`.
        ranking: Those; None without times.

    Raises:
        ProfileError: A path to expand is unknown.
    """
    _check_layout(expand, width, color=color, bar=bar, conditions=conditions)
    symbolic = symbolic._replace(lists_conditions=conditions)
    floating = floating_rows(rows)
    check_flag("bottlenecks", bottlenecks)
    kept = [] if memory is None else [*memory_lines(memory, fit, width=width, color=color), ""]
    if bottlenecks and ranking is not None:
        kept = [*bottleneck_lines(ranking, width=width, color=color), "", *kept]
    if rows and not floating:
        return "\n".join([*kept, *wrap_sentences(notes(rows, symbolic), width)])
    sizes = example_sizes(symbolic.dimensions)
    facts = module_facts(modules, memory)
    whole = total_line(rows, floating, total_facts(facts, memory), ranks=symbolic.ranks)
    names = choose_columns(None, whole.amount, symbolic.timing)
    tree = tree_lines(
        floating,
        sizes=sizes,
        max_lines=_OVERVIEW_LINES,
        expand=expand,
        join_costless=True,
        facts=facts,
        columns=names,
    )
    without_facts = total_line(rows, floating, ranks=symbolic.ranks)
    operators = operator_lines(floating, sizes)
    parts = [(MODULES, tree.lines, whole), ("op", operators, without_facts)]
    several = [key for key in ("phase", "dtype") if len(set(map(attrgetter(key), floating))) > 1]
    parts += [(key, list_lines(floating, (key,), None, sizes), without_facts) for key in several]

    if len(symbolic.ranks) > 1:
        by_rank = rank_lines(floating, symbolic.ranks)
        order = sort_positions(by_rank, "flops" if len(by_rank) > OVERVIEW_RANKS else None, sizes)
        parts.append(("rank", keep_top(by_rank, order, OVERVIEW_RANKS), without_facts))

    def laid_out(numbers: Numbers) -> list[FittedTable]:
        timing = symbolic.timing
        return [
            lay_out(*part, numbers=numbers, width=width, sizes=sizes, color=color, bar=bar, timing=timing)
            for part in parts
        ]

    laid = laid_out("auto")
    if "scaled" in {each.style for each in laid}:
        # Numbers of one style can be compared between tables.
        laid = laid_out("scaled")
    sentences = [
        *shortening_notes(tree),
        *([f"{REPEATS_NOTE} {HOW_TO_EXPAND}"] if tree.repeated else []),
        *module_notes(names, tree, modules, memory),
        *_column_notes(laid),
        *notes(rows, symbolic),
    ]
    return "\n".join([*(f"{each.text}\n" for each in laid), *kept, *wrap_sentences(sentences, width)])


def _check_layout(expand: object, width: object, *, color: object, bar: object, conditions: object) -> None:
    """Check the options that tables and overviews share.

    Raises:
        ProfileArgumentError: One has the wrong type.
    """
    paths = (expand,) if isinstance(expand, (bool, str)) else expand
    if not isinstance(paths, Collection) or not all(isinstance(path, (bool, str)) for path in paths):
        raise ProfileArgumentError(f"expand must be True, or paths of modules, not {describe(expand)}.")
    check_count("width", width, 0, otherwise=", or None for the terminal's")
    check_flag("color", color)
    check_flag("conditions", conditions)
    if bar is not None:
        check_flag("bar", bar)


def total_line(
    rows: Sequence[Row], floating: Sequence[Row], facts: ModuleFacts | None = None, *, ranks: Sequence[int] = ()
) -> Line:
    """Add up all floating-point rows."""
    return Line(total_label(rows, ranks), Amount(floating, facts), kind=TOTAL)


def operator_lines(rows: Sequence[Row], sizes: Sizes) -> list[Line]:
    """List the operators for a report at a glance: the largest ones, then the sums of the others."""
    lines = list_lines(rows, ("op",), "flops", sizes)
    # By time, operators without arithmetic may matter.
    lines, costless = (lines, []) if any(row.seconds for row in rows) else split_costless(lines)
    # A line for one other operator would be as long as its own.
    top = max(OVERVIEW_OPERATORS, len(lines)) if len(lines) == OVERVIEW_OPERATORS + 1 else OVERVIEW_OPERATORS
    return [*keep_top(lines, list(range(len(lines))), top), *costless]


def list_lines(
    rows: Sequence[Row], keys: tuple[str, ...], sort: str | None, sizes: Sizes, top: int | None = None
) -> list[Line]:
    """List a line for each value of some keys of rows, in order; with ``top`` the others are added up."""
    found = []
    for value, part in group_rows(rows, *keys, caller="table(by=…)").items():
        values = value if isinstance(value, tuple) else (value,)
        label = " / ".join(_NO_RANK if each is None else OUTSIDE if each == "" else str(each) for each in values)
        if "op" in keys and not all(row.priced for row in part):
            label = f"{label} (unpriced)"
        found.append(Line(printable(label), Amount(part)))
    return keep_top(found, sort_positions(found, sort, sizes), top)


def shortening_notes(modules: TreeLines) -> list[str]:
    """Say what the tree hides, and how to show it."""
    if modules.depth is not None:
        return [f"Modules deeper than level {modules.depth} are folded into those above. Show all {_HOW_TO_SHOW_ALL}."]
    if modules.shortened:
        return [f"Some operators share a line. Show all {_HOW_TO_SHOW_ALL}."]
    return []


def _summary_notes(tree: TreeLines, depth: int) -> list[str]:
    """Say what a tree of a chosen depth hides."""
    if tree.siblings is not None:
        return [
            f"Only the {tree.siblings} largest modules of each module are shown. Show all with --depth {depth + 1}."
        ]
    return ["Some operators share a line. Show all with --by module, or --by op."]


def module_notes(
    names: Sequence[str], tree: TreeLines, modules: Sequence[ModuleRecord], memory: Memory | None
) -> list[str]:
    """Explain the columns of modules, and say why one is blank."""
    sentences = []
    if not set(names).isdisjoint(PARAMETER_COLUMNS):
        sentences += parameter_notes(modules, tree.modules)
    shapes = [name for name in names if name in (INPUT, OUTPUT)]
    amounts = [line.amount for line in tree.lines]
    if shapes and (usual := dtype_of_shapes(amounts)):
        sentences.append(f"Shapes without a dtype are {usual}.")
    if any(has_several_shapes(name, amounts) for name in shapes):
        sentences.append("+N more: other calls had N other shapes.")
    if not modules and (blank := [name for name in names if name in PARAMETER_COLUMNS or name in shapes]):
        sentences.append(f"{join_names(blank)}: not known of this profile. It has no modules, or is of an old file.")
    if memory is None and (blank := [name for name in names if name in MEMORY_COLUMNS]):
        sentences.append(f"{join_names(blank)}: not known. Count with memory=True, or with --memory.")
    return sentences


def _column_notes(laid: Sequence[FittedTable]) -> list[str]:
    """Explain the columns whose names do not, and list the hidden ones."""
    shown = set().union(*(each.headers for each in laid))
    phases = [phase for phase in PHASES if phase in shown]
    return [
        *([f"Column{'s' if len(phases) > 1 else ''} {join_names(phases)}: flops of the phase."] if phases else []),
        *(["intensity = flops / bytes."] if "intensity" in shown else []),
        *fitting_notes(laid),
    ]
