"""Run a model once and count the call, as the other counters do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.mode import OpFlopMode
from opflops.torch_internals.modules import class_name
from opflops.torch_internals.size_arithmetic import is_zero

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from opflops.profile.profile import Profile
    from opflops.records.cost import Cost


class CountedCall(NamedTuple):
    """Hold what one call of a model cost.

    Attributes:
        profile: What was counted.
        output: What the model returned.
        root: The path of the model in the profile.
    """

    profile: Profile
    output: Any
    root: str

    def relative(self, path: str) -> str | None:
        """Return a path of the profile below the model, ``""`` for the model itself; None for one elsewhere."""
        if path == self.root:
            return ""
        return path[len(self.root) + 1 :] if path.startswith(f"{self.root}.") else None

    def inclusive(self) -> dict[str, Cost]:
        """Return the cost of each module and all below it, by the module's name below the model."""
        costs = {self.relative(path): cost for path, cost in self.profile.inclusive().items()}
        return {name: cost for name, cost in costs.items() if name is not None}


def count_call(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    call: Callable[..., Any] | None = None,
    on_start: Callable[[OpFlopMode], object] | None = None,
    **options: Any,
) -> CountedCall:
    """Call a model and count it; what it computes, and where, is what it would be without.

    Args:
        model: The model that names the modules.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        call: What is called, if not the model itself, such as its method ``generate``.
        on_start: Called with the mode once it counts.
        **options: Options of :class:`opflops.OpFlopMode`.
    """
    # The model's class may change while it runs, as that of a lazy module does; its path does not.
    root = class_name(model)
    with OpFlopMode(root=model, **options) as mode:
        if on_start is not None:
            on_start(mode)
        output = (call or model)(*args, **(kwargs or {}))
    return CountedCall(mode.profile, output, root)


def estimates(profile: Profile) -> list[tuple[str, str]]:
    """Return the operators whose multiply-accumulates are an estimate, each with the reason, and once each."""
    return list({(row.op, row.estimate): None for row in profile.rows if row.estimate and not is_zero(row.cost.macs)})


def end_forgotten(mode: OpFlopMode) -> None:
    """End the block of a mode that nobody else can end any more; where it may not end now, it counts nothing more."""
    if mode.active:
        mode.__exit__(GeneratorExit, None, None)
