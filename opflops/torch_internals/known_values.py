"""Values of fake tensors that are known although nothing runs: of masks, positions and lengths.

A program that makes a mask from ``arange`` and comparisons makes the same mask each time, whatever its parameters are.
Operators that only take tensors of known values, and numbers, are computed besides their fake kernel. So a fake run
takes the branches of a real one (``if mask.all()``), and formulas can read masks and lengths.

Known are the values of integer and bool tensors among the originals, of floating-point masks among them, and of tensors
that the program makes from numbers. Parameters, activations and random numbers are unknown.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from opflops.errors import raised_by_signal_handler
from opflops.torch_internals.known_bounds import bounds_of_result, bounds_of_value, hint_of
from opflops.torch_internals.known_masks import hiding_limit, is_mask
from opflops.torch_internals.operator_traits import OperatorTraits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch._subclasses.fake_tensor import FakeTensorMode

    from opflops.torch_internals.known_bounds import Bounds

_ATTRIBUTE = "_opflops_known_value"
_CPU, _META = torch.device("cpu"), torch.device("meta")
_MAX_BYTES = 2**26
"""The largest tensor that is computed: a boolean mask of 8192 queries and keys."""
_MAX_LIVE_BYTES = 2**28
"""The most memory that all known values may take at a time, apart from the originals."""
_MAX_ORIGINAL = {torch.bool: 2**26}
_MAX_ORIGINAL_NUMBERS = 2**20
"""The most elements of an original whose values are used; larger ones are weights, which programs unpack."""
_MAX_COPIED_BYTES = 2**16
"""The largest storage of an original that is copied, so that the program may write to it: counters and lengths."""
_UNKNOWN = object()


class _Memory:
    """State what is known of the memory that values share.

    Attributes:
        address: Identifies the storage.
        is_known: False after something unknown was written, and before anything was.
        is_original: True if it is an original, or a copy of one, whose elements are the same for all sizes.
        is_written: True after something known was written, which may have other bounds.
    """

    __slots__ = ("address", "is_known", "is_original", "is_written")

    def __init__(self, value: Tensor, *, is_known: bool = True, is_original: bool = False) -> None:
        self.address = value.untyped_storage()._cdata
        self.is_known = is_known
        self.is_original = is_original
        self.is_written = False


class _Known(NamedTuple):
    """Hold the value of a fake tensor, a real one on the CPU. Values share memory where the fake tensors do.

    Attributes:
        value: The value.
        memory: What is known of its memory.
        exact: Whether formulas may read it.
        is_pattern: True if only those elements are known that hide something; the others may be any finite numbers.
        bounds: If sizes are symbols, the smallest and largest of the elements, which are integers; None if unknown.
    """

    value: Tensor
    memory: _Memory
    exact: bool
    is_pattern: bool = False
    bounds: Bounds | None = None


def _known(tensor: Tensor) -> _Known | None:
    """Return the value of a fake tensor, and its memory, also if it is not known any more."""
    known: _Known | None = getattr(tensor, _ATTRIBUTE, None)
    return None if known is None or known.is_pattern or tensor.requires_grad else known


def known_value(tensor: Tensor) -> Tensor | None:
    """Return the exact value of a fake tensor, or None if it is unknown or holds for the traced sizes only."""
    known = _known(tensor)
    return known.value if known is not None and known.memory.is_known and known.exact else None


def value_at_these_sizes(tensor: Tensor) -> Tensor | None:
    """Return the value of a fake tensor at the sizes of this run, which formulas may not read; None if unknown."""
    known = _known(tensor)
    return known.value if known is not None and known.memory.is_known else None


def known_bounds(tensor: Tensor) -> Bounds | None:
    """Return the smallest and largest element of a fake tensor of integers for all sizes; None if unknown."""
    known = _known(tensor) if type(tensor) is FakeTensor else None
    if known is None or not known.memory.is_known or known.memory.is_written:
        return None
    return bounds_of_value(known.value) if known.memory.is_original else known.bounds


def known_mask(mask: Tensor) -> Tensor | None:
    """Return a tensor that hides what a fake mask hides; None if that is unknown.

    The mask may be the sum of a known mask and a bias that parameters make, which is taken to hide nothing.
    """
    known: _Known | None = getattr(mask, _ATTRIBUTE, None)
    is_pattern = known is not None and known.is_pattern and known.exact and known.memory.is_known
    return known.value if known is not None and is_pattern else known_value(mask)


def is_known(tensor: Tensor) -> bool:
    """Return whether a fake tensor has values that a program may branch on."""
    return value_at_these_sizes(tensor) is not None


def move_known_value(source: Tensor, target: Tensor) -> None:
    """Give a fake tensor the values of another one; unknown ones if those are unknown."""
    vars(target)[_ATTRIBUTE] = getattr(source, _ATTRIBUTE, None)


class KnownValues:
    """Compute what is known besides a fake tensor mode.

    Args:
        exact: False if sizes are symbols: values are those at the traced sizes then, and only branches may use them.
    """

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._live_bytes = 0
        self._paused = False
        self._traits: dict[Any, OperatorTraits] = {}
        self._constants: dict[int, tuple[_Memory, Any]] = {}
        # Of each storage of originals that was copied, by identity: the copy, and itself, which keeps the identity.
        self._copied: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._copies: set[int] = set()

    def note_original(self, original: Tensor, fake: Tensor) -> None:
        """Use the values of an original tensor for its fake copy, if they are integers, bools or a mask."""
        if type(original) is not Tensor or not _may_be_known(original) or not _is_readable(original):
            return
        with no_dispatch():
            if original.dtype.is_floating_point and not is_mask(original):
                return
            value = self._copy(original.detach()) if original.device == _CPU else original.detach().to(_CPU)
        self._attach(fake, value, self._memory_of_constant(value))

    def _copy(self, original: Tensor) -> Tensor:
        """Copy an original with its storage, which others may share, unless that is large."""
        storage = original.untyped_storage()
        if storage.nbytes() > _MAX_COPIED_BYTES:
            return original
        if storage._cdata not in self._copied:
            self._copied[storage._cdata] = storage.clone(), storage
        copy, _ = self._copied[storage._cdata]
        self._copies.add(copy._cdata)
        made = torch.empty(0, dtype=original.dtype)
        return made.set_(copy, original.storage_offset(), original.shape, original.stride())

    def run(self, mode: FakeTensorMode, func: Any, args: Any, kwargs: Any, dispatch: Callable[[], Any]) -> Any:
        """Run an operator on fake tensors by ``dispatch``, and compute its values too if all arguments are known."""
        traits = self._traits.get(func)
        if traits is None:
            traits = self._traits[func] = OperatorTraits.of(func)
        if self._paused or not (traits.is_computable or traits.writes):
            return dispatch()
        kwargs = kwargs or {}
        keeps_patterns = traits.keeps_patterns and self._exact
        if not keeps_patterns and args and type(args[0]) is FakeTensor and getattr(args[0], _ATTRIBUTE, None) is None:
            out = dispatch()
            self._forget(traits.written(args, kwargs))
            return out
        leaves, spec = tree_flatten((args, kwargs))
        known = self._arguments(leaves, traits) if traits.is_computable else None
        if known is None:
            out = dispatch()
            self._forget(traits.written(args, kwargs))
            if keeps_patterns and self._fits(out):
                self._attach_pattern(func, out, leaves, spec)
            return out
        return self._run_known(mode, func, (args, kwargs), traits, (leaves, spec, *known), dispatch)

    def _run_known(
        self,
        mode: FakeTensorMode,
        func: Any,
        call: tuple[Any, Any],
        traits: OperatorTraits,
        arguments: tuple[Sequence[Any], Any, list[Any], dict[int, _Memory]],
        dispatch: Callable[[], Any],
    ) -> Any:
        """Run an operator whose arguments are all known, and compute its values."""
        leaves, spec, values, memories = arguments
        given = tree_unflatten(values, spec)
        try:
            with self._pause():
                out = dispatch()
        except (DataDependentOutputException, DynamicOutputShapeException):
            computed = _compute(func, *given)
            if computed is _UNKNOWN:
                raise
            return self._as_fake(mode, computed, leaves)
        if traits.writes:
            self._write(func, traits, call, given)
        elif traits.is_view or self._fits(out):
            computed = _compute(func, *given)
            if computed is not _UNKNOWN:
                bounds = None
                if mode.shape_env is not None and type(computed) is Tensor and not traits.is_empty:
                    bounds = bounds_of_result(func, *call, computed, self._bounds)
                self._attach_all(out, computed, {} if traits.is_lift else memories, not traits.is_empty, bounds)
        return out

    def _arguments(self, leaves: Sequence[Any], traits: OperatorTraits) -> tuple[list[Any], dict[int, _Memory]] | None:
        """Return the arguments with values in place of tensors and sizes, and the memory of the values by address.

        Returns:
            None if something is unknown.
        """
        values: list[Any] = []
        memories: dict[int, _Memory] = {}
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                known = self._known_or_constant(leaf)
                # A view of memory that holds nothing known yet may be filled later.
                may_be_unknown = traits.is_view or (traits.fills and not values)
                if known is None or not (known.memory.is_known or may_be_unknown):
                    return None
                values.append(known.value)
                memories[known.memory.address] = known.memory
            elif isinstance(leaf, torch.device):
                if leaf == _META:
                    return None
                values.append(_CPU)
            elif isinstance(leaf, torch.Generator):
                return None
            else:
                values.append(hint_of(leaf))
        return values, memories

    def _attach_pattern(self, func: Any, out: Any, leaves: Sequence[Any], spec: Any) -> None:
        """Attach which elements of a result hide something, if a mask is added to, or put into, an unknown bias."""
        values: list[Any] = []
        hides = False
        for leaf in leaves:
            known: _Known | None = getattr(leaf, _ATTRIBUTE, None) if isinstance(leaf, Tensor) else None
            if known is not None and known.memory.is_known:
                values.append(known.value)
                hides = hides or (known.value.dtype.is_floating_point and is_mask(known.value))
            elif isinstance(leaf, Tensor):
                if not leaf.dtype.is_floating_point:
                    return
                values.append(torch.zeros((), dtype=leaf.dtype).expand([hint_of(size) for size in leaf.shape]))
            else:
                values.append(_CPU if isinstance(leaf, torch.device) else hint_of(leaf))
                hides = hides or (type(leaf) is float and leaf <= hiding_limit(torch.float16))
        if hides:
            with no_dispatch():
                computed = _compute(func, *tree_unflatten(values, spec))
                if type(computed) is Tensor and computed.dtype.is_floating_point and is_mask(computed):
                    self._attach(out, computed, _Memory(computed), is_pattern=True)

    def _known_or_constant(self, tensor: Tensor) -> _Known | None:
        """Return the value of a fake tensor, or of a small real one that the program uses, such as a global."""
        if type(tensor) is FakeTensor:
            return _known(tensor)
        is_small = tensor.device == _CPU and tensor.numel() <= _MAX_ORIGINAL_NUMBERS
        if type(tensor) is not Tensor or not is_small or not _may_be_known(tensor):
            return None
        return _Known(tensor, self._memory_of_constant(tensor), self._exact)

    def _memory_of_constant(self, value: Tensor) -> _Memory:
        storage = value.untyped_storage()
        made = self._constants.setdefault(storage._cdata, (_Memory(value, is_original=True), storage))
        return made[0]

    def _write(self, func: Any, traits: OperatorTraits, given: Any, values: Any) -> None:
        """Compute an operator that writes to arguments, unless these belong to the user."""
        targets = [(each, known) for each in traits.written(*given) if (known := self._known_or_constant(each))]
        for _, known in targets:
            known.memory.is_written = True
        of_the_user = any(each.memory.is_original and each.memory.address not in self._copies for _, each in targets)
        if of_the_user or _compute(func, *values) is _UNKNOWN:
            self._forget(traits.written(*given))
        elif traits.fills:
            for target, known in targets:
                is_whole = known.value.nbytes == known.value.untyped_storage().nbytes()
                if is_whole and tuple(map(hint_of, target.shape)) == tuple(known.value.shape):
                    known.memory.is_known = True

    def _forget(self, written: Iterable[Tensor]) -> None:
        """Forget the values of tensors that an operator has written something unknown to."""
        for tensor in written:
            known: _Known | None = getattr(tensor, _ATTRIBUTE, None) or self._known_or_constant(tensor)
            if known is not None:
                known.memory.is_known = False

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """Compute nothing meanwhile: the fake kernel of an operator may call other operators on the same tensors."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def _fits(self, out: Any) -> bool:
        """Tell whether the values of fake results are small enough to compute."""
        sizes = [hint_of(leaf.numel()) * leaf.itemsize for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        return all(size <= _MAX_BYTES for size in sizes) and self._live_bytes + sum(sizes) <= _MAX_LIVE_BYTES

    def _bounds(self, tensor: Tensor) -> Bounds | None:
        """Return the bounds of an argument; those of a real tensor that the program uses hold for all sizes."""
        return known_bounds(tensor) if type(tensor) is FakeTensor else bounds_of_value(tensor)

    def _attach_all(
        self, out: Any, computed: Any, memories: dict[int, _Memory], is_known: bool, bounds: Bounds | None
    ) -> None:
        """Attach computed values to fake results of the same shapes."""
        for fake, value in zip(tree_leaves(out), tree_leaves(computed), strict=False):
            if type(fake) is not FakeTensor or type(value) is not Tensor or not _may_be_known(value):
                continue
            if tuple(map(hint_of, fake.shape)) == tuple(value.shape) and fake.dtype == value.dtype:
                shared = memories.get(value.untyped_storage()._cdata)
                self._attach(fake, value, shared or _Memory(value, is_known=is_known), bounds=bounds)

    def _attach(
        self,
        fake: Tensor,
        value: Tensor,
        memory: _Memory,
        *,
        is_pattern: bool = False,
        bounds: Bounds | None = None,
    ) -> None:
        if getattr(fake, _ATTRIBUTE, None) is None:
            size = 0 if memory.is_original else value.untyped_storage().nbytes()
            self._live_bytes += size
            weakref.finalize(fake, self._release, size).atexit = False
            setattr(fake, _ATTRIBUTE, _Known(value, memory, self._exact, is_pattern, bounds))

    def _release(self, size: int) -> None:
        self._live_bytes -= size

    def _as_fake(self, mode: FakeTensorMode, computed: Any, leaves: Sequence[Any]) -> Any:
        """Make fake tensors of results whose shape depends on values; results that are numbers stay numbers."""
        device = next(leaf.device for leaf in leaves if isinstance(leaf, Tensor))

        def fake_of(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            with mode, self._pause():
                fake = _empty_like(value, device)
            self._attach(fake, value, _Memory(value))
            return fake

        return tree_map(fake_of, computed)


def _empty_like(value: Tensor, device: torch.device) -> Tensor:
    """Make a tensor as large as a value, in a storage as large as the value's."""
    elements = value.untyped_storage().nbytes() // value.itemsize
    if elements > value.numel() and value.is_contiguous() and not value.storage_offset():
        # Operators such as unique resize the storage that they have filled.
        return torch.empty(elements, dtype=value.dtype, device=device).resize_(value.shape)
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)


def _may_be_known(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.requires_grad and not tensor.is_quantized


def _is_readable(original: Tensor) -> bool:
    """Tell whether the values of an original can be read without much work."""
    most = _MAX_ORIGINAL.get(original.dtype, _MAX_ORIGINAL_NUMBERS)
    if original.dtype.is_floating_point:
        most = _MAX_ORIGINAL[torch.bool] // original.itemsize if original.dim() > 1 else 0
    return not (original.is_meta or type(original) is FakeTensor or original.is_complex()) and original.numel() <= most


def _compute(func: Any, args: Sequence[Any], kwargs: Any) -> Any:
    try:
        with no_dispatch(), torch.no_grad():
            return func(*args, **kwargs)
    except Exception as error:
        # The arguments are the program's own, so that anything may be wrong with them. Then the value stays unknown.
        if raised_by_signal_handler(error):
            raise
        return _UNKNOWN
