"""The call that a summary makes: where the model runs and in which mode, and what is kept of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from opflops.compat.model_calls import count_call
from opflops.compat.torchinfo.enums import Mode
from opflops.compat.torchinfo.errors import GivenTwiceError, SummaryError
from opflops.compat.torchinfo.rows import CallRecorder, complete, places_of
from opflops.compat.torchinfo.values import tensors_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from opflops.compat.torchinfo.layer_info import LayerInfo
    from opflops.profile.profile import Profile

kept_rows: dict[str, tuple[list[LayerInfo], Profile | None]] = {}
"""The rows of earlier calls, with what was counted, by the name of the model's class."""


def together(kwargs: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of both.

    Raises:
        GivenTwiceError: One of them is in both.
    """
    if twice := [name for name in kwargs if name in more]:
        raise GivenTwiceError(
            f"The model's argument {twice[0]!r} is given twice: in input_data, and to summary() by keyword. Leave out "
            "one of them."
        )
    return {**kwargs, **more}


def rows_of(
    model: nn.Module,
    call: tuple[tuple[Any, ...], dict[str, Any]] | None,
    mode: Mode,
    device: torch.device | None,
    *,
    use_cache: bool,
) -> tuple[list[LayerInfo], Profile | None]:
    """Return the rows of a call, and what was counted; the kept ones, or those of no call, if there is none."""
    name = type(model).__name__
    if use_cache and name in kept_rows:
        return kept_rows[name]
    if call is None:
        return complete(places_of(model)), None
    found = _rows_of_call(model, *call, mode, device)
    if use_cache:
        kept_rows[name] = found
    return found


def _rows_of_call(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], mode: Mode, device: torch.device | None
) -> tuple[list[LayerInfo], Profile]:
    recorders: list[CallRecorder] = []
    try:
        with _in_mode(model, mode), torch.no_grad():
            if device is not None and any(each.device != device for each in (*model.parameters(), *model.buffers())):
                model.to(device)

            def call(*args: Any, **kwargs: Any) -> Any:
                with recorders[0]:
                    return model(*args, **kwargs)

            def begin(counting: Any) -> None:
                recorders.append(CallRecorder(model, counting))

            counted = count_call(model, args, kwargs, call=call, on_start=begin, threads=True)
            rows = recorders[0].finished_rows(sum(row.cost.macs for row in counted.profile.rows))
    except Exception as error:
        done = [row for recorder in recorders for row, _ in recorder.calls if row.executed]
        raise SummaryError(
            f"Failed to run the model for its summary: {type(error).__name__}, shown above. Executed layers up to: "
            f"{done}. {_dtype_advice(model, args)}Call model(...) with these inputs by itself to see whether it runs "
            "without the summary."
        ) from error
    return rows, counted.profile


@contextmanager
def _in_mode(model: nn.Module, mode: Mode) -> Iterator[None]:
    """Put a model in a mode, and each of its modules back into its own."""
    before = [(module, module.training) for module in model.modules()]
    try:
        if mode != Mode.SAME:
            model.train(mode == Mode.TRAIN)
        yield
    finally:
        for module, training in before:
            if module.training != training:
                module.training = training


def chosen_device(model: nn.Module, device: torch.device | str | None, *, default: bool) -> torch.device | None:
    """Return the device that was given; else, with ``default``, that of the model or CUDA.

    Raises:
        SummaryError: Only parts of the model are on the meta device.
    """
    if device is not None:
        return torch.device(device)
    if not default:
        return None
    devices = [each.device for each in (*model.parameters(), *model.buffers())]
    if len({each.type == "meta" for each in devices}) > 1:
        raise SummaryError(
            "Some parameters or buffers of the model have values and others are on the meta device, so that no input "
            'of input_size fits both. Give device="meta" to move all there, which drops the values, or input_data.'
        )
    if devices and devices[0].type != "cpu":
        return devices[0]
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _dtype_advice(model: nn.Module, args: tuple[Any, ...]) -> str:
    """Return a sentence on inputs of another dtype than all parameters; nothing if there are none."""
    has, takes = (
        {each.dtype for each in tensors if each.dtype.is_floating_point or each.dtype.is_complex}
        for tensors in (filter(torch.is_tensor, tensors_in(args)), model.parameters())
    )
    if len(takes) != 1 or not has or has == takes:
        return ""
    names = ", ".join(sorted(map(str, has)))
    return f"The inputs are of {names} and the parameters of {takes.pop()}; dtypes=[...] sets those of input_size. "
