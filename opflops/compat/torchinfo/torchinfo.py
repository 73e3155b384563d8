"""Run a model once and summarize it, as ``torchinfo.summary`` does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from opflops.compat.torchinfo.calls import chosen_device, kept_rows, rows_of, together
from opflops.compat.torchinfo.enums import ColumnSettings, Mode, RowSettings, Verbosity
from opflops.compat.torchinfo.errors import SummaryError
from opflops.compat.torchinfo.formatting import FormattingOptions
from opflops.compat.torchinfo.inputs import (
    get_correct_input_sizes,
    get_input_data_sizes,
    make_inputs,
    set_device,
)
from opflops.compat.torchinfo.model_statistics import ModelStatistics
from opflops.compat.torchinfo.values import bytes_in
from opflops.errors import ArgumentError
from opflops.records.arguments import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from opflops.compat.torchinfo.layer_info import LayerInfo

    INPUT_DATA_TYPE = torch.Tensor | np.ndarray[Any, Any] | Sequence[Any] | Mapping[str, Any]
    INPUT_SIZE_TYPE = Sequence[int | Sequence[Any] | torch.Size]

__all__ = [
    "clear_cached_forward_pass",
    "forward_pass",
    "get_correct_input_sizes",
    "get_input_data_sizes",
    "process_input",
    "set_device",
    "summary",
]

SettingT = TypeVar("SettingT", ColumnSettings, RowSettings, Mode)

DEFAULT_COLUMN_NAMES = (ColumnSettings.OUTPUT_SIZE, ColumnSettings.NUM_PARAMS)
DEFAULT_ROW_SETTINGS = frozenset({RowSettings.DEPTH})
REQUIRES_INPUT = frozenset({ColumnSettings.INPUT_SIZE, ColumnSettings.OUTPUT_SIZE, ColumnSettings.MULT_ADDS})


def summary(
    model: nn.Module,
    input_size: INPUT_SIZE_TYPE | None = None,
    input_data: INPUT_DATA_TYPE | None = None,
    batch_dim: int | None = None,
    cache_forward_pass: bool | None = None,
    col_names: Iterable[str] | None = None,
    col_width: int = 25,
    depth: int = 3,
    device: torch.device | str | None = None,
    dtypes: list[torch.dtype] | None = None,
    mode: str | None = None,
    row_settings: Iterable[str] | None = None,
    verbose: int | None = None,
    **kwargs: Any,
) -> ModelStatistics:
    """Summarize a model: its modules with shapes and parameters, and what a call costs.

    The model runs once, without gradients, unless it is given neither ``input_size`` nor ``input_data``. Then the table
    lists its modules and parameters.

    >>> from torch import nn
    >>> from opflops.compat.torchinfo import summary
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    >>> print(summary(net, input_size=(1, 3, 10, 10), col_names=("output_size", "mult_adds"), verbose=0))
    ==========================================================================================
    Layer (type:depth-idx)                   Output Shape              Mult-Adds
    ==========================================================================================
    Sequential                               [1, 8, 8, 8]              --
    ├─Conv2d: 1-1                            [1, 8, 8, 8]              13,824
    ├─ReLU: 1-2                              [1, 8, 8, 8]              --
    ==========================================================================================
    Total params: 224
    Trainable params: 224
    Non-trainable params: 0
    Total mult-adds (M): 0.01
    ==========================================================================================
    Input size (MB): 0.00
    Forward/backward pass size (MB): 0.00
    Params size (MB): 0.00
    Estimated Total Size (MB): 0.01
    ==========================================================================================

    Args:
        model: The model.
        input_size: The size of its input, batch included; or a list of sizes, for several.
        input_data: Its input; or a list of positional arguments, or a dictionary of keyword arguments.
        batch_dim: Where to insert a batch of 1 into each of ``input_size``.
        cache_forward_pass: Keep what was counted by the name of the model's class, or take what was kept. Another
            model of that name, or other inputs, are not noticed; :func:`clear_cached_forward_pass` forgets it. Without
            inputs too, the rows are those that were kept.
        col_names: The columns, of :class:`ColumnSettings`. By default ``("output_size", "num_params")``; without
            inputs ``("num_params",)``.
        col_width: The width of a column.
        depth: The depth of the last rows that are shown.
        device: Where the model is moved and runs. By default, with ``input_size``: CUDA if there is any, else where the
            model's parameters are; with ``input_data`` nothing is moved.
        dtypes: The dtypes of the inputs of ``input_size``; by default ``torch.float`` for all.
        mode: ``"eval"``, the default, ``"train"``, or ``"same"`` for the mode that each module is in. Afterwards each
            module is in the mode that it was in.
        row_settings: What rows show, of :class:`RowSettings`. By default ``("depth",)``.
        verbose: 0 prints nothing, 1 the table, 2 the parameters of each row too. By default 1; in an interactive
            session 0.
        **kwargs: Further keyword arguments of the model.

    Raises:
        ArgumentError: An argument cannot be used; also a ``TypeError`` and a ``ValueError``.
        SummaryError: Both ``input_size`` and ``input_data`` are given, or an argument of the model is given twice, or
            the call failed; also a ``RuntimeError``.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"summary() needs a model that is an nn.Module, not {describe(model)}.")
    given = input_data is not None or input_size is not None
    columns: tuple[ColumnSettings, ...]
    if col_names is None:
        columns = DEFAULT_COLUMN_NAMES if given else (ColumnSettings.NUM_PARAMS,)
    else:
        columns = tuple(_setting(ColumnSettings, name, "col_names") for name in col_names)
    rows_show = DEFAULT_ROW_SETTINGS if row_settings is None else row_settings
    options = {_setting(RowSettings, name, "row_settings") for name in rows_show}
    model_mode = Mode.EVAL if mode is None else _setting(Mode, mode, "mode")
    if verbose is None:
        verbose = Verbosity.QUIET if getattr(sys, "ps1", None) else Verbosity.DEFAULT
    device = chosen_device(model, device, default=input_size is not None)
    _check(col_width, verbose, columns, given=given, both=input_data is not None and input_size is not None)

    inputs = make_inputs(input_data, input_size, batch_dim, device, dtypes)
    total_input, call = 0, None
    if inputs is not None:
        kwargs = set_device(kwargs, device)
        total_input = bytes_in([inputs.args, inputs.kwargs, kwargs])
        call = inputs.args, together(inputs.kwargs, kwargs)
    summary_list, profile = rows_of(model, call, model_mode, device, use_cache=bool(cache_forward_pass))
    formatting = FormattingOptions(depth, verbose, columns, col_width, options)
    statistics = ModelStatistics(summary_list, inputs.sizes if inputs is not None else [], total_input, formatting)
    statistics.profile = profile
    if verbose > Verbosity.QUIET:
        print(statistics)  # noqa: T201 - as torchinfo does
    return statistics


def clear_cached_forward_pass() -> None:
    """Forget what ``cache_forward_pass=True`` kept."""
    kept_rows.clear()


def process_input(
    input_data: INPUT_DATA_TYPE | None,
    input_size: INPUT_SIZE_TYPE | None,
    batch_dim: int | None,
    device: torch.device | None,
    dtypes: list[torch.dtype] | None = None,
) -> tuple[Any, Any]:
    """Return the arguments of a call and their sizes, from those of :func:`summary`.

    The arguments are a list of positional ones or a dictionary of keyword ones; None if there are neither data nor
    sizes.

    Raises:
        ArgumentError: They cannot be used.
    """
    inputs = make_inputs(input_data, input_size, batch_dim, device, dtypes)
    if inputs is None:
        return None, []
    by_keyword = input_size is None and isinstance(input_data, Mapping)
    return inputs.kwargs if by_keyword else [*inputs.args], inputs.sizes


def forward_pass(
    model: nn.Module,
    x: Any,
    batch_dim: int | None,  # noqa: ARG001 - torchinfo has it
    cache_forward_pass: bool,
    device: torch.device | None,
    mode: Mode,
    **kwargs: Any,
) -> list[LayerInfo]:
    """Call a model and return its rows; those of a model that is not called if ``x`` is None.

    Args:
        model: The model.
        x: A list of positional arguments or a dictionary of keyword arguments.
        batch_dim: Not used, since shapes are shown as they are.
        cache_forward_pass: Whether to take rows that were kept, or to keep them.
        device: Where the model is moved; nowhere for None.
        mode: The mode in which it runs.
        **kwargs: Further keyword arguments.

    Raises:
        ArgumentError: An argument cannot be used.
        SummaryError: The call failed, or an argument is given twice.
    """
    call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    if isinstance(x, Mapping):
        call = (), together({**x}, set_device(kwargs, device))
    elif isinstance(x, list | tuple):
        call = (*x,), set_device(kwargs, device)
    elif x is not None:
        raise ArgumentError(
            "x must be a list of positional arguments, a dictionary of keyword arguments or None, not "
            f"{describe(x)}. process_input() makes one of these."
        )
    mode = _setting(Mode, mode, "mode")
    return rows_of(model, call, mode, device, use_cache=bool(cache_forward_pass))[0]


def _setting(settings: type[SettingT], value: str, argument: str) -> SettingT:
    try:
        return settings(value)
    except ValueError:
        known = ", ".join(repr(each.value) for each in settings)
        raise ArgumentError(f"{argument} may be {known}, not {describe(value)}.") from None


def _check(col_width: int, verbose: int, columns: Iterable[ColumnSettings], *, given: bool, both: bool) -> None:
    if col_width <= 0:
        raise ArgumentError(f"col_width must be greater than 0, not {col_width}.")
    if verbose not in {*Verbosity}:
        raise ArgumentError(f"verbose must be 0 (quiet), 1 (the default) or 2 (with parameters), not {verbose!r}.")
    if both:
        raise SummaryError("A summary needs input_size or input_data, and was given both. Leave out one of them.")
    if not given and (not_there := [column.value for column in columns if column in REQUIRES_INPUT]):
        raise ArgumentError(
            f"Without inputs there are no values for the columns {', '.join(map(repr, not_there))}. Add input_size or "
            "input_data."
        )
