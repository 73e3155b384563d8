"""The text that DeepSpeed's flops profiler prints: a summary, the largest modules at each depth, and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.compat.module_costs import count_parameters, percent, write_model
from opflops.compat.unit_strings import (
    DEFAULT_PRECISION,
    duration_to_string,
    flops_to_string,
    macs_to_string,
    number_to_string,
    params_to_string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from opflops.compat.durations import Durations
    from opflops.compat.module_costs import ModuleCosts

# The names of an engine's timers.
_FORWARD, _BACKWARD, _STEP = "fwd", "bwd", "step"
_MILLISECONDS = 1000.0


def _line(label: str, value: object) -> str:
    return f"{label:<70}  {value!s:<8}"


def _rate(flops: float, seconds: float) -> str:
    return flops_to_string(round(flops / seconds, DEFAULT_PRECISION) if seconds else 0)


def report_lines(
    model: nn.Module,
    costs: ModuleCosts,
    durations: Durations,
    engine: Any,
    recompute_factor: float,
    step: int,
    depth: int,
    top: int,
    *,
    detailed: bool,
    expert_tensor_parallel: bool,
) -> Iterator[str]:
    """Write the whole report."""
    yield "\n-------------------------- DeepSpeed Flops Profiler --------------------------"
    yield f"Profile Summary at step {step}:"
    yield (
        "Notations:\n"
        "dp_size, mp_size: ranks that split the data, the model; params: parameters,\n"
        "MACs: multiply-accumulates; flops: floating-point operations, two for each MAC and one for each other;\n"
        "FLOPS: flops in a second; fwd, bwd: forward and backward pass; step: update of the weights;\n"
        "iter: the three of them together; latency: the time they take\n"
    )
    yield from _engine_lines(engine, expert_tensor_parallel=expert_tensor_parallel)
    yield from _parameter_lines(model, engine, expert_tensor_parallel=expert_tensor_parallel)
    flops, macs = costs.flops(model), costs.macs(model)
    yield _line("fwd MACs per GPU: ", macs_to_string(macs))
    yield _line("fwd flops per GPU: ", number_to_string(flops))
    of_model = flops * (engine.mp_world_size if engine else 1)
    yield _line("fwd flops of model = fwd flops per GPU * mp_size: ", number_to_string(of_model))
    yield from _latency_lines(flops, durations.of(model), engine, recompute_factor)
    yield "\n----------------------------- Aggregated Profile per GPU -----------------------------"
    yield from aggregated_lines(model, costs, durations, depth, top)
    if detailed:
        yield "\n------------------------------ Detailed Profile per GPU ------------------------------"
        yield (
            "After the name of each module: \nparams, percentage of total params, MACs, percentage of total MACs, "
            "fwd latency, percentage of total fwd latency, fwd FLOPS"
        )
        yield _NOTES
        yield write_model(model, _describe(model, costs, durations))
    yield from costs.notes
    yield "------------------------------------------------------------------------------"


_NOTES = """
Notes: 1. A module has the work of its own forward, such as of functions, and that of the modules below it, so that
these need not add up to it. A module that is used in several places has all of its work in each.
2. Flops are those of the arithmetic as it is defined; a kernel may need fewer, and reach more FLOPS than a device has.
3. Latency is that of the module's forward while it was counted. On the CPU what could be measured of the counting is
left out; with tiny operators it is several times that without a profiler, which opflops.time_step() measures.
"""


def _engine_lines(engine: Any, *, expert_tensor_parallel: bool) -> Iterator[str]:
    if not engine:
        return
    yield _line("world size: ", engine.world_size)
    # Under sequence parallelism the ranks that split the data are those that split sequences too.
    data_parallel = engine.seq_dp_world_size if engine.dp_world_size is None else engine.dp_world_size
    yield _line("data parallel size: ", data_parallel)
    yield _line("model parallel size: ", engine.mp_world_size)
    yield _line("batch size per GPU: ", engine.train_micro_batch_size_per_gpu())
    if engine.has_moe_layers:
        split = expert_tensor_parallel and engine.mp_world_size > 1
        yield _line("expert tensor parallelism enabled: ", int(split))


def _parameter_lines(model: nn.Module, engine: Any, *, expert_tensor_parallel: bool) -> Iterator[str]:
    yield _line("params per GPU: ", params_to_string(count_parameters(model)))
    ranks = engine.mp_world_size if engine else 1
    shared, experts = 0, 0
    for each in model.parameters():
        groups = _expert_groups(each)
        shared += 0 if groups else each.numel()
        experts += each.numel() * groups
    if engine and engine.has_moe_layers and experts:
        experts *= ranks if expert_tensor_parallel else 1
        shared *= ranks
        yield _line("params of model: ", params_to_string(shared + experts))
        yield _line("   non-expert params of model: ", params_to_string(shared))
        yield _line("   expert params of model: ", params_to_string(experts))
    else:
        yield _line("params of model = params per GPU * mp_size: ", params_to_string(count_parameters(model) * ranks))


def _expert_groups(parameter: nn.Parameter) -> int:
    """Return over how many ranks the experts are spread that a parameter belongs to; 0 if it is not of an expert."""
    name = str(getattr(parameter, "group_name", ""))
    size = name.removeprefix("ep_size_")
    return int(size) if size != name and size.isdecimal() else 0


def _latency_lines(flops: int, forward: float, engine: Any, recompute_factor: float) -> Iterator[str]:
    has_timers = bool(engine) and engine.wall_clock_breakdown()
    if has_timers:
        forward = engine.timers(_FORWARD).elapsed(False) / _MILLISECONDS  # noqa: FBT003 - DeepSpeed's interface
    yield _line("fwd latency: ", duration_to_string(forward))
    yield _line("fwd FLOPS per GPU = fwd flops per GPU / fwd latency: ", _rate(flops, forward))
    if not has_timers:
        return
    backward = engine.timers(_BACKWARD).elapsed(False) / _MILLISECONDS  # noqa: FBT003 - as above
    step = engine.timers(_STEP).elapsed(False) / _MILLISECONDS  # noqa: FBT003 - as above
    factor = 2 + recompute_factor
    both, whole = factor + 1, forward + backward + step
    yield _line("bwd latency: ", duration_to_string(backward))
    yield _line(f"bwd FLOPS per GPU = {factor:g} * fwd flops per GPU / bwd latency: ", _rate(factor * flops, backward))
    label = f"fwd+bwd FLOPS per GPU = {both:g} * fwd flops per GPU / (fwd+bwd latency): "
    yield _line(label, _rate(both * flops, forward + backward))
    yield _line("step latency: ", duration_to_string(step))
    yield _line("iter latency: ", duration_to_string(whole))
    yield _line(f"FLOPS per GPU = {both:g} * fwd flops per GPU / iter latency: ", _rate(both * flops, whole))
    samples = engine.train_micro_batch_size_per_gpu() * engine.world_size
    yield _line("samples/second: ", round(samples / whole, DEFAULT_PRECISION) if whole else 0)


def _describe(model: nn.Module, costs: ModuleCosts, durations: Durations) -> Callable[[nn.Module], str]:
    all_parameters, all_macs, all_seconds = count_parameters(model), costs.macs(model), durations.of(model)

    def describe(module: nn.Module) -> str:
        parameters, cost, seconds = count_parameters(module), costs.cost(module), durations.of(module)
        return ", ".join(
            (
                f"{params_to_string(parameters)} = {percent(parameters, all_parameters, DEFAULT_PRECISION)} Params",
                f"{macs_to_string(cost.macs)} = {percent(cost.macs, all_macs, DEFAULT_PRECISION)} MACs",
                f"{duration_to_string(seconds)} = {percent(seconds, all_seconds, DEFAULT_PRECISION)} latency",
                _rate(cost.flops, seconds),
            )
        )

    return describe


def aggregated_lines(model: nn.Module, costs: ModuleCosts, durations: Durations, depth: int, top: int) -> Iterator[str]:
    """Write which classes of modules have the most parameters, multiply-accumulates and latency at each depth."""
    levels: list[dict[str, list[float]]] = []
    _add_to_levels(levels, 0, model, costs, durations)
    yield f"Top {top} modules in terms of params, MACs or fwd latency at different model depths:"
    # All but the innermost by default, as DeepSpeed does.
    shown = len(levels) - 1 if depth == -1 else depth
    for number, level in enumerate(levels[: max(shown, 0)]):
        yield f"depth {number}:"
        yield f"    params      - {_largest(level, 0, top, params_to_string)}"
        yield f"    MACs        - {_largest(level, 1, top, macs_to_string)}"
        yield f"    fwd latency - {_largest(level, 2, top, duration_to_string)}"


def _add_to_levels(
    levels: list[dict[str, list[float]]], depth: int, module: nn.Module, costs: ModuleCosts, durations: Durations
) -> None:
    if depth == len(levels):
        levels.append({})
    sums = levels[depth].setdefault(type(module).__name__, [0, 0, 0])
    for index, number in enumerate((count_parameters(module), costs.macs(module), durations.of(module))):
        sums[index] += number
    for child in module.children():
        _add_to_levels(levels, depth + 1, child, costs, durations)


def _largest(level: dict[str, list[float]], index: int, top: int, write: Callable[[float], str]) -> dict[str, str]:
    ordered = sorted(level.items(), key=lambda item: item[1][index], reverse=True)
    return {name: write(sums[index]) for name, sums in ordered[: max(top, 0)]}
