"""Errors of the library in the words of the command line: options, where the library names its own arguments."""

from __future__ import annotations

import re

_WORDS = {
    r"run it on real inputs inside OpFlopMode\(\)": "--device cpu runs it for real",
    r"run one inside OpFlopMode\(\)": "--device cpu runs one",
    r"Count with OpFlopMode\(timing=True\)": "Count with --timing",
    r"Choose sizes first: profile\.at\([^)]*\)": "Choose sizes with --at",
    r"Count without dynamic shapes": "Choose sizes with --at, or leave out --dim",
    r"\bout of dynamic_shapes": "out of --dim",
    r"^dynamic_shapes\b": "--dim",
    r"^backward=True\b": "--backward",
    r"\bso does optimizer=": "so does --optimizer",
    r"\bso that count\(\)": "so that opflops",
}
"""What to say, by what the library says; nothing that a model or PyTorch may say."""


def spoken(sentence: str) -> str:
    """Write a sentence of the library as the command line says it.

    >>> spoken("This profile has no times. Count with OpFlopMode(timing=True).")
    'This profile has no times. Count with --timing.'
    """
    for words, option in _WORDS.items():
        sentence = re.sub(words, option, sentence)
    return sentence
