"""Work without a formula, and work that no operator of PyTorch shows."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from opflops.attribution.callers import user_stacklevel
from opflops.errors import FormulaError, UnpricedOpError, UnpricedOpWarning
from opflops.pricing.kernels import kernel_advice, kernel_row_name, price_kernel
from opflops.pricing.op_pricing import OpPricing
from opflops.wording import is_misspelling, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opflops.attribution.module_stack import ModuleStack
    from opflops.pricing.price_cache import PriceCache


class ReportsUnpriced:
    """Base class of the recording mode, which has the attributes named here; see there."""

    causal: str
    module_stack: ModuleStack
    prices: PriceCache
    record: Any
    run: Any
    _strict: bool
    _warned: set[str]

    def run_kernel(
        self,
        name: str,
        names: Iterable[str],
        arguments: Callable[[], dict[str, Any]],
        call: Callable[[], Any],
        written: Sequence[Any] = (),
    ) -> Any:
        """Launch a kernel without a schema and record its cost; see :func:`price_kernel`. For internal use."""
        problem, advice = "has no formula", kernel_advice(name)
        try:
            price = price_kernel(self.prices, name, names, arguments, self.causal, written)
        except FormulaError as error:
            problem, advice = f"has no working formula ({str(error).rstrip('.')})", "Correct the formula."
            price = OpPricing(kernel_row_name(name), "unpriced")
        if price.verdict == "unpriced":
            self.report_unpriced(price.op, problem, advice)
        return self.run(price, call, (), {})

    def run_unseen(self, op: str, problem: str, advice: str, call: Callable[[], Any] | None) -> Any:
        """Make a call whose work no operator shows, unless it was made, and list it as unpriced. For internal use."""
        self.report_unpriced(op, problem, advice)
        price = OpPricing(op, "unpriced")
        return self.record(price, (), {}, None) if call is None else self.run(price, call, (), {})

    def report_unpriced(self, op: str, problem: str, advice: str = "") -> None:
        """Warn about an operator without a formula, once, or raise if the mode is strict. For internal use."""
        module = self.module_stack.current[0].path
        place = f"in module {module}" if module else "outside any module"
        advice = advice or f"Register a formula with @opflops.formula(torch.ops.{op})."
        if self._strict:
            raise UnpricedOpError(f"{op} {place} {problem}. {self._misspelled(op)}{advice}")
        if op not in self._warned:
            self._warned.add(op)
            warnings.warn(
                f"{op} {place} {problem}, so its arithmetic is in no total. {self._misspelled(op)}{advice}",
                UnpricedOpWarning,
                stacklevel=user_stacklevel(),
            )

    def _misspelled(self, op: str) -> str:
        """Name a formula that was registered for a name like that of an operator, which no operator has; else ""."""
        names = {name.replace("::", "."): name for name in self.prices.added_names()}
        near = [names[each] for each in nearest(op, names, 1) if is_misspelling(op, each)]
        return f"There is a formula for {near[0]!r}, which is no operator; is it for this one? " if near else ""
