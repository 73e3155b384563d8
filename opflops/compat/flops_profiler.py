"""``FlopsProfiler``, which stands for DeepSpeed's; :mod:`opflops.compat.deepspeed` says how figures differ."""

from __future__ import annotations

import os
import sys
from copy import copy, deepcopy
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary, finalize

from opflops.compat.deepspeed_report import aggregated_lines, report_lines
from opflops.compat.durations import Durations, SelfTimingMode
from opflops.compat.model_calls import end_forgotten
from opflops.compat.module_costs import ModuleCosts, check_model, count_parameters
from opflops.compat.peer_errors import NotProfiledError
from opflops.compat.unit_strings import duration_to_string, macs_to_string, number_to_string, params_to_string
from opflops.profile.profile import Profile
from opflops.torch_internals.modules import class_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from torch import nn

_started: WeakValueDictionary[int, FlopsProfiler] = WeakValueDictionary()
"""The profilers that have figures of modules, in the order of their starts, for the functions that ask for those."""
_numbers = count()


class FlopsProfiler:
    """Count the forward passes of a model between ``start_profile()`` and ``stop_profile()``.

    >>> import torch
    >>> from opflops.compat.deepspeed import FlopsProfiler
    >>> net = torch.nn.Linear(4, 3)
    >>> prof = FlopsProfiler(net)
    >>> prof.start_profile()
    >>> loss = net(torch.ones(2, 4)).sum()
    >>> prof.stop_profile()
    >>> prof.get_total_macs(), prof.get_total_flops(as_string=True), prof.get_total_params()
    (24, '54 ', 15)
    >>> prof.end_profile()

    Args:
        model: The model.
        ds_engine: The engine of DeepSpeed that trains it, whose sizes and timers the report shows.
        recompute_fwd_factor: How many forward passes a backward pass of the engine recomputes, for the report.

    Attributes:
        started: True from ``start_profile()`` to ``end_profile()``.
        func_patched: True from ``start_profile()`` to ``stop_profile()``; no function is patched.
        count_remarks: Sentences on what was not counted until it stopped, such as modules that other threads called.
        flops: The total that ``print_model_profile()`` printed last; also ``macs`` and ``params``.
    """

    flops: int
    macs: int
    params: int

    def __init__(self, model: nn.Module, ds_engine: Any = None, recompute_fwd_factor: float = 0.0) -> None:
        check_model(model, "FlopsProfiler")
        self.model = model
        self.ds_engine = ds_engine
        self.recompute_fwd_factor = recompute_fwd_factor
        self.started = False
        self.count_remarks: tuple[str, ...] = ()
        self._number = next(_numbers)
        self._ignored: Collection[type] = ()
        self._mode: SelfTimingMode | None = None
        # Ends what counts if the profiler is dropped meanwhile.
        self._when_dropped: finalize[..., Any] | None = None
        # Of the figures so far; None if there are none.
        self._durations: Durations | None = None
        self._counted, self._root = Profile(), ""
        self._costs_so_far: ModuleCosts | None = None

    @property
    def profile(self) -> Profile:
        """Return everything that ran so far, also outside the model and in backward passes."""
        return self._counted if self._mode is None else self._mode.profile

    @property
    def func_patched(self) -> bool:
        """Return whether it counts."""
        return self._mode is not None

    def start_profile(self, ignore_list: Collection[type] | None = None) -> None:
        """Begin to count, from zero.

        Args:
            ignore_list: The classes of modules whose own work is left out. Subclasses, and modules inside, count.
        """
        self.stop_profile()
        self._ignored = (*(ignore_list or ()),)
        self.reset_profile()
        self._begin()
        self.started = True

    def _begin(self) -> None:
        # Its class may change while it runs, as that of a lazy module does; its path does not.
        self._root = class_name(self.model)
        mode = SelfTimingMode(self.model, self._timed())
        self._when_dropped = finalize(self, end_forgotten, mode)
        self._when_dropped.atexit = False
        mode.__enter__()
        self._mode = mode

    def stop_profile(self) -> None:
        """Stop counting, in whatever thread; the figures stay until ``end_profile()``.

        Nothing happens if nothing counts.
        """
        if self._mode is None:
            return
        self._mode.end()
        if self._when_dropped is not None:
            self._when_dropped.detach()
        self._counted = self._mode.profile
        untimed = () if self._mode.clock is None else self._mode.clock.remarks()
        self.count_remarks = tuple(each for each in self._counted.remarks if each not in untimed)
        self._mode = None

    def reset_profile(self) -> None:
        """Set all figures to zero; if it counts, it goes on."""
        running = self._mode is not None
        self.stop_profile()
        self._counted, self._costs_so_far = Profile(), None
        self._durations = Durations(self.model, self._ignored)
        _started.pop(self._number, None)
        self._number = next(_numbers)
        _started[self._number] = self
        if running:
            self._begin()

    def end_profile(self) -> None:
        """Stop counting and forget the figures. Nothing happens before ``start_profile()``."""
        if not self.started:
            return
        self.stop_profile()
        self.started = False
        self._counted, self._costs_so_far, self._durations = Profile(), None, None
        _started.pop(self._number, None)

    def __deepcopy__(self, memo: dict[int, Any]) -> FlopsProfiler:
        """Return a profiler of a copy of the model, which has the figures so far and does not count."""
        other = copy(self)
        memo[id(self)] = other
        model, engine = deepcopy(self.model, memo), deepcopy(self.ds_engine, memo)
        vars(other).update(model=model, ds_engine=engine, _mode=None, _counted=self.profile, _costs_so_far=None)
        if self._durations is not None:
            number = next(_numbers)
            vars(other).update(_durations=self._durations.for_copy(model), _number=number)
            _started[number] = other
        return other

    def _costs(self) -> ModuleCosts:
        self._timed()
        if self._mode is not None:
            # More may have run since.
            return ModuleCosts(self.model, self._mode.profile, self._root, self._ignored)
        if self._costs_so_far is None:
            self._costs_so_far = ModuleCosts(self.model, self._counted, self._root, self._ignored)
        return self._costs_so_far

    def _timed(self) -> Durations:
        if self._durations is None:
            raise NotProfiledError(
                "This FlopsProfiler has no figures: start_profile() was not called, or end_profile() was. Ask between "
                "the two."
            )
        return self._durations

    def get_total_flops(self, as_string: bool = False) -> Any:
        """Return the floating-point operations of the forward passes so far: an int, or text such as ``"8.18 G"``."""
        total = self._costs().flops(self.model)
        return number_to_string(total) if as_string else total

    def get_total_macs(self, as_string: bool = False) -> Any:
        """Return the multiply-accumulates of the forward passes so far: an int, or text such as ``"4.09 GMACs"``."""
        total = self._costs().macs(self.model)
        return macs_to_string(total) if as_string else total

    def get_total_duration(self, as_string: bool = False) -> Any:
        """Return the seconds of the forward passes so far, while they were counted: a float, or text as ``"26 ms"``.

        They are more than without a profiler; :mod:`opflops.compat.deepspeed` says what they include.
        """
        total = self._timed().of(self.model)
        return duration_to_string(total) if as_string else total

    def get_total_params(self, as_string: bool = False) -> Any:
        """Return the elements of the parameters on this rank: an int, or text such as ``"25.56 M"``."""
        self._timed()
        total = count_parameters(self.model)
        return params_to_string(total) if as_string else total

    def is_expert_tensor_parallelism_enabled(self) -> bool:
        """Return whether the first mixture-of-experts layer of DeepSpeed splits its experts' tensors."""
        flags = (getattr(each, "enable_expert_tensor_parallelism", None) for each in self.model.modules())
        return bool(next((flag for flag in flags if flag is not None), False))

    def print_model_profile(
        self,
        profile_step: int = 1,
        module_depth: int = -1,
        top_modules: int = 1,
        detailed: bool = True,
        output_file: str | None = None,
    ) -> None:
        """Print a summary, the largest modules at each depth, and the model with the figures of each module.

        Nothing is printed before ``start_profile()`` or after ``end_profile()``.

        Args:
            profile_step: The step of training, which the report names.
            module_depth: How many levels of modules the second part has; -1 for all but the innermost.
            top_modules: How many classes of modules it has at each level.
            detailed: Whether to print the model.
            output_file: The file to write to, whose folder is made; None for the standard output.
        """
        if not self.started:
            return
        costs = self._costs()
        self.flops, self.macs = costs.flops(self.model), costs.macs(self.model)
        self.params = count_parameters(self.model)
        expert_parallel = self.is_expert_tensor_parallelism_enabled()
        lines = report_lines(
            *(self.model, costs, self._timed(), self.ds_engine, self.recompute_fwd_factor),
            *(profile_step, module_depth, top_modules),
            detailed=detailed,
            expert_tensor_parallel=expert_parallel,
        )
        text = "".join(f"{line}\n" for line in lines)
        if not output_file:
            sys.stdout.write(text)
            return
        os.makedirs(os.path.dirname(os.path.abspath(output_file)), exist_ok=True)  # noqa: PTH100, PTH103, PTH120 - a str
        with open(output_file, "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
            file.write(text)

    def print_model_aggregated_profile(self, module_depth: int = -1, top_modules: int = 1) -> None:
        """Print which classes of modules have the most parameters, multiply-accumulates and latency at each depth.

        Args:
            module_depth: How many levels of modules to print; -1 for all but the innermost.
            top_modules: How many classes at each level.
        """
        if self._durations is None:
            lines: Iterable[str] = ["There are no figures: call this between start_profile() and end_profile()."]
        else:
            lines = aggregated_lines(self.model, self._costs(), self._durations, module_depth, top_modules)
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _profiler_of(module: nn.Module) -> FlopsProfiler:
    for _, profiler in sorted(_started.items(), reverse=True):
        if any(each is module for each in profiler.model.modules()):
            return profiler
    raise NotProfiledError(
        f"No FlopsProfiler has figures of this {type(module).__name__}. Ask for them between start_profile() and "
        "end_profile() of a profiler of the model."
    )


def get_module_flops(module: nn.Module) -> int:
    """Return the floating-point operations of a module and those below it, of a model that is being profiled.

    Raises:
        NotProfiledError: No model with this module is being profiled.
    """
    return _profiler_of(module)._costs().flops(module)  # noqa: SLF001 - of this file


def get_module_macs(module: nn.Module) -> int:
    """Return the multiply-accumulates of a module and those below it, of a model that is being profiled.

    Raises:
        NotProfiledError: No model with this module is being profiled.
    """
    return _profiler_of(module)._costs().macs(module)  # noqa: SLF001 - of this file


def get_module_duration(module: nn.Module) -> float:
    """Return the seconds of the calls of a module, of a model that is being profiled.

    Raises:
        NotProfiledError: No model with this module is being profiled.
    """
    return _profiler_of(module)._timed().of(module)  # noqa: SLF001 - of this file
