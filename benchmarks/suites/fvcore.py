"""fvcore's tests of its counters, which its packages do not have: name a checkout."""

from suite import Suite

SUITE = Suite(
    tests=(
        "tests/test_jit_model_analysis.py",
        "tests/test_flop_count.py",
        "tests/test_activation_count.py",
        "tests/test_param_count.py",
        "tests/test_print_model_statistics.py",
    ),
    replace={r"fvcore\.nn": "opflops.compat.fvcore"},
    fails={
        "TestJitModelAnalysis::test_disable_warnings": (
            "The test wants fc1 among the modules that were not called, since fvcore loses what a model calculates and "
            "does not return; fc1 is called, and counts."
        ),
    },
    needs=("numpy",),
)
