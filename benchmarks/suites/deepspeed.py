"""DeepSpeed's tests of its flops profiler, run without it. Its packages do not have them: name a checkout."""

from suite import Suite

SUITE = Suite(
    tests=("tests/unit/profiling/flops_profiler/test_*.py",),
    replace={
        # The lists in which DeepSpeed collects what functions cost; here there are none.
        r"^import deepspeed\.profiling\.flops_profiler\.profiler as (\w+)": (
            r"from types import SimpleNamespace\n\1 = SimpleNamespace(module_flop_count=[], module_mac_count=[])"
        ),
        r"deepspeed\.profiling\.flops_profiler(\.profiler)?": "opflops.compat.deepspeed",
        r"^import deepspeed$": "",
        r"^from unit\.simple_model import .*": "",
        # Their base class runs a test in processes of its own.
        r"^from unit\.common import DistributedTest": "DistributedTest = object",
        r"^from deepspeed\.utils\.torch import required_torch_version": "required_torch_version = lambda **_: True",
        r"^from deepspeed\.accelerator import get_accelerator": (
            "from types import SimpleNamespace\n"
            "get_accelerator = lambda: SimpleNamespace(supported_dtypes=lambda: [torch.half])"
        ),
    },
    fails={
        "TestFlopsProfiler::test": (
            "it trains with DeepSpeed's engine, which has a profiler of its own; DeepSpeed counts no bias and no loss."
        ),
        "test_flops_profiler::test_repeated_profile_restores_operations": (
            "DeepSpeed counts no softmax and no scale inside attention, though it counts a softmax that is called."
        ),
    },
    # The folders above have settings and fixtures for DeepSpeed.
    removed=("tests/conftest.py", "tests/pytest.ini"),
    options=("-W", "ignore"),
)
