"""fvcore's counters on opflops' figures: change ``fvcore.nn`` to ``opflops.compat.fvcore`` in the imports.

All names and settings are those of fvcore 0.1.5; its submodules that count have the same names here. So are its
conventions: a multiply-accumulate is one flop, without the bias; normalization has 4 flops for each element, 5 with a
weight, ``batch_norm`` in ``eval`` 1 or 2; ``upsample_nearest2d`` has 1 and ``upsample_bilinear2d`` and ``grid_sampler``
4 for each element of the result, ``adaptive_avg_pool2d`` 1 for each of the input. Operators are named as PyTorch's
tracer names them, and handles take its values. What else is no product counts nothing: it is logged as unsupported, but
for activations, copies and the like, which are ignored. These figures differ:

===================================  ===================================  ===================================  ====
what                                 fvcore                               here                                 why
===================================  ===================================  ===================================  ====
fused attention, ``lstm``, ``gru``,  0                                    their products, under their names;   (1)
``baddbmm``, ``mv``, ``dot``,                                             activations: their results
``bilinear``, ``tensordot``, sparse
products and others
``conv(padding="same")``             0                                    its products, as ``conv``            (1)
activations of ``mm``                0                                    its result                           (1)
``matmul`` of broadcast batches      the first operand's batches alone    all batches                          (2)
``matmul`` with a vector, norms of   an error                             counted                              (2)
1 or more than 5 dimensions
``einsum``                           NumPy's estimate in 4 digits, half   the multiplications that run         (2)
                                     of them without a sum
products of complex numbers          one multiply-accumulate each         four                                 (3)
complex convolutions                 three for each pair                  the same: three real ones run         (3)
what ``torch.jit.fork`` calls        0                                    its operators, in their modules      (4)
hooks that call ``push_scope``, as   0, parts, or an error                counted                              (4)
a failed run leaves on the model
modules that run in other threads    0, or the tracer's error             an error that says so                (4)
``autograd.Function`` without a      0                                    what its operators count; it stays   (4)
handle                                                                    in ``unsupported_ops``
scripted function without a handle   0                                    its products, as ``CallFunction``;   (4)
                                                                          it stays in ``unsupported_ops``
results that nobody uses             lost, and the modules "not called"   counted                              (4)
operators whose value only Python    not in ``unsupported_ops``           in ``unsupported_ops``               (4)
uses, as in ``if x.sum() > 0``
estimates, as of ``matrix_exp``      0                                    counted; the log says so             (1)
encoder layers in ``eval`` under     attention 0                          as with gradients                    (5)
``no_grad``
modules without operators, such as   "not called"                         called                               (6)
``Identity``
hooks before a module's forward      the calling module's                 the module's                         (7)
``set_op_handle(name, None)`` of a   no effect                            ignored                              (7)
default handle
``ancestor_mode`` after a result     no effect                            a new result                         (7)
``copy()``                           forgets the class, what is ignored   keeps all settings                   (7)
                                     and ``ancestor_mode``
results of ``by_operator`` and       the analysis' own; changes stay      copies                               (7)
others
results that are no tensors, such    an error                             counted                              (8)
as data classes; attributes that
require gradients; names with ``/``
parameters of a model without any    an error in the table                0                                    (8)
indentation of tables                lost with tabulate 0.10              as documented                        (8)
===================================  ===================================  ===================================  ====

1. fvcore has no handle for them, and logs that.
2. ``(2, 1, 4, 8) @ (3, 8, 5)`` has 2 * 3 * 4 * 8 * 5 multiplications; an outer product of 4 and 3 has 12.
3. ``(a + bi)(c + di)`` is four real multiplications.
4. They run. PyTorch's tracer does not show them, or removes them from its graph.
5. PyTorch's fused layers are switched off during the run, as fvcore's hooks do in part.
6. fvcore looks for a module's operators, here its calls are seen.
7. So it is documented.
8. fvcore hands the model's results to the tracer, and joins names by ``/``.

The model runs once for each analysis, without hooks, and is left as a call leaves it.
What PyTorch's tracer refuses, such as compiled and scripted modules, ``flex_attention`` and reentrant checkpoints,
raises the tracer's error, as with fvcore; :class:`opflops.OpFlopMode` counts it. An analysis has all operators of its
run in ``profile``.

Warnings are logged by ``opflops.compat.fvcore.jit_analysis``, unless the level of fvcore's own logger silences them.

May import everything but the command line and the integrations; nothing in opflops imports it.
"""

from __future__ import annotations

from typing import NoReturn

from opflops.compat.fvcore.activation_count import ActivationCountAnalysis, activation_count
from opflops.compat.fvcore.flop_count import FlopCountAnalysis, flop_count
from opflops.compat.fvcore.jit_analysis import JitModelAnalysis
from opflops.compat.fvcore.parameter_count import parameter_count, parameter_count_table
from opflops.compat.fvcore.print_model_statistics import flop_count_str, flop_count_table

__all__ = [
    "ActivationCountAnalysis",
    "FlopCountAnalysis",
    "JitModelAnalysis",
    "activation_count",
    "flop_count",
    "flop_count_str",
    "flop_count_table",
    "parameter_count",
    "parameter_count_table",
]


def __getattr__(name: str) -> NoReturn:
    problem = f"module 'opflops.compat.fvcore' has no attribute {name!r}; it has what fvcore.nn counts with"
    raise AttributeError(f"{problem}. Import losses, initializers and layers from fvcore.nn itself.")
