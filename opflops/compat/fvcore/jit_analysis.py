"""``JitModelAnalysis``: what the operators of a model count, by module and by operator."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from opflops.compat.fvcore.errors import HandleError, ModuleNameError, NotAnalyzedError
from opflops.compat.fvcore.graph_trace import trace_model
from opflops.compat.fvcore.ignored_operators import IGNORED_OPERATORS
from opflops.compat.fvcore.jit_handles import checked_count
from opflops.compat.fvcore.module_names import has_forward, named_modules_with_duplicates, owners
from opflops.compat.model_calls import estimates
from opflops.errors import ArgumentError
from opflops.torch_internals.jit_graphs import PYTHON_FUNCTION, TracerWarning
from opflops.wording import unknown

if TYPE_CHECKING:
    from typing_extensions import Self

    from opflops.compat.fvcore.graph_trace import ModelTrace, TracedOperator
    from opflops.compat.fvcore.jit_handles import Handle
    from opflops.profile.profile import Profile

# What new analyses ignore; programs import it from fvcore, and change it.
_IGNORED_OPS: set[str] = {*IGNORED_OPERATORS}
_TRACER_WARNINGS = ("all", "no_tracer_warning", "none")
_ANCESTOR_MODES = ("owner", "caller")
_SETTINGS = (
    *("_op_handles", "_ignored_ops", "_counts_other_products", "_ancestor_mode", "_warn_trace"),
    *("_enable_warn_unsupported_ops", "_enable_warn_uncalled_mods"),
)
# Nodes that stand for whole functions, whose other operators the tracer does not show.
_FUNCTIONS = (PYTHON_FUNCTION, "prim::CallFunction")


class Statistics(NamedTuple):
    """Hold the results of an analysis.

    Attributes:
        counts: The counts of each module, by operator.
        unsupported_ops: How many times each module ran operators that have no handle.
        uncalled_mods: The modules that were not called.
        profile: The profile of the run.
    """

    counts: dict[str, Counter[str]]
    unsupported_ops: dict[str, Counter[str]]
    uncalled_mods: set[str]
    profile: Profile


class JitModelAnalysis:
    """Count something for each operator that a model runs, by functions ("handles") of its arguments and results.

    A module is named by its path below the model, which has the name ``""``. A shared module has several names; the
    first one is canonical. The model runs when a result is first asked for, and again after a change of the handles.

    Args:
        model: The model.
        inputs: Its arguments: a tuple, or a single argument that is no tuple.

    Raises:
        ArgumentError: The model is no ``nn.Module``.
    """

    def __init__(self, model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(
                f"{type(self).__name__} takes a model, an nn.Module, not {type(model).__name__}. "
                "Call a function in the forward of a module."
            )
        self._model = model
        self._inputs = inputs
        self._op_handles: dict[str, Handle] = {}
        self._ignored_ops: set[str] = {*_IGNORED_OPS}
        self._counts_other_products = True
        # The canonical name of each module, and of each name.
        self._module_names: dict[nn.Module, str] = {}
        self._aliases: dict[str, str] = {}
        self._named_modules: dict[str, nn.Module] = {}
        for name, module in named_modules_with_duplicates(model):
            self._aliases[name] = self._module_names.setdefault(module, name)
            self._named_modules[name] = module
        self._stats: Statistics | None = None
        self._enable_warn_unsupported_ops = True
        self._enable_warn_uncalled_mods = True
        self._warn_trace = "no_tracer_warning"
        self._ancestor_mode = "owner"

    def total(self, module_name: str = "") -> int:
        """Return the sum over the operators of a module and all below it.

        Args:
            module_name: The module; by default the model.

        Raises:
            ModuleNameError: There is no such module.
        """
        return sum(self.by_operator(module_name).values())

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """Return the counts of a module and all below it, by operator.

        Args:
            module_name: The module; by default the model.

        Raises:
            ModuleNameError: There is no such module.
        """
        return Counter(self._analyze().counts[self.canonical_module_name(module_name)])

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """Return the counts of each module and all below it, by canonical name and operator."""
        return {name: Counter(counts) for name, counts in self._analyze().counts.items()}

    def by_module(self) -> Counter[str]:
        """Return the sum of each module and all below it, by canonical name."""
        return Counter({name: sum(counts.values()) for name, counts in self._analyze().counts.items()})

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """Return how many times a module, and all below it, ran operators without a handle that are not ignored.

        Args:
            module_name: The module; by default the model.

        Raises:
            NotAnalyzedError: No result was asked for before.
            ModuleNameError: There is no such module.
        """
        if self._stats is None:
            raise NotAnalyzedError("The model has not run yet. Call total(), or ask for another result, first.")
        return Counter(self._stats.unsupported_ops[self.canonical_module_name(module_name)])

    def uncalled_modules(self) -> set[str]:
        """Return the canonical names of the modules that were not called.

        Under ``ancestor_mode("owner")`` a module also counts as called if one below it was.
        """
        return {*self._analyze().uncalled_mods}

    @property
    def profile(self) -> Profile:
        """Return opflops' profile of the run, with all operators; fvcore has no such thing."""
        return self._analyze().profile

    def set_op_handle(self, *args: Any, **kwargs: Handle | None) -> Self:
        """Set the handles of operators; return this analysis.

        Args:
            *args: Names and handles by turns: ``set_op_handle("aten::gelu", handle, "aten::add", None)``.
            **kwargs: Handles by names. A handle takes the lists of an operator's arguments and results, as values of
                PyTorch's tracer, and returns a number or a Counter. None ignores the operator.

        Raises:
            ArgumentError: There is a name without a handle.
        """
        if len(args) % 2:
            raise ArgumentError(
                f"set_op_handle takes pairs of a name and a handle, but was given {len(args)} arguments. "
                'Write set_op_handle("aten::gelu", handle, "aten::add", None).'
            )
        self._stats = None
        for name, handle in [*zip(args[::2], args[1::2], strict=True), *kwargs.items()]:
            if handle is None:
                self._op_handles.pop(name, None)
                self._ignored_ops.add(name)
            elif callable(handle):
                self._op_handles[name] = handle
            else:
                raise ArgumentError(
                    f"The handle of {name!r} must be a function of an operator's arguments and results, or None to "
                    f"ignore it, not {handle!r}."
                )
        return self

    def clear_op_handles(self) -> Self:
        """Remove all handles, also the default ones, and ignore the operators that are ignored by default."""
        self._op_handles = {}
        self._ignored_ops = {*_IGNORED_OPS}
        self._counts_other_products = False
        self._stats = None
        return self

    def canonical_module_name(self, name: str) -> str:
        """Return the name under which results have a module: the first one of a shared module.

        Raises:
            ModuleNameError: No module has the name.
        """
        if not isinstance(name, str):
            raise ModuleNameError(f"A module is asked for by its name, a string, not by {type(name).__name__}.")
        if name not in self._aliases:
            raise ModuleNameError(f"{unknown('module', name, filter(None, self._aliases))} The model itself is ''.")
        return self._aliases[name]

    def copy(self, new_model: nn.Module | None = None, new_inputs: Tensor | tuple[Any, ...] | None = None) -> Self:
        """Return an analysis with the same settings.

        Args:
            new_model: Its model; by default the same.
            new_inputs: Its inputs; by default the same.
        """
        made = type(self).__new__(type(self))
        vars(made).update(vars(self))
        model = self._model if new_model is None else new_model
        JitModelAnalysis.__init__(made, model, self._inputs if new_inputs is None else new_inputs)
        for name in _SETTINGS:
            setattr(made, name, copy(getattr(self, name)))
        return made

    def tracer_warnings(self, mode: str) -> Self:
        """Choose which warnings of the run are shown; return this analysis.

        Args:
            mode: ``"all"``; ``"no_tracer_warning"`` (the default) for all but those of PyTorch's tracer; ``"none"``.

        Raises:
            ArgumentError: The mode is another one.
        """
        if mode not in _TRACER_WARNINGS:
            raise ArgumentError(f"tracer_warnings takes 'all', 'no_tracer_warning' or 'none', not {mode!r}.")
        self._warn_trace = mode
        return self

    def ancestor_mode(self, mode: str) -> Self:
        """Choose which modules an operator belongs to; return this analysis.

        Args:
            mode: ``"owner"`` (the default) for the innermost module that runs, and those that contain it by its
                canonical name; ``"caller"`` for all modules that run.

        Raises:
            ArgumentError: The mode is another one.
        """
        if mode not in _ANCESTOR_MODES:
            raise ArgumentError(f"ancestor_mode takes 'owner' or 'caller', not {mode!r}.")
        if mode != self._ancestor_mode:
            self._stats = None
        self._ancestor_mode = mode
        return self

    def unsupported_ops_warnings(self, enabled: bool) -> Self:
        """Choose whether operators without a handle are logged (by default they are); return this analysis."""
        self._enable_warn_unsupported_ops = enabled
        return self

    def uncalled_modules_warnings(self, enabled: bool) -> Self:
        """Choose whether modules that were not called are logged (by default they are); return this analysis."""
        self._enable_warn_uncalled_mods = enabled
        return self

    def _count_products(self, operator: TracedOperator) -> Any:
        """Count an operator that multiplies and has no handle; None if this analysis does not."""
        del operator

    def _measured(self, operator: TracedOperator, handle: Handle) -> Any:
        """Count an operator by what it was seen to do; None if a handle has to be asked."""
        del operator, handle

    def _trace(self) -> ModelTrace:
        """Run the model."""
        with warnings.catch_warnings():
            if self._warn_trace == "none":
                warnings.simplefilter("ignore")
            elif self._warn_trace == "no_tracer_warning":
                warnings.filterwarnings("ignore", category=TracerWarning)
            return trace_model(self._model, self._inputs, self._module_names)

    def _analyze(self) -> Statistics:
        if self._stats is not None:
            return self._stats
        trace = self._trace()
        names = dict.fromkeys(self._module_names.values())
        counts: dict[str, Counter[str]] = {name: Counter() for name in names}
        unsupported: dict[str, Counter[str]] = {name: Counter() for name in names}
        for operator in trace.operators:
            if any(self._is_decided(function) for function in operator.functions):
                # The function as a whole was counted or ignored.
                continue
            ancestors = self._ancestors(operator.modules)
            counted = self._count(operator)
            if counted is not None:
                for name in ancestors:
                    counts[name] += counted
            if self._is_unsupported(operator, counted):
                for name in ancestors:
                    unsupported[name][operator.kind] += 1
        seen = {*trace.called}
        if self._ancestor_mode == "owner":
            seen.update(*(owners(name) for name in trace.called))
        self._stats = Statistics(counts, unsupported, {*names} - seen, trace.profile)
        self._warn(self._stats)
        return self._stats

    def _ancestors(self, modules: tuple[str, ...]) -> set[str]:
        return {"", *modules} if self._ancestor_mode == "caller" else owners(modules[-1] if modules else "")

    def _is_decided(self, kind: str) -> bool:
        return kind in self._op_handles or kind in self._ignored_ops

    def _count(self, operator: TracedOperator) -> Counter[str] | None:
        """Return what an operator counts; None if it has no handle."""
        handle = self._op_handles.get(operator.kind)
        if handle is None:
            if not operator.macs or operator.kind in self._ignored_ops or not self._counts_other_products:
                return None
            result = self._count_products(operator)
        else:
            result = self._measured(operator, handle)
            if result is None and not operator.outputs and operator.macs:
                raise HandleError(
                    f"{operator.kind} ran where PyTorch's tracer does not record it, so there are no values for its "
                    "handle. Leave other dispatch modes, or set None to ignore it."
                )
            if result is None:
                result = handle([*operator.inputs], [*operator.outputs])
        return None if result is None and handle is None else checked_count(result, operator.kind)

    def _is_unsupported(self, operator: TracedOperator, counted: Counter[str] | None) -> bool:
        kind = operator.kind
        if self._is_decided(kind) or operator.functions or operator.of_unused_sizes:
            return False
        if kind.startswith(_FUNCTIONS):
            return True
        return counted is None and not kind.startswith("prim::")

    def _warn(self, stats: Statistics) -> None:
        logger = logging.getLogger(__name__)
        # Programs silence fvcore by the level of its logger.
        if not logging.getLogger("fvcore.nn.jit_analysis").isEnabledFor(logging.WARNING):
            return
        for op, estimate in estimates(stats.profile):
            logger.warning("The multiply-accumulates of %s are an estimate: %s", op, estimate)
        if self._enable_warn_unsupported_ops:
            for kind, times in stats.unsupported_ops[""].items():
                logger.warning("Unsupported operator %s encountered %d time(s)", kind, times)
        uncalled = sorted(name for name in stats.uncalled_mods if has_forward(self._named_modules[name]))
        if uncalled and self._enable_warn_uncalled_mods:
            logger.warning(
                "These modules of the model were never called. Either they are unused, or something calls their "
                "forward() or other methods directly; what they do then counts for the module that runs.\n%s",
                ", ".join(uncalled),
            )
