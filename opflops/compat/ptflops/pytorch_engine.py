"""What programs import from ``ptflops.pytorch_engine``: the count by modules, and that of parameters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opflops.compat.ptflops.flops_counter import FLOPS_BACKEND, get_model_complexity_info
from opflops.compat.ptflops.model_report import trainable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from torch import nn


def get_flops_pytorch(
    model: nn.Module,
    input_res: tuple[int, ...],
    print_per_layer_stat: bool = True,
    input_constructor: Callable[[tuple[int, ...]], Any] | None = None,
    ost: TextIO = sys.stdout,
    verbose: bool = False,
    ignore_modules: list[Any] = [],  # noqa: B006 - as ptflops; it is not changed
    custom_modules_hooks: dict[Any, Any] = {},  # noqa: B006
    output_precision: int = 2,
    flops_units: str | None = "GMac",
    param_units: str | None = "M",
    extra_config: dict[str, Any] = {},  # noqa: B006
) -> tuple[Any, Any]:
    """Do what :func:`opflops.compat.ptflops.get_model_complexity_info` does with its backend, and return numbers.

    ``extra_config`` is its ``backend_specific_config``; the other arguments are named as there.
    """
    return get_model_complexity_info(
        model,
        input_res,
        print_per_layer_stat,
        as_strings=False,
        input_constructor=input_constructor,
        ost=ost,
        verbose=verbose,
        ignore_modules=ignore_modules,
        custom_modules_hooks=custom_modules_hooks,
        backend=FLOPS_BACKEND.PYTORCH,
        flops_units=flops_units,
        param_units=param_units,
        output_precision=output_precision,
        backend_specific_config=extra_config,
    )


def get_model_parameters_number(model: nn.Module) -> int:
    """Count the parameters that require a gradient, shared ones once."""
    return trainable(model)


_ABSENT = frozenset(
    {
        "accumulate_flops",
        "add_flops_counting_methods",
        "compute_average_flops_cost",
        "patch_functional",
        "patch_tensor_ops",
        "print_model_with_flops",
        "reset_flops_count",
        "start_flops_count",
        "stop_flops_count",
        "unpatch_functional",
        "unpatch_tensor_ops",
    }
)


def __getattr__(name: str) -> Any:
    """Say what to use in place of the methods that ptflops adds to a model.

    Raises:
        ImportError: The name is that of such a method.
        AttributeError: It is another one.
    """
    if name in _ABSENT:
        raise ImportError(
            f"opflops.compat.ptflops.pytorch_engine has no {name}: nothing is added to a model, and no function is "
            "replaced. Call get_model_complexity_info(), or count a block of your own, 'with opflops.OpFlopMode() as "
            "mode:', and read mode.profile.",
            name=name,
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
