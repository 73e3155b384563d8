"""Translate sentences of the library for the command line: options in place of Python arguments."""

from __future__ import annotations

import re

_REPLACEMENTS = {
    r"\brun it on real inputs inside OpFlopMode\(\)": "--device cpu runs it for real",
    r"\brun one inside OpFlopMode\(\)": "--device cpu runs one",
    r"\bCount with OpFlopMode\(timing=True\)": "Count with --timing",
    r"\bCount with OpFlopMode\(memory=True\)": "Count with --memory",
    r"\bChoose sizes first: profile\.at\([^)]*\)": "Choose sizes with --at",
    r"\bbottlenecks\('h100-sxm'\)": "--bottlenecks h100-sxm",
    r"^bottlenecks\(\) ranks": "--bottlenecks ranks",
    r"^resources\(\) needs": "--resources needs",
    r", or what p\.mfu\(seconds, device\) returned": "",
    r"\bCount without dynamic shapes": "Choose sizes with --at, or leave out --dim",
    r"\bwithin time_limit=(\S+) seconds": r"within the \1 seconds of --time-limit",
    r"\bout of dynamic_shapes": "out of --dim",
    r'\(allocator="cuda" does\)': "(--allocator cuda does)",
    r"^dynamic_shapes\b": "--dim",
    r"\bso that count\(\)": "so that opflops",
}
"""Regular expressions for the library's wording, and what replaces it. None matches what a model or PyTorch says."""

_IN_REPORTS = {
    "profile.rows lists": "--format csv lists",
    "see profile.conditions": "--conditions shows them",
    "profile.bottlenecks(device)": "--bottlenecks DEVICE",
    "bottlenecks('h100-sxm')": "--bottlenecks h100-sxm",
    '(allocator="cuda"': "(--allocator cuda",
}


def name_options(sentence: str) -> str:
    """Name options in a sentence of the library.

    >>> name_options("This profile has no times. Count with OpFlopMode(timing=True).")
    'This profile has no times. Count with --timing.'
    """
    for pattern, replacement in _REPLACEMENTS.items():
        sentence = re.sub(pattern, replacement, sentence)
    return sentence


def name_options_in_report(text: str) -> str:
    """Name options in the notes of a report, whose lines may be wrapped anywhere.

    >>> name_options_in_report("For b = 1, s = 1 the costs differ; see profile.at(b=1, s=1).")
    'For b = 1, s = 1 the costs differ; see --at b=1,s=1.'
    """

    def option(call: re.Match[str]) -> str:
        return f"--at {''.join(call[1].split())}"

    text = re.sub(r"profile\.at\(([^)]*)\)", option, text)
    for written, named in _IN_REPORTS.items():
        text = text.replace(written, named)
    return text
