"""The cost of the modules of a model, by the modules themselves, for drop-ins that ask modules and not names."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from opflops.attribution.callers import user_stacklevel
from opflops.compat.peer_errors import PeerArgumentError
from opflops.errors import UsageWarning
from opflops.records.cost import Cost
from opflops.torch_internals.modules import named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from opflops.profile.profile import Profile


class ModuleCosts:
    """Hold what each module of a model did itself in the forward pass, on numbers of all dtypes.

    Work outside the model, backward passes and recomputed forward passes are left out.

    Args:
        model: The model, which was the ``root`` of the mode that counted it.
        profile: What was counted.
        root: The path of the model in the profile, which the name of its class was when the count began.
        ignored: The classes of modules whose own work is left out. Subclasses of them, and the modules inside, count.

    Attributes:
        remarks: Sentences of the profile on what was not counted, such as modules that other threads called.
        notes: These, and sentences on operators without a formula, for reports.
    """

    def __init__(self, model: nn.Module, profile: Profile, root: str, ignored: Collection[type] = ()) -> None:
        self.remarks = profile.remarks
        self.notes = (*profile.remarks, *_notes(profile))
        # A wrapper comes before the module inside, whose path it has.
        modules = {path: module for module, path in named_paths(model, root).values()}
        rows: dict[int, list[Cost]] = {}
        for row in profile.rows:
            module = _innermost(row.module, modules)
            if row.phase == "forward" and module is not None and type(module) not in ignored:
                rows.setdefault(id(module), []).append(row.cost)
        self._own = {key: sum(each, Cost()) for key, each in rows.items()}

    def cost(self, module: nn.Module) -> Cost:
        """Return the cost of a module and all modules below it, each once, whoever called it."""
        own = [self._own[id(each)] for each in module.modules() if id(each) in self._own]
        return sum(own, Cost())

    def flops(self, module: nn.Module) -> int:
        """Return the floating-point operations of a module and those below it."""
        return self.cost(module).flops

    def macs(self, module: nn.Module) -> int:
        """Return the multiply-accumulates of a module and those below it."""
        return self.cost(module).macs


def _innermost(path: str, modules: dict[str, nn.Module]) -> nn.Module | None:
    """Return the module of a path; of a module that is made in each forward, the one that made it."""
    while path and path not in modules:
        path = path.rpartition(".")[0]
    return modules.get(path)


def _notes(profile: Profile) -> Iterator[str]:
    """Say what is in no figure."""
    for op, calls in profile.unpriced.items():
        yield f"Not counted: {op}, {calls} call{'' if calls == 1 else 's'}, since it has no formula."


def warn_of(remarks: Iterable[str]) -> None:
    """Warn of what figures leave out, where no report says it."""
    for each in remarks:
        warnings.warn(each, UsageWarning, stacklevel=user_stacklevel())


def count_parameters(module: nn.Module, *, trainable_only: bool = False) -> int:
    """Return the elements of the parameters of a module and all below it, shared ones once."""
    return sum(each.numel() for each in module.parameters() if each.requires_grad or not trainable_only)


def write_model(model: nn.Module, describe: Callable[[nn.Module], str]) -> str:
    """Write a model as ``print(model)`` does, with a description of each module before its own extra text."""
    before = [(vars(module), vars(module).get("extra_repr")) for module in model.modules()]
    own = [module.extra_repr for module in model.modules()]
    try:
        for module, extra_repr in zip(model.modules(), own, strict=True):
            # Past Module.__setattr__, which a class may define anew.
            vars(module)["extra_repr"] = partial(_joined, describe, module, extra_repr)
        return str(model)
    finally:
        for attributes, extra in before:
            attributes.pop("extra_repr", None)
            if extra is not None:
                attributes["extra_repr"] = extra


def _joined(describe: Callable[[nn.Module], str], module: nn.Module, extra_repr: Callable[[], str]) -> str:
    return ", ".join(filter(None, (describe(module), extra_repr())))


def percent(part: float, whole: float, precision: int) -> str:
    """Write a part of a whole in percent, without zeros at the end; ``"0%"`` of nothing."""
    return f"{round(100 * part / whole, precision) if whole else 0:g}%"


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back into the mode that it was in."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in before:
            if module.training != training:
                module.training = training


def check_model(model: object, function: str) -> None:
    """Raise an error unless a model is a module."""
    if not isinstance(model, nn.Module):
        raise PeerArgumentError(
            f"{function}() needs a torch.nn.Module, and model is {type(model).__name__}. Give the model itself."
        )


def given_arguments(
    args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments of ``model(*args, **kwargs)``; None stands for none, and a tensor for its rows."""
    return () if args is None else (*args,), {} if kwargs is None else kwargs


def check_input_shape(input_shape: object) -> None:
    """Raise an error unless the shape of an input is a tuple with a size."""
    if not isinstance(input_shape, tuple) or not input_shape:
        raise PeerArgumentError(
            f"input_shape must be a tuple of at least one size, and is {input_shape!r}. Give all sizes of the one "
            "tensor that the model takes, the batch included, as in (1, 3, 224, 224)."
        )


def example_input(model: nn.Module, shape: Sequence[int]) -> torch.Tensor:
    """Make the one input of a model, of the dtype of its first floating-point parameter and on its first device."""
    dtypes = (each.dtype for each in model.parameters() if each.is_floating_point() or each.is_complex())
    return torch.ones(*[tuple(shape)], dtype=next(dtypes, torch.get_default_dtype()), device=first_device(model))


def first_device(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter; where a new tensor is made if there is none."""
    return next((each.device for each in model.parameters()), torch.get_default_device())


def callable_of(model: nn.Module, mode: str, parameter: str) -> Callable[..., Any]:
    """Return what is called: the model for ``"forward"``, its method for ``"generate"``.

    Raises:
        PeerArgumentError: The mode is another one, or the model has no such method.
    """
    if mode == "forward":
        return model
    if mode != "generate":
        raise PeerArgumentError(
            f"{parameter}={mode!r} names nothing to run. Use 'forward' to call the model, or 'generate' to call its "
            "method generate()."
        )
    generate = getattr(model, "generate", None)
    if not callable(generate):
        raise PeerArgumentError(
            f"{parameter}='generate' needs a model with a method generate(), and {type(model).__name__} has none. Use "
            "'forward' to call the model."
        )
    return generate  # type: ignore[no-any-return]
