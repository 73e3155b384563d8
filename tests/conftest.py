"""What every test starts from: repeatable random numbers, and counts that add up."""

import pytest
import torch

from opflops import Cost, OpFlopMode, OpflopsError

# They have no examples, and as modules to look for some in their names would collide.
collect_ignore_glob = ["**/conftest.py", "conftest.py"]
ZERO = Cost()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def add_up(profile):
    """See that children and own work make the parent, and roots and the work outside them the total."""
    rows = [row for row in profile.rows if row.floating]
    if not all(type(count) is int for row in rows for count in row.cost):
        return  # a comparison of symbolic counts would decide them
    tree = profile.inclusive()
    own = profile.by("module")
    children = {}
    for path in tree:
        parent = path.rpartition(".")[0]
        if path:
            children.setdefault(parent, []).append(tree[path])
    for path, cost in tree.items():
        if path:
            assert sum(children.get(path, []), own.get(path, ZERO)) == cost, path
    assert sum(children.get("", []), own.get("", ZERO)) == profile.total
    for key in ("op", "phase", "dtype", "module_type"):
        assert sum(profile.by(key).values(), ZERO) == profile.total, key


@pytest.fixture(autouse=True)
def _every_count_adds_up(monkeypatch):
    """Check the profile of every block, in every test, when the block ends."""
    leave = OpFlopMode.__exit__

    def checked(mode, *exception):
        leave(mode, *exception)
        try:
            profile = mode.profile
        except OpflopsError:
            return  # a formula that was planted to be wrong
        add_up(profile)

    monkeypatch.setattr(OpFlopMode, "__exit__", checked)
