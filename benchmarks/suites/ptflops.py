"""ptflops' tests, which its package does not have: name a checkout of its repository."""

from suite import Suite

BIAS = "It counts a MAC for each bias: k products and a bias are k multiplications and k additions."
INTERPOLATION = (
    "It counts a MAC for each result of a bilinear interpolation, whatever that takes; no weights are contracted."
)

SUITE = Suite(
    tests=("tests/common_test.py",),
    replace={r"\bfrom ptflops\b": "from opflops.compat.ptflops"},
    fails={
        "TestOperations::test_conv[*": BIAS,
        "TestOperations::test_conv_t[*": BIAS,
        "TestOperations::test_fc[*": BIAS,
        "TestOperations::test_input_constructor_*": BIAS,
        "TestOperations::test_func_interpolate_args[*": INTERPOLATION,
    },
    removed=("ptflops",),
)
