"""Hooks that tell a counter of steps about calls of models and steps of optimizers."""

from __future__ import annotations

import itertools
import weakref
from functools import wraps
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch

from opflops.attribution.module_context import OPTIMIZER
from opflops.integrations.input_shapes import call_of
from opflops.integrations.step_counter import running
from opflops.torch_internals.compiler import compiled_call, compiled_wrapper, replace_compiled_call
from opflops.torch_internals.optimizers import register_step_pre_hook

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from torch import nn
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle

    from opflops.integrations.step_counter import StepCounter

# How many parameters are looked at in each call of a model, to see whether others are trained now, at most.
_SAMPLE = 16
_NUMBERS = (bool, int, float)
_requires_grad = attrgetter("requires_grad")
_numbers = itertools.count()
# The optimizers with hooks: their numbers, and what removes the hooks.
_optimizers: weakref.WeakKeyDictionary[Optimizer, tuple[int, list[RemovableHandle]]] = weakref.WeakKeyDictionary()
_all_optimizers: list[RemovableHandle] = []
_followers: weakref.WeakSet[object] = weakref.WeakSet()


def trainable(parameters: Sequence[torch.nn.Parameter]) -> bytes:
    """Return which parameters are trained, to look costs up with."""
    return bytes(map(_requires_grad, parameters))


def sample_of(parameters: list[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """Return some parameters, evenly spread: enough to see whether layers were frozen meanwhile."""
    return parameters[:: len(parameters) // _SAMPLE + 1]


def follow_optimizers(meter: object) -> None:
    """Tell counters about the steps of all optimizers from now on."""
    if not _all_optimizers:
        _all_optimizers.append(register_step_pre_hook(_find_optimizer))
    _followers.add(meter)


def leave_optimizers(meter: object) -> None:
    """Undo :func:`follow_optimizers`. The hooks go with the last meter that says so.

    They stay if it is merely deleted: this may happen while PyTorch walks over them. They do nothing then.
    """
    _followers.discard(meter)
    if not _followers:
        for handles in (_all_optimizers, *(handles for _, handles in _optimizers.values())):
            while handles:
                handles.pop().remove()
        _optimizers.clear()


def _find_optimizer(optimizer: Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    """Give an optimizer hooks of its own: a mode that begins in one for all optimizers would add another to these."""
    if running and not torch.compiler.is_compiling() and optimizer not in _optimizers:
        hooks = [optimizer.register_step_pre_hook(_before_step), optimizer.register_step_post_hook(_after_step)]
        _optimizers[optimizer] = next(_numbers), hooks


def _before_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if not running or torch.compiler.is_compiling():
        return
    number, _ = _optimizers.get(optimizer, (None, None))
    event = (OPTIMIZER, number, switches(optimizer))
    # A closure runs the model inside the step, and the mode would not know it from the step.
    has_closure = any(map(callable, args[1:])) or any(map(callable, kwargs.values()))
    for counter in [*running]:
        if counter.is_running_here():
            counter.event(event, phase=OPTIMIZER, can_start=not has_closure)


def _after_step(_optimizer: Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    for counter in running:
        counter.leave_phase()


def switches(optimizer: Any) -> Hashable:
    """Return what decides how much an optimizer does in a step, beside the gradients that there are.

    It may do something else in its first step, in which it makes its state; and momentum, decay and the like are work
    if they are not 0. A learning rate is work in any case, and schedules change it.
    """
    found: tuple[Hashable, ...] = (bool(getattr(optimizer, "state", True)),)
    for group in getattr(optimizer, "param_groups", ()):
        found += (len(group["params"]),)
        for name, value in group.items():
            # An option may be a tensor on an accelerator, to read which would wait for it.
            if name != "lr" and value.__class__ in _NUMBERS:
                found += (not value,)
    return found


class WatchedModel:
    """Tell a counter when a model is called in a step, also through ``torch.compile``.

    Args:
        model: The model, or a wrapper of it. The one that the step calls is best.
        counter: The counter.

    Attributes:
        calls: How often it was called in steps.
    """

    def __init__(self, model: nn.Module, counter: StepCounter) -> None:
        self.calls = 0
        self._counter = counter
        self._model = model
        self._parameters = [*model.parameters()]
        self._sample = sample_of(self._parameters)
        self._trained, self._sampled, self._step = b"", b"", 0
        # Called as well when nobody has the meter any more.
        self._undo: weakref.finalize[[], WatchedModel] | None = None
        self._compiled: Any = None
        self._sought_wrapper = False
        self.attach()

    def attach(self) -> bool:
        """Watch the model as it is now, and tell whether that changed something: it may have been compiled."""
        compiled = compiled_call(self._model)
        if self._undo is not None and compiled is self._compiled:
            return False
        self.detach()
        reference = weakref.ref(self)
        if compiled is not None:
            # Inside the compiled call hooks are compiled, too.
            self._compiled = _noting(reference, compiled)
            self._detach_by(replace_compiled_call(self._model, self._compiled))
            return True

        self._compiled = None
        self._detach_by(self._model.register_forward_pre_hook(_CallHook(reference), with_kwargs=True).remove)
        return True

    def _detach_by(self, undo: Callable[[], None]) -> None:
        self._undo = weakref.finalize(self, undo)
        self._undo.atexit = False

    def detach(self) -> None:
        """Watch the model no longer."""
        if self._undo is not None:
            self._undo()
        self._undo = None

    def _trained_now(self, step: int) -> bytes:
        """Return which parameters are trained. From the second call in a step on, only some are looked at first."""
        sampled = trainable(self._sample)
        if step != self._step or sampled != self._sampled:
            self._step, self._sampled, self._trained = step, sampled, trainable(self._parameters)
        return self._trained

    def note(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Note a call."""
        counter = self._counter
        if not (counter.follows_calls and counter.is_running_here()):
            return
        self.calls += 1
        trained = self._trained_now(counter.steps)
        counter.event((id(self), self._model.training, trained, call_of(args, kwargs)), state=trained)
        if not self._sought_wrapper and counter.counting:
            # Compiled code runs in eager mode while the mode counts, so that the wrapper is among the callers.
            self._sought_wrapper = True
            wrapper = compiled_wrapper(self._model)
            if wrapper is not None:
                self.detach()
                self._model = wrapper
                self.attach()


class _CallHook:
    """Note the calls of a model before they run. A copy of the model has a hook that does nothing."""

    def __init__(self, reference: weakref.ref[WatchedModel] | None = None) -> None:
        self._reference = reference

    def __reduce__(self) -> tuple[Any, ...]:
        return _CallHook, ()

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if running and not torch.compiler.is_compiling() and self._reference is not None:
            _note(self._reference, args, kwargs)


def _note(reference: weakref.ref[WatchedModel], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    watched = reference()
    if watched is not None:
        watched.note(args, kwargs)


def _noting(reference: weakref.ref[WatchedModel], compiled: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(compiled)
    def call(*args: Any, **kwargs: Any) -> Any:
        if running and not torch.compiler.is_compiling():
            _note(reference, args, kwargs)
        return compiled(*args, **kwargs)

    return call
