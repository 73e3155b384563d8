"""thop's tests, which its package does not have: name a checkout of its repository."""

from suite import Suite

SUITE = Suite(
    tests=("tests/test_*.py",),
    # One file imports a name of jinja2 that it does not use.
    replace={r"\bfrom thop\b": "from opflops.compat.thop", r"from jinja2 import StrictUndefined\n": ""},
    fails={},
    removed=("thop",),
)
