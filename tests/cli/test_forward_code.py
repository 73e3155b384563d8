"""What the code of a forward says about its parameters, without transformers."""

import inspect

from opflops.cli.sources.huggingface_fields import _dereferenced


def _forward(read, given=None, replaced=None, guarded=None, item=None, passed=None):
    size = given.shape
    if replaced is None:
        replaced = size
    return read.shape, replaced.shape, guarded.shape if guarded is not None else None, item[0], size, passed


def test_optional_parameters_are_needed_where_code_reads_a_part_of_them_in_any_case():
    """By hand: not those that get a value before, that are checked, or that are only passed on."""
    assert _dereferenced(_forward, inspect.signature(_forward).parameters) == ["given", "item"]


def test_what_has_no_source_says_nothing():
    """A function of C, for example."""
    assert _dereferenced(len, {}) == []
