"""Errors of the library in the words of the command line: options, where the library names its own arguments."""

from __future__ import annotations

import re

_WORDS = {
    r"run it on real inputs inside OpFlopMode\(\)": "--device cpu runs it for real",
    r"run one inside OpFlopMode\(\)": "--device cpu runs one",
    r"count (?:it )?(?:under|with|inside) OpFlopMode\(timing=True\)(?: to have them)?": "--timing has them",
    r"take the profile at\(\) sizes first": "give sizes with --at",
    r"count it without dynamic shapes": "give sizes with --at, or leave out --dim",
    r"\bout of dynamic_shapes": "out of --dim",
    r"^dynamic_shapes\b": "--dim",
    r"^backward=True\b": "--backward",
    r"\bso does optimizer=": "so does --optimizer",
    r"\bso that count\(\)": "so that opflops",
}
"""What to say, by what the library says; nothing that a model or PyTorch may say."""


def spoken(sentence: str) -> str:
    """Write a sentence of the library as the command line says it.

    >>> spoken("This profile has no times; count under OpFlopMode(timing=True) to have them.")
    'This profile has no times; --timing has them.'
    """
    for words, option in _WORDS.items():
        sentence = re.sub(words, option, sentence)
    return sentence
