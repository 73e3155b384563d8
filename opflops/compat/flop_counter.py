"""PyTorch's ``torch.utils.flop_counter`` on opflops' engine: change the import, keep the code.

``FlopCounterMode``, ``register_flop_formula`` and ``flop_registry`` have the interface of torch 2.13. Products count,
two FLOPs for each multiply-accumulate, of every dtype; names of modules, and what they include in a forward pass, are
PyTorch's. These figures differ:

==================================  ============================  =======================================  ======
what                                theirs                        ours                                     why
==================================  ============================  =======================================  ======
backward of a grouped convolution   weight gradient ``groups``    two times the forward                    (1)
                                    times too large
fused attention on the CPU          0                             its products, forward and backward       (2)
LSTM on the CPU; encoder layer in   0                             its products                             (2)
``eval`` under ``no_grad``
``mv``, ``dot``, ``vdot``,          0                             their products; a warning says which     (2)
``addmv``, ``addr``, ``addbmm``,                                  are estimates, as those of
``addmm_``, ``baddbmm_``,                                         ``linalg_pinv`` and ``matrix_exp``
``_addmm_activation``,
``bilinear``, ``cdist``,
``affine_grid``, ``linalg_pinv``,
``matrix_exp``, ``deform_conv2d``;
sparse, grouped, quantized matmuls
CSR matrix ``@`` dense one          as if both were dense         those of its elements that are stored    (10)
``_flash_attention_forward``,       heads taken for the length,   by the layout of these operators:        (9)
``_efficient_attention_forward``    and the length for heads      batch, length, heads, width
complex numbers                     one multiply-accumulate       four; of convolutions three, with both   (3)
                                    for each pair
modules that share an input, as     parts of the backward pass    the work of each for itself              (4)
``q_proj`` and ``k_proj``, or       of one count for another, so
``b`` in ``a(x) * b(x)``            that ``b`` has too much, and
                                    the module around too little
a module whose input needs no       parts of its backward pass    its backward pass                        (4)
gradient, a checkpointed module     are missing, so that modules
                                    in it may have more than it
a module that returns its input,    backward work of others       nothing                                  (4)
such as ``nn.Identity``
after an exception in a forward     later work counts for the     for the module that runs                 (4)
                                    module that raised
two modules of one name, backward   parts are missing             both                                     (4)
work in a module's forward hooks    for the modules around it     for the module                           (4)
a hook of a leaf tensor             for the module that used it   for no module, unless it is known        (4)
blocks that end in another order    each has what ran until the   each until its own end                   (4)
than that of nesting                other's end
formula of ``aten.view``            also for views that the       for those of the program                 (7)
                                    class makes itself
symbolic sizes, as in               symbols                       the number at the sizes of the example   (11)
``torch.export`` with ``Dim``
operator of a library that is       0                             its products                             (8)
imported after the counter is made
``cond``                            the larger of both branches,  the branch that runs; without values     (5)
                                    and work before it again      the larger one
nested (jagged) tensors             an error                      true lengths                             (6)
``flex_attention``, ``scan``        an error                      what they do                             (6)
``map``, ``while_loop``             0                             what they do                             (6)
second derivatives with modules     an error                      counted                                  (6)
formula of an operator that         never called, where autograd  in place of what the operator            (7)
decomposes, such as ``linear``      decomposes the operator       decomposes into
operator without a formula          0                             0, with a warning if it may do           (8)
                                                                  arithmetic
wrong keys of ``custom_mapping``,   accepted, without effect, or  an error                                 (8)
FLOPs that are no whole numbers     with fractions
==================================  ============================  =======================================  ======

1. Each output channel of a group is a product with the input channels of that group alone.
2. PyTorch has no formula for these operators, although they are what runs.
3. ``(a + bi)(c + di)`` is four real multiplications. PyTorch runs a complex convolution as three real ones.
4. PyTorch follows modules by hooks, of which some are not called then. opflops finds a module by the autograd node.
5. A program runs one branch.
6. PyTorch's mode does not run there, or does not see what these operators call.
7. Who gives a formula for an operator means that operator.
8. Nothing is left out silently.
9. The operators that call these kernels have the other layout. Their backward passes differ in the same way.
10. The kernel multiplies no element that is not stored.
11. opflops counts what runs, which is the example.

A table has the unit and the order of PyTorch's; with the releases of tabulate that opflops needs, neither is indented.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import finalize

import torch

from opflops.compat.flop_mode import CountingMode, FlopFormulas, row_name
from opflops.compat.flop_table import (
    convert_num_with_suffix,
    convert_to_percent_str,
    flop_table,
    get_suffix_str,
    suffixes,
)
from opflops.compat.model_calls import end_forgotten, estimates
from opflops.compat.module_names import GLOBAL, ModuleTracker
from opflops.compat.product_formulas import (
    check_target,
    flop_registry,
    get_shape,
    library_formulas,
    own_formulas,
    register_flop_formula,
    shape_wrapper,
)
from opflops.compat.shape_counts import (
    conv_backward_flop_of_shapes,
    conv_flop_count,
    conv_flop_of_shapes,
    sdpa_backward_flop_count,
    sdpa_backward_flop_of_shapes,
    sdpa_flop_count,
    sdpa_flop_of_shapes,
)
from opflops.errors import ActiveModeError, ArgumentError, UsageWarning
from opflops.profile.profile import Profile
from opflops.records.arguments import describe
from opflops.torch_internals.dispatch import packet_named, third_party_formulas
from opflops.torch_internals.size_arithmetic import is_zero

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = [
    "FlopCounterMode",
    "conv_backward_flop",
    "conv_flop",
    "conv_flop_count",
    "convert_num_with_suffix",
    "convert_to_percent_str",
    "flop_registry",
    "get_shape",
    "get_suffix_str",
    "register_flop_formula",
    "sdpa_backward_flop",
    "sdpa_backward_flop_count",
    "sdpa_flop",
    "sdpa_flop_count",
    "shape_wrapper",
    "suffixes",
]

aten = torch.ops.aten
mm_flop, addmm_flop = flop_registry[aten.mm], flop_registry[aten.addmm]
bmm_flop, baddbmm_flop = flop_registry[aten.bmm], flop_registry[aten.baddbmm]
conv_flop, conv_backward_flop = shape_wrapper(conv_flop_of_shapes), shape_wrapper(conv_backward_flop_of_shapes)
sdpa_flop, sdpa_backward_flop = shape_wrapper(sdpa_flop_of_shapes), shape_wrapper(sdpa_backward_flop_of_shapes)


def __getattr__(name: str) -> NoReturn:
    problem = f"module 'opflops.compat.flop_counter' has no attribute {name!r}; it has {', '.join(__all__)}"
    raise AttributeError(f"{problem}. The formula of an operator is in flop_registry, by its packet.")


class FlopCounterMode:
    """Count the FLOPs of matmuls, convolutions, attention and recurrent layers in a ``with`` block, by module.

    A multiply-accumulate is two FLOPs, and other operations are none, unless a formula in ``custom_mapping`` or in
    ``flop_registry`` says so.

    >>> import torch
    >>> from opflops.compat import FlopCounterMode
    >>> with FlopCounterMode(display=False) as counter:
    ...     _ = torch.nn.Linear(4, 3)(torch.ones(2, 4))
    >>> counter.get_total_flops(), counter.get_flop_counts()["Linear"]
    (48, {<OpOverloadPacket(op='aten.addmm')>: 48})

    Args:
        mods: Not needed, as with PyTorch's class; a warning says so.
        depth: How deep the printed table goes; None for all modules.
        display: Print the table when the block ends.
        custom_mapping: Formulas of FLOPs by packet (``torch.ops.aten.add``), higher-order operator or Triton kernel, in
            place of those of ``flop_registry``. Each is called as ``formula(*args, out_shape=..., **kwargs)``, with
            shapes in place of tensors. One with an attribute ``_get_raw`` that is true gets the tensors themselves, and
            the result as ``out_val``. That of a Triton kernel gets the kernel's arguments, by name, as ``kwargs``.

    Attributes:
        depth: As given.
        display: As given.
        flop_registry: The formulas of this object by packet.
        mode: The dispatch mode, while the block runs.
        mod_tracker: Names the modules; its ``parents`` are those that run.

    Raises:
        ArgumentError: ``custom_mapping`` has something else than such operators or functions.
        FormulaError: A formula would never apply, or returned no whole number.
        ActiveModeError: The block is entered while it runs, or left while it does not.
    """

    def __init__(
        self,
        mods: nn.Module | list[nn.Module] | None = None,
        depth: int | None = 2,
        display: bool = True,
        custom_mapping: dict[Any, Any] | None = None,
    ) -> None:
        if mods is not None:
            warnings.warn(
                "The argument mods is not needed: every module that the block calls is counted under its name. "
                "Leave it out.",
                UsageWarning,
                stacklevel=2,
            )
        self.depth = depth
        self.display = display
        own_formulas()
        self.flop_registry: dict[Any, Callable[..., Any]] = {
            **library_formulas(),
            **flop_registry,
            **_raw_formulas(custom_mapping),
        }
        self.mode: CountingMode | None = None
        self.mod_tracker = ModuleTracker()
        self._formulas: FlopFormulas | None = None
        self._profile = Profile()
        self._flop_counts: dict[str, dict[Any, Any]] = defaultdict(lambda: defaultdict(int))
        # What was counted when the counts were read last, so that a program may change or clear them.
        self._counted: dict[str, dict[Any, Any]] = {}
        # The operators whose formulas this object knows of: one that is not in its registry any more was removed.
        self._known = {*own_formulas(), *third_party_formulas()}
        # Ends what counts if this object is dropped in its block.
        self._when_dropped: finalize[..., Any] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("_count_flops", "__torch_dispatch__"):
            if name in vars(cls):
                raise ArgumentError(
                    f"The class {cls.__name__} has its own {name}, which nothing would call: opflops' engine counts. "
                    "Give the FLOPs of operators as formulas, with custom_mapping or register_flop_formula."
                )

    @property
    def profile(self) -> Profile:
        """Return everything that opflops counted: all operators, phases, dtypes and bytes."""
        return self._profile if self.mode is None else self.mode.profile

    @property
    def flop_counts(self) -> dict[str, dict[Any, Any]]:
        """Return the FLOPs so far by module name, or "Global", and by packet; what was not counted is 0."""
        if self.mode is not None:
            self._update()
        return self._flop_counts

    def get_total_flops(self) -> int:
        """Return the FLOPs of everything in the block."""
        return sum(self.flop_counts[GLOBAL].values())

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """Return the FLOPs by module name, and "Global" for everything, and by packet."""
        return {name: dict(counts) for name, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """Write the FLOPs of modules and operators as a table.

        Args:
            depth: How deep it goes; by default as the object's own.
        """
        return flop_table(self.flop_counts, self.depth if depth is None else depth)

    def __enter__(self) -> FlopCounterMode:  # noqa: PYI034 - typing.Self is not in Python 3.10
        if self.mode is not None:
            raise ActiveModeError(
                "This FlopCounterMode is already counting and cannot be entered again before its block ends. To count "
                "part of a block separately, enter a second FlopCounterMode()."
            )
        self._add_late_formulas()
        formulas = self._formulas_of_flops()
        if self._formulas is None or self._formulas.flop_formulas != formulas:
            self._formulas = FlopFormulas(formulas)
        mode = CountingMode(self._formulas)
        self._when_dropped = finalize(self, _end_mode, mode, self.mod_tracker)
        self._when_dropped.atexit = False
        try:
            mode.__enter__()
            self.mod_tracker.begin(mode.module_stack)
        except BaseException:
            self._when_dropped()
            raise
        self.mode = mode
        self._flop_counts.clear()
        self._counted = {}
        return self

    def __exit__(self, *exception: object) -> None:
        if self.mode is None:
            raise ActiveModeError(
                "This FlopCounterMode is not counting, so it has no block to end. A with statement enters and leaves "
                "it, once each: with FlopCounterMode() as counter: ..."
            )
        mode = self.mode
        try:
            mode.__exit__(*exception)
        finally:
            if not mode.active:
                self._end(mode)
        self._warn_of_estimates()
        if self.display:
            print(self.get_table(self.depth))  # noqa: T201 - that is what display is for

    def _end(self, mode: CountingMode) -> None:
        """Keep what an ended mode counted."""
        if self._when_dropped is not None:
            self._when_dropped.detach()
        self.mod_tracker.end()
        self._update()
        self._profile, self.mode = mode.profile, None

    def _warn_of_estimates(self) -> None:
        by_formula = set() if self._formulas is None else self._formulas.row_names
        for op, reason in estimates(self._profile):
            if op not in by_formula:
                message = f"The FLOPs of {op} are an estimate: {reason}."
                warnings.warn(message, UsageWarning, stacklevel=3)

    def _add_late_formulas(self) -> None:
        """Add opflops' formulas for operators of libraries that were imported since."""
        for target, formula in own_formulas().items():
            if target not in self._known:
                self._known.add(target)
                self.flop_registry.setdefault(target, formula)

    def _formulas_of_flops(self) -> dict[Any, Callable[..., Any]]:
        """Return the formulas that are not opflops' own."""
        own = own_formulas()
        return {target: each for target, each in self.flop_registry.items() if each is not own.get(target)}

    def _update(self) -> None:
        """Add what was counted since the last time."""
        counted = self._count()
        for name, by_target in counted.items():
            before = self._counted.get(name, {})
            for target, flops in by_target.items():
                self._flop_counts[name][target] += flops - before.get(target, 0)
        self._counted = counted

    def _count(self) -> dict[str, dict[Any, Any]]:
        counts: dict[str, dict[Any, Any]] = {}
        mode = self.mode
        if mode is None:
            return counts
        self._add_late_formulas()
        targets = {row_name(target): target for target in self.flop_registry}
        removed = {row_name(target) for target in (*own_formulas(), *third_party_formulas())} - targets.keys()
        names: dict[Any, dict[str, None]] = {}
        for context, op, flops in mode.flops_of_modules():
            if op in removed or (op not in targets and is_zero(flops)):
                continue
            if context not in names:
                names[context] = self.mod_tracker.names_above(context)
            target = targets.get(op) or packet_named(op.replace(".", "::", 1)) or op
            for name in names[context]:
                by_target = counts.setdefault(name, {})
                by_target[target] = by_target.get(target, 0) + flops
        return counts


def _end_mode(mode: CountingMode, tracker: ModuleTracker) -> None:
    tracker.end()
    end_forgotten(mode)


def _raw_formulas(custom_mapping: object) -> dict[Any, Callable[..., Any]]:
    """Return the formulas of a mapping in the form of the registry: callable with tensors.

    Raises:
        ArgumentError: They are no mapping, or one is for no operator or no function.
    """
    if custom_mapping is None:
        return {}
    if not isinstance(custom_mapping, Mapping):
        raise ArgumentError(
            "custom_mapping must be a dict of functions by operator, as in {torch.ops.aten.add: my_formula}, not "
            f"{describe(custom_mapping)}."
        )
    for target, formula in custom_mapping.items():
        check_target(target, "custom_mapping")
        if not callable(formula):
            raise ArgumentError(
                f"The formula for {target} must be a function that returns FLOPs, not {describe(formula)}."
            )
    return {
        target: formula if getattr(formula, "_get_raw", False) else shape_wrapper(formula)
        for target, formula in custom_mapping.items()
    }
