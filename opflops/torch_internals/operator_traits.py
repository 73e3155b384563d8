"""What operators do with the values of their arguments, as far as :mod:`.known_values` needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from opflops.torch_internals.dispatch import OpOverload, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PATTERN_OPERATORS = frozenset(
    {
        *("where", "masked_fill", "add", "clone", "_to_copy", "alias", "detach", "expand", "view", "slice", "select"),
        *("unsqueeze", "squeeze", "permute", "transpose", "_unsafe_view", "_reshape_alias"),
    }
)
"""Operators whose result hides what an argument hides, if masks are added to scores."""


_UNCOMPUTABLE = {torch.Tag.nondeterministic_seeded, torch.Tag.inplace_view}
"""Tags of operators that draw random numbers, or change the shape of an argument."""

_WITHOUT_STORAGE = "_efficientzerotensor"
"""The operator that makes zeros without a storage, in forward mode; whatever reads them as usual crashes."""


class OperatorTraits(NamedTuple):
    """Describe what an operator does with values.

    Attributes:
        is_computable: False for operators that draw random numbers or change shapes in place, for those of other
            libraries, and for higher-order operators.
        is_view: It returns views of its arguments, which need no memory.
        is_empty: Its result has no particular values.
        is_lift: It takes a tensor that PyTorch made of numbers, for the program to own.
        keeps_patterns: Its result hides what an argument hides.
        fills: It overwrites every element of its first argument.
        may_resize: It may give the storage of an argument another size, as ``resize_`` and those with ``out=`` do.
        written_args: The positions of arguments that it writes to.
        written_kwargs: The names of those that it is given by name.
    """

    is_computable: bool
    is_view: bool = False
    is_empty: bool = False
    is_lift: bool = False
    keeps_patterns: bool = False
    fills: bool = False
    may_resize: bool = False
    written_args: tuple[int, ...] = ()
    written_kwargs: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Tell whether it writes to an argument."""
        return bool(self.written_args or self.written_kwargs)

    def written(self, args: Sequence[Any], kwargs: Any) -> Iterator[Tensor]:
        """List the tensors that it writes to."""
        values = [args[index] for index in self.written_args if index < len(args)]
        values += [kwargs[name] for name in self.written_kwargs if name in kwargs]
        for value in values:
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))

    @classmethod
    def of(cls, func: Any) -> OperatorTraits:
        """Read the traits of an operator from its schema and its tags."""
        if not isinstance(func, OpOverload):
            return cls(is_computable=False)
        schema = schema_of(func)
        writes = [bool(each.alias_info and each.alias_info.is_write) for each in schema.arguments]
        name = schema.name.split("::")[1]
        return cls(
            func.namespace in ("aten", "prims")
            and name != _WITHOUT_STORAGE
            and not _UNCOMPUTABLE.intersection(func.tags),
            is_view=any(each.alias_info and not each.alias_info.is_write for each in schema.returns),
            is_empty=name.startswith(("empty", "new_empty")),
            is_lift=name.startswith("lift"),
            keeps_patterns=name in _PATTERN_OPERATORS,
            fills=name in ("fill_", "zero_", "copy_"),
            # What operators of other libraries do to the arguments that they write to is not known.
            may_resize=any(writes)
            and (
                func.namespace != "aten"
                or torch.Tag.inplace_view in func.tags
                or any(written and each.kwarg_only for each, written in zip(schema.arguments, writes, strict=True))
            ),
            written_args=tuple(index for index, written in enumerate(writes) if written),
            written_kwargs=tuple(each.name for each, written in zip(schema.arguments, writes, strict=True) if written),
        )
