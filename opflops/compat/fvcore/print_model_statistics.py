"""``flop_count_table`` and ``flop_count_str``: parameters, flops and activations beside the modules of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from opflops.compat.fvcore.parameter_count import parameter_count
from opflops.records.display import ReportText

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from opflops.compat.fvcore.activation_count import ActivationCountAnalysis
    from opflops.compat.fvcore.flop_count import FlopCountAnalysis
    from opflops.compat.fvcore.jit_analysis import JitModelAnalysis

Texts = dict[str, dict[str, str]]
_UNITS = ((1e14, 1e15, "P"), (1e11, 1e12, "T"), (1e8, 1e9, "G"), (1e5, 1e6, "M"), (1e2, 1e3, "K"))
_MISSING = (
    "N/A indicates a possibly missing statistic: the module was not called itself, and what it did is in those of the "
    "module that ran.\n"
)


def flop_count_str(flops: FlopCountAnalysis, activations: ActivationCountAnalysis | None = None) -> str:
    """Return a model's ``repr`` with the parameters and flops of each module.

    Modules with neither have none written. Those that were not called have ``N/A``. Both analyses are silenced.

    Args:
        flops: The analysis of the model.
        activations: If given, activations are written, too.
    """
    model = flops._model  # noqa: SLF001 - of this package
    analyses: dict[str, JitModelAnalysis] = {"#flops": flops}
    if activations is not None:
        analyses["#acts"] = activations
    counts = {"#params": dict(parameter_count(model)), **{name: _counts_of(each) for name, each in analyses.items()}}
    uncalled = {name: each.uncalled_modules() for name, each in analyses.items()}
    all_uncalled: set[str] = set().union(*uncalled.values())
    by_module = _group_by_module(_fill_missing_statistics(model, counts))
    texts = _pretty_statistics(_remove_zero_statistics(by_module, force_keep=all_uncalled), sig_figs=2)
    for name, modules in uncalled.items():
        texts = _indicate_uncalled_modules(texts, name, modules)
    return ReportText((_MISSING if all_uncalled else "") + _model_stats_str(model, texts))


def flop_count_table(
    flops: FlopCountAnalysis,
    max_depth: int = 3,
    activations: ActivationCountAnalysis | None = None,
    show_param_shapes: bool = True,
) -> str:
    """Return a table of the parameters and flops of a model's modules.

    Modules that have a single child with the same statistics share a row with it. Both analyses are silenced.

    Args:
        flops: The analysis of the model.
        max_depth: How many levels below the model are shown.
        activations: If given, activations are a column, too.
        show_param_shapes: Whether parameters have rows with their shapes.
    """
    model = flops._model  # noqa: SLF001 - of this package
    parameters = "#parameters or shape" if show_param_shapes else "#parameters"
    analyses: dict[str, JitModelAnalysis] = {"#flops": flops}
    if activations is not None:
        analyses["#activations"] = activations
    counts = {parameters: dict(parameter_count(model)), **{name: _counts_of(each) for name, each in analyses.items()}}
    texts = _pretty_statistics(_remove_zero_statistics(_group_by_module(counts), require_trivial_children=True))
    for name, analysis in analyses.items():
        shown = analysis.uncalled_modules() & texts.keys()
        texts = _indicate_uncalled_modules(texts, name, shown, uncalled_indicator="")
    for name, parameter in model.named_parameters():
        if not show_param_shapes:
            texts.pop(name, None)
        elif name in texts:
            texts[name][parameters] = str(tuple(parameter.shape))
    return ReportText(_model_stats_table(texts, max_depth, [parameters, *analyses]))


def _counts_of(analysis: JitModelAnalysis) -> dict[str, Any]:
    """Return the counts of all modules, without any warnings, as fvcore does."""
    analysis.unsupported_ops_warnings(enabled=False)
    analysis.uncalled_modules_warnings(enabled=False)
    analysis.tracer_warnings("none")
    return dict(analysis.by_module())


def _format_size(x: float, sig_figs: int = 3, hide_zero: bool = False) -> str:
    """Write a number with a unit, and at most so many digits after the point."""
    if hide_zero and x == 0:
        return ""
    for least, size, letter in _UNITS:
        if abs(x) > least:
            return f"{x / size:.{sig_figs}f}".rstrip("0").rstrip(".") + letter
    return f"{x:.{sig_figs}f}".rstrip("0").rstrip(".")


def _pretty_statistics(
    statistics: Mapping[str, Mapping[str, float]], sig_figs: int = 3, hide_zero: bool = False
) -> Texts:
    """Write the numbers of each module."""
    return {
        name: {column: _format_size(number, sig_figs, hide_zero) for column, number in numbers.items()}
        for name, numbers in statistics.items()
    }


def _group_by_module(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Turn numbers by column and module into numbers by module and column."""
    grouped: dict[str, dict[str, Any]] = {}
    for column, numbers in statistics.items():
        for name, number in numbers.items():
            grouped.setdefault(name, {})[column] = number
    return grouped


def _fill_missing_statistics(
    model: nn.Module, statistics: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Add 0 for each module that has no number in a column."""
    zeros = dict.fromkeys((name for name, _ in model.named_modules()), 0)
    return {
        column: {**numbers, **{name: 0 for name in zeros if name not in numbers}}
        for column, numbers in statistics.items()
    }


def _indicate_uncalled_modules(
    statistics: Mapping[str, Mapping[str, str]],
    stat_name: str,
    uncalled_modules: set[str],
    uncalled_indicator: str = "N/A",
) -> Texts:
    """Write that a number is missing, in one column of the modules that were not called."""
    marked = {name: dict(texts) for name, texts in statistics.items()}
    for name in sorted(uncalled_modules):
        marked.setdefault(name, {})[stat_name] = uncalled_indicator
    return marked


def _children(name: str, statistics: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names just below a name; the dict may be changed meanwhile."""
    prefix = f"{name}." if name else ""
    for each in list(statistics):
        if each and each.startswith(prefix) and each.count(".") == prefix.count("."):
            yield each


def _remove_zero_statistics(
    statistics: Mapping[str, Mapping[str, Any]],
    force_keep: set[str] | None = None,
    require_trivial_children: bool = False,
) -> dict[str, dict[str, Any]]:
    """Leave out modules whose numbers are all 0.

    Args:
        statistics: Numbers by module and column.
        force_keep: The modules that are kept; by default the model.
        require_trivial_children: Keep a module of which a child is kept.
    """
    kept: dict[str, dict[str, Any]] = {}
    always = force_keep or {""}

    def add(name: str) -> None:
        children = list(_children(name, statistics))
        for child in children:
            add(child)
        below = require_trivial_children and any(child in kept for child in children)
        if below or name in always or any(number != 0 for number in statistics[name].values()):
            kept[name] = dict(statistics[name])

    add("")
    return kept


def _model_stats_str(model: nn.Module, statistics: Mapping[str, Mapping[str, str]]) -> str:
    """Return a model's ``repr`` with the texts of each module after its own."""

    def write(module: nn.Module | None, name: str) -> str:
        if module is None:
            return "None"
        lines = [line for line in (module.extra_repr(),) if line]
        if texts := statistics.get(name):
            lines.append(", ".join(f"{column}: {text}" for column, text in texts.items()))
        lines = "\n".join(lines).split("\n") if lines else []
        children = [
            f"({key}): " + write(child, f"{name}.{key}" if name else key).replace("\n", "\n  ")
            for key, child in module._modules.items()  # noqa: SLF001 - named_children() leaves out second names
        ]
        heading = module._get_name()  # noqa: SLF001 - what repr() begins with
        if len(lines) == 1 and not children:
            return f"{heading}({lines[0]})"
        inside = "".join(f"  {line}\n" for line in (*lines, *children))
        return f"{heading}(\n{inside})" if inside else f"{heading}()"

    return write(model, "")


def _with_only_children(name: str, statistics: Texts) -> str:
    """Return the last of the modules, from one down, that are an only child and have the same texts, or some only.

    The texts of all are written to that module.
    """
    children = list(_children(name, statistics))
    if len(children) != 1:
        return name
    (child,) = children
    texts, below = statistics[name], statistics[child]
    if texts.keys() != below.keys() or any(texts[key] and below[key] and texts[key] != below[key] for key in texts):
        return name
    statistics[child] = {key: text or below[key] for key, text in texts.items()}
    return _with_only_children(child, statistics)


def _model_stats_table(
    statistics: Mapping[str, Mapping[str, str]], max_depth: int = 3, stat_columns: Sequence[str] | None = None
) -> str:
    """Return a table of the texts of modules.

    Args:
        statistics: Texts by module and column.
        max_depth: How many levels below the model are shown.
        stat_columns: The columns; by default all there are.
    """
    given: Texts = {name: dict(texts) for name, texts in statistics.items()}
    columns = stat_columns or list(dict.fromkeys(column for texts in given.values() for column in texts))
    rows: list[list[str]] = []

    def add_row(name: str, label: str, depth: int) -> None:
        texts, indent = given[name], " " * depth
        rows.append([indent + label, *(indent + texts[column] if column in texts else "" for column in columns)])

    def add_below(name: str, depth: int) -> None:
        for child in _children(name, given) if depth <= max_depth else ():
            last = _with_only_children(child, given)
            add_row(last, last.removeprefix(prefix), depth)
            add_below(last, depth + 1)

    root = _with_only_children("", given)
    prefix = f"{root}." if root else ""
    add_row(root, root or "model", 0)
    add_below(root, 1)
    return tabulate(rows, headers=["module", *columns], tablefmt="pipe", preserve_whitespace=True)
