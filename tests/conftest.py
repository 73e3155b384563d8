"""What every test starts from: repeatable random numbers, and counts that add up; and which tests run, and where.

Tests that are marked ``exhaustive`` run with ``--exhaustive`` (all tests), with ``-m exhaustive`` (they alone), or by
name (``pytest tests/test_opinfo.py::test_meta_tensors_cost_what_real_ones_do``). Where whole folders are run, as by
plain ``pytest``, and pytest-xdist is installed, several processes share the tests; ``-n 0`` keeps them in one.
"""

import gc
import os
from pathlib import Path

import pytest
import torch

from opflops import Cost, OpFlopMode, OpflopsError

# They have no examples, and as modules to look for some in their names would collide.
collect_ignore_glob = ["**/conftest.py", "conftest.py"]
ZERO = Cost()

# Each process collects all tests, so that more than these gain little, and may have its browser.
MAX_PROCESSES, MEMORY_EACH = 4, 3 * 2**30

# Tensors of tests are small; threads of PyTorch's would only wait for those of other processes.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Seeding an accelerator that is not there writes down the whole stack, for the day that it comes: 0.4 ms each time.
for _accelerator in (torch.cuda, torch.xpu, torch.mtia):
    if not _accelerator.is_available():
        _accelerator.manual_seed_all = lambda _seed: None


def pytest_addoption(parser):
    parser.addoption("--exhaustive", action="store_true", help="run the tests that are marked exhaustive too")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Share the tests among processes, one for each core, unless the command line says how or names files."""
    chosen = vars(config.option)
    if (
        not config.pluginmanager.hasplugin("xdist")
        or hasattr(config, "workerinput")  # this is one of the processes
        or chosen["numprocesses"] is not None
        or chosen["dist"] != "no"
        or chosen["collectonly"]
        or chosen["usepdb"]
        or chosen["trace"]
        or chosen["capture"] == "no"
        or not all(Path(argument).is_dir() for argument in config.args)
    ):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(cores, MAX_PROCESSES, _memory() // MEMORY_EACH)
    if processes > 1:
        # By files, whose tests share fixtures, in the order in which they are collected.
        chosen.update(numprocesses=processes, dist="loadfile", loadscopereorder=False)


def _memory():
    """Tell how many bytes of memory the machine has; where it does not say, that there is enough."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return MAX_PROCESSES * MEMORY_EACH


def _leaves_out(config):
    return not config.option.exhaustive and "exhaustive" not in config.option.markexpr


def pytest_report_header(config):
    return "exhaustive tests are left out; --exhaustive runs them too" if _leaves_out(config) else None


def pytest_collection_modifyitems(config, items):
    """Leave out the exhaustive tests, unless they are asked for."""
    if not _leaves_out(config):
        return
    folder = config.invocation_params.dir
    named = {(folder / argument.partition("::")[0]).resolve() for argument in config.args if "::" in argument}
    left_out = [item for item in items if item.get_closest_marker("exhaustive") and item.path not in named]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive") or item.path in named]


def pytest_collection_finish():
    """Let the garbage collector look no more at what collection made: it stays, and is nine tenths of all objects."""
    gc.collect()
    gc.freeze()


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
