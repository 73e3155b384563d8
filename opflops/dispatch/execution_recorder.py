"""Record the order in which modules run operators, and which tensors these operators make and use."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from opflops.attribution.module_context import FORWARD
from opflops.pricing.dtypes import FLOATING
from opflops.records.execution import OUTSIDE, Execution, Step, working_rows
from opflops.records.rows import ancestry
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.modules import registered_below
from opflops.torch_internals.operator_traits import OperatorTraits
from opflops.torch_internals.size_arithmetic import is_zero
from opflops.torch_internals.storages import PLAIN_TENSORS, component_tensors, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opflops.attribution.module_context import ModuleContext
    from opflops.attribution.module_stack import ModuleStack
    from opflops.records.rows import Row

_MAX_OPERATORS = 100_000
_NOTHING: frozenset[int] = frozenset()
_FROM_OUTSIDE = frozenset((OUTSIDE,))
_UNKNOWN: tuple[weakref.ref[Any] | None, frozenset[int]] = (None, _NOTHING)


class _Operator:
    """Hold what is known of one operator that ran.

    Attributes:
        run: The number of the run of its module.
        name: Its name in rows.
        floating: Whether it used or made a floating-point tensor.
        sources: The numbers of the operators that made what it used; ``OUTSIDE`` for an input.
    """

    __slots__ = ("floating", "name", "run", "sources")

    def __init__(self, run: int, name: str, sources: frozenset[int], *, floating: bool) -> None:
        self.run, self.name, self.sources, self.floating = run, name, sources, floating


class ExecutionRecorder:
    """Record the operators of the forward phase of a block, unless they are too many.

    Attributes:
        seen: How many operators have been seen, of whatever phase.
    """

    def __init__(self) -> None:
        self.seen = 0
        self._operators: list[_Operator] = []
        # The context of each run of a module, and the run that called it.
        self._runs: dict[int, tuple[ModuleContext, int]] = {}
        # Which operators made what is in a storage, by its identity.
        self._made: dict[int, tuple[weakref.ref[Any], frozenset[int]]] = {}
        self._roots: dict[int, weakref.ref[nn.Module]] = {}
        # An operator has its identity as long as it lives.
        self._traits: dict[int, tuple[Any, OperatorTraits]] = {}
        self._too_many = self._hidden = False

    def see(self, mode: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """See an operator that has run.

        Args:
            mode: The mode that counted it.
            func: The operator.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            out: What it returned.
        """
        self.seen += 1
        if self._too_many or out is NotImplemented:
            return
        stack = mode.module_stack
        if stack.entries[-1][3] is not FORWARD or graph_task_id() >= 0:
            self._see_made(out, _NOTHING)
            return
        run = self._run_of(stack)
        _, traits = self._traits.get(id(func)) or self._traits.setdefault(id(func), (func, OperatorTraits.of(func)))
        sources, floating = self._sources(args, kwargs, traits)
        if traits.is_view:
            # It computes nothing. Most views share the storage.
            self._see_made(out, sources)
            return
        number = len(self._operators)
        if number == _MAX_OPERATORS:
            self._too_many = True
            self._operators.clear()
            self._made.clear()
            return
        if traits.written_args or traits.written_kwargs:
            for tensor in traits.written(args, kwargs):
                for storage in self._storages(tensor):
                    kept = self._known(storage) or _NOTHING if _is_part(tensor, storage) else _NOTHING
                    self._set(storage, kept | {number})
        self._see_made(out, frozenset((number,)))
        if not floating:
            floating = any(each.dtype in FLOATING for each in _tensors_in(out))
        price = mode.prices.fast_path.get(id(func)) or mode.prices[func]
        self._operators.append(_Operator(run, price.op, sources, floating=floating))

    def _see_made(self, out: Any, made_by: frozenset[int]) -> None:
        """See results that are not known yet."""
        for storage in self._storages(out):
            if self._known(storage) is None:
                self._set(storage, made_by)

    def _run_of(self, stack: ModuleStack) -> int:
        """Return the number of the run on top, and note the runs below."""
        entries = stack.entries
        run: int = entries[-1][6]
        if run not in self._runs:
            below = 0
            for entry in entries:
                self._runs.setdefault(entry[6], (entry[0], below))
                below = entry[6]
            self._see_roots([*stack.roots.roots()])
        return run

    def _see_roots(self, modules: Sequence[nn.Module]) -> None:
        """See the parameters and buffers of new models, which are no inputs, whoever made them."""
        for module in modules:
            known = self._roots.get(id(module))
            if known is None or known() is not module:
                self._roots[id(module)] = weakref.ref(module)
                for storage in self._storages([*registered_below(module)]):
                    self._set(storage, _NOTHING)

    def _sources(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], traits: OperatorTraits
    ) -> tuple[frozenset[int], bool]:
        """Return the operators that made the floating-point tensors that one reads, and whether it reads any."""
        values: Sequence[Any] = args[1:] if traits.fills else args
        if kwargs:
            values = [*values, *[value for name, value in kwargs.items() if name not in traits.written_kwargs]]
        found, floating, made = _NOTHING, False, self._made
        for tensor in _tensors_in(values):
            if tensor.dtype not in FLOATING:
                continue
            floating = True
            for storage in self._storages(tensor):
                # As _known() does, which would be a call more for each argument.
                reference, known = made.get(id(storage), _UNKNOWN)
                if reference is None or reference() is not storage:
                    known = _NOTHING if isinstance(tensor, nn.Parameter) else _FROM_OUTSIDE
                    self._set(storage, known)
                found = found | known if found else known
        return found, floating

    def _storages(self, values: Any) -> Iterable[Any]:
        if type(values) in PLAIN_TENSORS and (storage := storage_of(values)) is not None:
            return (storage,)
        return self._storages_in(values)

    def _storages_in(self, values: Any) -> Iterator[Any]:
        for tensor in _tensors_in(values):
            storage = storage_of(tensor)
            if storage is not None:
                yield storage
                continue
            parts = component_tensors(tensor)
            if not parts:
                self._hidden = True
            for part in parts or ():
                yield from self._storages(part)

    def _known(self, storage: Any) -> frozenset[int] | None:
        reference, made_by = self._made.get(id(storage), _UNKNOWN)
        # Another storage may have had its identity.
        return made_by if reference is not None and reference() is storage else None

    def _set(self, storage: Any, made_by: frozenset[int]) -> None:
        self._made[id(storage)] = weakref.ref(storage), made_by

    def execution(self, rows: Sequence[Row], resolve: Callable[[str], str]) -> Execution | None:
        """Return what has been recorded; None if there is too much of it.

        Args:
            rows: The rows of the block; operators of rows without work make no step.
            resolve: Returns the present path of a module.
        """
        if self._too_many:
            return None
        calls = _CallNumbers(self._runs, resolve)
        works = {(row.module, row.op) for row in working_rows(rows, is_zero)}
        steps: list[tuple[int, dict[str, None]]] = []
        made_in: list[frozenset[int]] = []
        flow: dict[tuple[int, int], None] = {}
        for operator in self._operators:
            origins = _NOTHING.union(
                *((source,) if source == OUTSIDE else made_in[source] for source in operator.sources)
            )
            path = calls.path(operator.run)
            if operator.floating and (path, operator.name) in works:
                if not steps or steps[-1][0] != operator.run:
                    steps.append((operator.run, {}))
                here = len(steps) - 1
                steps[-1][1][operator.name] = None
                flow.update(dict.fromkeys((origin, here) for origin in sorted(origins) if origin != here))
                origins = frozenset((here,))
            elif not path and not operator.sources:
                # What the block makes for a model to use, as by torch.randn, is an input too.
                origins = frozenset((OUTSIDE,))
            made_in.append(origins)
        return Execution(
            tuple(Step(calls.path(run), calls.of(run), tuple(ops)) for run, ops in steps),
            None if self._hidden else tuple(flow),
        )


class _CallNumbers:
    """Number the calls of each module.

    Args:
        runs: The context and the caller of each run, by number.
        resolve: Returns the present path of a module.
    """

    def __init__(self, runs: dict[int, tuple[ModuleContext, int]], resolve: Callable[[str], str]) -> None:
        self._callers = {run: caller for run, (_, caller) in runs.items()}
        self._paths = {run: resolve(context.path) for run, (context, _) in runs.items()}
        self._numbers: dict[int, int] = {}
        latest: dict[str, int] = {}
        for run in sorted(runs):
            path, caller = self._paths[run], self._callers[run]
            if path and run != caller and self._paths.get(caller) == path:
                # A wrapper and what it wraps, or a phase: one call of one path.
                self._numbers[run] = self._numbers[caller]
            else:
                self._numbers[run] = latest[path] = latest.get(path, 0) + 1

    def path(self, run: int) -> str:
        return self._paths[run]

    def of(self, run: int) -> tuple[int, ...]:
        """Return the number of the call of the module that runs, and of those above it that run."""
        numbers: dict[str, int] = {}
        above: int | None = run
        while above is not None:
            numbers.setdefault(self._paths[above], self._numbers[above])
            caller = self._callers[above]
            above = None if caller == above else caller
        return tuple(numbers.get(path, 0) for path in ancestry(self._paths[run]))


def recording_dispatch(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    """Let the recorder of a mode see each operator after it ran."""

    def call(mode: Any, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        recorder = mode.execution_recorder
        before = recorder.seen
        out = dispatch(func, types, args, kwargs)
        # What ran other operators in its place has shown its tensors.
        if recorder.seen == before and (mode.counts_here is None or mode.counts_here()):
            recorder.see(mode, func, args, kwargs or {}, out)
        return out

    return call


def _tensors_in(values: Any) -> Iterable[Tensor]:
    if isinstance(values, Tensor):
        return (values,)
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (list, tuple)):
        return ()
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple, dict)):
            found += _tensors_in(value)
    return found


def _is_part(tensor: Tensor, storage: Any) -> bool:
    """Tell whether a tensor may be less than what is in its storage. Symbolic sizes are not compared."""
    if tensor._is_view():  # noqa: SLF001 - public names do not tell
        return True
    elements, size = tensor.numel(), storage.nbytes()
    return type(elements) is int and type(size) is int and elements * tensor.element_size() < size
