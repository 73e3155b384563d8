"""A mode that counts the plainest programs as opflops does, and handles no other case: what counting itself takes.

It prices operators by opflops' own compiled functions, attributes them to modules by path, forward and backward,
records the shapes of module calls, and reads parameters. It knows neither exceptions, other modes, threads and phases,
several calls of a module, tensors of other classes, nor operators off the fast path. So its overhead is about the least
for a mode in Python that keeps nothing from block to block.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from torch.utils._python_dispatch import TorchDispatchMode

from opflops import Cost
from opflops.pricing.accumulators import Accumulator
from opflops.pricing.registry import registry
from opflops.torch_internals.autograd import (
    ACCUMULATE_GRAD_NR,
    current_node,
    graph_task_id,
    next_sequence_nr,
    sequence_nr,
)
from opflops.torch_internals.module_call import MODULE_CALL, MODULE_CALL_CODE, replaced_code
from opflops.torch_internals.modules import named_paths
from opflops.torch_internals.tensor_sizes import read_tensors, reading_registered

if TYPE_CHECKING:
    from torch import nn


class _Context:
    """Hold what is known of a module."""

    __slots__ = ("backward", "calls", "forward", "module_type", "path", "shapes")

    def __init__(self, path: str, module_type: str) -> None:
        self.path, self.module_type = path, module_type
        self.forward: dict[int, Accumulator] = {}
        self.backward: dict[int, Accumulator] = {}
        self.shapes: Any = None
        self.calls = 0


class _PlainAccumulator(Accumulator):
    """An accumulator of which only what the compiled functions need is set."""

    __slots__ = ()

    def __init__(self, context: Any, pricing: Any) -> None:
        self.context, self.pricing, self.call, self.record = context, pricing, pricing.call, pricing.record
        self.dtype = self.others = None
        self.calls = self.macs = self.ops = self.transcendentals = 0
        self.bytes_read = self.bytes_written = self.activations = 0


class MinimalMode(TorchDispatchMode):
    """Count the operators of a block, and which module called them."""

    active: MinimalMode

    def __init__(self) -> None:
        super().__init__()
        self.prices = registry.price_cache({"causal": "dense"})
        self.outside = self.context = _Context("", "")
        self.contexts: dict[int, _Context] = {}
        self.accumulators: list[Accumulator] = []
        self.marks, self.owners = [next_sequence_nr()], [self.outside]
        self.parameters: Any = ()
        self.model: nn.Module | None = None

    def __enter__(self) -> MinimalMode:  # noqa: PYI034 - typing.Self is not in Python 3.10
        MinimalMode.active = self
        MODULE_CALL.__code__ = _CODE
        super().__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        MODULE_CALL.__code__ = MODULE_CALL_CODE
        if self.model is not None:
            tables = [module._parameters for module in self.model.modules()]  # noqa: SLF001 - as opflops reads them
            with reading_registered():
                self.parameters = read_tensors([each for table in tables for each in table.values()])
            self.model = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, and add its cost."""
        if graph_task_id() < 0:
            context = self.context
            accumulators = context.forward
        else:
            number = sequence_nr(current_node())
            known = number != ACCUMULATE_GRAD_NR
            context = self.owners[bisect_right(self.marks, number) - 1] if known else self.outside
            accumulators = context.backward
        accumulator = accumulators.get(id(func))
        if accumulator is None:
            price = self.prices.fast_path.get(id(func)) or self.prices[func]
            if price.record is None:
                price.accumulator(context, "")  # which compiles it
            accumulator = accumulators[id(func)] = _PlainAccumulator(context, price)
            self.accumulators.append(accumulator)
        out = accumulator.call(*args, **kwargs) if kwargs else accumulator.call(*args)
        record = accumulator.record
        record(accumulator, out, record.complete(*args, **kwargs) if kwargs else args)
        return out

    def meet(self, model: nn.Module) -> None:
        """Name the modules of a model."""
        self.model = model
        for key, (module, path) in named_paths(model, type(model).__name__).items():
            self.contexts[key] = _Context(path, type(module).__name__)

    def assign_nodes(self, context: _Context) -> None:
        """Let the autograd nodes that are created from now on belong to a module."""
        number = next_sequence_nr()
        if self.marks[-1] >= number:
            self.owners[-1] = context
        else:
            self.marks.append(number)
            self.owners.append(context)

    @property
    def total(self) -> Cost:
        """Return the sum of all costs."""
        counts = [
            (each.macs, each.ops, each.transcendentals, each.bytes_read, each.bytes_written)
            for each in self.accumulators
        ]
        return Cost(*map(sum, zip(*counts, strict=True)))


def _call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a module, and note the shapes of its first tensor and its first result."""
    mode = MinimalMode.active
    if id(module) not in mode.contexts:
        mode.meet(module)
    context, above = mode.contexts[id(module)], mode.context
    mode.context = context
    mode.assign_nodes(context)
    result = module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call] # noqa: SLF001 - as PyTorch does
    mode.context = above
    mode.assign_nodes(above)
    first = result[0] if type(result) is tuple else result
    context.shapes = args[0].shape, args[0].dtype, first.shape, first.dtype
    context.calls += 1
    return result


_CODE = replaced_code(_call)
