"""A drop-in for ptflops 0.7.5: ``from opflops.compat.ptflops import get_model_complexity_info``.

The first number is opflops' ``macs``: the multiply-accumulates of contractions, which are matmul, convolution,
attention and the matrices of recurrent networks. They count in every dtype, wherever they run, in a module, a function
or a fused kernel, and each once. All other work counts 0: :func:`opflops.count` has it in ``total.ops``. Of a model
that computes with floating-point numbers alone the first number is ``opflops.count(model, x).total.macs``; that of
integers and of quantized numbers counts here as well. ResNet-50 at 224 has ``"4.09 GMac"`` with both backends; ptflops
prints ``"4.13 GMac"`` with its backend ``pytorch``, and ``4089185256`` instead of ``4089184256`` with ``aten``, since
it counts the 1000 biases of the last layer.

Parameters are those that require a gradient, as in ptflops. Where ptflops prints something else:

===============================================  ========================  =============================================
what                                             ptflops                   here, and why
===============================================  ========================  =============================================
ReLU, norms, pools, softmax, interpolation,      as MACs, one or more per  0: they multiply and accumulate nothing
biases, ``x + y``, ``x * y``                     element
``nn.ReLU``, PReLU, ELU, GELU, pools, Upsample   twice                     0, as above; its hook and its patched
                                                                           function see the same call
``F.linear``, ``F.conv2d``, ``x @ y``, einsum,   0                         as the module, or the function of that name:
``F.scaled_dot_product_attention``                                         they run the same operators
matmul inside layers, such as those of           again, for the layer      once
``nn.MultiheadAttention``
``torch.matmul`` of broadcast batches            of one batch              of all of them
scaling of queries and softmax in attention      as MACs                   0: they are products and sums of elements
``nn.MultiheadAttention`` with ``kdim``,         as projections of their   ``embed_dim`` rows of the weights in each
``vdim``                                         own size squared          case
gates of recurrent cells beside the matrices     7 to 10 per hidden        0: they are products and sums of elements
                                                 element and biases
LSTM with ``proj_size``                          without the projection    with it
deformable convolution of torchvision            24 or 25 more per         the products of the convolution alone; the
                                                 weight's position         interpolation multiplies no weights
qkv and proj of timm's attention layers          0                         as the linear layers that they are
the first argument of ``torch.addmm``            as MACs: a vector once,   0, as every bias
                                                 not for each row; with
                                                 ``aten`` for ``beta=0``,
                                                 too
an unbatched convolution or LSTM                 its first axis as the     as the operators that run
                                                 batch
complex numbers                                  as real ones              a multiply-accumulate of them is four real
                                                                           ones
modules that other threads call (``aten``)       0                         counted
lazy layers, modules that change their class     an error, or without the  counted; a lazy one has the hook of the class
                                                 functions they call       that it becomes
subclasses of layers, ``nn.Bilinear``,           0                         as the operators that run
quantized layers
LSTM, attention in fused kernels (``aten``)      0                         as the operators that they stand for
a layer held by several modules                  once for each of them     once per call; its parameters once
the two backends                                 two numbers               one, printed differently; ``pytorch`` alone
                                                                           divides it by the samples of a batch
a batch of an ``input_constructor``              functional work in full   all work is of one sample
a tuple as input                                 divided by its length     divided by the samples of the first tensor,
                                                                           list or packed sequence in it: it is one
                                                                           batch
a list as input                                  divided by its length     divided by its length: it is so many samples
a packed sequence as input                       an error; in full with    divided by its sequences; in full with
                                                 ``aten``, padded          ``aten``
hooks of operators, and these in                 no effect                 as with the other backend
``ignore_modules``, with ``pytorch``; those of
classes with ``aten``
a hook for ``aten.linear``, ``aten.matmul``      never called, as PyTorch  called, and replaces these operators
                                                 runs other operators
a layer that the model replaces                  an error (``pytorch``)    both count; if it has a hook an error, since
                                                                           two figures of one place cannot be told apart
a type of containers in ``ignore_modules``       still counted             ignored with all modules inside
a hook for a container                           beside functions inside   replaces all that runs inside
parameters that no supported layer holds         not in the printed model  in it
shares of the printed model                      without functional work   with it, so that they add up
``verbose=True``                                 names what has no rule    names operators without a formula, and types
                                                                           of modules whose work is of these alone
ignored operators (``aten``)                     a line for each call      a line for each operator
unknown ``backend_specific_config``              ignored                   an error
the model afterwards                             in evaluation mode        as it was
===============================================  ========================  =============================================

The hooks of ``ptflops.pytorch_ops`` are in :mod:`opflops.compat.ptflops.pytorch_ops` and state what counts here;
``get_flops_pytorch`` is in :mod:`opflops.compat.ptflops.pytorch_engine`. The tables of functions, and what ptflops adds
to a model, are not there: to import them is an error that says what to use.

Existing hooks of ``custom_modules_hooks`` work: those of operators are called for exactly these operators, with the
arguments that PyTorch passes, and what they return is added up as it is, parts of one included; those of modules add to
``module.__flops__``, and their figure replaces ours. Only modules with a hook have that attribute, so a hook cannot
read what other modules count as: that is an error.

May import what :mod:`opflops.compat` may; nothing in opflops imports it.
"""

from __future__ import annotations

from opflops.compat.ptflops.flops_counter import FLOPS_BACKEND, get_model_complexity_info
from opflops.compat.ptflops.utils import flops_to_string, params_to_string

__all__ = ["FLOPS_BACKEND", "flops_to_string", "get_model_complexity_info", "params_to_string"]
