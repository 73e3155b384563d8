"""Every private PyTorch interface that opflops relies on, in one place.

Tried on torch 2.6.0, 2.13.0 and 2.14.1; 2.6 runs no higher-order operator under any mode. Each function has a test in
``tests/test_torch_internals.py`` that fails if its meaning changes.
"""

from __future__ import annotations

import copy
import logging
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
    UnsupportedOperatorException,
    is_fake,
)
from torch.autograd.graph import _engine_run_backward
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.nested._internal.nested_tensor import NestedTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import CheckpointFunction, _recomputation_hook

from opflops.torch_internals.mended import mended, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch.fx.experimental.symbolic_shapes import ShapeEnv

__all__ = [
    "ACCUMULATES",
    "MODULE_CALL",
    "DispatchMode",
    "HigherOrderOperator",
    "OpOverload",
    "OpOverloadPacket",
    "Shared",
    "accumulated_leaf",
    "backward_task",
    "body_compilations",
    "body_preparation",
    "call_higher_order",
    "call_of",
    "callable_module",
    "checkpoint_callables",
    "compiler_is_loaded",
    "composite_implicit",
    "current_node",
    "dispatch_modes",
    "dispatcher_packets",
    "distinct_elements",
    "entered_instead",
    "fake_copies",
    "halvings",
    "has_values",
    "indexing_by_tensors",
    "is_jagged",
    "is_recomputation",
    "is_recomputed",
    "is_traced",
    "known_to_dispatcher",
    "lacks_kernel",
    "lacks_storage",
    "larger",
    "log2",
    "mixes_devices",
    "mode_at",
    "mode_count",
    "modules_of",
    "nested_backward",
    "nested_lengths",
    "next_node",
    "node_number",
    "optimizer_callables",
    "optimizer_preparation",
    "own_kernel",
    "packet_of",
    "ranks_of",
    "run_composite",
    "runs_abstractly",
    "schema_of",
    "sparse_coo_parts",
    "third_party_formulas",
    "triton_call",
    "unseen",
    "value_dependent_errors",
]

_COMPOSITE_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd


class DispatchMode(TorchDispatchMode):
    """Receive every operator directly.

    PyTorch would load the compiler with the first operator that a mode sees, to keep it from compiling the mode's own
    code, and pass every one through a wrapper. While opflops counts, nothing is compiled.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let the compiler do its work as if there were no mode, and only what was compiled run under it."""
        return True


current_node = torch._C._current_autograd_node
"""Return the autograd node that this thread is running, or None outside a backward pass."""

backward_task = torch._C._current_graph_task_id
"""Return the number of the backward pass that this thread is in, innermost; -1 outside any."""

next_node = torch._C._autograd._get_sequence_nr
"""Return the sequence number that the next autograd node of this thread gets."""

ACCUMULATES = 2**64 - 1
"""The sequence number of nodes that accumulate a gradient, which have the leaf tensor as ``variable``."""


def accumulated_leaf(node: Any) -> Tensor:
    """Return the tensor whose gradient a node accumulates."""
    leaf: Tensor = node.variable
    return leaf


def node_number(node: Any) -> int:
    """Return an autograd node's sequence number."""
    number: int = node._sequence_nr()
    return number


def is_recomputation(node: Any) -> bool:
    """Tell whether ``torch.utils.checkpoint`` is computing a forward again while a node is current."""
    if node.name() == f"{CheckpointFunction.__name__}Backward":
        return True
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)  # noqa: FBT003 - positional only
    return hooks is not None and hooks[0].__qualname__.startswith(f"{_recomputation_hook.__qualname__}.")


def nested_backward() -> bool:
    """Tell, in a thread of the autograd engine, whether its pass was begun in this very thread, inside another one."""
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code is _engine_run_backward.__code__:
            return True
        frame = frame.f_back
    return False


def checkpoint_callables() -> list[tuple[Any, str]]:
    """List what non-reentrant checkpointing hands its function to, which is called when it is computed again."""
    return [(torch.utils.checkpoint, "_checkpoint_without_reentrant_generator")]


def optimizer_callables() -> list[tuple[Any, str]]:
    """List what counts as the optimizer's work: steps, gradient scaling and clipping, averaging of parameters."""
    classes = [torch.optim.Optimizer]
    for one in classes:
        classes += one.__subclasses__()
    prepared = [one for one in dict.fromkeys(classes) if "step" in vars(one) and getattr(one.step, "hooked", False)]
    listed: list[tuple[Any, str]] = [(one, "step") for one in prepared]
    listed += [(torch.amp.GradScaler, "_unscale_grads_"), (torch.amp.GradScaler, "update")]
    # The global functions that clip_grad_norm_ calls, wherever it was imported from.
    clipping = sys.modules["torch.nn.utils.clip_grad"]
    listed += [(clipping, "_get_total_norm"), (clipping, "_clip_grads_with_norm_")]
    averaging = sys.modules.get("torch.optim.swa_utils")
    return listed if averaging is None else [*listed, (averaging.AveragedModel, "update_parameters")]


def optimizer_preparation() -> list[tuple[Any, str]]:
    """List what every optimizer calls when it is made, to prepare the ``step`` of its class."""
    return [(torch.optim.Optimizer, "_patch_step_function")]


def compiler_is_loaded() -> bool:
    """Tell whether the compiler's front end is loaded; importing torch alone does not."""
    return "torch._dynamo" in sys.modules


MODULE_CALL = torch.nn.Module._wrapped_call_impl
"""What calling a module does: ``_compiled_call_impl`` if ``module.compile()`` made one, else ``_call_impl``.

By the name of PyTorch's own function: somebody may have put another in the place of ``__call__`` already.
"""


def callable_module(module: torch.nn.Module) -> bool:
    """Tell a module that has a forward from a mere container."""
    return type(module).forward is not torch.nn.Module.forward


def schema_of(overload: OpOverload) -> torch.FunctionSchema:
    """Return the schema of an operator: its arguments and results, with what is written and what is shared."""
    return overload._schema


_CALLS_THROUGH = OpOverload.__call__


def call_of(overload: OpOverload) -> Callable[..., Any]:
    """Return what runs an operator: what calling the object comes down to, where that is one function."""
    special = type(overload).__call__ is not _CALLS_THROUGH or getattr(overload, "_pyobj_dispatcher", None) is not None
    inner: Callable[..., Any] = overload if special else overload._op
    return inner


def packet_of(op: Any) -> OpOverloadPacket | None:
    """Return the packet of an overload, or None for what has none (a higher-order operator)."""
    return getattr(op, "_overloadpacket", None)


def sparse_coo_parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices and values of a COO tensor as they are stored, coalesced or not."""
    with unseen():
        return tensor._indices(), tensor._values()


def nested_lengths(tensor: Tensor) -> list[int]:
    """List the sizes along the first ragged axis of a nested tensor in the strided layout."""
    with unseen():
        lengths: list[int] = tensor._nested_tensor_size()[:, 0].tolist()
    return lengths


def dispatch_modes() -> list[Any]:
    """List the dispatch modes active in this thread, outermost first.

    The list is the dispatcher's own, so it follows the thread into autograd's workers, and a mode that is handling
    an operator is not in it.
    """
    return [mode_at(index) for index in range(mode_count())]


mode_count = torch._C._len_torch_dispatch_stack
"""Count the dispatch modes of :func:`dispatch_modes`."""

mode_at = torch._C._get_dispatch_stack_at
"""Return one of the dispatch modes of :func:`dispatch_modes`, by its place."""


def known_to_dispatcher(overload: OpOverload) -> bool:
    """Tell operators from TorchScript's builtins, such as ``aten::add.int``, which share their packets."""
    try:
        torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CPU")
    except RuntimeError:
        return False
    return True


def composite_implicit(overload: OpOverload) -> bool:
    """Tell whether an operator's kernel, on every device, is to call other operators.

    The Python decompositions that tracing uses do not count: they compute differently from what runs.
    """
    return torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CompositeImplicitAutograd")


def run_composite(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a composite operator's own kernel, as autograd does, whatever has been put in its place."""
    return overload._op_dk(_COMPOSITE_IMPLICIT, *args, **kwargs)


def is_jagged(types: Iterable[type]) -> bool:
    """Tell whether a nested tensor in the jagged layout is among the tensor subclasses of a call."""
    return any(issubclass(one, NestedTensor) for one in types)


def ranks_of(group: Any) -> int:
    """Count the ranks of a process group: itself, in the box that the dispatcher passes, or its name."""
    from torch.distributed import ProcessGroup, distributed_c10d  # noqa: PLC0415 - not in every build

    if isinstance(group, str):
        groups: Any = distributed_c10d
        group = groups._resolve_process_group(group)
    elif isinstance(group, torch.ScriptObject):
        group = ProcessGroup.unbox(group)
    return int(group.size())


def log2(size: int) -> Any:
    """Take the binary logarithm of a size; a symbolic size stays symbolic."""
    return torch._sym_log2(size)  # type: ignore[attr-defined]


def halvings(size: int) -> int:
    """Return ceil(log2 n): how often n elements are halved until one is left; a symbolic size stays symbolic."""
    if isinstance(size, int):
        return max(size - 1, 0).bit_length()
    from opflops.torch_internals.symbols import halved  # noqa: PLC0415 - only for symbolic sizes

    symbolic: int = halved(size)
    return symbolic


def unseen() -> AbstractContextManager[Any]:
    """Hide the operators that pricing itself runs from every active mode."""
    return _disable_current_modes()


def dispatcher_packets(namespace: str) -> list[OpOverloadPacket]:
    """List the packets of a namespace that the dispatcher knows now, by name."""
    prefix = f"{namespace}::"
    names = {
        name[len(prefix) :].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith(prefix)
    }
    return [getattr(getattr(torch.ops, namespace), name) for name in sorted(names)]


def third_party_formulas() -> Mapping[Any, Any]:
    """Return the registry of ``torch.utils.flop_counter``, where libraries publish formulas for their own operators."""
    from torch.utils.flop_counter import flop_registry  # noqa: PLC0415 - only needed for operators unknown to opflops

    return flop_registry


def has_values(tensor: Tensor) -> bool:
    """Tell a tensor whose elements can be read from one that only has a shape (meta, fake)."""
    return not (tensor.is_meta or is_fake(tensor))


def mixes_devices(error: RuntimeError) -> bool:
    """Tell what a fake tensor raises when it meets another one that is on another device; the words vary by version."""
    return "two devices" in str(error) or "two different devices" in str(error)


def value_dependent_errors() -> tuple[type[Exception], ...]:
    """Return what a fake tensor raises when a program asks for a value that it does not have."""
    return (DataDependentOutputException, DynamicOutputShapeException)


def lacks_kernel(error: BaseException | None) -> bool:
    """Tell whether an error is of an operator that has no kernel for tensors without storage."""
    if isinstance(error, UnsupportedOperatorException):
        return True
    return isinstance(error, NotImplementedError) and "Meta" in str(error)


def lacks_storage(error: BaseException | None) -> bool:
    """Tell whether an error is of a program that takes the elements of a tensor without storage out of PyTorch."""
    words = {
        NotImplementedError: ("out of meta tensor",),
        RuntimeError: (".numpy() is not supported for tensor subclasses",),
        TypeError: ("convert meta device type tensor to numpy",),
    }
    return any(type(error) is kind and word in str(error) for kind, known in words.items() for word in known)


class Shared:
    """Be a context that several threads may be in at a time: the first to enter begins something, the last ends it."""

    def __init__(self, begin: Callable[[], Callable[[], object]]) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        self._inside = 0
        self._end: Callable[[], object] = int

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._end = self._begin()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._end()


def _silence() -> Callable[[], object]:
    log = logging.getLogger(FakeTensorMode.__module__)
    before, log.disabled = log.disabled, True
    return lambda: setattr(log, "disabled", before)


_silent = Shared(_silence)


def _with_python_kernels(mode: FakeTensorMode) -> FakeTensorMode:
    """Let a mode work out what results look like as the compiler does: with kernels written in Python, all the way.

    Those in C++ know no symbolic sizes, and lay some results out in memory as no device does. It is the mode's method
    that changes, not its class, by which higher-order operators know what to do.
    """
    dispatch = mode.dispatch

    def call(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with enable_python_dispatcher():
            if mode.shape_env is not None:
                from opflops.torch_internals.plain_sizes import result_of  # noqa: PLC0415 - only for symbolic sizes

                shape = result_of(func, args)
                if shape is not None:
                    with mode:
                        return torch.empty(shape, dtype=args[0].dtype, device=args[0].device)
            out = missing(mode, func, args)
            return mended(mode, func, args, dispatch(func, types, args, kwargs)) if out is None else out

    mode.dispatch = call  # type: ignore[method-assign]
    return mode


@contextmanager
def fake_copies(
    originals: Any, stand_ins: Callable[[], Mapping[int, Any]] | None = None, sizes: ShapeEnv | None = None
) -> Iterator[Any]:
    """Yield a deep copy whose tensors have shape, dtype and device but no storage, inside the mode that runs them.

    The copy keeps identity: a tensor or module that stands twice in ``originals`` is one object in the copy too.
    The originals are left as they are.

    Args:
        originals: What to copy.
        stand_ins: Makes, among tensors without storage, what is to stand for some of the originals, by their identity.
        sizes: Where the symbols in sizes come from, if there are any.
    """
    # Plain tensors that a forward meets along the way (constants in closures, globals) become fake as they come.
    fake_mode = _with_python_kernels(FakeTensorMode(allow_non_fake_inputs=True, shape_env=sizes))
    memo: dict[int, Any] = {}
    if stand_ins is not None:
        with fake_mode:
            memo.update(stand_ins())
    with FakeCopyMode(fake_mode):
        copies = copy.deepcopy(originals, memo)
    # Newer versions also log what a fake kernel raises, with a traceback; the caller gets it, and can say it better.
    with _silent, fake_mode:
        yield copies


def body_compilations() -> list[tuple[Any, str]]:
    """List what prepares the compiler, each time, before a higher-order operator called eagerly compiles its bodies."""
    modules = ("torch._higher_order_ops.utils", "torch.nn.attention.flex_attention")
    loaded = [sys.modules[name] for name in modules if name in sys.modules]
    return [(module, "setup_compilation_env") for module in loaded if hasattr(module, "setup_compilation_env")]


def body_preparation() -> list[tuple[Any, str]]:
    """List what higher-order operators trace or try their bodies with, on made-up tensors, to differentiate them."""
    modules = ("torch._higher_order_ops.invoke_subgraph", "torch._higher_order_ops.flex_attention")
    names = ("create_fw_bw_graph", "trace_joint_graph_as_bwd", "_get_output_metadata_by_execution")
    loaded = [sys.modules[name] for name in modules if name in sys.modules]
    return [(module, name) for module in loaded for name in names if name in vars(module)]


@contextmanager
def entered_instead(leaving: list[Any], entering: list[Any]) -> Iterator[None]:
    """Let some of the innermost dispatch modes go for others, without calling their own methods, for a while."""
    for mode in reversed(leaving):
        TorchDispatchMode.__exit__(mode, None, None, None)
    for mode in entering:
        TorchDispatchMode.__enter__(mode)
    try:
        yield
    finally:
        for mode in reversed(entering):
            TorchDispatchMode.__exit__(mode, None, None, None)
        for mode in leaving:
            TorchDispatchMode.__enter__(mode)


def call_higher_order(op: HigherOrderOperator, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a higher-order operator without the checks of its arguments, which it has made by the time a mode sees it.

    They would refuse a body that is wrapped in a function.
    """
    return HigherOrderOperator.__call__(op, *args, **kwargs)


def own_kernel(op: HigherOrderOperator) -> Any:
    """Return what a higher-order operator runs once no mode and no tensor subclass wants it; None for what has none."""
    kernels = op.py_kernels
    key = torch._C.DispatchKey
    return kernels.get(key.CompositeExplicitAutograd) or kernels.get(key.BackendSelect)


def runs_abstractly(arguments: Any) -> bool:
    """Tell whether values are missing because the tensors are fake, or because the program is being traced."""
    abstract = (FakeTensorMode, ProxyTorchDispatchMode)
    return any(isinstance(mode, abstract) for mode in dispatch_modes()) or any(map(is_fake, tree_leaves(arguments)))


def is_traced() -> bool:
    """Tell whether operators are being written down in a graph."""
    return any(isinstance(mode, ProxyTorchDispatchMode) for mode in dispatch_modes())


def modules_of(node: torch.fx.Node) -> list[int]:
    """List the identities of the modules whose calls a node of a compiled graph came from, outermost first."""
    # A module that is called again has a number behind its identity.
    return [int(key.split("@")[0]) for key in node.meta.get("nn_module_stack", {}) if key.split("@")[0].isdigit()]


def is_recomputed(node: torch.fx.Node) -> bool | None:
    """Tell whether a node of a backward's graph computes the forward again; None where the graph does not say."""
    tag = node.meta.get("partitioner_tag")
    return None if tag is None else tag == "is_forward"


def larger(first: Any, second: Any) -> bool:
    """Tell whether a count is larger than another, by the sizes that the program was traced with.

    Where decisions about sizes are noted, this is one.
    """
    counts = [count if isinstance(count, int) else count.node.hint for count in (first, second)]
    if None in counts:
        return False
    symbolic = [count for count in (first, second) if not isinstance(count, int)]
    if symbolic and hasattr(symbolic[0].node.shape_env, "decisions"):
        return bool(first > second)
    return bool(counts[0] > counts[1])


def distinct_elements(sizes: Sequence[Any], strides: Sequence[Any]) -> Any:
    """Count the elements of a strided tensor at different addresses where a size or stride is symbolic; so it stays."""
    from opflops.torch_internals.symbols import distinct  # noqa: PLC0415 - only for symbolic sizes

    return distinct(sizes, strides)


def indexing_by_tensors() -> AbstractContextManager[Any]:
    """Let Python's indexing with scalar tensors be an operator, as it is inside attention's score modifications."""
    from torch._dynamo._trace_wrapped_higher_order_op import (  # noqa: PLC0415 - loads the compiler
        TransformGetItemToIndex,
    )

    return TransformGetItemToIndex()


def triton_call(kernel: int, constants: int) -> tuple[str, dict[str, Any]]:
    """Return the name of a Triton kernel and the constants of a call, which its operator knows by number."""
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table  # noqa: PLC0415 - rarely needed

    called: Any = kernel_side_table.get_kernel(kernel)
    # An autotuner, or heuristics, wrap what they tune; innermost is a Python function.
    while hasattr(called, "fn"):
        called = called.fn
    return called.__name__, dict(kernel_side_table.get_constant_args(constants))
