"""PyTorch's tests of ``torch.utils.flop_counter``, which its packages do not have: name a checkout."""

from suite import Suite

SUITE = Suite(
    tests=("test/test_flop_counter.py",),
    replace={
        r"torch\.utils\.flop_counter": "opflops.compat.flop_counter",
    },
    fails={},
    needs=("expecttest",),
)
