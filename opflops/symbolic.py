"""Count for all sizes of some dimensions at once: costs are expressions in them, exact wherever they are said to hold.

The program is followed once with symbols for sizes. What it decides about them becomes a condition on the result. Then
it is counted again at other sizes, of 1 too, as it would be without symbols: the two must agree in every row that
costs anything. (How often PyTorch looks at a tensor in another shape, which costs nothing, may depend on sizes of 1.)
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import sympy
import torch

from opflops.axes import axes_of, dimensions_of
from opflops.cost import Cost
from opflops.errors import DimensionError
from opflops.mode import OpFlopMode
from opflops.places import place_now
from opflops.profile import Condition, Dimension, Profile
from opflops.torch_internals import fake_copies
from opflops.torch_internals.plain_sizes import symbolic_sizes_stay
from opflops.torch_internals.symbols import SMALLEST, Symbols

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from opflops.axes import Axis
    from opflops.calls import Call
    from opflops.rows import Row

    Sizes = Mapping[str, Any]

_MOST_TOGETHER = 4
"""With more dimensions than this, not all combinations of those that may be 1 are tried, but each, and all at once."""


def count_symbolically(call: Call, dynamic_shapes: Any) -> Profile:
    """Count a call for all sizes of the dimensions that ``dynamic_shapes`` names; see :func:`opflops.count`.

    Raises:
        DimensionError: It does not fit the inputs, or the program does not run for all sizes.
    """
    axes = axes_of(call, dynamic_shapes)
    dimensions = dimensions_of(axes)
    profile = _followed(call, axes, dimensions)
    return _checked(call, axes, profile)


def _distinct(dimensions: Mapping[str, Dimension]) -> dict[str, int]:
    """Choose sizes to decide by: those of the example, made different from each other and none of them 1."""
    chosen: dict[str, int] = {}
    for name, (_, example, _, largest) in dimensions.items():
        size = max(example, SMALLEST)
        while size in chosen.values() and (largest is None or 2 * size <= largest):
            size *= 2
        chosen[name] = size
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


def _followed(call: Call, axes: Sequence[Axis], dimensions: Mapping[str, Dimension]) -> Profile:
    """Follow the program once, with symbols for sizes."""
    mode = OpFlopMode()
    symbols = Symbols(lambda: place_now(mode))
    chosen = _distinct(dimensions)

    def make() -> dict[int, Tensor]:
        sizes = {
            name: symbols.size(name, chosen[name], dimension.minimum, dimension.maximum)
            for name, dimension in dimensions.items()
        }
        return _stand_ins(call, axes, sizes)

    with call.explained(mode), symbolic_sizes_stay():
        profile = call.run(mode, fake_copies(call.originals, make, symbols))
    for name, (size, place) in symbols.fixed().items():
        raise DimensionError(
            f"{call.name} does not run for all sizes of {name}: {place or 'the program'} takes it to be {size}. "
            f"Leave {name} out of dynamic_shapes, or change what fixes it."
        )
    conditions = tuple(Condition(condition, str(place)) for condition, place in symbols.conditions())

    def named(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(replace(row, cost=Cost(*map(symbols.expression, row.cost))) for row in rows)

    examples = tuple(each._replace(example=chosen[name]) for name, each in dimensions.items())
    return Profile(named(profile.rows), named(profile.sites), profile.called, examples, conditions)


def _checked(call: Call, axes: Sequence[Axis], profile: Profile) -> Profile:
    """Compare with counts at other sizes than decided, and say where the program takes other ways."""
    names = [each.name for each in profile.dimensions]
    examples = {each.name: each.example for each in profile.dimensions}
    sizes = _other_sizes(profile)
    if sizes is None:
        told = "; ".join(map(str, profile.conditions))
        raise DimensionError(
            f"{call.name} does not run for sizes much different from {examples}: it takes it that {told}. "
            "Leave a dimension out of dynamic_shapes, or change what ties them."
        )
    difference = _difference(call, axes, profile, sizes)
    if difference:
        told = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        raise DimensionError(
            f"{call.name} cannot be counted for all sizes: with {told} {difference}. Fix a dimension, and count for "
            "each of its sizes."
        )
    conditions = list(profile.conditions)
    together = range(1, len(names) + 1) if len(names) <= _MOST_TOGETHER else (1, len(names))
    refused: list[set[str]] = []
    for ones in [set(some) for number in together for some in combinations(names, number)]:
        sizes = {**examples, **dict.fromkeys(ones, 1)}
        if any(known <= ones for known in refused) or not profile.holds(sizes):
            continue
        difference = _difference(call, axes, profile, sizes)
        if difference:
            refused.append(ones)
            unlike = sympy.Or(*(sympy.Ne(sympy.Symbol(name), 1) for name in sorted(ones)))
            conditions.append(Condition(unlike, f"a size of 1 takes another course: {difference}"))
    if len(names) > _MOST_TOGETHER:
        pairs = combinations([name for name in names if {name} not in refused], 2)
        conditions += [
            Condition(sympy.Or(*(sympy.Ne(sympy.Symbol(name), 1) for name in pair)), "not tried") for pair in pairs
        ]
    return replace(profile, conditions=tuple(conditions))


def _other_sizes(profile: Profile) -> dict[str, int] | None:
    """Choose sizes to compare at: larger ones, even or odd, that the conditions allow; else for as many as they do."""
    examples = {each.name: each.example for each in profile.dimensions}
    changes = [(2, 1), (2, 0), (3, 0), (1, 1), (1, 2), (1, -1)]
    for factor, more in changes:
        sizes = {name: factor * size + more for name, size in examples.items()}
        if profile.holds(sizes):
            return sizes
    for name, size in examples.items():
        for factor, more in changes:
            sizes = {**examples, name: factor * size + more}
            if profile.holds(sizes):
                return sizes
    return None


def _difference(call: Call, axes: Sequence[Axis], profile: Profile, sizes: Mapping[str, int]) -> str:
    """Tell how a count at some sizes differs from what the expressions say; "" if it does not."""
    mode = OpFlopMode()
    try:
        with call.explained(mode):
            found = call.run(mode, fake_copies(call.originals, lambda: _stand_ins(call, axes, sizes)))
    except Exception as error:  # noqa: BLE001 - whatever the program says of such sizes
        return f"it fails ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    said = profile.at(**sizes)
    for counted, expected in ((found.rows, said.rows), (found.sites, said.sites)):
        rows, others = ({_kind(row): row for row in some if row.cost} for some in (counted, expected))
        for kind in dict.fromkeys((*rows, *others)):
            if rows.get(kind) != others.get(kind):
                return _told(kind, rows.get(kind), others.get(kind))
    return ""


def _told(kind: tuple[str, ...], counted: Row | None, expected: Row | None) -> str:
    calls = [0 if row is None else row.calls for row in (counted, expected)]
    what = f"runs {calls[0]} times in place of {calls[1]}" if calls[0] != calls[1] else "costs something else"
    module, op, _, phase, *_ = kind
    return f"{op} {what} in the {phase} of {module or 'the program'}"


def _kind(row: Row) -> tuple[str, ...]:
    return row.module, row.op, row.module_type, row.phase, row.dtype, row.estimate, row.site
