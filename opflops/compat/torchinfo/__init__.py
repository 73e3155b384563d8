"""Stand in for the package ``torchinfo``: ``from opflops.compat.torchinfo import summary``.

:func:`summary`, what it returns and what it prints are those of torchinfo 1.8.0, in modules of the same names.
Mult-adds are multiply-accumulates: those of matrix products, convolutions, attention and recurrent layers, of any
dtype, whether a module or a function computes them. Each row has those of its own call; a row at the last depth, those
of all below it too. So the column adds up to the total.

Where torchinfo shows another number, that is because it multiplies the parameters of each module without modules by a
part of the shape of its output:

=====================================  ==================================  ==================================
what                                   torchinfo                           here
=====================================  ==================================  ==================================
functional calls (``F.linear``, ``@``,  no mult-adds                        counted in the module that calls
attention), modules that compute with
the weights of their modules
(``nn.MultiheadAttention``)
``nn.Linear`` on more than two         counted for the first alone         counted for all
dimensions
biases                                 a mult-add each; k products and a   none
                                       bias are k multiplications and k
                                       additions
norms, embeddings, ``nn.PReLU``        weights times the batch             none: no products
transposed convolutions                as many products as on the output   those on the input
recurrent layers                       the biases too; packed sequences    gates and states, true lengths
                                       as if each had all
pruned weights                         no mult-adds                        counted, since kernels multiply
                                                                           zeros; not in the parameters
scripted and traced modules            nothing, above all other rows       mult-adds and shapes of the outermost,
                                                                           in its place
parameters of two modules              counted twice                       once; later rows show "(recursive)"
``total_param_bytes``                  only of modules without modules     of all parameters
``total_input``                        with Python's objects; a view as    bytes of the tensors, also of those by
                                       its whole storage; None without     keyword; 0 without input
                                       input
``total_output_bytes``                 the first tensor of the output of   all tensors, each once, of the output of
                                       each module that has parameters     each module that has parameters itself,
                                       and no modules                      used or not, and not in its modules
a module in several places             in the last place                   where it is called
containers that are not called, but    "(recursive)" and the number of     a number each, and "(recursive)" from the
their modules in turn, as in FPN       the last row in all of their rows   second row on
modules that the call makes            nothing                             rows, in their place
modules that other threads call        between other rows; parameters of   below one another
                                       containers twice
input of a call by keyword             ``--``                              its shape
output whose first item, or last of a  ``--``                              the shape of another item
dictionary, is no tensor
``batch_dim``                          that dimension is shown as 1, in    shapes as they are
                                       some shapes
dictionaries with ``batch_dim``        a list in a list                    a list
units on Python 3.11 and later         ``(Units.MEGABYTES)``               ``(M)``
train and eval mode                    the model's, set on all modules     each module's own is restored
``cache_forward_pass=False``           still stores                        stores nothing
half precision with ``input_size``     a warning                           none: the numbers are right
sizes of NumPy's integers in a list    an error                            as in a tuple
an argument of the model given twice   a ``TypeError`` or                  an error that is both
                                       ``RuntimeError``
too few ``dtypes``                     inputs are left out                 an error
model on another device than           moved to the CPU, or to CUDA        stays there
the CPU, with ``input_size``
=====================================  ==================================  ==================================

``total_output_bytes`` takes parameters in a ``ParameterList`` or a parametrization for those of the module that has it,
and a scripted module with all in it for one module.

Integer products, as of quantized layers, are mult-adds too. ``mode="same"``, ``"k"`` among the units, and outputs that
are distributions are from torchinfo's development version, whose other additions are not here.

Of the parts of :func:`summary`, ``torchinfo.torchinfo`` has ``process_input``, ``forward_pass``, ``set_device`` and the
two that return sizes. Those that set torchinfo's hooks and follow its list of rows (``apply_hooks``,
``construct_hook``, ``add_missing_container_layers`` and others) are not here: rows are made otherwise. A module that is
replaced after it was called keeps its row and parameters, beside those of the new one.

May import what ``opflops.compat`` may; only the programs of users import it.
"""

from __future__ import annotations

from opflops.compat.torchinfo.enums import ColumnSettings, Mode, RowSettings, Units, Verbosity
from opflops.compat.torchinfo.errors import SummaryError
from opflops.compat.torchinfo.layer_info import LayerInfo
from opflops.compat.torchinfo.model_statistics import ModelStatistics
from opflops.compat.torchinfo.torchinfo import clear_cached_forward_pass, summary

__version__ = "1.8.0"
"""The release of torchinfo whose interface this is."""

__all__ = [
    "ColumnSettings",
    "LayerInfo",
    "Mode",
    "ModelStatistics",
    "RowSettings",
    "SummaryError",
    "Units",
    "Verbosity",
    "clear_cached_forward_pass",
    "summary",
]
