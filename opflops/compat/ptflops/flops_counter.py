"""``get_model_complexity_info``, with the signature of ptflops."""

from __future__ import annotations

import sys
import traceback
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from opflops.compat.module_costs import evaluating, warn_of
from opflops.compat.module_hooks import hooked
from opflops.compat.ptflops.attribute_names import FLOPS, PARAMS
from opflops.compat.ptflops.choices import Choices, choose
from opflops.compat.ptflops.model_report import (
    Format,
    print_model,
    print_operators,
    trainable,
    warn_of_unpriced,
)
from opflops.compat.ptflops.operator_hooks import count_hooked_call
from opflops.compat.ptflops.utils import flops_to_string, params_to_string
from opflops.errors import ArgumentError
from opflops.records.arguments import describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO


_STDOUT = sys.stdout
"""The default value of ``ost``: whatever is standard output at the time of a call."""


class FLOPS_BACKEND(Enum):  # noqa: N801 - the name of ptflops
    """Say what is printed, modules (``PYTORCH``) or operators (``ATEN``); the figures are the same."""

    PYTORCH = "pytorch"
    ATEN = "aten"


class InvalidCallError(ArgumentError, AssertionError):
    """Report an argument that cannot be used; also an ``AssertionError``, which ptflops raises."""


def get_model_complexity_info(
    model: nn.Module,
    input_res: tuple[int, ...],
    print_per_layer_stat: bool = True,
    as_strings: bool = True,
    input_constructor: Callable[[tuple[int, ...]], Any] | None = None,
    ost: TextIO = sys.stdout,
    verbose: bool = False,
    ignore_modules: list[Any] = [],  # noqa: B006 - as ptflops; it is not changed
    custom_modules_hooks: dict[Any, Any] = {},  # noqa: B006
    backend: str | FLOPS_BACKEND = FLOPS_BACKEND.PYTORCH,
    flops_units: str | None = None,
    param_units: str | None = None,
    output_precision: int = 2,
    backend_specific_config: dict[str, Any] = {},  # noqa: B006
) -> tuple[str | int | None, str | int | None]:
    """Count the multiply-accumulates of a forward pass for one sample, and the trainable parameters.

    :mod:`opflops.compat.ptflops` says what counts. The model is called in evaluation mode, and left as it was.

    Args:
        model: The model.
        input_res: The shape of its input without the batch, such as ``(3, 224, 224)``.
        print_per_layer_stat: Print the model with the parameters and multiply-accumulates of each module, or with the
            backend ``aten`` the operators of the model and of its children.
        as_strings: Return texts with units, such as ``"4.09 GMac"`` and ``"25.56 M"``, and else integers.
        input_constructor: A function from ``input_res`` to the input: a dict of keyword arguments, or the only
            argument. By default, that is a tensor of one sample with the dtype and the device of the parameters.
        ost: Where to print.
        verbose: Print which operators have no formula and so count as nothing, and the types of modules whose work is
            of these alone. Work without multiply-accumulates, such as an activation, is not named.
        ignore_modules: Classes of modules, and operators such as ``torch.ops.aten.mm``, whose work does not count.
        custom_modules_hooks: Hooks by class, ``hook(module, input, output)``, that add to ``module.__flops__``, which
            then replaces what we count for these modules and those below them; and by operator,
            ``hook(inputs, outputs)``, that return what a call counts as.
        backend: ``"pytorch"`` or ``"aten"``, or a member of :class:`FLOPS_BACKEND`.
        flops_units: ``"GMac"``, ``"MMac"`` or ``"KMac"``; by default what fits.
        param_units: ``"B"``, ``"M"`` or ``"K"``; by default what fits.
        output_precision: The decimal places of texts.
        backend_specific_config: ``{"count_functional": False}`` leaves out, with the backend ``pytorch``, all work that
            is not that of PyTorch's own layers.

    Returns:
        The multiply-accumulates and the parameters. With the backend ``pytorch`` the former are divided by the number
        of samples of a tensor from ``input_constructor``. Two times None if the model or a hook raised an error, which
        is printed with its traceback.

    Raises:
        InvalidCallError: ``model`` is no module, or ``input_res`` no tuple.
        ArgumentError: Another argument is not valid.
    """
    if not isinstance(model, nn.Module):
        raise InvalidCallError(f"model must be a torch.nn.Module, not {describe(model)}.")
    if not isinstance(input_res, tuple) or not input_res:
        raise InvalidCallError(
            f"input_res must be the shape of one sample as a tuple, such as (3, 224, 224), not {describe(input_res)}."
        )
    try:
        aten = FLOPS_BACKEND(backend) is FLOPS_BACKEND.ATEN
    except ValueError:
        raise ArgumentError(f"backend must be 'pytorch' or 'aten', not {describe(backend)}.") from None
    choices = choose(
        aten=aten, ignore_modules=ignore_modules, hooks=custom_modules_hooks, config=backend_specific_config
    )
    form = Format(sys.stdout if ost is _STDOUT else ost, flops_units, param_units, output_precision)
    with evaluating(model):
        batch = input_constructor(input_res) if input_constructor else _sample(model, input_res)
        try:
            macs = _count(model, batch, choices, form, aten=aten, per_layer=print_per_layer_stat, verbose=verbose)
        except Exception as error:  # noqa: BLE001 - ptflops prints it and returns None
            print(  # noqa: T201 - as ptflops
                "Flops estimation was not finished successfully because of the following exception: \n"
                f"{type(error)}: {error}"
            )
            traceback.print_exc()
            return None, None
    params = trainable(model)
    if as_strings:
        return (
            flops_to_string(macs, units=flops_units, precision=output_precision),
            params_to_string(params, units=param_units, precision=output_precision),
        )
    return cast("int", macs), params


def _sample(model: nn.Module, input_res: tuple[int, ...]) -> torch.Tensor:
    """Make a tensor of one sample with the dtype and the device of the model's parameters, if it has any."""
    tensors = [*model.parameters()]
    dtypes = (each.dtype for each in tensors if each.is_floating_point() or each.is_complex())
    dtype = next(dtypes, torch.get_default_dtype())
    return torch.ones((1, *input_res), dtype=dtype, device=tensors[0].device if tensors else None)


def _samples(batch: Any) -> int:
    """Count the samples of an input: the sequences of a packed one, the first axis of a tensor, the elements of a list.

    A tuple and a dict have those of the first of these in them.
    """
    if isinstance(batch, PackedSequence):
        return max(int(batch.batch_sizes[0]), 1)
    if isinstance(batch, torch.Tensor):
        return max(batch.size(0), 1) if batch.dim() else 1
    if isinstance(batch, list):
        return max(len(batch), 1)
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple) else ()
    return next((_samples(each) for each in parts if isinstance(each, (torch.Tensor, list, tuple, dict))), 1)


def _count(
    model: nn.Module, batch: Any, choices: Choices, form: Format, *, aten: bool, per_layer: bool, verbose: bool
) -> float:
    """Run the model, print what was asked for, and return the multiply-accumulates."""
    keywords = batch if isinstance(batch, dict) else None
    args = () if keywords is not None else (batch,)

    def attributes(module: nn.Module) -> dict[str, Any]:
        return {FLOPS: 0, PARAMS: trainable(module)}

    with hooked(model, choices.module_hooks, attributes) as modules:
        call = count_hooked_call(model, args, keywords or {}, choices.operator_hooks)
        warn_of(call.profile.remarks)
        replaced = choices.replaced(model, call, modules)
    figures = choices.module_figures(model, call, replaced)
    if not aten and not args:
        print("Warning! No positional inputs found for a module, assuming batch size is 1.")  # noqa: T201 - as ptflops
    samples = 1 if aten or not args else _samples(batch)
    for op in {row.op: None for row in call.profile.rows if row.op in choices.ignored_operators}:
        print(f"Warning: {op} operation is ignored", file=form.stream)
    if verbose:
        warn_of_unpriced(call, replaced, form, by_module=not aten)
    if per_layer:
        if aten:
            names = {path: type(module).__name__ for path, module in modules.paths(model, call.root)}
            print_operators(model, call, choices, names, replaced, form)
        else:
            print_model(model, call.root, figures, samples, choices.ignored, form)
    total = sum(figures.values()) / samples if samples > 1 else sum(figures.values())
    # Hooks of operators may state parts of one, which ptflops adds up for its backend aten.
    return total if aten else int(total)
