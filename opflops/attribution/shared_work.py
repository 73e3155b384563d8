"""Work that a wrapper of torch.distributed does for modules that do not run: messages, and gradients in buckets.

A pipeline sends what a stage computed once the stage has returned. ``DistributedDataParallel`` reduces the gradients of
several modules together, from C++ code that runs when the last of them is there. A collective is such work if it gets a
tensor that was announced as a message, or comes when a bucket is due.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.attribution.module_context import BACKWARD, ModuleContext
from opflops.torch_internals.autograd import (
    ACCUMULATE_GRAD_NR,
    accumulated_leaf,
    current_node,
    graph_task_id,
    sequence_nr,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

Shares = tuple[tuple[str, str, int], ...]
"""The paths and class names of modules that work is for, each with a weight: the bytes of its tensors."""

Part = tuple[ModuleContext, str, int]
"""A module, a phase and a weight."""

_OUTSIDE = (-1, 0)
"""The moment outside any backward."""


class Bucket(NamedTuple):
    """Describe gradients that are reduced together.

    Attributes:
        shares: The modules that register their parameters.
        elements: How many elements they have.
    """

    shares: Shares
    elements: int


class DueBuckets:
    """Hold the buckets that the next backward of a data-parallel model reduces.

    Args:
        buckets: These, in their order.
        parameters: The identities of all their parameters.
        module: The path and class name of the model.

    Attributes:
        version: Which buckets of the model these are.
    """

    version: Any = None

    def __init__(self, buckets: Sequence[Bucket], parameters: set[int], module: tuple[str, str]) -> None:
        self._buckets = buckets
        self.parameters = parameters
        self._module = module
        self._reduced = 0

    def begin(self) -> None:
        """Note that all are due again."""
        self._reduced = 0

    def next_for(self, tensors: Sequence[Tensor]) -> Shares | None:
        """Return whose gradients a reduction of some tensors is for, if such a bucket is due; else None."""
        elements = sum([tensor.numel() for tensor in tensors])
        if not any(tensor.is_floating_point() or tensor.is_complex() for tensor in tensors):
            # The ranks agree on which parameters were used.
            return ((*self._module, 1),) if elements == len(self.parameters) else None
        if self._reduced == len(self._buckets) or self._buckets[self._reduced].elements != elements:
            return None
        self._reduced += 1
        return self._buckets[self._reduced - 1].shares


class SharedWork:
    """Find the modules that a collective works for, where these are not the one that runs.

    Args:
        context_at: Returns the context of a path and a class name.

    Attributes:
        shares: Those of all collectives now; None if these are to be found.
        joined: Buckets that are reduced for other ranks now, outside any backward; None for none.
    """

    def __init__(self, context_at: Callable[[str, str], ModuleContext]) -> None:
        self._context_at = context_at
        self.shares: Shares | None = None
        self.joined: DueBuckets | None = None
        # By the identity of a tensor: itself, its module and its phase.
        self._messages: dict[int, tuple[weakref.ref[Tensor], ModuleContext, str]] = {}
        # By the identity of a data-parallel model, until that is deleted.
        self._due: dict[int, DueBuckets] = {}
        # The bucket that a hook was given last, and when.
        self._of_hook: tuple[tuple[int, int], Shares] = (_OUTSIDE, ())

    def announce(self, tensors: Iterable[Tensor], context: ModuleContext, phase: str) -> None:
        """Note that messages with these tensors follow, of a module and a phase."""
        for tensor in tensors:
            key = id(tensor)
            reference = weakref.ref(tensor, lambda _, key=key: self._messages.pop(key, None))  # type: ignore[misc]
            self._messages[key] = reference, context, phase

    def expect(self, model: Any, version: Any, find: Callable[[], DueBuckets]) -> None:
        """Note that the next backward of a model reduces its buckets.

        Args:
            model: The model.
            version: Which buckets it has now; they are found once.
            find: Finds them.
        """
        key = id(model)
        due = self._due.get(key)
        if due is None:
            weakref.finalize(model, self._due.pop, key, None).atexit = False
        if due is None or due.version != version:
            due = self._due[key] = find()
            due.version = version
        due.begin()

    @contextmanager
    def sharing(self, shares: Shares | None) -> Iterator[None]:
        """Let all collectives be for these modules; None to find them."""
        before, self.shares = self.shares, shares
        try:
            yield
        finally:
            self.shares = before

    @contextmanager
    def joining(self, due: DueBuckets) -> Iterator[None]:
        """Reduce buckets outside any backward."""
        before, self.joined, self._of_hook = self.joined, due, (_OUTSIDE, ())
        try:
            yield
        finally:
            self.joined, self._of_hook = before, (_OUTSIDE, ())

    def give_to_hook(self, shares: Shares) -> None:
        """Note that a hook was given a bucket: the collectives of the same gradient are for it."""
        self._of_hook = _moment(), shares

    def present_shares(self) -> Shares | None:
        """Return whom collectives are for, if that does not depend on the collective; else None."""
        if self.shares is not None:
            return self.shares
        moment, shares = self._of_hook
        is_running = self.joined is not None if moment == _OUTSIDE else moment == _moment()
        return shares if is_running and shares else None

    def parts_of(self, tensors: Sequence[Tensor], phase: str) -> list[Part] | None:
        """Return the modules that a collective of some tensors is for; None if it is for the one that runs.

        Args:
            tensors: The tensors.
            phase: The phase that runs.
        """
        for tensor in tensors:
            base = tensor._base  # noqa: SLF001 - complex numbers are sent as a view
            found = self._messages.get(id(tensor)) or (None if base is None else self._messages.get(id(base)))
            if found is not None:
                return [(found[1], found[2], 1)]
        shares = self.present_shares()
        if shares:
            return self._parts(shares, phase)
        if not self._due and self.joined is None:
            return None
        shares = self._bucket_of(tensors)
        return None if shares is None else self._parts(shares, BACKWARD)

    def _parts(self, shares: Shares, phase: str) -> list[Part]:
        return [(self._context_at(path, name), phase, weight) for path, name, weight in shares]

    def _bucket_of(self, tensors: Sequence[Tensor]) -> Shares | None:
        """Return whom a collective of some tensors is for, if it reduces a bucket that is due."""
        task, leaf = _moment()
        if task < 0:
            return None if self.joined is None else self.joined.next_for(tensors)
        if leaf < 0:
            return None
        for due in [*self._due.values()]:
            # Without a leaf, at the end of a backward, any model may reduce its gradients.
            if not leaf or leaf in due.parameters:
                shares = due.next_for(tensors)
                if shares is not None:
                    return shares
        return None


def _moment() -> tuple[int, int]:
    """Return the backward pass that runs, and the identity of the parameter whose gradient has just been computed.

    That is 0 outside a node, as at the end of a backward, and -1 in other nodes.
    """
    task = graph_task_id()
    node = current_node() if task >= 0 else None
    if node is None:
        return task, 0
    return task, id(accumulated_leaf(node)) if sequence_nr(node) == ACCUMULATE_GRAD_NR else -1


def split(counts: Sequence[int], weights: Sequence[int]) -> list[tuple[int, ...]]:
    """Split counts by weights into whole numbers that add up to them.

    >>> split((10, 7), (1, 1, 1))
    [(3, 2), (3, 2), (4, 3)]
    """
    if not any(weights):
        weights = [1] * len(weights)
    whole, done, before = sum(weights), 0, [0] * len(counts)
    parts = []
    for weight in weights:
        done += weight
        upto = [count * done // whole for count in counts]
        parts.append(tuple(now - earlier for now, earlier in zip(upto, before, strict=True)))
        before = upto
    return parts
