"""A drop-in for ptflops 0.7.5: ``from opflops.compat.ptflops import get_model_complexity_info``.

The first number is ptflops' "MACs", and what counts is what ptflops counts. With the backend ``pytorch`` that is one
for each multiply-accumulate of a contraction, and one for each element of the layers below; with the backend ``aten``
it is contractions and their biases alone. So figures that ptflops gets right stay as they are. What differs are its
mistakes: work is counted by the operators that run, each once, whether a module, a function or a Python operator asked
for it. For opflops' own figures use :func:`opflops.count`: its ``total.macs`` is of contractions alone, its
``total.flops`` of all arithmetic.

======================================================  ================================================================
backend ``pytorch`` counts                              as
======================================================  ================================================================
matmul, linear, convolution, attention, recurrent       1 for each multiply-accumulate, 1 for each bias that is added
ReLU, ReLU6, LeakyReLU, PReLU, ELU, GELU, SiLU          1 per element
``add`` and ``mul`` of tensors                          1 per element of the result
batch, layer, group, instance and RMS norm              1 per element, and 1 more with weight or bias
softmax                                                 1 per element
maximum and average pooling                             1 per element of each window
interpolation                                           1 per element of the result
attention                                               also its softmax, and 1 per element of the queries (their scale)
gates of recurrent cells                                1 for each addition and multiplication: per hidden element 1 of
                                                        an RNN, 8 of an LSTM, 7 of a GRU
deformable convolution of torchvision                   also its interpolation and masks
everything else, such as sigmoid, tanh, sub, mean       0; ``verbose=True`` names it
======================================================  ================================================================

Parameters are those that require a gradient, as in ptflops. Where ptflops prints something else:

==============================================  ========================  ==============================================
what                                            ptflops                   here, and why
==============================================  ========================  ==============================================
``nn.ReLU``, PReLU, ELU, GELU, pools, Upsample  twice                     once: its hook and its patched function see
                                                                          the same call
``F.linear``, ``F.conv2d``, ``x @ y``, einsum,  0                         as the module, or the function of that name:
``x + y``, ``x * y``, norms by function,                                  they run the same operators
``F.scaled_dot_product_attention``
matmul, add, mul inside layers, such as those   again, for the layer      once
of ``nn.MultiheadAttention``
``torch.matmul`` of broadcast batches           of one batch              of all of them
subclasses of layers                            0                         as the layer
LayerNorm, with weight or bias                  1 per element             2, as the other norms
LSTM, gates                                     10 per hidden element     8: ``o * tanh(c)`` is one product, not three
LSTM with ``proj_size``                         without the projection    with it
``nn.MultiheadAttention`` with ``kdim``,        as projections of their   ``embed_dim`` rows of the weights in each case
``vdim``                                        own size squared
windows that overlap (3 x 3, stride 2)          as if they did not        each window by itself
a layer held by several modules                 once for each of them     once per call; its parameters once
LSTM, attention in fused kernels (``aten``)     0                         as the operators that they stand for
a batch of an ``input_constructor``             functional work in full   all work is of one sample
a tuple as input                                divided by its length     divided by the samples of its first tensor
a type of containers in ``ignore_modules``      still counted             ignored with all modules inside
a hook for a container                          beside functions inside   replaces all that runs inside
parameters that no supported layer holds        not in the printed model  in it
shares of the printed model                     without functional work   with it, so that they add up
ignored operators (``aten``)                    a line for each call      a line for each operator
unknown ``backend_specific_config``             ignored                   an error
the model afterwards                            in evaluation mode        as it was
==============================================  ========================  ==============================================

Existing hooks of ``custom_modules_hooks`` work: they add to ``module.__flops__``, and their figure replaces ours. Only
modules with a hook have that attribute, so a hook cannot read what other modules count as: that is an error.

May import what :mod:`opflops.compat` may; nothing in opflops imports it.
"""

from __future__ import annotations

from opflops.compat.ptflops.flops_counter import FLOPS_BACKEND, get_model_complexity_info
from opflops.compat.ptflops.utils import flops_to_string, params_to_string

__all__ = ["FLOPS_BACKEND", "flops_to_string", "get_model_complexity_info", "params_to_string"]
