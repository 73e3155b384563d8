"""The arguments of a call: what was asked for on the command line in the place of what the source proposes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from opflops.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.cli.inputs import InputSpec

_TIMES = "\N{MULTIPLICATION SIGN}"


class Inputs(NamedTuple):
    """Hold the arguments of a call.

    Attributes:
        args: By position.
        kwargs: By name.
        whence: Where they are from, for people; "" where they were asked for.
        names: What those by position are called, where the model's parameters do not tell.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - a default that nobody changes
    whence: str = ""
    names: tuple[str, ...] = ()

    def to(self, dtype: torch.dtype | None, device: str) -> Inputs:
        """Move tensors to a device, and floating-point ones to a dtype."""

        def moved(tensor: Tensor) -> Tensor:
            found = tensor.detach().to(device)
            return found.to(dtype) if dtype is not None and found.is_floating_point() else found

        args, kwargs = tree_map_only(Tensor, moved, (self.args, self.kwargs))
        return self._replace(args=args, kwargs=kwargs)

    def named(self, model: Any) -> dict[str, Any]:
        """Name each argument as the model's parameters are named, in the order of the call."""
        fixed, _ = _by_position(model)
        names = (fixed + list(self.names[len(fixed) :])) if len(self.names) >= len(self.args) else fixed
        by_place = {
            names[place] if place < len(names) else f"input {place}": value for place, value in enumerate(self.args)
        }
        return {**by_place, **self.kwargs}

    def as_called(self, model: Any, said: Mapping[str, Any]) -> dict[str, Any]:
        """Turn what is said of arguments by name into what is said of the model's parameters."""
        fixed, rest = _by_position(model)
        names = list(self.named(model))
        starred = names[len(fixed) : len(self.args)]
        if rest is None or not starred:
            return dict(said)
        others = {name: what for name, what in said.items() if name not in starred}
        return {**others, rest: tuple(said.get(name) for name in starred)}


def _by_position(model: Any) -> tuple[list[str], str | None]:
    """List the parameters that each take an argument by position, and the one, if any, that takes those left."""
    fixed: list[str] = []
    for each in parameters_of(model):
        if each.kind is inspect.Parameter.VAR_POSITIONAL:
            return fixed, each.name
        if each.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            fixed.append(each.name)
    return fixed, None


def parameters_of(model: Any) -> Sequence[inspect.Parameter]:
    """List the parameters of what a call of the model runs; none where it does not tell."""
    try:
        return list(inspect.signature(getattr(model, "forward", model)).parameters.values())
    except (ValueError, TypeError):
        return []


def arranged(
    model: Any, specs: Sequence[InputSpec], proposed: Callable[[], Inputs | None], floating: torch.dtype
) -> Inputs:
    """Put what was asked for in the place of what is proposed: by name, else one after the other.

    Raises:
        TargetError: The model needs inputs, and none were asked for or proposed.
    """
    if not specs:
        return proposed() or _nothing(model)
    asked = [spec.tensor(floating) for spec in specs if not spec.name]
    by_name = {spec.name: spec.tensor(floating) for spec in specs if spec.name}
    usual = (proposed() if _may_lack(model, specs) else None) or Inputs()
    args, kwargs = list(usual.args), dict(usual.kwargs)
    for place, value in enumerate(asked):
        if place < len(args):
            args[place] = value
        elif place - len(args) < len(kwargs) and not usual.args:
            kwargs[list(kwargs)[place]] = value
        else:
            args.append(value)
    names = list(usual.names) or [each.name for each in parameters_of(model)]
    for name, value in by_name.items():
        place = names.index(name) if name in names else len(args)
        if place < len(usual.args):
            args[place] = value
        else:
            kwargs[name] = value
    return Inputs(tuple(args), kwargs, names=usual.names)


def _may_lack(model: Any, specs: Sequence[InputSpec]) -> bool:
    """Tell whether a call with no more than what was asked for leaves out a parameter."""
    names = {spec.name for spec in specs if spec.name}
    unnamed = sum(not spec.name for spec in specs)
    parameters = [each for each in parameters_of(model) if each.name not in names]
    return bool(parameters[unnamed:])


def _nothing(model: Any) -> Inputs:
    """Call without inputs what needs none."""
    needed = [
        each.name
        for each in parameters_of(model)
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if not needed:
        return Inputs()
    function = f"{type(model).__name__}.forward" if hasattr(model, "forward") else getattr(model, "__name__", "It")
    shown = ", ".join(each.name + ("" if each.default is each.empty else "=…") for each in parameters_of(model))
    raise TargetError(
        f"{function}({shown}) needs inputs; give each by its sizes, as in "
        f"{' '.join(f'--input {name}=1,3,224,224' for name in needed[:1])}."
    )


def described(model: Any, inputs: Inputs) -> str:
    """Say what the model is called with: names, sizes and dtypes; "" for nothing."""
    parts = [f"{name}={_sizes(value)}" for name, value in inputs.named(model).items()]
    return ", ".join(parts)


def _sizes(value: Any) -> str:
    if isinstance(value, Tensor):
        sizes = _TIMES.join(map(str, value.shape)) or "scalar"
        return f"{sizes} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_sizes, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_sizes(part)}' for name, part in value.items())}}}"
    return repr(value)
