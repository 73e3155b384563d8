"""Which modules' parameters operators read: also those of modules that are never called, as by functional calls.

``nn.MultiheadAttention`` passes the weight of its ``out_proj`` to a function; a tied head passes that of an embedding.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opflops.torch_internals.modules import class_name, named_paths, own_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from torch import nn

_current: ContextVar[ParameterReads | None] = ContextVar("opflops.parameter_reads", default=None)


class ParameterReads:
    """Note the modules whose parameters the operators of a block are given.

    Attributes:
        modules: The paths of these modules, as in a profile.
    """

    def __init__(self) -> None:
        self.modules: set[str] = set()
        # Of parameters that were not read yet, by identity: the paths of the modules that register them. They live as
        # long as the block, since their models do.
        self._paths: dict[int, list[str]] = {}

    def expect(self, models: Iterable[nn.Module]) -> None:
        """Look for the parameters of these models from now on, and no longer for those of others."""
        self._paths = {}
        for model in models:
            for module, path in named_paths(model, class_name(model)).values():
                for _, parameter in own_parameters(module):
                    self._paths.setdefault(id(parameter), []).append(path)

    def add(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
        """Note the parameters among the arguments of an operator, also in lists."""
        waiting = [*args, *kwargs.values()]
        for each in waiting:
            if type(each) in (list, tuple):
                waiting += each
            elif id(each) in self._paths:
                self.modules.update(self._paths.pop(id(each)))


@contextmanager
def noting_parameter_reads() -> Iterator[ParameterReads]:
    """Note which parameters are read in the counts of this block."""
    reads = ParameterReads()
    token = _current.set(reads)
    try:
        yield reads
    finally:
        _current.reset(token)


def current_parameter_reads() -> ParameterReads | None:
    """Return what notes the reads of parameters in this context; None if nothing does."""
    return _current.get()
