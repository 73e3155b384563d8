"""ptflops' tests, which its package does not have: name a checkout of its repository."""

from suite import Suite

SUITE = Suite(
    tests=("tests/common_test.py",),
    replace={r"\bfrom ptflops\b": "from opflops.compat.ptflops"},
    fails={},
    removed=("ptflops",),
)
