"""Count for all sizes of some dimensions at once: costs are expressions in them, exact wherever they are said to hold.

The program is followed once with symbols for sizes. What it decides about them becomes a condition on the result. Then
it is counted again at other sizes, of 1 too, as it would be without symbols: the two must agree in every row that
costs anything. Where they do not at sizes of 1, the program is followed there by itself. (How often PyTorch looks at a
tensor in another shape, which costs nothing, may depend on sizes of 1.)
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import sympy
import torch

from opflops.axes import axes_of, dimensions_of
from opflops.calls import META
from opflops.cost import Cost
from opflops.dimensions import elsewhere, examples
from opflops.errors import DimensionError
from opflops.mode import OpFlopMode
from opflops.places import place_now
from opflops.profile import Case, Condition, Profile
from opflops.torch_internals import fake_copies
from opflops.torch_internals.plain_sizes import symbolic_sizes_stay
from opflops.torch_internals.symbols import SMALLEST, Symbols

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from opflops.axes import Axis
    from opflops.calls import Call
    from opflops.profile import Dimension
    from opflops.rows import Row

    Sizes = Mapping[str, Any]


def count_symbolically(call: Call, dynamic_shapes: Any) -> Profile:
    """Count a call for all sizes of the dimensions that ``dynamic_shapes`` names; see :func:`opflops.count`.

    Raises:
        DimensionError: It does not fit the inputs, or the program does not run for all sizes.
    """
    axes = axes_of(call, dynamic_shapes)
    dimensions = dimensions_of(axes)
    if call.devices == [META]:
        # This finds out whether the program runs there.
        call.counted()
    return _Following(call, axes, _distinct(dimensions)).counted(frozenset())


def _distinct(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Choose sizes to decide by: those of the example, made different from each other and none of them 1."""
    chosen: dict[str, Dimension] = {}
    for name, dimension in dimensions.items():
        size, taken = max(dimension.example, SMALLEST), [each.example for each in chosen.values()]
        while size in taken and (dimension.maximum is None or 2 * size <= dimension.maximum):
            size *= 2
        chosen[name] = dimension._replace(example=size)
    return chosen


def _stand_ins(call: Call, axes: Sequence[Axis], sizes: Sizes) -> dict[int, Tensor]:
    """Make inputs of other sizes, that lie in memory as the example's do."""
    made = call.moved()
    device = call.devices[0] if call.devices else None
    tensors = {id(each.tensor): each for each in axes}
    for key, (label, tensor, _, _) in tensors.items():
        shape = list(tensor.shape)
        for each in axes:
            if each.tensor is tensor:
                shape[each.axis] = each.dim.of(sizes[each.dim.name])
        target = device if tensor.device.type == "meta" else tensor.device
        made[key] = _laid_out(label, tensor, shape).to(target).requires_grad_(tensor.requires_grad)
    return made


def _laid_out(label: str, tensor: Tensor, shape: Sequence[Any]) -> Tensor:
    """Make a tensor of a shape whose axes follow each other in memory as another's do."""
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda axis: (-strides[axis], axis))
    repeated = [axis for axis in order if strides[axis] == 0 and tensor.shape[axis] > 1]
    order = [axis for axis in order if axis not in repeated]
    dense = torch.empty([tensor.shape[axis] for axis in order], dtype=tensor.dtype, device="meta")
    if tensor.numel() and any(
        dense.stride(place) != strides[axis] for place, axis in enumerate(order) if tensor.shape[axis] > 1
    ):
        raise DimensionError(f"{label} is a part of a larger tensor in memory; give {label}.contiguous().")
    axes = [*repeated, *order]
    made = torch.empty(
        [1 if axis in repeated else shape[axis] for axis in axes], dtype=tensor.dtype, device=tensor.device
    )
    return made.expand([shape[axis] for axis in axes]).permute([axes.index(axis) for axis in range(tensor.dim())])


class _Following:
    """Follow a program with symbols for the sizes of dimensions, and see where what it costs then is true.

    Args:
        call: What runs it.
        axes: Which axes of its inputs are of these dimensions.
        dimensions: The dimensions, with the sizes to decide by.
    """

    def __init__(self, call: Call, axes: Sequence[Axis], dimensions: Mapping[str, Dimension]) -> None:
        self._call = call
        self._axes = axes
        self._dimensions = dimensions
        self._known: dict[frozenset[str], Profile] = {}

    def counted(self, ones: frozenset[str]) -> Profile:
        """Count for all sizes of the dimensions that are not held at 1."""
        if ones not in self._known:
            profile = self._without_what_does_not_matter(self._followed(ones), ones)
            self._known[ones] = self._checked(profile, ones)
        return self._known[ones]

    def _without_what_does_not_matter(self, profile: Profile, ones: frozenset[str]) -> Profile:
        """Drop conditions on the other side of which the costs are the same, such as those by which kernels are chosen.

        The program is followed again with sizes that break some of them, larger and smaller ones. What it decides there
        that it did not decide before becomes a condition as well.
        """
        for change in (_larger, _smaller):
            decided = {each.expression: each for each in profile.conditions}
            sizes = next((sizes for sizes in change(profile) if not profile.holds(sizes)), None)
            if sizes is None or not any(isinstance(each, (sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge)) for each in decided):
                continue
            try:
                other = self._followed(ones, sizes)
            except Exception:  # noqa: BLE001, S112 - it does not run there, so that the conditions stay
                continue
            if (_costly(other.rows), _costly(other.sites)) != (_costly(profile.rows), _costly(profile.sites)):
                continue
            there = {each.expression: each for each in other.conditions}
            kept = [each for each in profile.conditions if sympy.Not(each.expression) not in there]
            more = [each for each in other.conditions if sympy.Not(each.expression) not in decided]
            profile = replace(profile, conditions=tuple(dict.fromkeys((*kept, *more))))
        return profile

    def _followed(self, ones: frozenset[str], sizes: Mapping[str, int] | None = None) -> Profile:
        """Follow the program once, with symbols for sizes; it decides by those of the example, or by others."""
        mode = OpFlopMode()
        symbols = Symbols(lambda: place_now(mode))
        dimensions = [
            each if sizes is None else each._replace(example=sizes[each.name])
            for each in self._dimensions.values()
            if each.name not in ones
        ]

        def make() -> dict[int, Tensor]:
            return self._stand_ins(
                {**{each.name: symbols.size(*each) for each in dimensions}, **dict.fromkeys(ones, 1)}
            )

        with self._call.explained(mode), symbolic_sizes_stay():
            profile = self._call.run(mode, fake_copies(self._call.originals, make, symbols))
        for name, (size, place) in symbols.fixed().items():
            raise DimensionError(
                f"{self._call.name} does not run for all sizes of {name}: {place or 'the program'} takes it to be "
                f"{size}. Leave {name} out of dynamic_shapes, or change what fixes it."
            )
        conditions = tuple(Condition(condition, str(place)) for condition, place in symbols.conditions())

        def named(rows: Sequence[Row]) -> tuple[Row, ...]:
            return tuple(replace(row, cost=Cost(*map(symbols.expression, row.cost))) for row in rows)

        return Profile(named(profile.rows), named(profile.sites), profile.called, tuple(dimensions), conditions)

    def _stand_ins(self, sizes: Sizes) -> dict[int, Tensor]:
        return _stand_ins(self._call, self._axes, sizes)

    def _checked(self, profile: Profile, ones: frozenset[str]) -> Profile:
        """Compare with counts at other sizes than decided, and follow the other ways that the program takes at 1."""
        if not profile.dimensions:
            return profile
        sizes = _other_sizes(profile)
        if sizes is None:
            told = "; ".join(map(str, profile.conditions))
            names = ", ".join(each.name for each in profile.dimensions)
            raise DimensionError(
                f"{self._call.name} does not run for other sizes of {names}: it takes it that {told}. "
                "Leave a dimension out of dynamic_shapes, or change what ties them."
            )
        difference = self._difference(profile, sizes, ones)
        if difference:
            told = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            raise DimensionError(
                f"{self._call.name} cannot be counted for all sizes: with {told} {difference}. Fix a dimension, and "
                "count for each of its sizes."
            )
        return self._with_cases(profile, ones)

    def _with_cases(self, profile: Profile, ones: frozenset[str]) -> Profile:
        """Try sizes of 1, and add what the program costs there where that is something else."""
        names = [each.name for each in profile.dimensions if each.minimum == 1]
        conditions, cases = list(profile.conditions), []
        refused: list[set[str]] = []
        for some in (set(some) for number in range(1, len(names) + 1) for some in combinations(names, number)):
            sizes = {**examples(profile.dimensions), **dict.fromkeys(some, 1)}
            if any(known <= some for known in refused) or not profile.holds(sizes):
                continue
            difference = self._difference(profile, sizes, ones)
            if not difference:
                continue
            refused.append(some)
            these = tuple((name, 1) for name in sorted(some))
            conditions.append(Condition(elsewhere(these), difference))
            try:
                cases.append(Case(these, self.counted(ones | some)))
            except Exception:  # noqa: BLE001, S112 - the condition says that it fails there, and how
                continue
        return replace(profile, conditions=tuple(conditions), cases=tuple(cases))

    def _difference(self, profile: Profile, sizes: Mapping[str, int], ones: frozenset[str]) -> str:
        """Tell how a count at some sizes differs from what the expressions say; "" if it does not."""
        all_sizes = {**sizes, **dict.fromkeys(ones, 1)}
        try:
            found = self._call.counted(lambda: self._stand_ins(all_sizes))
        except Exception as error:  # noqa: BLE001 - whatever the program says of such sizes
            return f"it fails ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        said = profile.at(**sizes)
        for counted, expected in ((found.rows, said.rows), (found.sites, said.sites)):
            rows, others = _costly(counted), _costly(expected)
            for kind in dict.fromkeys((*rows, *others)):
                if rows.get(kind) != others.get(kind):
                    return _told(kind, rows.get(kind), others.get(kind))
        return ""


def _larger(profile: Profile) -> Iterator[dict[str, int]]:
    for doublings in range(1, 11):
        yield {
            name: size << doublings if most is None else min(size << doublings, most)
            for name, size, _, most in profile.dimensions
        }


def _smaller(profile: Profile) -> Iterator[dict[str, int]]:
    for halvings in range(1, 11):
        yield {name: max(size >> halvings, least, SMALLEST) for name, size, least, _ in profile.dimensions}


def _other_sizes(profile: Profile) -> dict[str, int] | None:
    """Choose sizes to compare at: larger ones, even or odd, that the conditions allow; else for as many as they do."""
    followed = examples(profile.dimensions)
    changes = [(2, 1), (2, 0), (3, 0), (1, 1), (1, 2), (1, -1)]
    for names in (followed, *([name] for name in followed)):
        for factor, more in changes:
            sizes = {**followed, **{name: factor * followed[name] + more for name in names}}
            if profile.holds(sizes):
                return sizes
    return None


def _told(kind: tuple[str, ...], counted: Row | None, expected: Row | None) -> str:
    calls = [0 if row is None else row.calls for row in (counted, expected)]
    what = f"runs {calls[0]} times in place of {calls[1]}" if calls[0] != calls[1] else "costs something else"
    module, op, _, phase, *_ = kind
    return f"{op} {what} in the {phase} of {module or 'the program'}"


def _costly(rows: Sequence[Row]) -> dict[tuple[str, ...], Row]:
    """Key the rows that cost anything by what tells them apart."""
    return {_kind(row): row for row in rows if row.cost}


def _kind(row: Row) -> tuple[str, ...]:
    return row.module, row.op, row.module_type, row.phase, row.dtype, row.estimate, row.site
