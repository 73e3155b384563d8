"""Translate sentences of the library for the command line: options in place of Python arguments."""

from __future__ import annotations

import re

_REPLACEMENTS = {
    r"\brun it on real inputs inside OpFlopMode\(\)": "--device cpu runs it for real",
    r"\brun one inside OpFlopMode\(\)": "--device cpu runs one",
    r"\bCount with OpFlopMode\(timing=True\)": "Count with --timing",
    r"\bChoose sizes first: profile\.at\([^)]*\)": "Choose sizes with --at",
    r"\bCount without dynamic shapes": "Choose sizes with --at, or leave out --dim",
    r"\bwithin time_limit=(\S+) seconds": r"within the \1 seconds of --time-limit",
    r"\bout of dynamic_shapes": "out of --dim",
    r"^dynamic_shapes\b": "--dim",
    r"\bso that count\(\)": "so that opflops",
}
"""Regular expressions for the library's wording, and what replaces it. None matches what a model or PyTorch says."""


def name_options(sentence: str) -> str:
    """Name options in a sentence of the library.

    >>> name_options("This profile has no times. Count with OpFlopMode(timing=True).")
    'This profile has no times. Count with --timing.'
    """
    for pattern, replacement in _REPLACEMENTS.items():
        sentence = re.sub(pattern, replacement, sentence)
    return sentence
