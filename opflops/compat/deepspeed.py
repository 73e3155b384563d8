"""Stand for ``deepspeed.profiling.flops_profiler`` (DeepSpeed 0.19): ``get_model_profile`` and ``FlopsProfiler``.

>>> import torch
>>> from opflops.compat.deepspeed import get_model_profile
>>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
>>> get_model_profile(net, input_shape=(5, 4), print_profile=False, as_string=False)
(220, 90, 23)

Results are those of DeepSpeed in type, unit and order. ``flops`` is two for each multiply-accumulate and one for every
other operation, ``macs`` the multiply-accumulates, both of the forward pass inside the model; functions such as exp and
tanh are in neither (``Cost.transcendentals``). Modules get no attributes and no hooks, and ``get_model_profile`` puts
their training flags back.

Where the figures differ from DeepSpeed's:

====================================  ============================  ===============================================
what                                  DeepSpeed                     here, and why
====================================  ============================  ===============================================
``a @ b`` with batches that           the elements of ``a`` times   one for each element of the result and of the
broadcast, or with vectors            the last size of ``b``        contraction
``einsum``                            flops of NumPy's path, 0      the products that run, as macs too
                                      macs
RNN, LSTM, GRU and their cells        0 macs; batch and length      as unrolled: 36,000 macs of LSTM(10, 20) for
                                      taken from the first two      (5, 3, 10); packed and unbatched inputs,
                                      sizes; first layer's width    projections, both directions
``F.linear`` with a bias              no addition                   one for each element of the result
``addmm``, ``baddbmm``                additions by the size of the  by the size of the result
                                      bias
``a + b``, ``-``, ``/``, ``**``,      0: only ``torch.add``,        each counts
reductions, losses and whatever else  ``Tensor.add``, ``torch.mul``
                                      and ``Tensor.mul``
normalization, pooling, resampling,   1 to 5 an element of the      by their definition: maximum, difference, sum and
softmax, GELU, SiLU                   input                         quotient of a softmax; comparisons of each window
attention in one kernel               its two products, also with   with its softmax, scale and mask; by query heads
                                      grouped heads' own sizes
``nn.MultiheadAttention`` and         0 in evaluation without       the same with and without gradients
encoders by PyTorch's fused kernels   gradients
convolution ``padding="same"`` with   a position too few            what runs
an even kernel; output paddings
operators that C++ code, a custom     0                             what runs
``Function``, or C++ modules call
integer arithmetic                    as floating-point             left out (``Profile.rows`` has it)
a module of ``ignore_modules``        its work moves to the module  its own work is in no figure; modules inside it
                                      that calls it                 count, unless they are named too
checkpointing                         recomputed forwards count     not part of the forward pass
                                      again
``params of model`` without engine    0                             the parameters
latency                               with DeepSpeed's own work     on the CPU without opflops' work, elsewhere with
                                                                    it; ``opflops.time_step`` measures without
====================================  ============================  ===============================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.compat.flops_profiler import FlopsProfiler, get_module_duration, get_module_flops, get_module_macs
from opflops.compat.module_costs import callable_of, check_input_shape, check_model, evaluating, example_input
from opflops.compat.peer_errors import PeerArgumentError
from opflops.compat.unit_strings import (
    DEFAULT_PRECISION,
    bytes_to_string,
    duration_to_string,
    flops_to_string,
    macs_to_string,
    number_to_string,
    params_to_string,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import nn

__all__ = [
    "DEFAULT_PRECISION",
    "FlopsProfiler",
    "bytes_to_string",
    "duration_to_string",
    "flops_to_string",
    "get_model_profile",
    "get_module_duration",
    "get_module_flops",
    "get_module_macs",
    "macs_to_string",
    "number_to_string",
    "params_to_string",
]


def get_model_profile(
    model: nn.Module,
    input_shape: tuple[int, ...] | None = None,
    args: Sequence[Any] = [],
    kwargs: Mapping[str, Any] = {},
    print_profile: bool = True,
    detailed: bool = True,
    module_depth: int = -1,
    top_modules: int = 1,
    warm_up: int = 1,
    as_string: bool = True,
    output_file: str | None = None,
    ignore_modules: Collection[type] | None = None,
    mode: str = "forward",
) -> tuple[Any, Any, Any]:
    """Run a model in evaluation mode, and return its floating-point operations, MACs and parameters.

    Args:
        model: The model. Its modules are in training or evaluation mode afterwards as they were before.
        input_shape: The shape of its only positional argument, batch included; replaces ``args``.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        print_profile: Whether to print the report of :meth:`FlopsProfiler.print_model_profile`.
        detailed: Whether the report has the model with the figures of each module.
        module_depth: How many levels of modules the report adds up; -1 for all but the innermost.
        top_modules: How many classes of modules it has at each level.
        warm_up: How many runs come before the one that is counted and timed.
        as_string: Whether to return text such as ``("8.18 G", "4.09 GMACs", "25.56 M")`` in place of integers.
        output_file: The file to print to.
        ignore_modules: The classes of modules whose own work is left out. Subclasses, and modules inside, count.
        mode: ``"forward"`` to call the model, ``"generate"`` to call its method ``generate``.

    Returns:
        The floating-point operations, the multiply-accumulates, and the elements of all parameters.

    Raises:
        PeerArgumentError: The model is no module, there are no inputs, or ``mode`` names nothing to run.
    """
    check_model(model, "get_model_profile")
    run = callable_of(model, mode, "mode")
    if input_shape is not None:
        check_input_shape(input_shape)
    elif not args and not kwargs:
        raise PeerArgumentError(
            "get_model_profile() has nothing to call the model with. Give input_shape, such as (1, 3, 224, 224), or "
            "args, or kwargs."
        )
    inputs = args if input_shape is None else [example_input(model, input_shape)]
    profiler = FlopsProfiler(model)
    with evaluating(model):
        for _ in range(warm_up):
            run(*inputs, **kwargs)
        profiler.start_profile(ignore_list=ignore_modules)
        try:
            run(*inputs, **kwargs)
            profiler.stop_profile()
            flops, macs, params = profiler.get_total_flops(), profiler.get_total_macs(), profiler.get_total_params()
            if print_profile:
                profiler.print_model_profile(warm_up, module_depth, top_modules, detailed, output_file)
        finally:
            profiler.end_profile()
    if as_string:
        return number_to_string(flops), macs_to_string(macs), params_to_string(params)
    return flops, macs, params
