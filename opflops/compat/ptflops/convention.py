"""What ptflops counts, as prices of operators, and what its options leave out or replace."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from opflops.compat.module_figures import own_figures
from opflops.compat.ptflops import aten_formulas
from opflops.compat.unit_prices import BIASED, UPSAMPLING, UnitPrices, packet_name
from opflops.errors import ArgumentError
from opflops.pricing.schemas import overloads_of
from opflops.records.arguments import describe
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import OpOverloadPacket, schema_of
from opflops.torch_internals.modules import named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opflops.compat.model_calls import CountedCall
    from opflops.records.rows import Row

_ACTIVATIONS = ("relu", "hardtanh", "leaky_relu", "_prelu_kernel", "elu", "gelu", "silu")

PYTORCH_PRICES = UnitPrices(
    elementwise=dict.fromkeys((*_ACTIVATIONS, "add", "mul"), 1),
    upsampling={name: 1 for names in UPSAMPLING.values() for name in names},
    bias=1,
    # Two multiply-adds: by mean and deviation, and by weight and bias.
    norm=lambda _centered, affine: 1 + (affine > 0),
    softmax=lambda elements, _rows: elements,
    max_pool=lambda windows, _results: windows,
    average_pool=lambda windows, _results: windows,
    adaptive_average_pool=lambda windows, _results: windows,
    attention_scale=1,
)
"""The backend ``pytorch``; the backend ``aten`` counts contractions and their biases alone."""

DEFORMABLE = frozenset({"torchvision.deform_conv2d"})
"""Its own formula counts the interpolation, the masks and the bias in ``ops``."""

LAYERS: tuple[type[nn.Module], ...] = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Softmax,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm,
    nn.Linear, nn.Upsample, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention,
)  # fmt: skip
"""The layers whose work is that of modules, and not functional."""


class Choices(NamedTuple):
    """Hold what the options of one call ignore and replace.

    Attributes:
        ignored: Module types whose work does not count.
        module_hooks: Hooks by module type.
        formulas: Formulas for the mode.
        priced: The operators whose ``ops`` count, as rows name them.
        stated: Those of them whose figure a hook of the caller states, whatever their dtype.
        ignored_operators: Those that do not count.
        functional: Whether work outside the layers of PyTorch counts.
    """

    ignored: frozenset[type]
    module_hooks: dict[type, Callable[..., Any]]
    formulas: dict[Any, Callable[..., Any]]
    priced: frozenset[str]
    stated: frozenset[str]
    ignored_operators: frozenset[str]
    functional: bool

    def figure(self, row: Row) -> int:
        """Return what a row counts as."""
        name = packet_name(row.op)
        if name in self.stated:
            return row.cost.ops
        # Products of integers and of quantized numbers count, arithmetic on indices does not.
        return row.cost.macs + (row.cost.ops if row.floating and name in self.priced else 0)

    def replaced(self, model: nn.Module, call: CountedCall, hooked: Iterable[nn.Module]) -> dict[str, float]:
        """Return what modules count as with all below them, by their paths: hooked ones and ignored ones."""
        paths = {identity: path for identity, (_, path) in named_paths(model, call.root).items()}
        stated: dict[str, float] = {paths[id(module)]: vars(module)[FLOPS] for module in hooked}
        return stated | {paths[id(module)]: 0 for module in model.modules() if type(module) in self.ignored}

    def module_figures(self, model: nn.Module, call: CountedCall, replaced: Mapping[str, float]) -> dict[str, float]:
        """Return what each module itself counts as, by its path."""
        paths = {identity: path for identity, (_, path) in named_paths(model, call.root).items()}
        layers = {paths[id(module)] for module in model.modules() if isinstance(module, LAYERS)}

        def figure(row: Row) -> int:
            in_layer = self.functional or any(
                row.module == path or row.module.startswith(f"{path}.") for path in layers
            )
            return self.figure(row) if in_layer else 0

        return own_figures(call.profile.rows, figure, replaced)


FLOPS, PARAMS = "__flops__", "__params__"
"""The attributes that hooks of ptflops find at a module."""


def choose(
    *, aten: bool, ignore_modules: Iterable[Any], hooks: Mapping[Any, Any], config: Mapping[str, Any]
) -> Choices:
    """Read the options of a call.

    Raises:
        ArgumentError: One is not valid.
    """
    functional = _functional(config, aten=aten)
    types, packets = _split(ignore_modules, "ignore_modules")
    hooked_types, hooked_packets = _split(hooks, "custom_modules_hooks")
    for key, hook in hooks.items():
        if not callable(hook):
            raise ArgumentError(f"custom_modules_hooks[{key}] must be a function, not {describe(hook)}.")
    prices: dict[Any, Callable[..., Any]] = aten_formulas.formulas() if aten else PYTORCH_PRICES.formulas()
    stated: set[str] = set()
    for packet in dict.fromkeys((*hooked_packets, *packets)):
        hook = (lambda _inputs, _outputs: 0) if packet in packets else hooks[packet]
        stated.add(str(packet))
        prices.pop(packet, None)
        for overload in overloads_of(packet):
            names = [argument.name for argument in schema_of(overload).arguments]
            if "out" not in names and overload.name().rpartition(".")[2] != "out":
                prices[overload] = _operator_hook(overload, hook)
    return Choices(
        frozenset(types),
        {key: hooks[key] for key in hooked_types if key not in types},
        prices,
        frozenset(BIASED | set(map(str, prices)) | (set() if aten else DEFORMABLE)),
        frozenset(stated),
        frozenset(map(str, packets)),
        functional,
    )


def _functional(config: Any, *, aten: bool) -> bool:
    if not isinstance(config, dict):
        raise ArgumentError(f"backend_specific_config must be a dict, not {describe(config)}.")
    unknown = [key for key in config if key != "count_functional"]
    if unknown or (aten and config):
        given = unknown[0] if unknown else "count_functional"
        raise ArgumentError(
            f"backend_specific_config has {given!r}, but the only setting is 'count_functional', of the backend "
            "'pytorch'."
        )
    return bool(config.get("count_functional", True))


def _split(given: Iterable[Any], argument: str) -> tuple[list[type], list[OpOverloadPacket]]:
    """Split keys into module types and operators.

    Raises:
        ArgumentError: One is neither.
    """
    types: list[type] = []
    packets: list[OpOverloadPacket] = []
    for key in given:
        if isinstance(key, OpOverloadPacket):
            packets.append(key)
        elif isinstance(key, type) and issubclass(key, nn.Module):
            types.append(key)
        else:
            raise ArgumentError(
                f"{argument} needs classes of modules, such as torch.nn.Conv2d, or operators, such as "
                f"torch.ops.aten.mm, not {describe(key)}."
            )
    return types, packets


def _operator_hook(overload: Any, hook: Callable[..., Any]) -> Callable[..., Cost]:
    """Make a formula of a hook that takes the positional arguments of an operator and its results."""
    arguments = [argument for argument in schema_of(overload).arguments if not argument.kwarg_only]

    def price(*, out: Any, **given: Any) -> Cost:
        values = [given[argument.name] for argument in arguments]
        # PyTorch passes no arguments that are left at their default values.
        while values and arguments[len(values) - 1].has_default_value() and _is_default(values, arguments):
            values.pop()
        results = out if isinstance(out, tuple) else (out,)
        return Cost(ops=int(hook(tuple(values), results)))

    keyword = inspect.Parameter.KEYWORD_ONLY
    names = [*(argument.name for argument in arguments), "out"]
    price.__signature__ = inspect.Signature([inspect.Parameter(name, keyword) for name in names])  # type: ignore[attr-defined]
    return price


def _is_default(values: list[Any], arguments: list[Any]) -> bool:
    default = arguments[len(values) - 1].default_value
    return bool(type(values[-1]) is type(default) and values[-1] == default)
