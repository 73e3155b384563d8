"""A call to count, made on copies without storage: no arithmetic is done and no memory is held for tensors."""

from __future__ import annotations

import copy
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from opflops.counting.closures import bound_state, closure_state, rebind
from opflops.counting.meta_cache import MetaCacheMode
from opflops.counting.source_locations import location_of
from opflops.errors import OpflopsError, ValueNeededError
from opflops.mode import OpFlopMode
from opflops.torch_internals.dispatch import modes_swapped
from opflops.torch_internals.fake_tensors import fake_copies, has_values, mixes_devices, value_dependent_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from opflops.mode import Causal
    from opflops.profile.profile import Profile

META, CPU = torch.device("meta"), torch.device("cpu")


@dataclass
class FakeCall:
    """Hold a call to count, and count it on one kind of tensors without storage or another.

    Attributes:
        model: What to call.
        inputs: Its positional arguments.
        kwargs: Its keyword arguments.
        backward: Whether gradients are wanted.
        optimizer: What makes the step to count, or makes what makes it.
        causal: How to count under a causal mask, as for :class:`opflops.OpFlopMode`.
        device: Where tensors are taken to be if all are on meta; None leaves them there.
    """

    model: Callable[..., Any]
    inputs: tuple[Any, ...]
    kwargs: dict[str, Any]
    backward: bool = False
    optimizer: Any = None
    causal: Causal = "dense"
    device: str | torch.device | None = None

    def __post_init__(self) -> None:
        # By identity, so that a tensor that stands twice among the inputs stays one.
        leaves: dict[int, tuple[Tensor, Tensor]] = {}

        def as_leaf(tensor: Tensor) -> Tensor:
            return leaves.setdefault(id(tensor), (tensor, _as_leaf(tensor)))[1]

        self.inputs, self.kwargs = tree_map_only(Tensor, as_leaf, (self.inputs, self.kwargs))
        self._captures = closure_state(self.model)
        if self.optimizer is not None and not callable(self.optimizer) and not self._own_optimizer:
            raise OpflopsError(self._no_optimizer(self.optimizer))

    @property
    def name(self) -> str:
        """Name the model, for messages."""
        return getattr(self.model, "__name__", type(self.model).__name__)

    @cached_property
    def tensors(self) -> list[Tensor]:
        """List the tensors that are there before the call."""
        held = [*bound_state(self.model), *tree_leaves((self._captures, self.inputs, self.kwargs))]
        modules = [each for each in held if isinstance(each, nn.Module)]
        inside = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        return [*inside, *(each for each in held if isinstance(each, Tensor))]

    @cached_property
    def devices(self) -> list[torch.device]:
        """List the devices that tensors are on, without meta unless it is the only one.

        Raises:
            OpflopsError: Some tensors are on meta, and the others on several devices.
        """
        found = list(dict.fromkeys(tensor.device for tensor in self.tensors))
        real = [device for device in found if device != META]
        if META in found and len(real) > 1:
            raise OpflopsError(
                f"{self.name} and its inputs are on {', '.join(map(str, found))}, so it cannot be told which of them "
                "the tensors on meta stand for; put those where they belong, or everything on meta."
            )
        return real or (found if self.device is None or not found else [_known(self.device)])

    def mode(self) -> OpFlopMode:
        """Make what counts."""
        return OpFlopMode(causal=self.causal)

    def counted(self, copy_memo: Callable[[], dict[int, Tensor]] | None = None) -> Profile:
        """Count the call on tensors like those that were given.

        Args:
            copy_memo: Makes what is to stand for some of them, by their identity.
        """
        if self.devices == [META] and self.causal == "exact":
            # There are no fused kernels on meta, whose masks it is about.
            self.devices = [CPU]
        if self.devices == [META]:
            # Quicker than tensors that only act as if they were on a device, for as long as the program does not mix
            # those on meta with what it makes itself; that is real there, whatever it takes.
            memo: dict[int, Any] = {} if copy_memo is None else {**copy_memo()}
            copies = copy.deepcopy(self.originals, memo)
            try:
                with MetaCacheMode():
                    return self.run(self.mode(), nullcontext(copies), {id(each) for each in memo.values()})
            except RuntimeError:
                if copy_memo is not None:
                    raise
                self.devices = [CPU]
        mode = self.mode()
        with self.translated_errors(mode):
            return self.run(mode, fake_copies(self.originals, copy_memo or self.moved))

    @contextmanager
    def translated_errors(self, mode: OpFlopMode) -> Iterator[None]:
        """Say of errors that come of counting without running where they were raised, and what to do."""
        try:
            yield
        except value_dependent_errors() as error:
            raise ValueNeededError(
                f"{self.name} asks for the value of a tensor ({location_of(error, mode)}), which counting without "
                "running does not have; run it on real inputs inside OpFlopMode()."
            ) from error
        except RuntimeError as error:
            if not mixes_devices(error):
                raise
            raise OpflopsError(
                f"{self.name} mixes tensors of several devices at {location_of(error, mode)}: {error}. "
                "Put the model and its inputs on one, and make other tensors on the device of the inputs."
            ) from error

    @property
    def _own_optimizer(self) -> bool:
        return isinstance(self.optimizer, torch.optim.Optimizer)

    @property
    def originals(self) -> Any:
        """Return all that is to be copied, in the order of :meth:`run`."""
        # Copying an optimizer itself leaves out all that its class does not know; a scheduler puts a step of the
        # original in the place of its own.
        own = (
            {name: value for name, value in vars(self.optimizer).items() if name != "step"}
            if self._own_optimizer
            else {}
        )
        return self.model, self._captures, own, self.inputs, self.kwargs

    def moved(self) -> dict[int, Tensor]:
        """Make stand-ins for tensors on meta where the others are."""
        device = self.devices[0] if self.devices else META
        return {} if device == META else {id(each): _like(each, device) for each in self.tensors if each.device == META}

    def run(
        self, mode: OpFlopMode, copying: AbstractContextManager[Any], known: Collection[int] | None = None
    ) -> Profile:
        """Count the call on copies.

        Args:
            mode: What counts.
            copying: Yields copies of :attr:`originals`.
            known: The identities of what was copied, where a tensor does not tell whether it is a copy.
        """
        numbers = _numbers(self.optimizer) if self._own_optimizer else []
        with copying as (model, captured, own_optimizer, inputs, kwargs), mode:
            outputs = (rebind(model, captured) if captured else model)(*inputs, **kwargs)
            if self.backward or self.optimizer is not None:
                ends = differentiable(outputs)
                _check_leaves(ends, known)
                run_backward(ends)
            if self._own_optimizer:
                optimizer = object.__new__(type(self.optimizer))
                vars(optimizer).update(own_optimizer)
                _check_gradients(optimizer)
                _keep_numbers(optimizer, numbers)
                _step(optimizer)
            elif self.optimizer is not None:
                optimizer = self._made_optimizer([*bound_state(model), *tree_leaves(captured)])
                with modes_swapped([mode], []):
                    _step(optimizer)
                _step(optimizer)
        return mode.profile

    def _made_optimizer(self, held: list[Any]) -> torch.optim.Optimizer:
        modules = [each for each in held if isinstance(each, nn.Module)]
        parameters = dict.fromkeys(each for module in modules for each in module.parameters() if each.requires_grad)
        made = self.optimizer(list(parameters))
        if not isinstance(made, torch.optim.Optimizer):
            raise OpflopsError(self._no_optimizer(self.optimizer))
        return made

    @staticmethod
    def _no_optimizer(given: Any) -> str:
        return (
            f"optimizer={given!r} is neither an optimizer nor makes one of a list of parameters; "
            "give an instance, a class such as torch.optim.AdamW, or a function of parameters."
        )


def _step(optimizer: torch.optim.Optimizer) -> None:
    try:
        optimizer.step()
    except TypeError as error:
        raise OpflopsError(
            f"{type(optimizer).__name__} does not step with gradients alone ({error}), so that count() cannot tell "
            "what a step costs; run one inside OpFlopMode()."
        ) from error


def _check_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer of other parameters than the model's, whose step would do nothing."""
    if all(parameter.grad is None for parameter in _parameters(optimizer)):
        raise OpflopsError(
            f"None of the parameters of this {type(optimizer).__name__} has a gradient after the backward; "
            "give an optimizer of the parameters of the model, or its class."
        )


_Numbers = list[dict[str, tuple[Any, torch.dtype]]]


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _numbers(optimizer: torch.optim.Optimizer) -> _Numbers:
    """List the numbers that an optimizer keeps in tensors, such as its steps, for each of its parameters."""
    return [
        {
            name: (value.item(), value.dtype)
            for name, value in optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor) and value.dim() == 0 and value.device == CPU
        }
        for parameter in _parameters(optimizer)
    ]


def _keep_numbers(copied: torch.optim.Optimizer, numbers: _Numbers) -> None:
    """Give them to a copy of the optimizer without storage: it asks for them."""
    for parameter, known in zip(_parameters(copied), numbers, strict=True):
        for name, (value, dtype) in known.items():
            copied.state[parameter][name] = torch.tensor(value, dtype=dtype)


def _as_leaf(tensor: Tensor) -> Tensor:
    """Cut an input off from what computed it, which is no part of the call."""
    return tensor if tensor.is_leaf else tensor.detach().requires_grad_(tensor.requires_grad)


def _known(device: str | torch.device) -> torch.device:
    """Find a device that tensors without storage can act as if they were on.

    Raises:
        OpflopsError: PyTorch knows none of that name, or cannot use it here.
    """
    try:
        found = torch.device(device)
        # Where there is none of its kind, PyTorch ends the process for tensors that act as if they were on it.
        usable = found.type in ("cpu", "meta") or torch.get_device_module(found).is_available()
    except RuntimeError as error:
        raise OpflopsError(f"device={device!r} is no device of PyTorch: {str(error).splitlines()[0]}") from error
    if not usable:
        raise OpflopsError(f"device={device!r} is none that this PyTorch can use here; cpu is always there.")
    return found


def _like(tensor: Tensor, device: torch.device) -> Tensor:
    """Make a tensor of the same metadata on another device."""
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made.requires_grad_(tensor.requires_grad)


def differentiable(outputs: Any) -> list[Tensor]:
    """List the outputs that have a backward.

    Raises:
        OpflopsError: None has.
    """
    found = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    ends = [tensor for tensor in found if tensor.requires_grad]
    if not ends:
        raise OpflopsError(
            "backward=True needs an output that depends on something that requires a gradient, and so does optimizer=: "
            f"of {len(found)} tensors found in the output (through lists, tuples and dicts) none does."
        )
    return ends


def run_backward(ends: list[Tensor]) -> None:
    """Run the backward of outputs, against gradients of ones."""
    torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])


def _check_leaves(ends: list[Tensor], known: Collection[int] | None) -> None:
    """Refuse to run a backward into tensors of the program that are no copies: their gradients would change."""
    for leaf in (*ends, *_leaves(ends)):
        foreign = known is not None and isinstance(leaf, nn.Parameter) and id(leaf) not in known
        if foreign or has_values(leaf):
            raise OpflopsError(
                "The outputs depend on a parameter that is no part of the model or the inputs, so its gradient would "
                "change; pass the module that owns it to count(), as the model or as an argument of a function."
            )


def _leaves(ends: list[Tensor]) -> Iterator[Tensor]:
    """List the tensors that a backward accumulates gradients in."""
    todo = [end.grad_fn for end in ends if end.grad_fn is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            yield leaf
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                todo.append(following)
