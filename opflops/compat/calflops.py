"""Stand for ``calflops`` (0.3): ``calculate_flops``, ``calculate_flops_hf`` and its helpers.

>>> import torch
>>> from opflops.compat.calflops import calculate_flops
>>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
>>> calculate_flops(net, (5, 4), print_results=False)
('220 FLOPS', '90 MACs', '23')

Results are those of calflops in type, unit and order. ``flops`` is two for each multiply-accumulate and one for every
other operation, ``macs`` the multiply-accumulates, both of the forward pass inside the model and on numbers of any
dtype (totals of :class:`opflops.Profile` have no integers); functions such as exp and tanh are in neither
(``Cost.transcendentals``); ``params`` are those that require a gradient. With ``include_backPropagation``
both are multiplied by ``1 + compute_bp_factor``, which is what these parameters mean; ``opflops.count(model, x,
backward=True)`` counts the backward pass that runs, which is less than two forward ones where inputs or parameters need
no gradient. Modules get no attributes and no hooks, arguments are not changed, and training flags are put back.
Reports have the lines, labels and columns of calflops, and explanations of their own.

Where the figures differ from those of calflops:

======================================  ==============================  ================================================
what                                    calflops                        here
======================================  ==============================  ================================================
a module inside several others          once for each of them           once for each call
attention in one kernel                 0                               its products, softmax, scale and mask
``a @ b``, ``mm``, ``bmm``              0                               as ``matmul``
``matmul`` of batches that broadcast,   the elements of ``a`` times     one MAC for each element of the result and of
or with a vector                        the last size of ``b``          the contraction
transposed convolutions                 groups divided twice; bias of   one MAC for each input position and weight; bias
                                        a smaller result                of the result
``einsum``                              NumPy's estimate; 0 MACs        the products that run, as MACs too
RNN, LSTM, GRU and their cells          0 MACs; no projections; an      as unrolled: LSTM(10, 20) of (5, 3, 10) has
                                        unbatched input as a batch; an  36,000 MACs; true lengths of packed inputs
                                        error for packed ones
bias of ``Linear``                      0                               an addition for each element of the result
bias of ``addmm``, ``baddbmm``          an addition for each of its     an addition for each element of the result
                                        own elements
``torch.add`` and ``torch.mul`` of      sizes matched from the left     the elements of the result
tensors of different rank
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
                                        elements of the input
``LeakyReLU``, ``PReLU``, ``relu6``     1 for an element                2: a comparison and a product, or two
                                                                        comparisons
``alpha``, ``beta`` of ``add`` and      0                               a product for each element, unless it is 1
``addmm``
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
``include_backPropagation``             forward passes, as many as ``1  the same; ``opflops.count(backward=True)``
                                        + compute_bp_factor``           counts the backward pass that runs
a model without parameters              an error                        counted
after an error in a forward             functions stay replaced, and    nothing is replaced
                                        count once more each time
units other than ``T``, ``G``, ``M``,   as they are, of a number that   an error
``K``, ``m`` and ``u``                  is not divided
attributes ``__flops__``,               during the call                 none; ``opflops.count(model, x).inclusive()``
``__macs__``, ``__params__`` of                                         has the costs by path
modules
``MODULE_HOOK_MAPPING``, other private  formulas of modules             none; :func:`opflops.formula` registers one of
names                                                                   an operator
======================================  ==============================  ================================================
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.utils.rnn import PackedSequence

from opflops.compat.calflops_report import report_lines
from opflops.compat.model_calls import count_call
from opflops.compat.module_costs import (
    ModuleCosts,
    callable_of,
    check_input_shape,
    check_model,
    count_parameters,
    evaluating,
    example_input,
    first_device,
    given_arguments,
    warn_of,
)
from opflops.compat.peer_errors import PeerArgumentError
from opflops.compat.transformers_inputs import create_empty_model, generate_transformer_input, load_tokenizer
from opflops.compat.unit_strings import (
    DEFAULT_PRECISION,
    bytes_to_string,
    flops_to_string,
    macs_to_string,
    number_to_string,
    params_to_string,
)
from opflops.counting.count import count
from opflops.torch_internals.modules import class_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import nn

__all__ = [
    "bytes_to_string",
    "calculate_flops",
    "calculate_flops_hf",
    "create_empty_model",
    "flops_to_string",
    "generate_transformer_input",
    "macs_to_string",
    "number_to_string",
    "params_to_string",
]


def calculate_flops(
    model: nn.Module,
    input_shape: tuple[int, ...] | None = None,
    transformer_tokenizer: Any = None,
    args: Sequence[Any] | None = [],
    kwargs: Mapping[str, Any] | None = {},
    forward_mode: str = "forward",
    include_backPropagation: bool = False,  # noqa: N803 - calflops' name
    compute_bp_factor: float = 2.0,
    print_results: bool = True,
    print_detailed: bool = True,
    output_as_string: bool = True,
    output_precision: int = DEFAULT_PRECISION,
    output_unit: str | None = None,
    ignore_modules: Collection[type] | None = None,
) -> tuple[Any, Any, Any]:
    """Run a model in evaluation mode, and return its floating-point operations, MACs and trainable parameters.

    Args:
        model: The model. Its modules are in training or evaluation mode afterwards as they were before.
        input_shape: The shape of its only argument, batch included; with a tokenizer, the batch and the length of the
            sequences. There must be no ``args`` and ``kwargs`` then.
        transformer_tokenizer: The tokenizer that makes the inputs of a model of transformers, of (1, 128) by default.
        args: The positional arguments; tensors and packed sequences move to the device of the first parameter.
        kwargs: The keyword arguments; as ``args``.
        forward_mode: ``"forward"`` to call the model, ``"generate"`` to call its method ``generate``.
        include_backPropagation: Whether to return the figures of the forward pass times ``1 + compute_bp_factor``.
        compute_bp_factor: How many forward passes a backward pass is taken to cost.
        print_results: Whether to print the figures.
        print_detailed: Whether to print also the model, with the figures of each module.
        output_as_string: Whether to return text such as ``("8.18 GFLOPS", "4.09 GMACs", "25.56 M")``, not numbers.
        output_precision: The decimals of figures in text.
        output_unit: The unit of figures in text: ``"T"``, ``"G"``, ``"M"``, ``"K"``; None for the one that fits.
        ignore_modules: The classes of modules whose own work is left out. Subclasses, and modules inside, count.

    Returns:
        The floating-point operations, the multiply-accumulates, and the elements of the trainable parameters.

    Raises:
        PeerArgumentError: The model is no module, ``forward_mode`` names nothing to run, ``output_unit`` is no unit,
            there are no inputs, or those that are given do not go together.
    """
    check_model(model, "calculate_flops")
    run = callable_of(model, forward_mode, "forward_mode")
    # A unit that cannot be written is an error before the model runs.
    number_to_string(0, output_unit)
    device = first_device(model)
    args, kwargs = given_arguments(args, kwargs)
    if transformer_tokenizer is not None or input_shape is not None:
        args, kwargs = _made_inputs(model, input_shape, transformer_tokenizer, args, kwargs, device)
    elif not args and not kwargs:
        raise PeerArgumentError(
            "calculate_flops() has nothing to call the model with. Give input_shape, such as (1, 3, 224, 224), "
            "transformer_tokenizer, args, or kwargs."
        )
    args = [_moved(value, device) for value in args]
    kwargs = {name: _moved(value, device) for name, value in kwargs.items()}
    with evaluating(model):
        counted = count_call(model, args, kwargs, call=run, threads=True)
    costs = ModuleCosts(model, counted.profile, counted.root, ignore_modules or ())
    if print_results:
        lines = report_lines(model, costs, compute_bp_factor, output_unit, output_precision, detailed=print_detailed)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    else:
        warn_of(costs.remarks)
    factor = compute_bp_factor if include_backPropagation else None
    return _figures(model, costs, factor, output_unit, output_precision, as_string=output_as_string)


def _made_inputs(
    model: nn.Module,
    shape: tuple[int, ...] | None,
    tokenizer: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    device: torch.device,
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Make the arguments of a call from the shape of its input, or with a tokenizer."""
    if shape is not None:
        check_input_shape(shape)
        if args or kwargs:
            raise PeerArgumentError(
                "calculate_flops() got input_shape together with args or kwargs. Give either the shape of the input, "
                "or the arguments themselves."
            )
    if tokenizer is not None:
        if shape is not None:
            _check_batch_and_length(shape)
        return args, generate_transformer_input(tokenizer, shape, device)
    if "transformers" in str(type(model)):
        raise PeerArgumentError(
            f"calculate_flops() cannot tell the inputs of {type(model).__name__}, a model of transformers, from "
            "input_shape. Give transformer_tokenizer too, or give the inputs as kwargs in place of input_shape."
        )
    return [example_input(model, shape or ())], {}


def _check_batch_and_length(shape: object) -> None:
    check_input_shape(shape)
    if len(shape) != 2:  # type: ignore[arg-type]  # noqa: PLR2004 - as the message says
        raise PeerArgumentError(
            f"input_shape must have two sizes for a tokenizer, the batch and the length of the sequences, and is "
            f"{shape!r}. Give them as in (1, 128)."
        )


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, PackedSequence):
        # PyTorch types its parameters wrongly.
        return cast("Any", value).to(device)
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _figures(
    model: nn.Module,
    costs: ModuleCosts,
    backward_factor: float | None,
    unit: str | None,
    precision: int,
    *,
    as_string: bool,
) -> tuple[Any, Any, Any]:
    flops: float = costs.flops(model)
    macs: float = costs.macs(model)
    params = count_parameters(model, trainable_only=True)
    if backward_factor is not None:
        flops, macs = flops * (1 + backward_factor), macs * (1 + backward_factor)
    if not as_string:
        return flops, macs, params
    return (
        flops_to_string(flops, unit, precision),
        macs_to_string(macs, unit, precision),
        params_to_string(params, unit, precision),
    )


def calculate_flops_hf(
    model_name: str,
    empty_model: nn.Module | None = None,
    input_shape: tuple[int, int] | None = None,
    trust_remote_code: bool = True,
    access_token: str = "",
    forward_mode: str = "forward",
    include_backPropagation: bool = False,  # noqa: N803 - calflops' name
    compute_bp_factor: float = 2.0,
    print_results: bool = True,
    print_detailed: bool = True,
    output_as_string: bool = True,
    output_precision: int = DEFAULT_PRECISION,
    output_unit: str | None = None,
    ignore_modules: Collection[type] | None = None,
    return_results: bool = False,
) -> tuple[Any, ...]:
    """Count a model of the Hugging Face Hub on tensors without values: its weights are not downloaded.

    Its configuration and tokenizer are read from the hub, or from a folder. Needs transformers: the extra ``models``.

    Args:
        model_name: The name of the model on the hub, the address of its page, or a folder.
        empty_model: The model itself, if there is one already; then only the tokenizer is read.
        input_shape: The batch and the length of the sequences; (1, 128) by default.
        trust_remote_code: Whether to run Python code that comes with the configuration, as calflops does by default.
        access_token: The token of an account that may read the model.
        forward_mode: As for :func:`calculate_flops`, as are the arguments that follow.
        include_backPropagation: As there.
        compute_bp_factor: As there.
        print_results: As there.
        print_detailed: As there.
        output_as_string: As there.
        output_precision: As there.
        output_unit: As there.
        ignore_modules: As there.
        return_results: Whether to return the printed text too.

    Returns:
        As :func:`calculate_flops`, with the text as a fourth if asked for. If the model fails on tensors without
        values, a sentence is printed, and three times None returned.

    Raises:
        PeerArgumentError: ``empty_model`` is no module, or a shape, a mode or a unit is not valid.
        MissingExtraError: transformers is not installed.
    """
    if empty_model is None:
        empty_model = create_empty_model(model_name, None, trust_remote_code, access_token)
    check_model(empty_model, "calculate_flops_hf")
    run = callable_of(empty_model, forward_mode, "forward_mode")
    number_to_string(0, output_unit)
    if input_shape is not None:
        _check_batch_and_length(input_shape)
    tokenizer = load_tokenizer(model_name, trust_remote_code=trust_remote_code, access_token=access_token)
    device = first_device(empty_model)
    # The values of inputs are known, as of an attention mask that hides nothing, also where the model has none.
    inputs = generate_transformer_input(tokenizer, input_shape, "cpu" if device.type == "meta" else device)
    root = class_name(empty_model)
    with evaluating(empty_model):
        try:
            if forward_mode == "forward":
                profile = count(empty_model, **cast("dict[str, Any]", inputs))
            else:
                profile = count_call(empty_model, (), inputs, call=run, threads=True).profile
        except Exception as error:  # noqa: BLE001 - whatever the model raises
            sys.stdout.write(
                f"{model_name} failed on tensors without values: {type(error).__name__}: {error}\n"
                "Load it with its weights, and count it with calculate_flops(model, transformer_tokenizer=tokenizer).\n"
            )
            return None, None, None
    costs = ModuleCosts(empty_model, profile, root, ignore_modules or ())
    lines = report_lines(empty_model, costs, compute_bp_factor, output_unit, output_precision, detailed=print_detailed)
    text = "".join(f"{line}\n" for line in lines)
    if print_results:
        sys.stdout.write(text)
    elif not return_results:
        warn_of(costs.remarks)
    factor = compute_bp_factor if include_backPropagation else None
    figures = _figures(empty_model, costs, factor, output_unit, output_precision, as_string=output_as_string)
    return (*figures, text) if return_results else figures
