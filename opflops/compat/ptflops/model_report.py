"""Print a model with what each of its modules counts as, and its operators."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.nn.parameter import is_lazy

from opflops.compat.module_figures import inclusive_figures, is_inside
from opflops.compat.ptflops.utils import flops_to_string, params_to_string
from opflops.records.rows import ancestry
from opflops.torch_internals.modules import named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TextIO

    from torch import nn

    from opflops.compat.model_calls import CountedCall
    from opflops.compat.ptflops.choices import Choices


class Format(NamedTuple):
    """Hold where and how counts are printed.

    Attributes:
        stream: Where to.
        flops_units: The unit of multiply-accumulates, or None for the one that fits.
        param_units: The unit of parameters, or None for the one that fits.
        precision: The decimal places.
    """

    stream: TextIO
    flops_units: str | None
    param_units: str | None
    precision: int

    def flops(self, count: float) -> str:
        """Write multiply-accumulates."""
        return flops_to_string(count, self.flops_units, self.precision)

    def params(self, count: int) -> str:
        """Write parameters."""
        return params_to_string(count, self.param_units, self.precision)


def trainable(model: nn.Module, ignored: frozenset[type] = frozenset()) -> int:
    """Count the parameters that require a gradient, shared ones once, but none that modules of some types hold."""
    left_out = {id(each) for module in model.modules() if type(module) in ignored for each in module.parameters()}
    counted = [each for each in model.parameters() if each.requires_grad and not is_lazy(each)]
    return sum(each.numel() for each in counted if id(each) not in left_out)


def print_model(
    model: nn.Module, root: str, figures: Mapping[str, float], samples: int, ignored: frozenset[type], form: Format
) -> None:
    """Print the model, and beside each module its parameters and multiply-accumulates, and their shares."""
    total, params = max(sum(figures.values()), 1), max(trainable(model), 1)
    inclusive = inclusive_figures(figures)

    def describe(module: nn.Module, path: str, original: Callable[[], str]) -> str:
        own, count = trainable(module, ignored), inclusive.get(path, 0)
        shares = f"{own / params:.3%} Params", form.flops(count / samples), f"{count / total:.3%} MACs"
        return ", ".join([form.params(own), *shares, original()])

    with _extra_repr(model, root, describe):
        text = repr(model)
    print(text, file=form.stream)


@contextmanager
def _extra_repr(model: nn.Module, root: str, describe: Callable[[Any, str, Callable[[], str]], str]) -> Iterator[None]:
    """Let modules describe themselves by a function from the module, its path and how it describes itself else."""
    kept: list[tuple[nn.Module, dict[str, Any]]] = []
    try:
        for module, path in named_paths(model, root).values():
            space = vars(module)
            kept.append((module, {name: space[name] for name in ("extra_repr",) if name in space}))
            original = module.extra_repr
            space["extra_repr"] = lambda module=module, path=path, original=original: describe(module, path, original)
        yield
    finally:
        for module, before in kept:
            vars(module).pop("extra_repr", None)
            vars(module).update(before)


def print_operators(
    model: nn.Module,
    call: CountedCall,
    choices: Choices,
    hooked: Mapping[str, str],
    replaced: Mapping[str, float],
    form: Format,
) -> None:
    """Print the total, and of the model and each of its children what counts: operators, and classes with a hook.

    Args:
        model: The model.
        call: Its call.
        choices: What is ignored and replaced.
        hooked: The class names of modules with a hook, by path.
        replaced: What modules count as with all below them, by path.
        form: Where and how to print.
    """
    entries: list[tuple[str, str, float]] = []
    for row in call.profile.rows:
        listed = row.cost.macs or row.op in choices.hooked_operators
        if listed and row.op not in choices.ignored_operators and not is_inside(row.module, replaced):
            entries.append((row.module, row.op, choices.figure(row)))
    for path, name in hooked.items():
        if not is_inside(path, replaced, itself=False):
            entries.append((path, name, replaced[path]))
    print(f"Total:{form.flops(sum(count for *_, count in entries))}", file=form.stream)
    _print_group("Global", entries, form)
    children = {f"{call.root}.{name}": name for name, _ in model.named_children()}
    for child in dict.fromkeys(path for module, *_ in entries for path in ancestry(module) if path in children):
        _print_group(children[child], [entry for entry in entries if is_inside(entry[0], (child,))], form)


def _print_group(module: str, entries: Iterable[tuple[str, str, float]], form: Format) -> None:
    counts: dict[str, float] = {}
    for _, name, count in entries:
        counts[name] = counts.get(name, 0) + count
    if counts:
        print("Module: ", module, file=form.stream)
        for name, count in counts.items():
            print(f"{name}: {form.flops(count)}", file=form.stream)
        print(file=form.stream)


def warn_of_unpriced(call: CountedCall, replaced: Mapping[str, float], form: Format, *, by_module: bool) -> None:
    """Name the operators without a formula, and if asked for the types of modules whose work is of these alone."""
    rows = [row for row in call.profile.rows if not is_inside(row.module, replaced)]
    missing = [row for row in rows if not row.priced]
    counted = {row.module_type for row in rows if row.cost.macs}
    types = dict.fromkeys(row.module_type for row in missing if row.module_type not in counted)
    for name in types if by_module else ():
        print(f"Warning: module {name} is treated as a zero-op.", file=form.stream)
    for op in dict.fromkeys(row.op for row in missing):
        print(f"Warning: {op} operation is treated as a zero-op", file=form.stream)
