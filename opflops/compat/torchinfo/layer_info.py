"""The rows of a summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy

from opflops.compat.torchinfo.enums import ColumnSettings
from opflops.compat.torchinfo.values import shape_of
from opflops.errors import ArgumentError
from opflops.records.arguments import describe

if TYPE_CHECKING:
    from torch import nn

NOTHING = "--"
RECURSIVE = "(recursive)"


class ParameterCount(NamedTuple):
    """Hold how many elements of a parameter count, of which a mask of ``torch.nn.utils.prune`` leaves some out."""

    elements: int
    bytes: int
    trainable: bool


class LayerInfo:
    """Describe a call of a module; or a module that was not called, but whose modules were.

    Attributes:
        layer_id: The identity of the module.
        module: The module.
        class_name: The name of its class.
        var_name: The name by which the module above has it.
        depth: How many modules are above it.
        depth_index: Its number among the rows of that depth.
        parent_info: The module above, as the model registers it; None for the model.
        children: All rows below.
        executed: Whether the call returned.
        is_leaf_layer: Whether the module has no modules.
        is_recursive: Whether an earlier row has the module.
        contains_lazy_param: Whether a parameter has no values yet.
        input_size: The shape of its input; ``[]`` for none.
        output_size: The shape of its output.
        output_bytes: The bytes of all tensors of its output.
        counted_output_bytes: Those that the total counts: 0 unless the module has parameters of its own, and without
            tensors that rows below count.
        kernel_size: The attribute ``kernel_size`` of the module.
        num_params: The number of its parameters and of those below.
        trainable_params: How many of these have ``requires_grad``.
        param_bytes: Their bytes.
        macs: The multiply-accumulates of the call and of all rows below.
        own_macs: Those of the call itself, outside the modules that it called.
        parameters: The parameters, by identity.
        listed: The identities of those that this row lists, and no other row.
        listed_if_last: Those that it lists if rows below are not shown.
        inner_layers: The parameters, which ``verbose=2`` shows, with the values of their columns.
    """

    def __init__(self, var_name: str, module: nn.Module, depth: int, parent_info: LayerInfo | None = None) -> None:
        self.layer_id = id(module)
        self.module = module
        self.class_name = _class_name(module)
        self.var_name = var_name
        self.depth = depth
        self.depth_index: int | None = None
        self.parent_info = parent_info
        self.children: list[LayerInfo] = []
        self.executed = False
        self.is_leaf_layer = not any(True for _ in module.children())
        self.is_recursive = False
        self.contains_lazy_param = False
        self.input_size: list[int] = []
        self.output_size: list[int] = []
        self.output_bytes = self.counted_output_bytes = 0
        self.kernel_size = self.get_kernel_size(module)
        self.num_params = self.trainable_params = self.param_bytes = 0
        self.macs = self.own_macs = 0
        self.inner_layers: dict[str, dict[ColumnSettings, Any]] = {}
        self.parameters: dict[int, ParameterCount] = {}
        self.listed: set[int] = set()
        self.listed_if_last: set[int] = set()

    def __repr__(self) -> str:
        return f"{self.class_name}: {self.depth}"

    @property
    def trainable(self) -> str:
        """Return whether the parameters are trainable: ``"True"``, ``"False"`` or ``"Partial"``; ``"--"`` for none."""
        if not self.num_params:
            return NOTHING
        if not self.trainable_params:
            return "False"
        return "True" if self.trainable_params == self.num_params else "Partial"

    @staticmethod
    def calculate_size(inputs: Any, batch_dim: int | None = None) -> tuple[list[int], int]:
        """Return the shape of an input or an output, and the bytes of an element.

        Args:
            inputs: The tensor, or what holds it.
            batch_dim: A dimension to show as 1.

        Raises:
            ArgumentError: It is no tensor and holds none.
        """
        shape, element_bytes = shape_of(inputs)
        if batch_dim is not None and batch_dim < len(shape):
            shape[batch_dim] = 1
        return shape, element_bytes

    @staticmethod
    def get_param_count(module: nn.Module, name: str, param: torch.Tensor) -> tuple[int, str]:
        """Return how many elements of a parameter count, and its name.

        Of a parameter with a mask, as ``torch.nn.utils.prune`` makes it, those count that the mask keeps.
        """
        if name.endswith("_orig"):
            name_without = name.removesuffix("_orig")
            owner, _, own_name = name_without.rpartition(".")
            mask = getattr(module.get_submodule(owner), f"{own_name}_mask", None)
            if isinstance(mask, torch.Tensor) and not mask.is_meta:
                return int(mask.sum()), name_without
        return param.numel(), name

    @staticmethod
    def get_kernel_size(module: nn.Module) -> int | list[int] | None:
        """Return the attribute ``kernel_size`` of a module as an integer or a list; None if it has none.

        Raises:
            ArgumentError: It is neither an integer nor several.
        """
        kernel: Any = getattr(module, "kernel_size", None)
        if isinstance(kernel, torch.Tensor):
            kernel = kernel.tolist()
        if isinstance(kernel, Iterable):
            return [*kernel]
        if kernel is None or isinstance(kernel, int):
            return kernel
        raise ArgumentError(
            f"The kernel_size of a {type(module).__name__} must be an integer or several, not {describe(kernel)}."
        )

    def get_layer_name(self, show_var_name: bool, show_depth: bool) -> str:
        """Return the first cell of the row: the class, the name of the module, and the depth with its number."""
        name = f"{self.class_name} ({self.var_name})" if show_var_name and self.var_name else self.class_name
        if not show_depth or not self.depth:
            return name
        return f"{name}: {self.depth}" if self.depth_index is None else f"{name}: {self.depth}-{self.depth_index}"

    def calculate_num_params(self) -> None:
        """Count the parameters as they are now, and list them for ``verbose=2``."""
        self.class_name = _class_name(self.module)
        self.contains_lazy_param = False
        self.parameters, self.inner_layers = {}, {}
        counts: dict[str, int] = {}
        for registered, parameter in self.module.named_parameters():
            if is_lazy(parameter):
                self.contains_lazy_param = True
                continue
            count, name = self.get_param_count(self.module, registered, parameter)
            trainable = parameter.requires_grad
            self.parameters[id(parameter)] = ParameterCount(count, count * parameter.element_size(), trainable)
            # Below the model itself, the rows of its modules list theirs.
            if self.parent_info is not None or "." not in name:
                counts[name] = count
                self.inner_layers[name] = {ColumnSettings.KERNEL_SIZE: str(_shape_shown(name, parameter))}
        for number, (name, count) in enumerate(counts.items(), 1):
            branch = "└─" if number == len(counts) else "├─"
            self.inner_layers[name][ColumnSettings.NUM_PARAMS] = f"{branch}{count:,}"
        self.listed = self.listed_if_last = {*self.parameters}
        self.num_params = sum(each.elements for each in self.parameters.values())
        self.trainable_params = sum(each.elements for each in self.parameters.values() if each.trainable)
        self.param_bytes = sum(each.bytes for each in self.parameters.values())

    def copy_params(self, other: LayerInfo) -> None:
        """Take over what another row of the same module counted."""
        self.class_name, self.contains_lazy_param = other.class_name, other.contains_lazy_param
        self.parameters, self.inner_layers = other.parameters, other.inner_layers
        self.listed = self.listed_if_last = {*self.parameters}
        self.num_params, self.trainable_params = other.num_params, other.trainable_params
        self.param_bytes = other.param_bytes

    def check_recursive(self, layer_ids: set[int]) -> None:
        """Mark the row if its module is among those of earlier rows."""
        self.is_recursive = self.is_recursive or self.layer_id in layer_ids

    def macs_to_str(self, reached_max_depth: bool) -> str:
        """Return the cell of the multiply-accumulates: with those of the rows below if these are not shown."""
        macs = self.macs if reached_max_depth else self.own_macs
        return f"{macs:,}" if macs > 0 else NOTHING

    def num_params_to_str(self, reached_max_depth: bool) -> str:
        """Return the cell of the parameters, in parentheses if none is trainable."""
        if not self.num_params:
            return NOTHING
        if self.is_recursive:
            return RECURSIVE
        stands_for_all = reached_max_depth or self.is_leaf_layer
        count = self._listed_params(reached_max_depth)
        if not count:
            return RECURSIVE if stands_for_all else NOTHING
        return f"{count:,}" if self.trainable_params or not stands_for_all else f"({count:,})"

    def params_percent(self, total_params: int, reached_max_depth: bool, precision: int = 2) -> str:
        """Return the cell of the share of the model's parameters."""
        count = self._listed_params(reached_max_depth)
        if total_params and (self.is_recursive or self.num_params_to_str(reached_max_depth) == RECURSIVE):
            return RECURSIVE
        if not total_params or not count:
            return f"{'':5}{NOTHING}"
        return f"{count / total_params:>{precision + 5}.{precision}%}"

    def leftover_params(self) -> int:
        """Return how many parameters this row lists, and no other one."""
        return self._listed_params()

    def leftover_trainable_params(self) -> int:
        """Return how many trainable parameters this row lists, and no other one."""
        return sum(self.parameters[key].elements for key in self.listed if self.parameters[key].trainable)

    def _listed_params(self, reached_max_depth: bool = False) -> int:
        listed = self.listed_if_last if reached_max_depth else self.listed
        return sum(self.parameters[key].elements for key in listed)


def _class_name(module: nn.Module) -> str:
    return str(module.original_name) if isinstance(module, ScriptModule) else type(module).__name__


def _shape_shown(name: str, parameter: torch.Tensor) -> list[int]:
    """Return the shape of a parameter: of a weight, inputs before outputs."""
    shape = [*parameter.shape]
    return [shape[1], shape[0], *shape[2:]] if name == "weight" and len(shape) > 1 else shape


def nested_list_size(inputs: Any) -> tuple[list[int], int]:
    """Return the shape of the first tensor in a nested value, and the bytes of an element."""
    return shape_of([*inputs.values()] if isinstance(inputs, Mapping) else [inputs])


def rgetattr(module: nn.Module, attr: str) -> torch.Tensor | None:
    """Return the tensor of a dotted name below a module; None if there is none.

    Raises:
        ArgumentError: What has that name is no tensor.
    """
    found: Any = module
    for name in attr.split("."):
        if not hasattr(found, name):
            return None
        found = getattr(found, name)
    if not isinstance(found, torch.Tensor):
        raise ArgumentError(
            f"{attr!r} must be the name of a tensor in the {type(module).__name__}, not of a {type(found).__name__}."
        )
    return found


def prod(num_list: Iterable[Any]) -> int:
    """Multiply the numbers of a nested list."""
    product = 1
    for item in num_list:
        product *= prod(item) if isinstance(item, Iterable) else item
    return product


def get_children_layers(summary_list: Sequence[LayerInfo], index: int) -> list[LayerInfo]:
    """Return the rows below a row of a list."""
    children: list[LayerInfo] = []
    for row in summary_list[index + 1 :]:
        if row.depth <= summary_list[index].depth:
            break
        children.append(row)
    return children
