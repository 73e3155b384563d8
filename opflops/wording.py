"""Messages about unknown names and about errors of user code."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_LISTED_WITH_NEAR, _MAX_LISTED = 6, 24
# Two in a row are no range.
_MIN_RANGE = 2
_MISSPELLED = 0.85


def unknown(kind: str, given: str, known: Iterable[str], *, list_all: bool = False) -> str:
    """Write that a name is unknown, with the nearest names, or with all names if they are few or ``list_all`` is given.

    >>> unknown("device", "gpu", ["cpu", "cuda"])
    "There is no device 'gpu'; there are cpu, cuda."
    """
    names = list(dict.fromkeys(known))
    near = nearest(given, names)
    if near and len(names) > _MAX_LISTED_WITH_NEAR:
        return f"There is no {kind} {given!r}; did you mean {' or '.join(near)}?"
    if not names or (len(names) > _MAX_LISTED and not list_all):
        return f"There is no {kind} {given!r}."
    return f"There is no {kind} {given!r}; there {'is' if len(names) == 1 else 'are'} {', '.join(names)}."


def is_misspelling(given: str, name: str) -> bool:
    """Tell whether a word is so like a name that no other one can be meant.

    >>> is_misspelling("--inptu", "--input"), is_misspelling("--depths", "--dtype")
    (True, False)
    """
    return difflib.SequenceMatcher(None, given.lower(), name.lower()).ratio() >= _MISSPELLED


def nearest(given: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """List the known names most similar to a given one, ignoring case; first those of which it is the end or beginning.

    >>> nearest("fc", ["ResNet", "ResNet.layer4.1.conv2", "ResNet.fc"])
    ['ResNet.fc']

    Of those that it begins, first are those that begin others in turn, as variants do, and then the shortest.

    >>> nearest("vit_base", ["vit_base_mci", "vit_base_patch16", "vit_base_patch16_miil", "vit_bass"], 2)
    ['vit_base_patch16', 'vit_base_mci']
    """
    lowered = {name.lower(): name for name in known}
    ends = [name for name in lowered if given and name.endswith(f".{given.lower()}")]
    begun = [name for name in lowered if given and name.startswith((f"{given.lower()}_", f"{given.lower()}-"))]
    variants = {name: sum(other.startswith(f"{name}_") for other in begun) for name in begun}
    begun.sort(key=lambda name: (-variants[name], len(name)))
    similar = difflib.get_close_matches(given.lower(), lowered, n=limit)
    return [lowered[name] for name in dict.fromkeys([*ends, *begun, *similar])][:limit]


def join(names: Sequence[str], last: str) -> str:
    """Join names with commas, and a word before the last.

    >>> join(["h100-pcie", "h100-sxm", "h100-nvl"], "or")
    'h100-pcie, h100-sxm or h100-nvl'
    """
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def join_ranks(ranks: Iterable[int]) -> str:
    """Name ranks of a process group, several in a row as a range.

    >>> join_ranks([3]), join_ranks([0, 1]), join_ranks([5, 0, 1, 2, 4])
    ('rank 3', 'ranks 0 and 1', 'ranks 0-2, 4 and 5')
    """
    numbers = sorted(ranks)
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    texts = [
        text
        for each in ranges
        for text in ([f"{each[0]}-{each[-1]}"] if len(each) > _MIN_RANGE else list(map(str, each)))
    ]
    return f"rank{'' if len(numbers) == 1 else 's'} {join(texts, 'and')}"


def format_error(error: BaseException) -> str:
    """Write an error on one line, without the C++ stack trace that PyTorch may add."""
    message = " ".join(str(error).partition("Exception raised from ")[0].split()) or "no message"
    return printable(f"{type(error).__name__}: {message}".rstrip("."))


def printable(text: str) -> str:
    r"""Escape control and invisible characters, so that names from files and models cannot affect a terminal.

    >>> print(printable("layer\x1b[2J\u202e"))
    layer\x1b[2J\u202e
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
