"""Count a call at sizes of one dimension, and say which is the largest that fits into the memory of a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._pytree import tree_map_only

from opflops.counting.count import count
from opflops.counting.dynamic_shapes import dimensions_of, parse_dynamic_shapes
from opflops.counting.example_inputs import resize_inputs
from opflops.counting.fake_call import CPU, META
from opflops.counting.size_search import Needs, SizeSearch
from opflops.errors import DimensionError, ModelError, OpflopsError, causes_of, raised_by_signal_handler
from opflops.records.display import repr_text
from opflops.records.fit import Fit, format_bytes
from opflops.torch_internals.fake_tensors import exceeds_size_limit
from opflops.wording import format_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opflops.counting.fake_call import FakeCall
    from opflops.profile.profile import Profile
    from opflops.records.datasheets import Device
    from opflops.records.dimensions import Dimension
    from opflops.records.memory import Memory

_MOST_COUNTS = 12
_MAX_KNOWN_BYTES = 64 * 2**20
"""The largest integer input whose values :func:`opflops.count` reads."""

_TOO_LARGE = 2**63
_MAX_QUOTED = 200


@dataclass(frozen=True)
class LargestSize:
    """Hold the largest size that fits, and what is kept in memory there; printing it says so in sentences.

    Attributes:
        dimension: The name of the dimension.
        size: Its largest size that fits; 0 if none does.
        fit: How much is needed at that size or, if none fits, at the smallest size that was counted.
        profile: The counts, with the memory, at the same size.
        counted_size: That size.
        next_size: The smallest larger size that is known not to fit or not to run; None if none is.
        next_needed: The bytes that it needs; None if the model does not run at it.
        next_error: Why the model does not run at it; "" if it does.
        is_exact: Whether no size in between is left; otherwise there were too many to count at each.
        multiple: Of what number all sizes are multiples.
        counts: How many sizes were counted, or failed.
    """

    dimension: str
    size: int
    fit: Fit
    profile: Profile
    counted_size: int
    next_size: int | None
    next_needed: int | None
    next_error: str
    is_exact: bool
    multiple: int
    counts: int

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    def __repr__(self) -> str:
        return f"<{self._result} print() says more>"

    @property
    def memory(self) -> Memory:
        """Return what was kept in memory at :attr:`counted_size`, on the device that has to fit."""
        memory = self.profile.memory
        assert memory is not None  # noqa: S101 - all counts here have it
        return memory.on_accelerator()

    def __str__(self) -> str:
        moment = self.memory.at
        worst = f" Worst moment: {moment}." if moment is not None else ""
        return f"{self._result} {self._next}{worst}".replace("  ", " ")

    @property
    def _result(self) -> str:
        shown, of = f"{self.dimension} = {self.counted_size:,}", str(self.fit).partition(":")[0]
        if not self.size:
            return f"{shown} does not fit: {of}, {format_bytes(-self.fit.room)} too many."
        if not self.is_exact or self.next_needed is None:
            return f"{shown} fits: {of}."
        kind = "the largest" if self.multiple == 1 else f"the largest multiple of {self.multiple:,}"
        return f"{shown} is {kind} that fits: {of}."

    @property
    def _next(self) -> str:
        """Say why nothing larger, or if nothing fits nothing smaller, is the answer."""
        unknown = "" if self.is_exact else f" The sizes between are unknown after {self.counts} counts."
        if self.next_error:
            return f"At {self.next_size:,} the model fails: {self.next_error}.{unknown}"
        if not self.size:
            return "" if self.is_exact else f"Smaller sizes are unknown after {self.counts} counts."
        if self.next_size is None:
            return f"Memory limits it at none of {self.counts} sizes, of which it is the largest."
        if self.next_needed is None:
            return f"{self.size:,} is as large as its Dim allows.{unknown}"
        excess = format_bytes(self.next_needed - self.fit.available)
        return f"{self.next_size:,} needs {format_bytes(self.next_needed)}, {excess} too many.{unknown}"


class SizeCounter:
    """Count a call at sizes of one dimension, and search for the largest that fits.

    Args:
        call: The call, at the size that the search begins at.
        dynamic_shapes: The axes of the inputs that have the size.
        multiple: Of what number all sizes are multiples.
        options: The options of :func:`opflops.count`.

    Raises:
        DimensionError: ``dynamic_shapes`` does not fit the inputs, or names several dimensions.
    """

    def __init__(self, call: FakeCall, dynamic_shapes: Any, multiple: int, options: Mapping[str, Any]) -> None:
        self._call = call
        self._axes = parse_dynamic_shapes(call, dynamic_shapes)
        self._dimension = _only(dimensions_of(self._axes))
        self._multiple = multiple
        self._options = options
        self._available = 0
        self._fitting: tuple[int, Profile] | None = None
        self._smallest: tuple[int, Profile] | None = None
        self._errors: dict[int, str] = {}

    def search(self, available: int) -> SizeSearch:
        """Search for the largest number of multiples that fits into some bytes."""
        _, example, minimum, maximum = self._dimension
        below = -(-minimum // self._multiple) - 1
        limit = None if maximum is None else maximum // self._multiple
        self._available = available
        search = SizeSearch(self._measure, available, limit, _MOST_COUNTS, below)
        search.run(max(below + 1, example // self._multiple))
        return search

    def _measure(self, number: int) -> Needs | None:
        """Count at a number of multiples, and return what is needed; None if the model fails."""
        try:
            profile = self._count(number * self._multiple)
        except Exception as error:
            if raised_by_signal_handler(error):
                raise
            if any(exceeds_size_limit(each) for each in causes_of(error)):
                return Needs({"": _TOO_LARGE})
            is_of_the_model = isinstance(error, ModelError) or not isinstance(error, OpflopsError)
            if self._smallest is None or not is_of_the_model:
                raise
            self._errors[number] = _explain(error)
            return None
        assert profile.memory is not None  # noqa: S101 - the options ask for it
        memory = profile.memory.on_accelerator()
        if self._smallest is None or number < self._smallest[0]:
            self._smallest = number, profile
        if memory.peak <= self._available and (self._fitting is None or number > self._fitting[0]):
            self._fitting = number, profile
        live = memory.at_peak
        constant = live.parameters + live.gradients + live.optimizer + live.buffers
        return Needs(memory.phase_peaks or {"": memory.peak}, constant)

    def _count(self, size: int) -> Profile:
        call, remaining = self._call, self._options
        resized = resize_inputs(self._axes, {self._dimension.name: size}, _MAX_KNOWN_BYTES)
        inputs, kwargs = tree_map_only(
            Tensor, lambda tensor: resized.get(id(tensor), tensor), (call.inputs, call.kwargs)
        )
        kept = [each for each in call.tensors if id(each) not in resized]
        if all(each.device == META for each in (*kept, *resized.values())):
            # Maybe only the inputs were on a device, and those of other sizes are not.
            was_on = call.devices[0] if call.devices else META
            remaining = {**remaining, "device": call.device or (CPU if was_on == META else was_on)}
        return count(call.model, *inputs, kwargs=kwargs, **remaining)

    def result(self, search: SizeSearch, fits: str | Device | float) -> LargestSize:
        """Say what the search found."""
        kept = self._fitting or self._smallest
        assert kept is not None  # noqa: S101 - the first count raises an error if it fails
        number, profile = kept
        assert profile.memory is not None  # noqa: S101 - as above
        following = None if search.high is None else search.measured.get(search.high)
        return LargestSize(
            dimension=self._dimension.name,
            size=number * self._multiple if self._fitting else 0,
            fit=profile.memory.fits(fits),
            profile=profile,
            counted_size=number * self._multiple,
            next_size=None if search.high is None else search.high * self._multiple,
            next_needed=None if following is None else following.peak,
            next_error=self._errors.get(search.high or 0, ""),
            is_exact=search.is_exact,
            multiple=self._multiple,
            counts=len(search.measured),
        )


def _only(dimensions: Mapping[str, Dimension]) -> Dimension:
    if len(dimensions) > 1:
        raise DimensionError(
            f"largest_size() changes one dimension, but dynamic_shapes names {' and '.join(dimensions)}. Leave out "
            "all others; they have the sizes of the inputs."
        )
    (dimension,) = dimensions.values()
    return dimension


def _explain(error: Exception) -> str:
    """Write why and where the model failed, in a few words."""
    place = getattr(error, "place", "")
    cause = error.__cause__ if isinstance(error, ModelError) and error.__cause__ is not None else error
    return f"{format_error(cause)[:_MAX_QUOTED]}{f' ({place[:1].lower()}{place[1:]})' if place else ''}"
