"""The text that calflops prints: the totals, and the model with the figures of each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.compat.module_costs import count_parameters, percent, write_model
from opflops.compat.unit_strings import flops_to_string, macs_to_string, params_to_string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from opflops.compat.module_costs import ModuleCosts


def _line(label: str, value: str) -> str:
    return f"{label:<70}  {value:<8}"


def report_lines(
    model: nn.Module, costs: ModuleCosts, backward_factor: float, unit: str | None, precision: int, *, detailed: bool
) -> Iterator[str]:
    """Write the whole report; ``unit`` and ``precision`` are those of the totals, not of modules."""
    yield "\n------------------------------------- Calculate Flops Results -------------------------------------"
    yield (
        "Notations:\n"
        "Params: trainable parameters; MACs: multiply-accumulates;\n"
        "FLOPs: floating-point operations, two for each MAC and one for each other; FLOPS: FLOPs in a second;\n"
        "fwd, bwd: forward and backward pass;\n"
        f"a backward pass is taken to cost {backward_factor:.2f} times as much as a forward pass.\n"
    )
    flops, macs = costs.flops(model), costs.macs(model)
    yield _line("Total Training Params: ", params_to_string(count_parameters(model, trainable_only=True)))
    yield _line("fwd MACs: ", macs_to_string(macs, unit, precision))
    yield _line("fwd FLOPs: ", flops_to_string(flops, unit, precision))
    yield _line("fwd+bwd MACs: ", macs_to_string(macs * (1 + backward_factor), unit, precision))
    yield _line("fwd+bwd FLOPs: ", flops_to_string(flops * (1 + backward_factor), unit, precision))
    if detailed:
        yield "\n-------------------------------- Detailed Calculated FLOPs Results --------------------------------"
        yield (
            "After the name of each module: \n"
            "params, percentage of total params, MACs, percentage of total MACs, FLOPS, percentage of total FLOPs"
        )
        yield _NOTES
        yield write_model(model, _describe(model, costs, precision))
    yield from costs.notes
    yield "---------------------------------------------------------------------------------------------------"


_NOTES = """
Notes: 1. A module has the work of its own forward, such as of functions, and that of the modules below it, so that
 these need not add up to it. A module that is used in several places has all of its work in each.
2. FLOPs are those of the arithmetic as it is defined; a kernel may need fewer, and reach more FLOPS than a device has.
"""


def _describe(model: nn.Module, costs: ModuleCosts, precision: int) -> Callable[[nn.Module], str]:
    all_parameters, everything = count_parameters(model, trainable_only=True), costs.cost(model)

    def describe(module: nn.Module) -> str:
        parameters, cost = count_parameters(module, trainable_only=True), costs.cost(module)
        return ", ".join(
            (
                f"{params_to_string(parameters)} = {percent(parameters, all_parameters, precision)} Params",
                f"{macs_to_string(cost.macs)} = {percent(cost.macs, everything.macs, precision)} MACs",
                f"{flops_to_string(cost.flops)} = {percent(cost.flops, everything.flops, precision)} FLOPs",
            )
        )

    return describe
