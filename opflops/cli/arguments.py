"""The options of the command line, which are parsed before PyTorch is imported."""

from __future__ import annotations

import argparse
import ast
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from tabulate import tabulate_formats

from opflops.cli.help import Formatter
from opflops.errors import TargetError
from opflops.extras import import_torch
from opflops.records.memory import ALLOCATORS
from opflops.records.rows import KEYS
from opflops.report.text.columns import MEASURES, SORTS
from opflops.wording import is_misspelling, join, nearest, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FILE_FORMATS = ("json", "csv", "csv-modules", "folded", "speedscope", "mermaid", "mermaid-er", "page")
"""The formats that are not tables."""

FORMATS = (*FILE_FORMATS, *tabulate_formats)
DEVICE_NAMES = ("meta", "cpu", "cuda")
DTYPES = ("float32", "float64", "float16", "bfloat16")
SUBCOMMANDS = {
    "diff": "diff",
    "coverage": "coverage",
    "models": "models",
    "devices": "device_list",
    "completion": "completion",
}
"""The files of ``opflops.cli`` by subcommand."""

_TARGETS = """\
TARGET: torchvision:resnet50, timm:resnet18, hf:gpt2, hf:PATH/config.json,
package.module:callable, file.py:callable, saved.json, exported.pt2 (runs code)"""
# A suffix of a file, a folder, or a colon that is not that of cuda:0 or :tf32.
_TARGET = re.compile(r"[./\\]|:(?!(\d+|tf\d+|\d+:tf\d+)$)")
_NEGATIVE = re.compile(r"-\d")
_OTHER_NAMES = {"--output": "-o", "--out": "-o", "-f": "--format", "--json": "--format json", "--csv": "--format csv",
                "--html": "--format page", "--batch_size": "--batch", "--training": "--train"}  # fmt: skip
"""Options that other programs have, with what stands for them here."""

_EXIT = "Exit code: 0 success, 1 --strict fails, 2 misuse, 3 opflops error, 130 Ctrl-C."


class Parser(argparse.ArgumentParser):
    """Parse arguments, and raise :class:`TargetError` for a mistake instead of exiting."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=Formatter,
            add_help=False,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise an error with a message of argparse, and similar names.

        Raises:
            TargetError: Always.
        """
        head, _, rest = message.partition(": ")
        if head == "unrecognized arguments":
            given = rest.split()[0]
            if not given.startswith("-"):
                raise TargetError(f"Unexpected argument {given!r}. {self.prog} --help lists all arguments.")
            options = [name for action in self._actions for name in action.option_strings]
            option = given.partition("=")[0]
            if option in _OTHER_NAMES and _OTHER_NAMES[option].partition(" ")[0] in options:
                raise TargetError(f"There is no option {option!r}; did you mean {_OTHER_NAMES[option]}?")
            raise TargetError(self._unknown_option(option, options))
        if head.startswith("argument "):
            name = head.removeprefix("argument ")
            about = {"/".join(action.option_strings): action for action in self._actions}.get(name)
            if rest == "expected one argument" and about is not None:
                what = (about.help or "").replace("%%", "%")
                raise TargetError(f"{name} needs a value: {name} {about.metavar} ({what}).")
            sentence = f"{name}: {rest[:1].upper()}{rest[1:]}"
            raise TargetError(sentence if sentence.endswith((".", "?")) else f"{sentence}.")
        raise TargetError(f"{message[:1].upper()}{message[1:].rstrip('.')}; {self.prog} --help shows how to use it.")

    def _unknown_option(self, option: str, options: list[str]) -> str:
        """Write what an unknown option may mean: one of another command, a misspelling, or an argument of a class."""
        near = nearest(option, options)
        if near and is_misspelling(option, near[0]):
            return f"There is no option {option!r}; did you mean {near[0]}?"
        commands = [each for each in _find_commands(option) if each != self.prog]
        if commands:
            return f"{option} is an option of {join(commands, 'and')}, and not of {self.prog}."
        name = option.lstrip("-").replace("-", "_")
        hint = f" If {name} is an argument of the class or factory, write --arg {name}=VALUE." * (
            "--arg" in options and name.isidentifier() and option.startswith("--")
        )
        sentence = f"{unknown('option', option, options)}{hint}"
        return sentence if near else f"{sentence} {self.prog} --help lists all options."


def _find_commands(option: str) -> list[str]:
    """List the commands that have an option, as ``opflops diff``."""
    import_torch()  # The files of some commands need it.
    others = [name for name in SUBCOMMANDS if name != "diff"]
    parsers = [import_module(f"opflops.cli.{SUBCOMMANDS[name]}").parser() for name in others]
    return [
        each.prog
        for each in (count_parser(), diff_parser(), *parsers)
        if any(option in action.option_strings for action in each._actions)  # noqa: SLF001 - argparse has no public list
    ]


def choice(what: str, names: Sequence[str]) -> Callable[[str], str]:
    """Make the type of an option with a few values; upper and lower case are the same."""

    def parse(text: str) -> str:
        lowered = {name.lower(): name for name in names}
        if text.lower() not in lowered:
            raise argparse.ArgumentTypeError(unknown(what, text, names, list_all=True))
        return lowered[text.lower()]

    return parse


def integer(minimum: int, what: str) -> Callable[[str], int]:
    """Make the type of an option that is an integer."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"The number of {what} must be {minimum} or more, not {text!r}.")
        return int(text)

    return parse


def _parse_dtype(text: str) -> str:
    abbreviations = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}
    name = text.removeprefix("torch.").lower()
    return choice("floating dtype", DTYPES)(abbreviations.get(name, name))


def _parse_keyword(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} does not have the form NAME=VALUE, as in num_classes=10.")
    try:
        return name.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name.strip(), value


def _parse_keys(text: str) -> tuple[str, ...]:
    return tuple(choice("key to group by", KEYS)(key.strip()) for key in text.split(","))


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _parse_paths(text: str) -> tuple[str, ...] | bool:
    return _parse_list(text) or True


def protect_optional_values(argv: Sequence[str]) -> list[str]:
    """Keep options whose values are optional from parsing the target after them as one.

    The paths of ``--expand`` follow an equals sign. So may the device of ``--bottlenecks``, or else the next word is it
    unless that is another option, or has the form of a target.

    >>> protect_optional_values(["--bottlenecks", "hf:gpt2", "--bottlenecks", "t4", "--expand", "net.py:Net"])
    ['--bottlenecks=', 'hf:gpt2', '--bottlenecks=t4', '--expand=', 'net.py:Net']

    A negative size is the value of the option before it, and no option, so that the error is about the size.

    >>> protect_optional_values(["--input", "-1,4"])
    ['--input=-1,4']
    """
    end = list(argv).index("--") if "--" in argv else len(argv)
    words: list[str] = []
    rest = iter(argv[:end])
    for word in rest:
        if words and _NEGATIVE.match(word) and words[-1].startswith("--") and "=" not in words[-1]:
            words[-1] = f"{words[-1]}={word}"
        elif word == "--expand":
            words.append(f"{word}=")
        elif word != "--bottlenecks":
            words.append(word)
        else:
            following = next(rest, "")
            is_device = bool(following) and not following.startswith("-") and not _TARGET.search(following)
            words += [f"{word}={following}"] if is_device else [f"{word}=", *([following] if following else [])]
    return [*words, *argv[end:]]


def add_general_options(parser: Parser, *, version: bool = False) -> None:
    """Add the options of every subcommand."""
    group = parser.add_argument_group("general")
    text = "show this help, or the versions, and exit" if version else "show this help and exit"
    group.add_argument("-h", "--help", action="help", help=text)
    if version:
        group.add_argument("--version", action="store_true", help=text)
    text = "show no progress and notes, or show tracebacks"
    group.add_argument("--quiet", action="store_true", help=text)
    group.add_argument("--debug", action="store_true", help=text)


def add_report_options(parser: Parser) -> argparse._ArgumentGroup:
    """Add the options for reports of any kind."""
    group = parser.add_argument_group("report")
    group.add_argument(
        "--format", metavar="NAME", type=choice("format", FORMATS), choices=FORMATS,
        help="page (HTML), json, csv, folded, or a table: github …",
    )  # fmt: skip
    output = group.add_argument(
        "-o", dest="output", metavar="FILE", help="write to FILE; its suffix selects the format"
    )
    output.complete = "file"  # type: ignore[attr-defined] # opflops.cli.completion reads it
    text = "sort by flops, macs, name …; show the N largest rows"
    group.add_argument("--sort", metavar="COLUMN", type=choice("column to sort by", SORTS), choices=SORTS, help=text)
    group.add_argument("--top", metavar="N", type=integer(1, "rows"), help=text)
    return group


def add_model_options(parser: Parser) -> None:
    """Add the options for making and running models."""
    group = parser.add_argument_group("model and run")
    group.add_argument("--arg", metavar="NAME=VALUE", action="append", type=_parse_keyword, default=[],
                       help="keyword argument for the class or factory; repeatable")  # fmt: skip
    group.add_argument("--input", metavar="SPEC", action="append", default=[],
                       help="[NAME=]SIZES[:DTYPE], as ids=2x8:int64; repeatable")  # fmt: skip
    text = "leading size of inputs; inference without autograd"
    group.add_argument("--batch", metavar="N", type=integer(1, "examples"), help=text)
    group.add_argument("--no-grad", action="store_true", help=text)
    text = "formula in the size of an axis, batch=0:0; at batch=8"
    group.add_argument("--dim", metavar="DIM", action="append", default=[], help=text)
    group.add_argument("--at", metavar="DIM=N", action="append", default=[], help=text)
    group.add_argument("--trust-remote-code", action="store_true",
                       help="run code from hf: configurations and .pt2 files")  # fmt: skip
    group.add_argument("--device", metavar="NAME", type=choice("device", DEVICE_NAMES), choices=DEVICE_NAMES,
                       help="meta (default, takes no memory), cpu or cuda")  # fmt: skip
    group.add_argument(
        "--dtype", metavar="NAME", type=_parse_dtype, help="model and inputs: float32, float64, float16, bfloat16"
    )
    mode = "model mode (default: train with gradients, else eval)"
    group.add_argument("--train", action="store_true", help=mode)
    group.add_argument("--eval", action="store_true", help=mode)
    text = "also count the gradients, the peak of memory"
    group.add_argument("--backward", action="store_true", help=text)
    group.add_argument("--memory", action="store_true", help=text)
    group.add_argument("--optimizer", metavar="NAME", help="also count gradients and one step: adamw, sgd …")
    group.add_argument("--allocator", metavar="NAME", type=choice("allocator", [*ALLOCATORS]), choices=[*ALLOCATORS],
                       help="cuda: round storages up to multiples of 512 bytes")  # fmt: skip
    group.add_argument("--causal", metavar="HOW", type=choice("value", ("dense", "exact")),
                       choices=("dense", "exact"),
                       help="attention: dense (default) or exact (unmasked scores)")  # fmt: skip
    group.add_argument("--time-limit", metavar="SECONDS", type=_parse_seconds,
                       help="stop after this time; name the operator, or the rank")  # fmt: skip
    text = "time operators in real runs; hf: prefill and N tokens"
    group.add_argument("--timing", action="store_true", help=text)
    group.add_argument("--generate", metavar="N", type=integer(1, "tokens"), help=text)


def _add_counting(parser: Parser, by: str, **positionals: str | None) -> argparse._ArgumentGroup:
    """Add the targets and the options for counting and reports; return the group of the report options.

    Args:
        parser: The parser to add to.
        by: The help of ``--by``.
        **positionals: The positional arguments, with the ``nargs`` of each.
    """
    for name, nargs in positionals.items():
        added = parser.add_argument(name, nargs=nargs, help=argparse.SUPPRESS)
        added.complete = "file"  # type: ignore[attr-defined] # opflops.cli.completion reads it
    add_model_options(parser)
    group = add_report_options(parser)
    group.add_argument("--by", metavar="KEY[,KEY]", type=_parse_keys, help=by)
    return group


def _add_measure(group: argparse._ArgumentGroup, text: str) -> None:
    group.add_argument("--measure", metavar="NAME", type=choice("measure", MEASURES), choices=MEASURES, help=text)


def count_parser() -> Parser:
    """Make the parser of ``opflops [TARGET…]``."""
    made = Parser(
        "opflops",
        "Count the FLOPs of PyTorch models, per module and per operator.",
        f"{_TARGETS}\nAlso: opflops diff, coverage, models, devices, completion; each has --help.\n{_EXIT}",
    )
    made.usage = "opflops [TARGET ...] [options]"
    group = _add_counting(made, "group by module, module_type, op, phase or dtype", targets="*")
    group.add_argument(
        "--depth", metavar="N", type=integer(0, "levels"), help="show N levels of modules below the root"
    )
    group.add_argument("--expand", metavar="PATH[,PATH]", nargs="?", type=_parse_paths,
                       help="show repeated modules one by one: all, or below PATH")  # fmt: skip
    group.add_argument(
        "--columns", metavar="NAME[,NAME]", type=_parse_list, help="show params,input,output,macs,flops,phases,bar …"
    )
    group.add_argument("--numbers", metavar="HOW", type=choice("value", ("auto", "exact", "scaled")),
                       choices=("auto", "exact", "scaled"),
                       help="write numbers auto, exact (1,234) or scaled (1.2 k)")  # fmt: skip
    _add_measure(group, "for comparisons, flame graphs: flops (default), macs …")
    group.add_argument("--roofline", metavar="DEVICE", help="bound times, with --timing also MFU: h100-sxm, cpu …")
    group.add_argument("--bottlenecks", metavar="DEVICE", nargs="?",
                       help="where to optimize, by times or bounds on a device")  # fmt: skip
    group.add_argument("--resources", metavar="PLAN",
                       help="hours: h100-sxm,steps=1e6,mfu=0.4[,devices=8,price=2]")  # fmt: skip
    group.add_argument("--fits", metavar="DEVICE", help="whether the peak memory fits: h100-sxm, 24GB, cuda …")
    group.add_argument("--largest", metavar="DIM", action="append", default=[],
                       help="largest size that fits, as of batch=0:0; repeatable")  # fmt: skip
    text = "exit 1 if a formula is missing; show all conditions"
    group.add_argument("--strict", action="store_true", help=text)
    group.add_argument("--conditions", action="store_true", help=text)
    add_general_options(made, version=True)
    return made


def diff_parser() -> Parser:
    """Make the parser of ``opflops diff``."""
    made = Parser(
        "opflops diff",
        "Compare two profiles that --format json wrote, or two targets.",
        f"{_TARGETS}\nExit code: 0 success, 1 a total grew by more than --fail-above, 2 wrong use.",
    )
    made.usage = "opflops diff BEFORE AFTER [options]"
    group = _add_counting(made, "group by module (default), module_type, op, phase, dtype", before=None, after=None)
    _add_measure(
        group,
        "quantity to compare: flops (default), macs, bytes …; if given, --fail-above checks only this "
        "quantity, and lost formulas",
    )
    group.add_argument("--fail-above", metavar="PERCENT",
                       help="exit with 1 if macs, flops, transcendentals or bytes grew by more than this, as in 1%%, "
                       "or if an operator has no formula any more")  # fmt: skip
    group.add_argument("--conditions", action="store_true", help="show all conditions under which formulas hold")
    add_general_options(made)
    return made
