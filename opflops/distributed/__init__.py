"""Programs of several processes: what torchrun started, and plans of clusters that are not there.

Which module and phase a collective belongs to:

- What ``fully_shard`` gathers and reduces: to the unit whose parameters move.
- A bucket of ``DistributedDataParallel``: to the modules of its parameters, by bytes, in phase backward. What is copied
  from there back to the gradients after a communication hook is outside all modules.
- A message of a pipeline: to the stage, a root of its own such as ``Net (stage 0)``, in the phase of what it carries.
  How a pipeline is set up is not counted.
- What the program itself calls after ``backward()``: to phase forward, outside all modules.

A group has the name of its mesh dimension, as ``"tp (8)"``; :class:`opflops.Row` says what else it may be. Of a rank,
``modules`` has the parameters of the whole model, and ``memory`` what the rank holds. Context parallel, for which
PyTorch has kernels on GPUs alone, counts as the attention calls of each step of the ring.

``torchrun -m opflops`` makes a process group if the program makes none. Ranks that have not ended 60 s after the first
one (``--time-limit`` sets how long) are named, and all end.

May import ``counting`` and everything below it; the command line and the package's root import it. What a profile asks
of other processes itself, as :meth:`opflops.Profile.gather`, is in ``profile`` and ``torch_internals``.
"""
