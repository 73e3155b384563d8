"""``opflops coverage``: which operators have formulas, by namespace, as a list, or the formula of one operator."""

from __future__ import annotations

import difflib
import inspect
import linecache
import re
from collections import Counter
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from tabulate import tabulate, tabulate_formats

from opflops.cli import output
from opflops.cli.arguments import Parser, add_general_options, choice
from opflops.errors import TargetError
from opflops.pricing.registration import verdicts_of
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of
from opflops.report.text.layout import fit_sheet, fitting_notes
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet
from opflops.torch_internals.dispatch import packet_of, schema_of, third_party_formulas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.torch_internals.dispatch import OpOverload

_MINOR_COLUMNS = ("decomposes", "zero")
VERDICTS = ("formula", "zero", "decomposes", "unpriced")

_MEANING = {
    "zero": "It does no arithmetic.",
    "decomposes": "PyTorch decomposes it into other operators, which are counted.",
    "unpriced": "It has no formula: opflops warns, lists it in reports, and raises an error under strict=True.",
}


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops coverage",
        "Show which operators have formulas: counts by namespace, the operators of a\n"
        "namespace, or the formula of an operator and its source file.",
    )
    group = made.add_argument_group("arguments")
    group.add_argument("name", nargs="?", metavar="NAME", help="a namespace (aten) or an operator (aten.mm, mm)")
    group.add_argument("--verdict", metavar="VERDICT", type=choice("verdict", VERDICTS), choices=VERDICTS,
                       help=f"list only operators with this verdict: {', '.join(VERDICTS)}")  # fmt: skip
    group.add_argument("--format", default="simple", metavar="NAME", type=choice("format", tabulate_formats),
                       choices=tabulate_formats, help="table format of tabulate: simple, github, tsv …")  # fmt: skip
    add_general_options(made)
    return made


def command(argv: Sequence[str]) -> int:
    """Print the report, and return the exit code."""
    output.show(report(argv))
    return 0


def report(argv: Sequence[str]) -> str:
    """Write the report.

    Raises:
        TargetError: The namespace, operator or format does not exist; the message suggests similar names.
    """
    arguments = parser().parse_args(argv)
    name = (arguments.name or "").replace("::", ".")
    verdicts = verdicts_of()
    namespace, _, rest = name.partition(".")
    _import_namespace(namespace)
    if name and not rest:
        verdicts = verdicts_of(namespace) or verdicts
    elif name:
        verdicts |= verdicts_of(namespace)
    if operator := _complete_name(name, verdicts):
        options = {"--verdict": arguments.verdict, "--format": arguments.format != "simple"}
        if given := [option for option, value in options.items() if value]:
            raise TargetError(
                f"{' and '.join(given)} would have no effect: {operator} is one operator, and only lists have verdicts "
                "and formats. Give a namespace such as aten, or no name."
            )
        return _describe_operator(operator)
    if name and not any(known.startswith(f"{name}.") for known in verdicts):
        raise TargetError(_unknown_name(name, verdicts))
    selected = {
        known: verdict
        for known, verdict in verdicts.items()
        if known.startswith(f"{name}." if name else "") and arguments.verdict in (None, verdict)
    }
    if not selected and arguments.format == "simple":
        where = f" in {name}" if name else ""
        return f"No operator{where} has the verdict {arguments.verdict}."
    if name or arguments.verdict:
        return tabulate(sorted(selected.items()), ("operator", "verdict"), tablefmt=arguments.format)
    return _summary(selected, arguments.format)


def _import_namespace(namespace: str) -> None:
    """Import the package that defines the operators of a namespace, if opflops has formulas for them by name."""
    if namespace in {name.partition("::")[0] for name in registry.named} and not verdicts_of(namespace):
        with suppress(ImportError, RuntimeError):
            import_module(namespace)


def _complete_name(name: str, verdicts: dict[str, str]) -> str | None:
    """Return the full name of an operator, which may be given without aten or with an overload; None if unknown."""
    for candidate in (name, f"aten.{name}", name.rpartition(".")[0]):
        if candidate in verdicts:
            return name if candidate != f"aten.{name}" else candidate
    return None


def _unknown_name(name: str, verdicts: dict[str, str]) -> str:
    known = {*verdicts, *(each.partition(".")[2] for each in verdicts)}
    near = difflib.get_close_matches(name, sorted(known), n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Name an operator as in aten.mm."
    return f"The dispatcher has no operator or namespace {name!r}. {hint}"


def _summary(verdicts: dict[str, str], tablefmt: str) -> str:
    """Write a table of how many operators of each namespace have each verdict."""
    counts: dict[str, Counter[str]] = {}
    for known, verdict in verdicts.items():
        counts.setdefault(known.partition(".")[0], Counter())[verdict] += 1
    rows = [(name, sum(count.values()), *(count[each] for each in VERDICTS)) for name, count in counts.items()]
    rows.append(("total", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    if tablefmt == "simple":
        names, *numbers = zip(*rows, strict=True)
        columns = [[f"{number:,}" for number in column] for column in numbers]
        sheet = Sheet("namespace", [*map(Label, names)], ["operators", *VERDICTS], columns)
        table = fit_sheet(sheet, _MINOR_COLUMNS)
        notes = wrap_sentences(fitting_notes([table]))
        return "\n".join([table.text, *(["", *notes] if notes else [])])
    return tabulate(rows, ("namespace", "operators", *VERDICTS), tablefmt=tablefmt, intfmt=",")


def _describe_operator(operator: str) -> str:
    """Write the verdict of each overload of an operator, and its formula."""
    namespace, name, *overload = operator.split(".")
    packet = getattr(getattr(torch.ops, namespace), name)
    overloads = {schema_of(each).overload_name or "default": each for each in overloads_of(packet)}
    if overload:
        if overload[0] not in overloads:
            raise TargetError(
                f"{namespace}.{name} has no overload {overload[0]!r}; it has {', '.join(sorted(overloads))}."
            )
        overloads = {overload[0]: overloads[overload[0]]}
    parts: dict[str, list[str]] = {}
    for each in overloads.values():
        parts.setdefault(_describe_overload(each), []).append(str(schema_of(each)))
    return "\n\n".join("\n".join([*schemas, "", description]) for description, schemas in parts.items())


def _describe_overload(overload: OpOverload) -> str:
    """Write the verdict of an overload, and the docstring and source location of its formula."""
    verdict = registry.verdict(overload)
    rule = registry.get_rule(overload)
    formula: Any = rule.formula if rule else third_party_formulas().get(packet_of(overload))
    if verdict != "formula":
        return f"{verdict}: {_MEANING[verdict]}"
    docstring = inspect.getdoc(formula) or "(The formula has no docstring.)"
    return f"formula: {docstring}\n{_source_location(formula)}"


def _source_location(formula: Any) -> str:
    """Return the file and line of a formula; for a formula made from a table, the line of its table entry."""
    function = inspect.unwrap(formula)
    code = function.__code__
    path = getattr(inspect.getmodule(function), "__file__", None) or code.co_filename
    line = code.co_firstlineno
    if code.co_name != function.__name__ or code.co_filename != path:
        named = re.compile(rf"\b{re.escape(function.__name__)}\b")
        lines = linecache.getlines(path)
        line = next((number for number, text in enumerate(lines, 1) if named.search(text)), 1)
    return f"{path}:{line}"
