"""What a notebook shows of a profile: what ``print`` shows, with a module tree that can be folded."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from opflops.records.dimensions import example_sizes
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.rows import floating_rows
from opflops.report.notebook.parts import WIDEST_NUMBER, Grid, Notes
from opflops.report.notes import notes
from opflops.report.text import columns as shown
from opflops.report.text.bottlenecks_table import (
    HOW_TO_SHOW_MORE,
    MINOR_COLUMNS,
    NOTHING_TO_OPTIMIZE,
    basis_note,
    left_out,
    ranking_notes,
    ranking_sheets,
)
from opflops.report.text.memory_lines import MINOR_COLUMNS as MINOR_MEMORY
from opflops.report.text.memory_lines import memory_sentences, memory_sheet
from opflops.report.text.module_facts import mark_shared, module_facts, total_facts
from opflops.report.text.rank_lines import rank_lines
from opflops.report.text.sheet import Sheet, natural_width
from opflops.report.text.tables import (
    HOW_TO_EXPAND,
    MODULES,
    OVERVIEW_RANKS,
    REPEATS_NOTE,
    list_lines,
    module_notes,
    operator_lines,
    shortening_notes,
    total_line,
)
from opflops.report.text.terminal import max_width
from opflops.report.text.tree_lines import TreeLines, keep_top, tree_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opflops.records.bottlenecks import Ranking
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.report.amounts import Line, ModuleFacts
    from opflops.report.notebook.parts import Limits, Part
    from opflops.report.notes import Symbolic
    from opflops.report.text.comparison import ComparisonTables

_WIDTH = 100
_KEPT = (None, 24, 12, 6, 3)
_MAX_IN_OVERVIEW = 3
_TITLES = {"op": "operators", "phase": "phases", "dtype": "dtypes", "rank": "ranks"}


@with_gc_disabled
def overview_parts(
    rows: Sequence[Row],
    symbolic: Symbolic,
    *,
    modules: Sequence[ModuleRecord] = (),
    memory: Memory | None = None,
    ranking: Ranking | None = None,
    limits: Limits,
) -> list[Part]:
    """List the parts of a profile's display.

    Args:
        rows: The rows to show.
        symbolic: The dimensions of costs that are expressions, and what is said of the profile.
        modules: Parameters and shapes of modules.
        memory: What was kept in memory; None if that is not known.
        ranking: Which modules and operators take most of the time; None without times.
        limits: How many lines may be shown.
    """
    floating = floating_rows(rows)
    extra = [
        *(ranking_parts(ranking, _MAX_IN_OVERVIEW) if ranking is not None else []),
        *(memory_parts(memory, is_open=not floating) if memory is not None else []),
    ]
    if not floating and (rows or not symbolic.ranks):
        return [*extra, Notes(notes(rows, symbolic) or ["Nothing was counted."])]
    sizes = example_sizes(symbolic.dimensions)
    facts = module_facts(modules, memory)
    whole = total_line(rows, floating, total_facts(facts, memory), ranks=symbolic.ranks)
    names = [name for name in shown.choose_columns(None, whole.amount, symbolic.timing) if name != shown.BAR]
    tree, cut = _fitting_tree(floating, sizes, facts, names, limits.lines)
    without_facts = total_line(rows, floating, ranks=symbolic.ranks)
    plain = [name for name in names if name not in shown.MODULE_COLUMNS]
    listed = list(_lists(floating, symbolic, sizes))
    exact = _tree_and_lists(tree, whole, without_facts, names, plain, listed, sizes, "exact")
    style = "exact" if all(natural_width(sheet, "simple") <= _WIDTH for sheet in exact) else "scaled"
    sheets = (
        exact
        if style == "exact"
        else _tree_and_lists(tree, whole, without_facts, names, plain, listed, sizes, "scaled")
    )
    grids: list[Part] = []
    for number, (sheet, full) in enumerate(zip(sheets, exact, strict=True)):
        amounts = [line.amount for line in (*(tree.lines if not number else listed[number - 1][1]), whole)]
        key = "" if not number else listed[number - 1][0]
        grids.append(
            Grid(
                sheet,
                _TITLES.get(key, ""),
                is_open=number == 0,
                is_tree=number == 0,
                minor=[name for name in names if name not in ("flops", shown.SHARE, "seconds")],
                exact=full.columns if style == "scaled" else (),
                shares=shown.shares(amounts, sizes),
            )
        )
    repeats = [f"{REPEATS_NOTE} {HOW_TO_EXPAND}"] if tree.repeated else []
    sentences = [*cut, *shortening_notes(tree), *repeats, *module_notes(names, tree, modules, memory)]
    return [*grids, *extra, Notes([*sentences, *notes(rows, symbolic)])]


def _lists(floating: Sequence[Row], symbolic: Symbolic, sizes: Mapping[str, int]) -> Iterator[tuple[str, list[Line]]]:
    """List the lines of operators, and of phases, dtypes and ranks if there are several."""
    yield "op", operator_lines(floating, sizes)
    for key in ("phase", "dtype"):
        if len(set(map(attrgetter(key), floating))) > 1:
            yield key, list_lines(floating, (key,), None, sizes)
    if len(symbolic.ranks) > 1:
        by_rank = rank_lines(floating, symbolic.ranks)
        order = shown.sort_positions(by_rank, "flops" if len(by_rank) > OVERVIEW_RANKS else None, sizes)
        yield "rank", keep_top(by_rank, order, OVERVIEW_RANKS)


def _tree_and_lists(
    tree: TreeLines,
    whole: Line,
    without_facts: Line,
    names: Sequence[str],
    plain: Sequence[str],
    listed: Sequence[tuple[str, list[Line]]],
    sizes: Mapping[str, int],
    style: str,
) -> list[Sheet]:
    return [
        _sheet(MODULES, [*tree.lines, whole], names, sizes, style),
        *(_sheet(key, [*lines, without_facts], plain, sizes, style) for key, lines in listed),
    ]


def _sheet(heading: str, lines: Sequence[Line], names: Sequence[str], sizes: Mapping[str, int], style: str) -> Sheet:
    amounts = [line.amount for line in lines]

    def column(name: str) -> list[str]:
        cells = shown.format_cells(name, amounts, style, sizes)
        if name in shown.PARAMETER_COLUMNS:
            return mark_shared(cells, amounts)
        return shown.mark_once(cells, amounts) if name == "seconds" else cells

    return Sheet(heading, lines, list(names), [column(name) for name in names])


def _fitting_tree(
    floating: Sequence[Row],
    sizes: Mapping[str, int],
    facts: Mapping[str, ModuleFacts],
    names: Sequence[str],
    most: int,
) -> tuple[TreeLines, list[str]]:
    """Return the lines of the tree; if they are too many, the largest in each place, and then fewer levels."""
    for kept in _KEPT:
        sort = None if kept is None else "flops"
        tree = tree_lines(floating, sizes=sizes, facts=facts, columns=names, top=kept, sort=sort)
        if len(tree.lines) <= most:
            break
    else:
        tree = tree_lines(floating, sizes=sizes, facts=facts, columns=names, max_lines=most, top=kept, sort=sort)
    if kept is None:
        return tree, []
    several = "the largest" if kept == 1 else f"the {kept} largest modules and operators"
    return tree, [f"Cut: {several} are shown in each place, and the others added up. table() shows all."]


def memory_parts(memory: Memory, *, is_open: bool = True) -> list[Part]:
    """List the parts that show what was kept in memory."""
    sheet = memory_sheet(memory)
    return [
        Grid(sheet, "memory", is_open=is_open, is_tree=True, minor=MINOR_MEMORY),
        Notes(memory_sentences(memory), "about memory", is_open=is_open),
    ]


def ranking_parts(ranking: Ranking, top: int | None) -> list[Part]:
    """List the parts that show where to optimize; with few lines for the display of a profile."""
    if not ranking.seconds:
        return [Notes([NOTHING_TO_OPTIMIZE, *ranking_notes(ranking)])]
    sheets, explained = ranking_sheets(ranking, top)
    is_short = top == _MAX_IN_OVERVIEW
    sentences = (
        [f"{explained} {HOW_TO_SHOW_MORE}", *left_out(ranking)]
        if is_short
        else [
            explained,
            *ranking_notes(ranking),
        ]
    )
    return [
        Notes([basis_note(ranking)]),
        *(Grid(sheet, minor=MINOR_COLUMNS) for sheet in sheets),
        Notes(sentences),
    ]


def comparison_parts(tables: ComparisonTables) -> list[Part]:
    """List the parts that show how profiles differ."""
    exact = [make("exact") for make in tables.sheets]
    is_wide = any(natural_width(sheet, "simple") > _WIDTH for sheet in exact)
    sheets = [make("scaled") for make in tables.sheets] if is_wide else exact
    full = [sheet.columns if is_wide else () for sheet in exact]
    # The number before is that after without the change. Long numbers and formulas have lines of their own instead.
    is_short = all(max_width(column) <= WIDEST_NUMBER for sheet in sheets for column in sheet.columns)
    minor = ("before",) if is_short else ()
    grids = [Grid(each, is_tree=True, minor=minor, exact=cells) for each, cells in zip(sheets, full, strict=True)]
    return [*grids, Notes(tables.sentences)]
