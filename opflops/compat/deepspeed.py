"""Stand for ``deepspeed.profiling.flops_profiler`` (DeepSpeed 0.19): ``get_model_profile`` and ``FlopsProfiler``.

>>> import torch
>>> from opflops.compat.deepspeed import get_model_profile
>>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
>>> get_model_profile(net, input_shape=(5, 4), print_profile=False, as_string=False)
(220, 90, 23)

Results are those of DeepSpeed in type, unit and order. ``flops`` is two for each multiply-accumulate and one for every
other operation, ``macs`` the multiply-accumulates, both of the forward pass inside the model and on numbers of any
dtype (totals of :class:`opflops.Profile` have no integers); functions such as exp and tanh are in neither
(``Cost.transcendentals``). Modules get no attributes and no hooks, and ``get_model_profile`` puts their training flags
back. Reports have DeepSpeed's lines, labels and columns, and explanations of their own.

Latency is that of the run that is counted, here as with DeepSpeed. On the CPU, what can be measured of the counting is
left out. What remains is nevertheless longer than without it: on a shared CPU, 1.6 times for ResNet-18 on an image of
64 pixels, and 5 times for 20 layers ``Linear(16, 16)`` with ReLU on 4 rows; with DeepSpeed, 1.3 and 4 times. It serves
to compare modules; :func:`opflops.time_step` measures how long a model takes without a profiler.

Where the figures differ from DeepSpeed's:

======================================  ==============================  ================================================
what                                    DeepSpeed                       here
======================================  ==============================  ================================================
``matmul`` of batches that broadcast,   the elements of ``a`` times     one MAC for each element of the result and of
or with a vector                        the last size of ``b``          the contraction
``einsum``                              NumPy's estimate, twice for     the products that run, as MACs too
                                        ``einops.einsum``; 0 MACs
RNN, LSTM, GRU and their cells          0 MACs; no projections; an      as unrolled: LSTM(10, 20) of (5, 3, 10) has
                                        unbatched input as a batch; an  36,000 MACs; true lengths of packed inputs
                                        error for packed ones
bias of ``Linear``                      0                               an addition for each element of the result
bias of ``addmm``, ``baddbmm``          an addition for each of its     an addition for each element of the result
                                        own elements
``a + b``, ``-``, ``/``, ``**``,        0: of such operations           each counts
reductions, losses, whatever else       ``torch.add``, ``torch.mul``
                                        and these methods count
normalization                           1 to 5 for an element           by its formula: mean, variance, difference,
                                                                        quotient, scale and shift, for each element or
                                                                        group
pooling, softmax, GELU, SiLU            1 for an element                their definition: maximum, difference, sum and
                                                                        quotient of a softmax, comparisons of each
                                                                        window of a pooling
resampling                              the product of ``size``, once   products and sums of the elements it mixes; 0
                                        for all samples and channels;   for ``nearest``, which copies
                                        with ``scale_factor`` the
                                        elements of the result
``LeakyReLU``, ``PReLU``, ``relu6``     1 for an element                2: a comparison and a product, or two
                                                                        comparisons
``alpha``, ``beta`` of ``add`` and      0                               a product for each element, unless it is 1
``addmm``
attention in one kernel                 its two products                with its softmax, scale and mask
``nn.MultiheadAttention``, and that of  0                               what runs: the same products as with gradients;
encoders, in evaluation without                                         fewer in an encoder with
gradients                                                               ``src_key_padding_mask``, which skips what is
                                                                        padded
convolution with ``padding="same"``     a position too few in each      the positions of the result
and an even kernel                      direction
unbatched convolutions                  an error                        counted
work of custom functions and of C++     0                               what runs
code
complex products                        as of real numbers              four real MACs for each
``torch.vmap``                          one example of the batch        all of them
an operator that fails, and is caught   counts                          nothing, since nothing was computed
functions in another thread, outside    as in its own thread            in no figure; modules that other threads call
the modules called there                                                count
a module of ``ignore_modules``          counts for the module that      its own work is in no figure; modules inside
                                        calls it                        count, unless they are named too
checkpointing                           a recomputed forward counts     it is no part of the forward pass
``params of model`` without an engine   0                               the parameters
latency                                 with the time of the profiler   without most of it on the CPU, with it
                                                                        elsewhere and in other threads; see above
latency of RNNs                         0, and an error if the model    measured
                                        is one
after an error in a forward             functions stay replaced, and    nothing is replaced
                                        count once more each time
units other than ``T``, ``G``, ``M``,   as they are, of a number that   an error
``K``, ``m`` and ``u``                  is not divided
attributes ``__flops__``,               while it is profiled            none; ``get_module_flops(module)`` and the like
``__macs__``, ``__params__``,
``__duration__`` of modules
``MODULE_HOOK_MAPPING``, other private  formulas of modules             none; :func:`opflops.formula` registers one of
names                                                                   an operator
======================================  ==============================  ================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.compat.flops_profiler import FlopsProfiler, get_module_duration, get_module_flops, get_module_macs
from opflops.compat.module_costs import (
    callable_of,
    check_input_shape,
    check_model,
    evaluating,
    example_input,
    given_arguments,
    warn_of,
)
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
    args: Sequence[Any] | None = [],
    kwargs: Mapping[str, Any] | None = {},
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
        args: Its positional arguments; None for none.
        kwargs: Its keyword arguments; None for none.
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
    inputs, named = given_arguments(args, kwargs)
    if input_shape is not None:
        check_input_shape(input_shape)
        inputs = (example_input(model, input_shape),)
    elif not inputs and not named:
        raise PeerArgumentError(
            "get_model_profile() has nothing to call the model with. Give input_shape, such as (1, 3, 224, 224), or "
            "args, or kwargs."
        )
    profiler = FlopsProfiler(model)
    with evaluating(model):
        for _ in range(warm_up):
            run(*inputs, **named)
        profiler.start_profile(ignore_list=ignore_modules)
        try:
            run(*inputs, **named)
            profiler.stop_profile()
            flops, macs, params = profiler.get_total_flops(), profiler.get_total_macs(), profiler.get_total_params()
            if print_profile:
                profiler.print_model_profile(warm_up, module_depth, top_modules, detailed, output_file)
            else:
                warn_of(profiler.count_remarks)
        finally:
            profiler.end_profile()
    if as_string:
        return number_to_string(flops), macs_to_string(macs), params_to_string(params)
    return flops, macs, params
