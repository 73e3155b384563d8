"""``profile`` and ``profile_origin``, with the signatures of thop."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from opflops.compat.module_costs import evaluating, warn_of
from opflops.compat.module_figures import is_inside, own_figures
from opflops.compat.module_hooks import hooked
from opflops.compat.thop import rnn_hooks
from opflops.compat.thop.places import PlacedCall
from opflops.compat.thop.utils import prRed
from opflops.compat.thop.vision import basic_hooks
from opflops.compat.thop.vision.basic_hooks import CountedByOperators, zero_ops
from opflops.errors import ArgumentError
from opflops.records.arguments import describe
from opflops.records.rows import ancestry
from opflops.torch_internals.modules import attribute_spaces

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    Hook = Callable[..., Any]
    LayerInfo = dict[str, tuple[float, float, "LayerInfo"]]

default_dtype = torch.float64
"""The dtype of ``total_ops`` and ``total_params``, which hooks write to."""

register_hooks: dict[type, Hook] = {
    nn.ZeroPad2d: zero_ops,
    **dict.fromkeys(
        (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        basic_hooks.count_convNd,
    ),
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d,
         nn.InstanceNorm3d, nn.SyncBatchNorm),
        basic_hooks.count_normalization,
    ),
    nn.PReLU: basic_hooks.count_prelu,
    nn.Softmax: basic_hooks.count_softmax,
    **dict.fromkeys(
        (nn.ReLU, nn.ReLU6, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
         nn.AdaptiveMaxPool3d, nn.Dropout, nn.Sequential, nn.PixelShuffle),
        zero_ops,
    ),
    nn.LeakyReLU: basic_hooks.count_relu,
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), basic_hooks.count_avgpool),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), basic_hooks.count_adap_avgpool),
    nn.Linear: basic_hooks.count_linear,
    **dict.fromkeys((nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d), basic_hooks.count_upsample),
    nn.RNNCell: rnn_hooks.count_rnn_cell,
    nn.GRUCell: rnn_hooks.count_gru_cell,
    nn.LSTMCell: rnn_hooks.count_lstm_cell,
    nn.RNN: rnn_hooks.count_rnn,
    nn.GRU: rnn_hooks.count_gru,
    nn.LSTM: rnn_hooks.count_lstm,
}  # fmt: skip
"""The rules by class. What is added or replaced here holds for all later calls, as ``custom_ops`` does for one."""

_ORIGINAL_HOOKS = dict(register_hooks)

TOTAL_OPS, TOTAL_PARAMS = "total_ops", "total_params"
"""The attributes that hooks of thop find at a module."""


class _Counted(NamedTuple):
    """Hold the figures of one call.

    Attributes:
        total: What the model counts as.
        inclusive: What the module at each place counts as, with those below it, if that was asked for.
        rules: The rules by class, those of the caller included.
    """

    total: float
    inclusive: dict[tuple[str, ...], float]
    rules: dict[type, Hook]


def profile(
    model: nn.Module,
    inputs: Iterable[Any],
    custom_ops: Mapping[type, Hook] | None = None,
    verbose: bool = True,
    ret_layer_info: bool = False,
    report_missing: bool = False,
) -> Any:
    """Count the multiply-accumulates of a forward pass, and the parameters.

    :mod:`opflops.compat.thop` says what counts. The model is called in evaluation mode under ``torch.no_grad()``, and
    left as it was.

    >>> import torch
    >>> macs, params = profile(torch.nn.Linear(4, 3), inputs=(torch.ones(2, 4),), verbose=False)
    >>> macs, params
    (24.0, 15.0)

    Args:
        model: The model.
        inputs: Its positional arguments.
        custom_ops: Hooks by class, ``hook(module, inputs, output)``, that add to the tensor ``module.total_ops``, which
            then replaces what we count for these modules and those below them. Of ``nn.Sequential`` and
            ``nn.ModuleList`` those below still count.
        verbose: Print which rules are used.
        ret_layer_info: Also return the figures of modules.
        report_missing: Print which classes of modules call operators that have no formula and so count as nothing;
            implies ``verbose``. Work without multiply-accumulates, such as an activation, is not reported.

    Returns:
        Multiply-accumulates and parameters, as floats; with ``ret_layer_info`` also a dict of the children by name,
        each as a tuple of its multiply-accumulates, its parameters, and such a dict, which is empty for a class that
        has a rule.

    Raises:
        ArgumentError: An argument is not valid.
    """
    counted = _count(model, inputs, custom_ops, verbose=verbose, report_missing=report_missing, by_place=ret_layer_info)
    totals = float(counted.total), _parameters(model)
    return (*totals, _layer_info(model, counted)) if ret_layer_info else totals


def profile_origin(
    model: nn.Module,
    inputs: Iterable[Any],
    custom_ops: Mapping[type, Hook] | None = None,
    verbose: bool = True,
    report_missing: bool = False,
) -> tuple[float, float]:
    """Do what :func:`profile` does, with ``custom_ops`` for modules alone that have none below them."""
    counted = _count(model, inputs, custom_ops, verbose=verbose, report_missing=report_missing, leaves_only=True)
    return float(counted.total), _parameters(model)


def _parameters(model: nn.Module) -> float:
    return float(sum(each.numel() for each in model.parameters() if not is_lazy(each)))


def _layer_info(module: nn.Module, counted: _Counted, place: tuple[str, ...] = ()) -> LayerInfo:
    info: LayerInfo = {}
    for name, child in module.named_children():
        ends = type(child) in counted.rules and not isinstance(child, (nn.Sequential, nn.ModuleList))
        below = (*place, name)
        ops = float(counted.inclusive.get(below, 0))
        info[name] = ops, _parameters(child), {} if ends else _layer_info(child, counted, below)
    return info


def _count(
    model: nn.Module,
    inputs: Iterable[Any],
    custom_ops: Mapping[type, Hook] | None,
    *,
    verbose: bool,
    report_missing: bool,
    leaves_only: bool = False,
    by_place: bool = False,
) -> _Counted:
    rules = _check(model, inputs, custom_ops)
    hooks = {cls: hook for cls, hook in rules.items() if _is_custom(cls, hook, custom_ops)}
    if not leaves_only:
        hooks = {cls: _then_parameters(hook) for cls, hook in hooks.items()}
    print_rules = partial(_print_rules, model, rules, custom_ops or {}, leaves_only=leaves_only)
    if verbose and not report_missing:
        print_rules()

    def attributes(module: nn.Module) -> dict[str, Any]:
        parameters = _parameters(module) if leaves_only else 0
        return {
            TOTAL_OPS: torch.zeros(1, dtype=default_dtype),
            TOTAL_PARAMS: torch.tensor([parameters], dtype=default_dtype),
        }

    def is_hooked(module: nn.Module) -> bool:
        return not leaves_only or next(module.children(), None) is None

    with evaluating(model), torch.no_grad(), hooked(model, hooks, attributes, is_hooked, as_buffers=True) as modules:
        call = PlacedCall(model, tuple(inputs))
        stated = [(path, module, float(_buffer(module, TOTAL_OPS))) for path, module in modules.paths(model, call.root)]
    containers = (nn.Sequential, nn.ModuleList)
    replaced = {path: total for path, module, total in stated if not isinstance(module, containers)}
    alone = {path: total for path, module, total in stated if isinstance(module, containers)}
    figures = own_figures(call.rows, replaced, alone)
    if report_missing:
        missing = {row.module for row in call.rows if not row.priced and row.module not in alone}
        print_rules(_types_of(model, {path for path in missing if not is_inside(path, replaced)}, call.paths()))
    warn_of(call.remarks)
    by_places = call.figures(figures, {*replaced, *alone}) if by_place else {}
    return _Counted(sum(figures.values()), by_places, rules)


def _buffer(module: nn.Module, name: str) -> Any:
    return attribute_spaces(module)[1][name]


def _then_parameters(hook: Hook) -> Hook:
    """Let a module state its parameters after its hook has run, as in thop: the hook finds 0 in its first call."""

    def run(module: nn.Module, inputs: Any, output: Any) -> Any:
        result = hook(module, inputs, output)
        _buffer(module, TOTAL_PARAMS)[0] = _parameters(module)
        return result

    return run


def _check(model: nn.Module, inputs: Iterable[Any], custom_ops: Mapping[type, Hook] | None) -> dict[type, Hook]:
    """Return all rules by class.

    Raises:
        ArgumentError: An argument is not valid.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, not {describe(model)}.")
    if isinstance(inputs, Mapping):
        raise ArgumentError(
            "inputs must be a tuple of positional arguments, as in inputs=(x,), not a dict. For keyword arguments, "
            "profile a module that calls the model with them, or use opflops.count(model, **inputs)."
        )
    if custom_ops is not None and not isinstance(custom_ops, Mapping):
        raise ArgumentError(f"custom_ops must be a dict of hooks by class, not {describe(custom_ops)}.")
    for cls, hook in (custom_ops or {}).items():
        if not isinstance(cls, type) or not callable(hook):
            raise ArgumentError(
                "custom_ops must have classes of modules as keys and functions as values, as in {MyLayer: my_hook}, "
                f"not {describe(cls)}: {describe(hook)}."
            )
    return {**register_hooks, **(custom_ops or {})}


def _is_custom(cls: type, hook: Hook, custom_ops: Mapping[type, Hook] | None) -> bool:
    """Tell whether a rule is a hook of the caller, whose figure replaces ours."""
    if isinstance(hook, CountedByOperators):
        return False
    return cls in (custom_ops or {}) or _ORIGINAL_HOOKS.get(cls) is not hook


def _print_rules(
    model: nn.Module,
    rules: Mapping[type, Hook],
    custom_ops: Mapping[type, Hook],
    missing: Container[type] = (),
    *,
    leaves_only: bool,
) -> None:
    """Print, in thop's order, the rule of each class of modules, and which of ``missing`` have none."""
    seen: set[type] = set()

    def visit(module: nn.Module) -> None:
        cls = type(module)
        if cls in seen or (leaves_only and next(module.children(), None) is not None):
            return
        seen.add(cls)
        if cls in missing:
            prRed(f"[WARN] Cannot find rule for {cls}. Treat it as zero Macs and zero Params.")
        elif cls in rules:
            name = getattr(rules[cls], "__qualname__", type(rules[cls]).__qualname__)
            text = f"Customize rule {name}()" if cls in custom_ops else f"Register {name}() for"
            print(f"[INFO] {text} {cls}.")  # noqa: T201 - as thop

    model.apply(visit)


def _types_of(model: nn.Module, missing: Iterable[str], paths: Mapping[int, str]) -> set[type]:
    """Return the classes of modules that call operators without a formula, from the paths of these calls."""
    registered = set(paths.values())
    # A module that the model does not register stands for the one that called it.
    callers = {next((above for above in reversed(ancestry(path)) if above in registered), "") for path in missing}
    return {type(module) for module in model.modules() if paths[id(module)] in callers}
