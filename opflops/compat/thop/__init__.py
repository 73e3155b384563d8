"""A drop-in for thop 0.1.1: ``from opflops.compat.thop import profile, clever_format``.

The first number is thop's "MACs", and what counts is what thop counts: one for each multiply-accumulate of a
contraction, without biases, and the operations of a few other layers, below. So figures that thop gets right stay as
they are: 4133742592.0 for ResNet-50. What differs are its mistakes: work is counted by the operators that run, each
once, whether a module, a function or a Python operator asked for it. For opflops' own figures use
:func:`opflops.count`: its ``total.macs`` is of contractions alone, its ``total.flops`` of all arithmetic.

==================================================  ====================================================================
thop counts                                         as
==================================================  ====================================================================
matmul, linear, convolution, attention              1 for each multiply-accumulate; biases 0
batch, layer, group, instance norm                  2 per element, 1 more for each of weight and bias; RMS norm 1 less
softmax over rows of n, also inside attention       3n - 1 per row
average pooling                                     1 per element of the result
adaptive average pooling                            k + 1 per element of the result, with windows of k
PReLU                                               1 per element
interpolation                                       per element of the result 1 (nearest), 5 (linear), 11 (bilinear),
                                                    31 (trilinear), 259 (bicubic)
recurrent cells and layers                          1 for each multiply-accumulate, addition and multiplication, biases
                                                    included
everything else, such as ReLU, GELU, x + y,         0
maximum pooling
==================================================  ====================================================================

Where thop prints something else:

==============================================  ========================  ==============================================
what                                            thop                      here, and why
==============================================  ========================  ==============================================
functions, ``x @ y``, ``nn.MultiheadAttention``  0                        as the layer: they run the same operators
encoder layers in evaluation                    without their attention   with it: the fast path calls no modules inside
transposed convolutions                         per output position       per input position, which is what each weight
                                                                          meets
subclasses of layers, GroupNorm, trilinear      0                         as the layer, as the other norms, as above
LayerNorm without a bias                        4 per element             3
LSTM with ``proj_size``                         as without                with the smaller weights, and the projection
packed sequences                                as the longest            by their lengths
adaptive pooling, sizes that do not divide      a fraction of a window    the windows as they are
a layer held by several modules                 by two hooks or more,     once per call; its parameters once
                                                then for each holder
a layer as the model itself                     0 parameters              its parameters
parameters of modules without a rule, or that   not counted               counted: all of ``model.parameters()``
were not called
a hook for the model itself                     beside the layers inside  replaces them, as for any other module
``report_missing``                              all types without a rule  those of them that count as nothing
the model afterwards                            ``total_ops`` left over   as it was, also if it raised an error
                                                in its buffers
==============================================  ========================  ==============================================

Existing hooks of ``custom_ops`` work: they add to ``m.total_ops``, and their figure replaces ours. Only modules with a
hook have that attribute, so a hook cannot read what other modules count as: that is an error. ``register_hooks``
of ``opflops.compat.thop.profile`` lists the rules by class, and what is added there is used. The rules themselves, such
as ``opflops.compat.thop.vision.basic_hooks.count_convNd``, can be values of ``custom_ops`` and mean our count. There is
no ``fx_profile`` and no ``OnnxProfile``: :func:`opflops.count` counts without running, too.

May import what :mod:`opflops.compat` may; nothing in opflops imports it.
"""

from __future__ import annotations

from opflops.compat.thop.profile import default_dtype, profile, profile_origin
from opflops.compat.thop.utils import clever_format

__all__ = ["clever_format", "default_dtype", "profile", "profile_origin"]
