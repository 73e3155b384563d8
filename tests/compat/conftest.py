"""Check after each test that no drop-in left a global hook on modules, or a dispatch mode, behind."""

import pytest
from torch.nn.modules import module as modules

from opflops.torch_internals.mode_stack import dispatch_modes

HOOKS = [name for name, value in vars(modules).items() if name.startswith("_global") and isinstance(value, dict)]


def hooks():
    return {name: dict(getattr(modules, name)) for name in HOOKS}


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    """Fail a test after which modules have a global hook, or the thread a dispatch mode, that it had not before."""
    hooks_before, modes_before = hooks(), dispatch_modes()
    yield
    hooks_after, modes_after = hooks(), dispatch_modes()
    # A test that failed keeps its counter, whose hooks would make the compiler refuse modules in later tests.
    for name, before in hooks_before.items():
        registered = getattr(modules, name)
        registered.clear()
        registered.update(before)
    assert hooks_after == hooks_before
    assert modes_after == modes_before
