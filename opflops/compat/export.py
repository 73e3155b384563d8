"""Put opflops' prices into the registry of ``torch.utils.flop_counter``, for those who must keep PyTorch's class."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any, TypeVar

from opflops.pricing.registry import registry
from opflops.torch_internals.dispatch import packet_of, torch_formulas

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.torch_internals.dispatch import OpOverloadPacket

    FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

# What the registry had before the first export that is in force, by packet; None if it had nothing.
_replaced: dict[Any, Callable[..., Any] | None] = {}
_in_force: list[ExportedFormulas] = []


class ExportedFormulas(ContextDecorator):
    """Hold what :func:`export_formulas` did, and undo it: with :meth:`remove`, or at the end of a ``with`` block.

    Each further block, also one inside another, does it again until its end. So does a call of a function that this
    decorates; outside of such a call nothing is changed. Its length is the number of operators.

    Attributes:
        operators: The packets whose formulas are opflops' while this is in force.
    """

    def __init__(self) -> None:
        self.operators: tuple[OpOverloadPacket, ...] = ()
        self._blocks = 0
        self._apply()

    def __len__(self) -> int:
        return len(self.operators)

    def __repr__(self) -> str:
        state = "in force" if self._is_in_force() else "removed"
        return f"<opflops' formulas of {len(self)} operators in torch.utils.flop_counter, {state}>"

    def __call__(self, function: FunctionT) -> FunctionT:
        """Return a function that runs with these formulas; they are removed until then."""
        self.remove()
        return super().__call__(function)

    def _is_in_force(self) -> bool:
        return any(each is self for each in _in_force)

    def _apply(self) -> None:
        # With it comes torch.utils.flop_counter, which imports Triton: longer than the rest of opflops takes.
        from opflops.compat.product_formulas import ProductFormula, own_formulas  # noqa: PLC0415

        registry_of_torch = torch_formulas()
        added = [packet for each in registry.added() if (packet := packet_of(each)) is not None]
        own = {packet: each for packet, each in own_formulas().items() if isinstance(each, ProductFormula)}
        formulas = {**{packet: ProductFormula(packet) for packet in added}, **own}
        for packet, formula in formulas.items():
            former = registry_of_torch.get(packet)
            if not isinstance(former, ProductFormula):
                _replaced[packet] = former
            registry_of_torch[packet] = formula
        self.operators = tuple(formulas)
        _in_force.append(self)

    def remove(self) -> None:
        """Give the registry back what it had, once no other export is in force; a formula set since then stays."""
        from opflops.compat.product_formulas import ProductFormula  # noqa: PLC0415 - as above

        if not self._is_in_force():
            return
        registry_of_torch = torch_formulas()
        _in_force[:] = [each for each in _in_force if each is not self]
        if _in_force:
            return
        for packet, former in _replaced.items():
            if not isinstance(registry_of_torch.get(packet), ProductFormula):
                continue
            if former is None:
                del registry_of_torch[packet]
            else:
                registry_of_torch[packet] = former
        _replaced.clear()

    def __enter__(self) -> ExportedFormulas:  # noqa: PYI034 - typing.Self is not in Python 3.10
        if not self._is_in_force():
            self._apply()
        self._blocks += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks -= 1
        if not self._blocks:
            self.remove()


def export_formulas() -> ExportedFormulas:
    """Put opflops' prices into the registry of ``torch.utils.flop_counter``, and so into all that reads it.

    PyTorch's ``FlopCounterMode``, and what else estimates by that registry, such as the partitioner of
    ``torch.compile``, then gives two FLOPs for each multiply-accumulate by opflops' formulas: of fused attention on the
    CPU, of recurrent layers, of grouped convolutions in a backward pass, of complex numbers, of sparse, quantized and
    nested tensors, and of operators with a formula of :func:`opflops.formula`. An object of that class that exists
    already keeps its formulas. PyTorch's own ``register_flop_formula`` refuses these operators meanwhile, as it does
    all that have a formula: call it before, or assign to its ``flop_registry``. Which module work is counted for
    remains PyTorch's decision.

    >>> import torch, opflops
    >>> from torch.utils.flop_counter import FlopCounterMode
    >>> q = torch.ones(1, 2, 8, 4)
    >>> with opflops.export_formulas(), FlopCounterMode(display=False) as counter:
    ...     _ = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    >>> counter.get_total_flops()
    2048

    Returns:
        What was done, to be undone: by ``remove()``, or as a context manager at the end of its block. As a decorator it
        is done for each call of the function, and not outside. Its length is the number of operators.
    """
    return ExportedFormulas()
