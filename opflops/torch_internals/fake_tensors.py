"""Fake tensors: copies of a program's tensors without storage, and the errors that they raise."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import OutOfMemoryError, Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensorMode,
    UnsupportedOperatorException,
    is_fake,
)
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from opflops.torch_internals.dispatch import dispatch_modes, modes_disabled
from opflops.torch_internals.fake_construction import FakeTensorMaker
from opflops.torch_internals.fake_kernels import use_python_kernels, value_dependent_errors
from opflops.torch_internals.fake_tensor_checks import known_fakes_hidden
from opflops.torch_internals.fake_tensor_patches import (
    describes_example,
    fake_classes_kept,
    fake_tensor_patches_active,
    with_class,
)
from opflops.torch_internals.fake_value_patches import fake_value_patches_active
from opflops.torch_internals.fake_views import WritesToViews, views_known_by_strides
from opflops.torch_internals.known_values import KnownValues, known_mask, known_value
from opflops.torch_internals.modules import modules_below
from opflops.torch_internals.references import is_proxy
from opflops.torch_internals.shared_context import SharedContext
from opflops.torch_internals.state_copies import StateCopier

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from torch.fx.experimental.symbolic_shapes import ShapeEnv


_INTERPRETER = "TorchScript interpreter"


def has_values(tensor: Tensor) -> bool:
    """Return whether the elements of a tensor can be read; meta tensors have only a shape, and so have most fake ones.

    See :mod:`opflops.torch_internals.known_values` for fake tensors whose values are known.
    """
    if tensor.is_meta:
        return False
    return not is_fake(tensor) or known_value(tensor) is not None


def values_of(tensor: Tensor) -> Tensor | None:
    """Return a tensor to read the elements of: itself, or the value that is known of a fake one; None if unknown."""
    if is_fake(tensor):
        return known_value(tensor)
    return None if tensor.is_meta else tensor


def mask_values_of(mask: Tensor) -> Tensor | None:
    """Return a tensor that hides what an attention mask hides; None if a fake or meta mask has no values."""
    return known_mask(mask) if is_fake(mask) else values_of(mask)


def mixes_devices(error: Exception) -> bool:
    """Return whether an error says that fake tensors are on different devices; the message varies by version."""
    return "two devices" in str(error) or "two different devices" in str(error)


def needs_value(error: BaseException) -> bool:
    """Return whether an error says that a program needs the elements of a fake tensor."""
    return isinstance(error, value_dependent_errors()) or lacks_storage(error)


def refuses_nested_tensors(error: BaseException) -> bool:
    """Return whether an error says that fake tensors cannot stand for nested tensors, whose lengths are values."""
    if isinstance(error, UnsupportedOperatorException):
        return "nested" in str(error.func)
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code is FakeTensorMode.create_symbolic_nested_int.__code__


def lacks_kernel(error: BaseException | None) -> bool:
    """Return whether an error says that an operator has no kernel for meta or fake tensors."""
    if isinstance(error, UnsupportedOperatorException):
        return True
    return isinstance(error, NotImplementedError) and "Meta" in str(error)


def lacks_storage(error: BaseException | None) -> bool:
    """Return whether an error says that a program reads elements of a meta or fake tensor outside PyTorch."""
    messages = {
        NotImplementedError: ("out of meta tensor",),
        RuntimeError: (".numpy() is not supported for tensor subclasses", "its data is not allocated yet"),
        TypeError: ("convert meta device type tensor to numpy", "passed to FakeTensor.__format__"),
    }
    return any(type(error) is cls and message in str(error) for cls, known in messages.items() for message in known)


def exceeds_size_limit(error: BaseException | None) -> bool:
    """Return whether an error says that a tensor has more elements or bytes than PyTorch can number, on any device."""
    messages = ("Storage size calculation overflowed", "multiplication overflow", "Overflow when unpacking long")
    return isinstance(error, (RuntimeError, TypeError)) and any(message in str(error) for message in messages)


def lacks_memory(error: BaseException | None) -> bool:
    """Return whether an error says that there is no memory for a tensor."""
    if isinstance(error, (MemoryError, OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "not enough memory" in str(error))


_log = logging.getLogger(FakeTensorMode.__module__)
_log_before: list[bool] = []


def _disable_log() -> None:
    _log_before.append(_log.disabled)
    _log.disabled = True


def _enable_log() -> None:
    if _log_before:
        _log.disabled = _log_before[0]
        _log_before.clear()


_log_disabled = SharedContext(_disable_log, _enable_log)


def _is_causal_bias(tensor: Tensor) -> bool:
    module = sys.modules.get("torch.nn.attention.bias")
    return module is not None and isinstance(tensor, module.CausalBias)


def _fake_of(mode: FakeTensorMode, maker: FakeTensorMaker, values: KnownValues, tensor: Tensor) -> Tensor:
    """Make the fake copy of a tensor, and note its values if they are known."""
    if _is_causal_bias(tensor):
        # It holds no elements, only what makes it, and cannot be made under a dispatch mode.
        return tensor
    if describes_example(tensor):
        return tensor
    cls = type(tensor)
    if cls is nn.Parameter or cls is Tensor:
        # For plain ones, the mode that copies tensors would be asked about every question.
        with torch._C.DisableTorchFunction():
            if (cls is nn.Parameter or _stands_alone(tensor)) and _is_plain(tensor):
                fake = _fake_of_plain(mode, maker, tensor)
                values.note_original(tensor, fake)
                return fake
    original = tensor
    if is_lazy(tensor):
        original = torch.empty(0, dtype=tensor.data.dtype, device=tensor.data.device)
    elif not tensor.is_leaf:
        # The graph that computed it is not part of the call.
        original = tensor.detach()
    if original is not tensor:
        original.requires_grad_(tensor.requires_grad)
    with modes_disabled():
        fake = mode.from_tensor(original, static_shapes=True)
        _match_storage(original, fake)
    if isinstance(tensor, nn.Parameter):
        # The call starts without gradients, as a training step does.
        fake.grad = None
    values.note_original(original, fake)
    return with_class(fake, cls)


def _match_storage(original: Tensor, fake: Tensor) -> None:
    """Make the storage of a copy as large as the original's, of which the tensor may be a part."""
    if original.layout is torch.strided and fake.layout is torch.strided and type(original) in (Tensor, nn.Parameter):
        size, storage = original.untyped_storage().nbytes(), fake.untyped_storage()
        made: Any = storage.nbytes()
        if type(made) is int and made < size:
            storage.resize_(size)


class _FakeCopier(StateCopier):
    """Copy a program's state with fake tensors in place of its tensors.

    Args:
        mode: The mode that runs the fake tensors.
        values: Notes the originals whose values are known.
        memo: The copies that there are already, by the identity of the original.
    """

    def __init__(self, mode: FakeTensorMode, values: KnownValues, memo: dict[int, Any]) -> None:
        # Not a method: a copier that refers to itself would keep what it has copied until garbage is collected.
        super().__init__(memo, partial(_fake_of, mode, FakeTensorMaker(mode), values))

    def replace_real_tensors(self, originals: Collection[int]) -> None:
        """Put fake tensors into modules that were made while others were copied, from code or files.

        Args:
            originals: The identities of the modules of the user's, which do not change.
        """
        made: dict[int, nn.Module] = {}
        for one in self.memo.values():
            if not is_proxy(one) and isinstance(one, nn.Module) and id(one) not in made:
                made.update({id(each): each for each in modules_below(one)})
        for module in made.values():
            if id(module) in originals:
                continue
            for tensors in (module._parameters, module._buffers, vars(module)):
                for name, value in list(tensors.items()):
                    if not is_proxy(value) and isinstance(value, Tensor) and not is_fake(value):
                        if isinstance(module, torch.jit.ScriptModule):
                            setattr(module, name, self.copy(value))
                        else:
                            tensors[name] = self.copy(value)


class _CopyMode(TorchFunctionMode):
    """Make fake tensors where the classes of a program copy tensors themselves."""

    def __init__(self, copier: _FakeCopier) -> None:
        super().__init__()
        self._copier = copier

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ or (
            func is torch._C.TensorBase.clone and sys._getframe(1).f_code is nn.Parameter.__deepcopy__.__code__
        ):
            return self._copier.copy(args[0])
        return func(*args, **(kwargs or {}))


def _stands_alone(tensor: Tensor) -> bool:
    """Tell whether a tensor, as most buffers, is no view, is part of no graph, has no gradient and wraps no other."""
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or torch._is_functional_tensor(tensor):
        return False
    if tensor.is_nested or tensor.is_inference() or not tensor.is_leaf:
        return False
    return not tensor._is_view() and tensor.grad is None


def _is_plain(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.is_meta:
        return False
    if tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or not tensor.is_contiguous():
        return False
    return tensor.untyped_storage().nbytes() == tensor.nbytes


def _fake_of_plain(fake_mode: FakeTensorMode, maker: FakeTensorMaker, original: Tensor) -> Tensor:
    """Make the fake copy of a plain parameter or buffer in one step.

    PyTorch takes several, which are most of the time to copy a model of thousands of small modules. As PyTorch does,
    copies share storage where the originals do.
    """
    converter = fake_mode.fake_tensor_converter.meta_converter
    storages, number = converter.storage_memo, converter.describer.get_storage_id(original.untyped_storage())
    shared = storages.get(number)
    with modes_disabled():
        if shared is None:
            element = torch.empty(original.shape, dtype=original.dtype, device="meta")
            storages[number] = element.untyped_storage()
        else:
            element = torch.empty(0, dtype=original.dtype, device="meta").set_(
                shared, 0, original.shape, original.stride()
            )
        made = maker.make(element, original.device)
        if isinstance(original, nn.Parameter):
            return maker.as_parameter(made, requires_grad=original.requires_grad)
        return made.requires_grad_(original.requires_grad)


@contextmanager
def fake_copies(
    originals: Any,
    copy_memo: Callable[[], Mapping[int, Any]] | None = None,
    sizes: ShapeEnv | None = None,
    *,
    exact_values: bool = True,
    needed: list[Any] | None = None,
    hiding: list[Any] | None = None,
    writes: WritesToViews | None = None,
    on_hit: Callable[[], None] = lambda: None,
) -> Iterator[Any]:
    """Yield a deep copy whose tensors are fake, inside the mode that runs them.

    The copy preserves identity: a tensor or module that occurs twice in ``originals`` is one object in the copy too.
    The originals are not modified.

    Args:
        originals: What to copy.
        copy_memo: Called inside the mode; returns replacements for some originals, by the id of the original.
        sizes: The shape environment of symbolic sizes, if there are any.
        exact_values: Whether formulas may read values that are known; see :mod:`.known_values`.
        needed: Gets each operator that fails since it needs a value, also if the program handles the error.
        hiding: Gets each operator that keeps memory for its backward whose size is not known.
        writes: Finds writes to views. If it has found some, in a former run, autograd knows views by their strides.
        on_hit: Called at times when the results of operators come from a cache; it may raise.
    """
    values = KnownValues(exact=exact_values)
    # Real tensors that the forward uses, such as constants in closures and globals, are converted on first use.
    needing_value: list[Any] = []
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=sizes)
    if sizes is not None:
        # Its cache makes each new result twice, and what it holds of one shape environment serves no other.
        fake_mode.cache_enabled = False
    needed, hiding = ([] if each is None else each for each in (needed, hiding))
    writes = WritesToViews() if writes is None else writes
    use_python_kernels(fake_mode, values, (needing_value, needed, hiding), writes, on_hit)
    memo: dict[int, Any] = {}
    if copy_memo is not None:
        with fake_mode:
            memo.update(copy_memo())
    copier = _FakeCopier(fake_mode, values, memo)
    # Newer versions also log what a fake kernel raises, with a traceback. The caller reports it.
    with (
        _log_disabled(),
        known_fakes_hidden(),
        fake_classes_kept(),
        fake_value_patches_active(),
        fake_tensor_patches_active(),
        views_known_by_strides() if writes.found else nullcontext(),
    ):
        with _CopyMode(copier):
            copies = copier.copy(originals)
        copier.replace_real_tensors(set(memo))
        try:
            with fake_mode:
                yield copies
        except RuntimeError as error:
            if needing_value and error.__cause__ is None and _INTERPRETER in str(error):
                # TorchScript keeps only the message of an exception.
                error.__cause__ = DataDependentOutputException(needing_value[0])
            raise


def is_fake_or_tracing(arguments: Any) -> bool:
    """Return whether values are missing: because tensors are fake, or because the program is being traced."""
    abstract = (FakeTensorMode, ProxyTorchDispatchMode)
    return any(isinstance(mode, abstract) for mode in dispatch_modes()) or any(map(is_fake, tree_leaves(arguments)))
