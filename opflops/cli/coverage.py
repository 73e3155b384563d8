"""``opflops coverage``: how PyTorch's operators are priced, in numbers, as a list, or one operator and its formula."""

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
from opflops.cli.arguments import Parser, general, one_of
from opflops.errors import TargetError
from opflops.pricing.registration import coverage
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of
from opflops.torch_internals.dispatch import packet_of, schema_of, third_party_formulas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.torch_internals.dispatch import OpOverload

VERDICTS = ("formula", "zero", "decomposes", "unpriced")

_MEANING = {
    "zero": "Declared to do no arithmetic.",
    "decomposes": "PyTorch runs it as other operators, which are counted one by one.",
    "unpriced": "Nothing prices it: it is warned about, listed in reports, and an error under strict=True.",
}


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops coverage",
        "Show how PyTorch's operators are priced: counts by namespace; with a namespace\n"
        "its operators; with an operator, such as aten.mm, its formula and its place.",
    )
    group = made.add_argument_group("arguments")
    group.add_argument("name", nargs="?", metavar="NAME", help="a namespace (aten) or an operator (aten.mm, mm)")
    group.add_argument("--verdict", metavar="VERDICT", type=one_of("verdict", VERDICTS), choices=VERDICTS,
                       help=f"list only the operators of this one: {', '.join(VERDICTS)}")  # fmt: skip
    group.add_argument("--format", default="simple", metavar="NAME", type=one_of("format", tabulate_formats),
                       choices=tabulate_formats, help="a table format of tabulate: github, tsv, html …")  # fmt: skip
    general(made)
    return made


def command(argv: Sequence[str]) -> int:
    """Print the report; returns the exit code."""
    output.show(report(argv))
    return 0


def report(argv: Sequence[str]) -> str:
    """Answer the subcommand.

    Raises:
        TargetError: There is no such namespace, operator or format; the message gives the nearest names.
    """
    arguments = parser().parse_args(argv)
    name = (arguments.name or "").replace("::", ".")
    verdicts = coverage()
    namespace, _, rest = name.partition(".")
    _define(namespace)
    if name and not rest:
        verdicts = coverage(namespace) or verdicts
    elif name:
        verdicts |= coverage(namespace)
    if operator := _operator(name, verdicts):
        return _explained(operator)
    if name and not any(known.startswith(f"{name}.") for known in verdicts):
        raise TargetError(_unknown(name, verdicts))
    chosen = {
        known: verdict
        for known, verdict in verdicts.items()
        if known.startswith(f"{name}." if name else "") and arguments.verdict in (None, verdict)
    }
    if name or arguments.verdict:
        return tabulate(sorted(chosen.items()), ("operator", "verdict"), tablefmt=arguments.format)
    return _summary(chosen, arguments.format)


def _define(namespace: str) -> None:
    """Import the package whose operators have prices by name, which it defines when it is imported."""
    if namespace in {name.partition("::")[0] for name in registry.named} and not coverage(namespace):
        with suppress(ImportError, RuntimeError):
            import_module(namespace)


def _operator(name: str, verdicts: dict[str, str]) -> str | None:
    """Complete an operator's name, which may leave out aten or add an overload."""
    for candidate in (name, f"aten.{name}", name.rpartition(".")[0]):
        if candidate in verdicts:
            return name if candidate != f"aten.{name}" else candidate
    return None


def _unknown(name: str, verdicts: dict[str, str]) -> str:
    known = {*verdicts, *(each.partition(".")[2] for each in verdicts)}
    near = difflib.get_close_matches(name, sorted(known), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "an operator is named as in aten.mm."
    return f"The dispatcher knows no operator or namespace {name!r}; {hint}"


def _summary(verdicts: dict[str, str], tablefmt: str) -> str:
    """Count the verdicts of each namespace."""
    counts: dict[str, Counter[str]] = {}
    for known, verdict in verdicts.items():
        counts.setdefault(known.partition(".")[0], Counter())[verdict] += 1
    lines = [(name, sum(found.values()), *(found[each] for each in VERDICTS)) for name, found in counts.items()]
    lines.append(("total", *(sum(column) for column in list(zip(*lines, strict=True))[1:])))
    return tabulate(lines, ("namespace", "operators", *VERDICTS), tablefmt=tablefmt, intfmt=",")


def _explained(operator: str) -> str:
    """Tell how each overload of an operator is priced, with the formula's own words."""
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
        parts.setdefault(_price(each), []).append(str(schema_of(each)))
    return "\n\n".join("\n".join([*schemas, "", price]) for price, schemas in parts.items())


def _price(overload: OpOverload) -> str:
    """Write the verdict of an overload, the formula's docstring and where it stands."""
    verdict = registry.verdict(overload)
    entry = registry.get_rule(overload)
    formula: Any = entry.formula if entry else third_party_formulas().get(packet_of(overload))
    if verdict != "formula":
        return f"{verdict}: {_MEANING[verdict]}"
    words = inspect.getdoc(formula) or "(It has no docstring.)"
    return f"formula: {words}\n{_place(formula)}"


def _place(formula: Any) -> str:
    """Give the file and line of a formula; of one made from a table, the line that names it there."""
    function = inspect.unwrap(formula)
    code = function.__code__
    path = getattr(inspect.getmodule(function), "__file__", None) or code.co_filename
    line = code.co_firstlineno
    if code.co_name != function.__name__ or code.co_filename != path:
        named = re.compile(rf"\b{re.escape(function.__name__)}\b")
        lines = linecache.getlines(path)
        line = next((number for number, text in enumerate(lines, 1) if named.search(text)), 1)
    return f"{path}:{line}"
