"""Check after each test that no drop-in left a global hook on modules, or a dispatch mode, behind."""

import pytest
from torch.nn.modules import module as modules

from opflops.torch_internals.mode_stack import dispatch_modes

HOOKS = ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_backward_pre_hooks", "_global_backward_hooks")


def global_state():
    return {name: [*getattr(modules, name)] for name in HOOKS}, dispatch_modes()


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Fail a test after which modules have a global hook, or the thread a dispatch mode, that it had not before."""
    before = global_state()
    yield
    assert global_state() == before
