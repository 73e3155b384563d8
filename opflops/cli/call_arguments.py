"""The arguments of a call: those that ``--input`` gives, and the source's example inputs for the others."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from opflops.cli.inputs import make_named
from opflops.errors import TargetError
from opflops.torch_internals.modules import forward_of, name_of
from opflops.wording import join, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from opflops.cli.inputs import InputSpec

_TIMES = "\N{MULTIPLICATION SIGN}"


class CallArguments(NamedTuple):
    """Hold the arguments of a call.

    Attributes:
        args: The positional arguments.
        kwargs: The keyword arguments.
        origin: Where they come from, shown in reports; "" if ``--input`` gave them.
        names: The names of the positional ones, if the signature of the model does not have them.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - nobody changes the default
    origin: str = ""
    names: tuple[str, ...] = ()

    def to(self, dtype: torch.dtype | None, device: str) -> CallArguments:
        """Move tensors to a device, and floating-point ones to a dtype.

        On meta, integers with values stay as they are, since a count reads them: placeholder tokens, sizes.
        """

        def move(tensor: Tensor) -> Tensor:
            if device == "meta" and not tensor.is_meta and not tensor.is_floating_point():
                return tensor
            moved = tensor.detach().to(device)
            return moved.to(dtype) if dtype is not None and moved.is_floating_point() else moved

        args, kwargs = tree_map_only(Tensor, move, (self.args, self.kwargs))
        return self._replace(args=args, kwargs=kwargs)

    def by_name(self, model: Any) -> dict[str, Any]:
        """Return the arguments by the names of the model's parameters, in the order of the call."""
        names, _ = _positional_parameters(model)
        if len(self.names) >= len(self.args):
            names += self.names[len(names) :]
        positional = {
            names[position] if position < len(names) else f"input {position}": value
            for position, value in enumerate(self.args)
        }
        return {**positional, **self.kwargs}

    def specs_by_parameter(self, model: Any, specs: Mapping[str, Any]) -> dict[str, Any]:
        """Turn specs by the names of arguments into specs by the model's parameters, those of ``*args`` in a tuple."""
        fixed, var_positional = _positional_parameters(model)
        names = list(self.by_name(model))
        starred = names[len(fixed) : len(self.args)]
        if var_positional is None or not starred:
            return dict(specs)
        others = {name: spec for name, spec in specs.items() if name not in starred}
        return {**others, var_positional: tuple(specs.get(name) for name in starred)}


def _positional_parameters(model: Any) -> tuple[list[str], str | None]:
    """List the parameters that take one positional argument each, and the name of ``*args``, if there is one."""
    fixed: list[str] = []
    for each in parameters_of(model):
        if each.kind is inspect.Parameter.VAR_POSITIONAL:
            return fixed, each.name
        if each.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            fixed.append(each.name)
    return fixed, None


def parameters_of(model: Any) -> Sequence[inspect.Parameter]:
    """List the parameters of a model's forward, or of a function; none if it has no signature."""
    try:
        return list(inspect.signature(forward_of(model)).parameters.values())
    except (ValueError, TypeError):
        return []


def merge_arguments(
    model: Any,
    specs: Sequence[InputSpec],
    propose: Callable[[], CallArguments | None],
    floating: torch.dtype,
    find_keywords: Callable[[Any], Collection[str] | None] = lambda _: None,
) -> CallArguments:
    """Replace proposed arguments by those that were given: named ones by name, others in order.

    Proposed integers of the shape and dtype of given ones stay: they have values that suit the model.

    Args:
        model: The model to call.
        specs: The inputs that were given.
        propose: Makes the example inputs of the source; None if it has none.
        floating: The dtype of given inputs without one.
        find_keywords: Lists the inputs that the model takes through ``**kwargs``; None if it may take any.

    Raises:
        TargetError: The model needs inputs, and there are none; or it has no parameter of a given name.
    """
    if not specs:
        return propose() or _no_arguments(model)
    unnamed = [spec.tensor(floating) for spec in specs if not spec.name]
    by_name = make_named(specs, floating)
    _check_names(model, by_name, specs, find_keywords)
    proposed = (propose() if _may_need_more(model, specs) else None) or CallArguments()
    args, kwargs = list(proposed.args), dict(proposed.kwargs)
    for position, value in enumerate(unnamed):
        if position < len(args):
            args[position] = _with_values(value, args[position])
        elif position - len(args) < len(kwargs) and not proposed.args:
            name = list(kwargs)[position]
            kwargs[name] = _with_values(value, kwargs[name])
        else:
            args.append(value)
    names = list(proposed.names) or [each.name for each in parameters_of(model)]
    for name, value in by_name.items():
        position = names.index(name) if name in names else len(args)
        if position < len(proposed.args):
            args[position] = _with_values(value, args[position])
        else:
            kwargs[name] = _with_values(value, kwargs.get(name))
    _check_count(model, len(unnamed))
    _check_complete(model, len(args), kwargs)
    return CallArguments(tuple(args), kwargs, names=proposed.names)


def _with_values(given: Any, proposed: Any) -> Any:
    """Return a given argument, or the proposed one if that has the integers that the given one only has a shape of."""
    both = isinstance(given, Tensor) and isinstance(proposed, Tensor)
    is_same = both and (given.shape, given.dtype) == (proposed.shape, proposed.dtype)
    return proposed if is_same and not given.is_floating_point() else given


def _check_count(model: Any, unnamed: int) -> None:
    """Check that a model takes as many positional inputs as were given, if its signature says so.

    Raises:
        TargetError: It takes fewer.
    """
    names, var_positional = _positional_parameters(model)
    if unnamed <= len(names) or var_positional is not None or not parameters_of(model):
        return
    takes = f"{len(names)} input{'' if len(names) == 1 else 's'}" if names else "no positional input"
    raise TargetError(f"{_forward_name(model)}({', '.join(names)}) takes {takes}, but --input gives {unnamed}.")


def _check_complete(model: Any, positional: int, keywords: Iterable[str]) -> None:
    """Check that all parameters without a default have a value.

    Raises:
        TargetError: One has none.
    """
    parameters = parameters_of(model)
    fixed = [each for each in parameters if each.kind is not each.VAR_POSITIONAL]
    needed = [
        each.name for each in _required(parameters) if each not in fixed[:positional] and each.name not in keywords
    ]
    if needed:
        more = " ".join(f"--input {name}=SIZES" for name in needed)
        takes = ", ".join(each.name for each in parameters)
        raise TargetError(f"{_forward_name(model)}({takes}) needs {join(needed, 'and')} too; give {more}.")


def _required(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    """List the parameters without a default."""
    return [
        each
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def _check_names(
    model: Any,
    names: Iterable[str],
    specs: Sequence[InputSpec],
    find_keywords: Callable[[Any], Collection[str] | None],
) -> None:
    """Check that a model has parameters of these names, if its signature says so.

    Raises:
        TargetError: It has none of a name; the message says how to give an item of a dict.
    """
    parameters = parameters_of(model)
    keywords: Collection[str] | None = ()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        keywords = find_keywords(model)
    if not parameters or keywords is None:
        return
    known = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    for name in names:
        if name in known or name in keywords:
            continue
        near = nearest(name, known)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known) or 'none'}."
        sentence = f"{_forward_name(model)} has no parameter {name!r}; {hint}"
        if len(known) == 1 and not near:
            text = next(spec.text for spec in specs if spec.argument == name)
            sentence += f" If {known[0]} is a dict with the key {name!r}, write --input {known[0]}.{text}."
        raise TargetError(sentence)


def _forward_name(model: Any) -> str:
    return f"{name_of(model)}.forward" if hasattr(model, "forward") else getattr(model, "__name__", "It")


def _may_need_more(model: Any, specs: Sequence[InputSpec]) -> bool:
    """Tell whether the model has parameters that the given inputs leave out."""
    names = {spec.argument for spec in specs if spec.name}
    unnamed = sum(not spec.name for spec in specs)
    parameters = [each for each in parameters_of(model) if each.name not in names]
    return bool(parameters[unnamed:])


def _no_arguments(model: Any) -> CallArguments:
    """Return no arguments, for a model that can be called without."""
    parameters = parameters_of(model)
    required = [each.name for each in _required(parameters)]
    if not required:
        return CallArguments()
    function = _forward_name(model)
    signature = ", ".join(each.name + ("" if each.default is each.empty else "=…") for each in parameters)
    raise TargetError(
        f"{function}({signature}) needs inputs; give each by its shape, as in --input {required[0]}={_typical(model)}."
    )


def _typical(model: Any) -> str:
    """Write an input that suits the first layer of a model that says so; else an image."""
    for layer in model.modules() if isinstance(model, nn.Module) else ():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            return "1,128:int64"
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            size = ",224" * (layer.weight.dim() - 2)
            return f"1,{layer.in_channels}{size}"
        if isinstance(layer, (nn.Linear, nn.RNNBase)):
            return f"1,128,{layer.input_size}" if isinstance(layer, nn.RNNBase) else f"1,{layer.in_features}"
    return "1,3,224,224"


def describe_arguments(model: Any, arguments: CallArguments) -> str:
    """Write the names, shapes and dtypes of arguments; "" if there are none."""
    return ", ".join(f"{name}={_describe(value)}" for name, value in arguments.by_name(model).items())


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        shape = _TIMES.join(map(str, value.shape)) or "scalar"
        return f"{shape} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_describe, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_describe(part)}' for name, part in value.items())}}}"
    return repr(value)
