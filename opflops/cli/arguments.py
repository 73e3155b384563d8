"""The options of the command line, which are read before anything heavy is loaded."""

from __future__ import annotations

import argparse
import ast
from typing import TYPE_CHECKING, Any, NoReturn

from tabulate import tabulate_formats

from opflops.cli.help import Formatter
from opflops.errors import TargetError
from opflops.records.rows import KEYS
from opflops.report.text.columns import MEASURES, PHASES
from opflops.wording import nearest, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FILES = ("json", "csv", "folded", "speedscope", "mermaid", "mermaid-er", "page")
"""The formats that are no tables."""

FORMATS = (*FILES, *tabulate_formats)
DEVICES = ("meta", "cpu", "cuda")
DTYPES = ("float32", "float64", "float16", "bfloat16")
SORTS = ("calls", "macs", "flops", "transcendentals", "bytes", "name", "seconds", "ops", *PHASES, "intensity", "flop/s")
SUBCOMMANDS = {
    "diff": "diff",
    "coverage": "coverage",
    "models": "models",
    "devices": "device_list",
    "completion": "completion",
}
"""The files of ``opflops.cli`` by the subcommand that each has."""

_TARGETS = """\
A TARGET is torchvision:resnet50, timm:vit_base_patch16_224, hf:gpt2,
hf:PATH/config.json, package.module:callable, file.py:callable, exported.pt2 or
saved.json, a profile. Open only .pt2 files that you trust: they may run code."""
_EXIT = "Exit code: 0 fine, 1 over a budget, 2 wrong use, 3 a fault, 130 interrupted."


class Parser(argparse.ArgumentParser):
    """Parse arguments; a mistake is an error like any other of the command line, not the end of the program."""

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
        """Raise a sentence.

        Raises:
            TargetError: Always.
        """
        head, _, rest = message.partition(": ")
        if head == "unrecognized arguments":
            given = rest.split()[0]
            known = [name for action in self._actions for name in action.option_strings]
            kind = "option" if given.startswith("-") else "place for the argument"
            told = unknown(kind, given.partition("=")[0], known if given.startswith("-") else [])
            raise TargetError(f"{told} {self.prog} --help lists all." if not nearest(given, known) else told)
        if head.startswith("argument "):
            told = f"{head.removeprefix('argument ')}: {rest[:1].upper()}{rest[1:]}"
            raise TargetError(told if told.endswith((".", "?")) else f"{told}.")
        raise TargetError(f"{message[:1].upper()}{message[1:].rstrip('.')}; {self.prog} --help says more.")


def one_of(kind: str, names: Sequence[str]) -> Callable[[str], str]:
    """Make the type of an option that has one of a few values."""

    def read(text: str) -> str:
        lowered = {name.lower(): name for name in names}
        if text.lower() not in lowered:
            raise argparse.ArgumentTypeError(unknown(kind, text, names))
        return lowered[text.lower()]

    return read


def whole(smallest: int, what: str) -> Callable[[str], int]:
    """Make the type of an option that is a whole number."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of {what}; it can be {smallest} or more.")
        return int(text)

    return read


def _dtype(text: str) -> str:
    short = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}
    name = text.removeprefix("torch.").lower()
    return one_of("floating dtype", DTYPES)(short.get(name, name))


def _keyword(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE, as in num_classes=10.")
    try:
        return name.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name.strip(), value


def _keys(text: str) -> tuple[str, ...]:
    return tuple(one_of("key to group by", KEYS)(key.strip()) for key in text.split(","))


def _list(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _paths(text: str) -> tuple[str, ...] | bool:
    return _list(text) or True


def unswallowing(argv: Sequence[str]) -> list[str]:
    """Keep ``--expand``, whose paths are optional, from taking the target that stands behind it for one."""
    end = list(argv).index("--") if "--" in argv else len(argv)
    return [f"{word}=" if word == "--expand" and place < end else word for place, word in enumerate(argv)]


def general(parser: Parser, *, version: bool = False) -> None:
    """Add the options that every subcommand has."""
    group = parser.add_argument_group("general")
    shown = "show this, or versions, and exit" if version else "show this and exit"
    group.add_argument("-h", "--help", action="help", help=shown)
    if version:
        group.add_argument("--version", action="store_true", help=shown)
    group.add_argument("--quiet", action="store_true", help="no progress and no remarks on stderr")
    group.add_argument("--debug", action="store_true", help="show tracebacks, and the warnings of models")


def reporting(parser: Parser) -> argparse._ArgumentGroup:
    """Add the options of how any table is written."""
    group = parser.add_argument_group("report")
    group.add_argument(
        "--format", metavar="NAME", type=one_of("format", FORMATS), choices=FORMATS,
        help="page (HTML), json, csv, folded, speedscope, mermaid, mermaid-er, or a table: simple, github, tsv, "
        "latex …",
    )  # fmt: skip
    output = group.add_argument("-o", dest="output", metavar="FILE", help="write there; the suffix tells the format")
    output.complete = "file"  # type: ignore[attr-defined] # what opflops.cli.completion looks for
    group.add_argument("--sort", metavar="COLUMN", type=one_of("column to sort by", SORTS), choices=SORTS,
                       help="flops, macs, calls, bytes, seconds, name …")  # fmt: skip
    group.add_argument("--top", metavar="N", type=whole(1, "lines"), help="only the N largest, and the rest as one")
    return group


def modelling(parser: Parser) -> None:
    """Add the options of how models are made and run."""
    group = parser.add_argument_group("model")
    group.add_argument("--arg", metavar="NAME=VALUE", action="append", type=_keyword, default=[],
                       help="an argument of what makes the model; repeat for more")  # fmt: skip
    group.add_argument("--input", metavar="SPEC", action="append", default=[],
                       help="[NAME=]SIZES[:DTYPE]: 1,3,224,224, ids=2x128:int64 …")  # fmt: skip
    group.add_argument("--batch", metavar="N", type=whole(1, "examples"), help="the leading size of the inputs")
    group.add_argument("--dim", metavar="NAME=INPUT:AXIS", action="append", default=[],
                       help="count for all sizes of an axis, as in batch=0:0")  # fmt: skip
    group.add_argument(
        "--at", metavar="NAME=SIZE", action="append", default=[], help="and show the counts at this size"
    )
    group.add_argument("--trust-remote-code", action="store_true",
                       help="run code that hf: configurations and .pt2 files bring")  # fmt: skip
    group = parser.add_argument_group("run")
    group.add_argument("--device", metavar="NAME", type=one_of("device", DEVICES), choices=DEVICES,
                       help="meta (no memory, the default), cpu or cuda")  # fmt: skip
    group.add_argument("--dtype", metavar="NAME", type=_dtype, help="of the model and floating inputs: bfloat16 …")
    mode = "mode of the model (default: --train with gradients)"
    group.add_argument("--train", action="store_true", help=mode)
    group.add_argument("--eval", action="store_true", help=mode)
    group.add_argument("--backward", action="store_true", help="count the gradients too")
    group.add_argument("--optimizer", metavar="NAME", help="and a step of an optimizer of torch.optim: adamw …")
    group.add_argument("--causal", metavar="HOW", type=one_of("way to count", ("dense", "exact")),
                       choices=("dense", "exact"),
                       help="exact leaves out what a causal mask hides")  # fmt: skip
    group.add_argument("--timing", action="store_true", help="run for real and time each operator")


def _counting(parser: Parser, by: str, **places: str | None) -> argparse._ArgumentGroup:
    """Add places for targets, and the options of counting and showing them; returns the group of the latter.

    Args:
        parser: What they are added to.
        by: The help of ``--by``.
        **places: How many targets there are at each, as :mod:`argparse` has it.
    """
    for name, nargs in places.items():
        added = parser.add_argument(name, nargs=nargs, help=argparse.SUPPRESS)
        added.complete = "file"  # type: ignore[attr-defined] # as above
    modelling(parser)
    group = reporting(parser)
    group.add_argument("--by", metavar="KEY[,KEY]", type=_keys, help=by)
    return group


def _measuring(group: argparse._ArgumentGroup, told: str) -> None:
    group.add_argument("--measure", metavar="NAME", type=one_of("measure", MEASURES), choices=MEASURES, help=told)


def count_parser() -> Parser:
    """Make the parser of ``opflops TARGET…``."""
    made = Parser(
        "opflops",
        "Count the arithmetic of PyTorch models: every operator, in its module.",
        f"{_TARGETS}\nAlso: opflops diff, coverage, models, devices, completion; each has --help.\n{_EXIT}",
    )
    made.usage = "opflops [TARGET ...] [options]      several targets are compared"
    group = _counting(made, "list by module, module_type, op, phase or dtype", targets="*")
    group.add_argument("--depth", metavar="N", type=whole(0, "levels"), help="levels of modules below the root")
    group.add_argument("--expand", metavar="PATH[,PATH]", nargs="?", type=_paths,
                       help="show each of repeated modules: all, or those below")  # fmt: skip
    group.add_argument("--columns", metavar="NAME[,NAME]", type=_list, help="macs,flops,bytes,intensity,phases,bar …")
    group.add_argument("--numbers", metavar="HOW", type=one_of("way to write numbers", ("auto", "exact", "scaled")),
                       choices=("auto", "exact", "scaled"), help="auto, exact or scaled")  # fmt: skip
    _measuring(group, "what comparisons and stacks are of (default: flops)")
    group.add_argument("--roofline", metavar="DEVICE", help="also bound the time there; opflops devices lists them")
    group.add_argument("--strict", action="store_true", help="exit with 1 if an operator has no price")
    general(made, version=True)
    return made


def diff_parser() -> Parser:
    """Make the parser of ``opflops diff``."""
    made = Parser(
        "opflops diff",
        "Show what changed between two profiles that --format json wrote, or two targets.",
        f"{_TARGETS}\nExit code: 0 fine, 1 a total grew by more than --fail-above, 2 wrong use.",
    )
    made.usage = "opflops diff BEFORE AFTER [options]"
    group = _counting(made, "module (default), module_type, op, phase, dtype", before=None, after=None)
    _measuring(group, "what to compare (default: flops), and all that --fail-above is of")
    group.add_argument("--fail-above", metavar="PERCENT",
                       help="exit with 1 if macs, flops, transcendentals or bytes grew by more, as in 1%%, or an "
                       "operator has no price any more")  # fmt: skip
    general(made)
    return made
