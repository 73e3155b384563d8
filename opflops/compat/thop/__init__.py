"""A drop-in for thop 0.1.1: ``from opflops.compat.thop import profile, clever_format``.

The first number is opflops' ``macs``: the multiply-accumulates of contractions, which are matmul, convolution,
attention and the matrices of recurrent networks. They count in every dtype, wherever they run, in a module, a function
or a fused kernel, and each once. All other work, such as ReLU, norms, pools, softmax, biases and additions, counts 0;
:func:`opflops.count` has it in ``total.ops``. Of a model that computes with floating-point numbers alone the first
number is ``float(opflops.count(model, x).total.macs)``; that of integers and of quantized numbers counts here as well.
ResNet-50 at 224 has 4089184256.0; thop prints 4133742592.0, since it counts four for each element of a batch norm, and
the average pooling.

Where thop prints something else:

===============================================  ========================  =============================================
what                                             thop                      here, and why
===============================================  ========================  =============================================
norms, softmax, average pooling, PReLU,          as MACs, 1 to 259 per     0: they multiply and accumulate nothing
interpolation                                    element
recurrent cells and layers: biases, and sums     as MACs                   0: they are products and sums of elements
and products of their gates
functions, ``x @ y``, ``nn.MultiheadAttention``  0                         as the layer: they run the same operators
encoder layers in evaluation                     without their attention   with it: the fast path calls no modules
                                                                           inside
transposed convolutions                          per output position       per input position, which is what each weight
                                                                           meets
subclasses of layers, quantized layers           0                         as the operators that run
LSTM with ``proj_size``                          as without                with the smaller weights, and the projection
packed sequences                                 as the longest            by their lengths
a layer held by several modules                  by two hooks or more,     once per call; its parameters once; in
                                                 then for each holder      ``ret_layer_info`` at each place what was
                                                                           called from there, and what a hook stated at
                                                                           the first
traced and scripted modules                      an error                  as the operators that run
unbatched convolutions and recurrent layers      by an axis that is not    as the operators that run
                                                 the channels or batch
complex numbers                                  as real ones              a multiply-accumulate of them is four real
                                                                           ones
lazy layers                                      0, and 0 parameters       counted, with the hook of the class that they
                                                                           become
a layer that the model replaces                  an error                  both count; if it has a hook an error, since
                                                                           two figures of one place cannot be told apart
a layer as the model itself                      0 parameters              its parameters
parameters of modules without a rule, or that    not counted               counted: all of ``model.parameters()``
were not called
a hook for the model itself                      beside the layers inside  replaces them, as for any other module
``report_missing``                               types without a rule      types that call operators without a formula,
                                                                           in the same words; their parameters count
``total_params`` that a hook writes              counted in                not counted: parameters are the model's
                                                 ``profile_origin``
the model afterwards                             ``total_ops`` left over   as it was, also if it raised an error
                                                 in its buffers
===============================================  ========================  =============================================

Existing hooks of ``custom_ops`` work: they add to ``m.total_ops``, and their figure replaces ours. Only modules with a
hook have that attribute, so a hook cannot read what other modules count as: that is an error. ``register_hooks`` of
``opflops.compat.thop.profile`` lists the rules by class, and what is added there is used. The rules themselves, such as
``opflops.compat.thop.vision.basic_hooks.count_convNd``, can be values of ``custom_ops`` and mean our count. The
arithmetic of ``opflops.compat.thop.vision.calc_func`` states multiply-accumulates, which of a norm are 0. There is no
``fx_profile`` and no ``OnnxProfile``: :func:`opflops.count` counts without running, too.

May import what :mod:`opflops.compat` may; nothing in opflops imports it.
"""

from __future__ import annotations

from opflops.compat.thop.profile import default_dtype, profile, profile_origin
from opflops.compat.thop.utils import clever_format

__version__ = "0.1.1"
"""The release of thop whose interface this is."""

__all__ = ["clever_format", "default_dtype", "profile", "profile_origin"]
