"""Programs of several processes: what torchrun started, and plans of clusters that are not there.

May import ``counting`` and everything below it; the command line and the package's root import it. What a profile asks
of other processes itself, as :meth:`opflops.Profile.gather`, is in ``profile`` and ``torch_internals``.
"""
