"""Count a model without running it, at the sizes of its inputs or for all sizes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from opflops.records.arguments import explain_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from opflops.mode import Causal
    from opflops.profile.profile import Profile


@explain_arguments()
def count(
    model: Callable[..., Any],
    *inputs: Any,
    backward: bool = False,
    optimizer: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
    dynamic_shapes: Mapping[str, Any] | tuple[Any, ...] | list[Any] | None = None,
    causal: Causal = "dense",
    device: str | torch.device | None = None,
    memory: bool = False,
    allocator: str | None = None,
    time_limit: float | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> Profile:
    """Count a call of a model, or of any function of tensors, without running it: no memory, no arithmetic.

    The call runs on copies of the tensors that have a shape but no storage. The model, its parameters and the inputs do
    not change; nor do modules and tensors in the closure or globals of a function. What cannot be copied, such as a
    lock or a file, is shared, and so are caches outside the model, such as ``functools.lru_cache``: what the call puts
    there has no values. Tensors that were computed before the call are leaves: gradients end there.

    Values that do not depend on parameters or floating-point inputs are known all the same: of integer and bool inputs
    and buffers, of masks, and of what the model computes from them and from numbers, up to 64 MiB for each tensor. So
    the model takes the branches of a run, as for a padding mask of ones. At other sizes of ``dynamic_shapes``, integer
    inputs go on as the given ones do: progressions continue, and other values repeat.

    If some tensors are on the meta device and others are not, those on meta count as being on the device of the others.
    If all are on meta, tensors that the model creates on another device are real.

    >>> import torch
    >>> count(torch.nn.Linear(4, 3), torch.ones(2, 4)).total.macs
    24
    >>> batch = torch.export.Dim("batch")
    >>> count(torch.nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: batch},)).total.macs
    12*batch

    The model may be far larger than the memory. Counting one training step of a Llama of 70 billion parameters on the
    meta device takes less time than running it there.

    >>> giant = torch.nn.Linear(100_000, 100_000, device="meta")
    >>> x = torch.empty(8, 100_000, device="meta")
    >>> count(giant, x, backward=True).total.macs
    160000000000
    >>> count(giant, x, optimizer=torch.optim.AdamW).by("phase")["optimizer"].flops
    130001300002

    What a training step needs is known without that memory, too:

    >>> step = count(giant, x, optimizer=torch.optim.AdamW, memory=True).memory
    >>> round(step.peak / 2**30), round(step.optimizer / 2**30), round(step.gradients / 2**30)
    (224, 75, 37)

    A KV cache is an ordinary input, so the cost of generating one token is a formula in the cache length:

    >>> qkv, out = torch.nn.Linear(64, 3 * 64, bias=False), torch.nn.Linear(64, 64, bias=False)
    >>> def next_token(x, keys, values):
    ...     q, k, v = qkv(x).chunk(3, -1)
    ...     keys, values = torch.cat([keys, k], 1), torch.cat([values, v], 1)
    ...     return out(torch.nn.functional.scaled_dot_product_attention(q, keys, values)), keys, values
    >>> x, cache = torch.zeros(2, 1, 64), torch.zeros(2, 10, 64)
    >>> batch, past = torch.export.Dim("batch"), torch.export.Dim("past")
    >>> shapes = ({0: batch}, {0: batch, 1: past}, {0: batch, 1: past})
    >>> count(next_token, x, cache, cache, dynamic_shapes=shapes).total.macs
    128*batch*past + 16512*batch

    Args:
        model: The module or function to call. If a function or a method, as in ``count(model.encode, x)``, calls parts
            of a model, their names are those below the model.
        *inputs: Its positional arguments; tensors may be on any device.
        backward: Also count the gradients of all floating-point outputs, from gradients of ones.
        optimizer: Also count gradients and one step. An optimizer of the model's parameters is counted in its present
            state. A class, such as ``torch.optim.AdamW``, or a function is called with the parameters, and takes one
            step first, so that one-time setup is not counted.
        dynamic_shapes: Count for all sizes of some dimensions: a ``torch.export.Dim`` for each such axis of an input,
            by argument name, as in ``{"ids": {0: Dim("batch"), 1: Dim("sequence")}}``, or in a tuple by position. Costs
            are then expressions in these dimensions; see :meth:`opflops.Profile.at`.
        causal: ``"dense"`` or ``"exact"``, as for :class:`opflops.OpFlopMode`. Meta has no fused attention, so an exact
            count on meta is that of the CPU. A formula for all sizes reads no mask tensor, and says so.
        device: If all tensors are on meta, count the operators of this device instead. (Attention is fused on CPU and
            CUDA, and is not on meta.) Slower. Other tensors count on the device that they are on.
        memory: Also follow what would be alive in memory: :attr:`opflops.Profile.memory`, as in a run on the CPU. With
            an optimizer, that is of a step in the steady state: its state exists from the beginning, also if it has
            made no step yet, gradients do not, and the outputs are gone before it steps. Not with ``dynamic_shapes``.
        allocator: ``"cuda"`` to round the size of each storage up to a multiple of 512 bytes, as PyTorch's allocator
            for CUDA does; with ``memory``.
        time_limit: Stop with an error after this number of seconds; None for no limit. The error says which operator
            the model was at. Formulas of large models with many dimensions may take minutes.
        kwargs: The model's keyword arguments as a dict, for those that have the name of an option, as in
            ``kwargs={"causal": True}``.
        **keywords: The model's other keyword arguments.

    Raises:
        ArgumentError: There is no model, or an option is unknown or of the wrong type.
        ModelError: The model raised an error. The message names the module, the line and the inputs of the module; the
            exception has the class of the model's error too. Errors of other classes than Python's own are raised as
            they are, with that as a note.
        ValueNeededError: The model needs a value that only a real run has (``.item()``, a boolean mask, routing by
            index), since it depends on parameters or floating-point inputs, or runs on nested tensors, whose lengths
            are values. The message names the operator, module and line, also if a library raised an error of its own.
            Run the model on small real inputs inside ``OpFlopMode()``.
        DimensionError: ``dynamic_shapes`` does not fit the inputs, or no formula holds for all sizes.
        OpflopsError: Gradients are asked for, and no output requires one, or an output depends on a parameter that
            belongs neither to the model nor to the inputs; tensors are on several devices, or on
            another one than ``device``; the optimizer cannot step; the model is a class, or is distributed by FSDP,
            ``replicate`` or, for gradients, ``DistributedDataParallel``, which :func:`opflops.plan` counts. Models of
            ``parallelize_module`` and other DTensors are counted as this rank.
        TimeLimitError: The count took longer than ``time_limit``.
    """
    from opflops.attribution.patching import repair_flags  # noqa: PLC0415 - keeps the import of opflops fast
    from opflops.counting.call_options import (  # noqa: PLC0415 - as above
        check_callable,
        check_options,
        merge_keywords,
    )
    from opflops.counting.distributed_models import check_no_pipeline  # noqa: PLC0415 - as above
    from opflops.counting.fake_call import FakeCall  # noqa: PLC0415 - as above
    from opflops.counting.model_errors import explained_errors  # noqa: PLC0415 - as above
    from opflops.counting.time_limit import limited_time  # noqa: PLC0415 - as above

    check_no_pipeline(model)
    check_callable(model, inputs)
    defaults = {"backward": False, "causal": "dense", "memory": False}
    given = {
        "backward": backward,
        "optimizer": optimizer,
        "dynamic_shapes": dynamic_shapes,
        "causal": causal,
        "device": device,
        "memory": memory,
        "allocator": allocator,
        "time_limit": time_limit,
    }
    given = {name: value for name, value in given.items() if value is not defaults.get(name)}
    arguments = merge_keywords(model, keywords, kwargs)
    check_options(model, given, arguments)
    call = FakeCall(
        model,
        inputs,
        arguments,
        backward=backward,
        optimizer=optimizer,
        causal=causal,
        device=device,
        memory=memory,
        allocator=allocator,
    )
    if dynamic_shapes is None:
        counting: Callable[[], Profile] = call.count
    else:
        from opflops.counting.symbolic import count_symbolically  # noqa: PLC0415 - imports sympy

        counting = partial(count_symbolically, call, dynamic_shapes)
    call.make_mode()  # imports the formulas, outside the time limit
    try:
        with explained_errors(call, given), limited_time(time_limit, call.name, lambda: call.mode):
            return counting()
    finally:
        repair_flags()
