"""What a profile answers about one module: its parameters, buffers, calls and activations, own and with those below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.method_advice import advise
from opflops.records.arguments import check_text, explain_methods, no_advice
from opflops.records.modules import ModuleRecord, ModuleTotals, inclusive_totals, total_parameters
from opflops.records.rows import ancestry
from opflops.wording import printable, unknown

if TYPE_CHECKING:
    from opflops.records.modules import CallShapes, SharedParameter
    from opflops.records.rows import Row


@explain_methods(no_advice)
@dataclass(frozen=True, slots=True)
class ModuleFigures:
    """Hold the figures of one module, its own and those with all modules below it.

    Attributes:
        module: Its path.
        module_type: Its class name; "" if only modules below it are known.
        parameters: The elements of the parameters that it registers itself and owns.
        trainable: Those that require a gradient.
        parameter_bytes: Their bytes.
        buffers: The elements of its own buffers.
        buffer_bytes: Their bytes.
        activations: The elements of the results of its own operators with multiply-accumulates, in the forward phase.
        shared: The parameters that it registers, and that count for a module before it.
        calls: The shapes of its calls.
        total: The same sums for the module and all below it.
    """

    module: str
    module_type: str
    parameters: int
    trainable: int
    parameter_bytes: int
    buffers: int
    buffer_bytes: int
    activations: Any
    shared: tuple[SharedParameter, ...]
    calls: tuple[CallShapes, ...]
    total: ModuleTotals

    def __repr__(self) -> str:
        from opflops.report.notes import format_calls  # noqa: PLC0415 - keeps import opflops fast

        kind = f" ({self.module_type})" if self.module_type else ""
        called = sum(each.calls for each in self.calls)
        parts = f"{self.parameters:,} parameters, {self.total_parameters:,} with those below, {format_calls(called)}"
        return printable(f"<ModuleFigures of {self.module}{kind}: {parts}>")

    @property
    def total_parameters(self) -> int:
        """Return the elements of all parameters of the module and those below it."""
        return self.total.parameters

    @property
    def total_trainable(self) -> int:
        """Return those of them that require a gradient."""
        return self.total.trainable

    @property
    def total_buffers(self) -> int:
        """Return the elements of all buffers of the module and those below it."""
        return self.total.buffers

    @property
    def total_activations(self) -> Any:
        """Return the activations of the module and those below it."""
        return self.total.activations


@explain_methods(advise, ProfileArgumentError)
class ModuleQueries:
    """Add questions about modules to a profile, the subclass that holds the data."""

    rows: tuple[Row, ...]
    called: tuple[str, ...]
    modules: tuple[ModuleRecord, ...]

    @property
    def parameters(self) -> int:
        """Return the elements of the parameters of all models that were called; shared ones count once."""
        return total_parameters(self.modules)[0]

    @property
    def trainable(self) -> int:
        """Return those of :attr:`parameters` that require a gradient."""
        return total_parameters(self.modules)[1]

    def module(self, path: str) -> ModuleFigures:
        """Return the parameters, buffers, calls and activations of a module, own and with those below it.

        >>> import torch
        >>> from opflops import count
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> p = count(net, torch.ones(5, 4))
        >>> p.parameters, p.module("Sequential").total_parameters, p.module("Sequential.0").parameters
        (23, 23, 15)
        >>> p.module("Sequential.0").calls[0].outputs[0].shape, p.module("Sequential").total_activations
        ((5, 3), 25)

        Args:
            path: The path of the module, as in rows.

        Raises:
            ProfileError: There is no module of that path; the message names the nearest ones.
        """
        check_text("path", path, "module('Net.layer1')")
        totals = inclusive_totals(self.modules, self.rows)
        known = {above: None for each in (*totals, *self.called) for above in ancestry(each) if above}
        if path not in known:
            hint = unknown("module", path, known) if known else "No module was called."
            raise ProfileError(f"module() got {path!r}. {hint}")
        record = next((each for each in self.modules if each.module == path), ModuleRecord(path, ""))
        own = [row for row in self.rows if row.module == path]
        return ModuleFigures(
            path,
            record.module_type or next((row.module_type for row in own), ""),
            record.parameters,
            record.trainable,
            record.parameter_bytes,
            record.buffers,
            record.buffer_bytes,
            sum(row.activations for row in own if row.floating),
            record.shared,
            record.calls,
            totals.get(path, ModuleTotals()),
        )
