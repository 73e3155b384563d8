"""Shared configuration: test selection, processes, random seeds, and a check that the counts of every profile add up.

Tests marked ``exhaustive`` run with ``--exhaustive`` (all tests), with ``-m exhaustive`` (only those), or by name
(``pytest tests/test_opinfo.py::test_meta_tensors_cost_what_real_ones_do``). When whole folders are run, as by
plain ``pytest``, and pytest-xdist is installed, the tests are distributed over several processes; ``-n 0`` turns this
off.

Half of the tests count inside a mode that does nothing; with ``--do-nothing-mode=odd`` it is the other half. Every
expected value holds with and without it.
"""

import gc
import json
import os
import zlib
from contextlib import ExitStack
from pathlib import Path

import pytest
import required
import torch
from do_nothing_mode import DoNothingMode

from opflops import Cost, OpFlopMode, OpflopsError

# Not collected for doctests: they contain none, and their module names would collide.
collect_ignore_glob = ["**/conftest.py", "conftest.py"]
ZERO = Cost()

# Each process collects all tests and may start its own browser, so more processes gain little.
MAX_PROCESSES, MEMORY_PER_PROCESS = 4, 3 * 2**30

# The tensors in the tests are small; more PyTorch threads would only compete with those of other processes.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Seeding an unavailable accelerator records a stack trace for its lazy initialization, which takes 0.4 ms each time.
for _accelerator in (torch.cuda, torch.xpu, torch.mtia):
    if not _accelerator.is_available():
        _accelerator.manual_seed_all = lambda _seed: None


def pytest_addoption(parser):
    parser.addoption("--exhaustive", action="store_true", help="run the tests that are marked exhaustive too")
    parser.addoption(
        "--do-nothing-mode",
        choices=["even", "odd", "always", "never"],
        default="even",
        help="the tests (by the checksum of their names) whose blocks run inside a mode that does nothing",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Distribute the tests over one process per core, unless the command line sets this or names files."""
    chosen = vars(config.option)
    if (
        not config.pluginmanager.hasplugin("xdist")
        or hasattr(config, "workerinput")  # this is a worker process
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
    processes = min(cores, MAX_PROCESSES, _memory() // MEMORY_PER_PROCESS)
    if processes > 1:
        # Whole files, because their tests share fixtures, in collection order.
        chosen.update(numprocesses=processes, dist="loadfile", loadscopereorder=False)


def _memory():
    """Return the machine's memory in bytes; if it is unknown, enough for the maximum number of processes."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return MAX_PROCESSES * MEMORY_PER_PROCESS


def _deselects_exhaustive(config):
    return not config.option.exhaustive and "exhaustive" not in config.option.markexpr


def pytest_report_header(config):
    return "exhaustive tests are deselected; --exhaustive runs them too" if _deselects_exhaustive(config) else None


def pytest_collection_modifyitems(config, items):
    """Deselect the exhaustive tests unless they are requested."""
    if not _deselects_exhaustive(config):
        return
    folder = config.invocation_params.dir
    named = {(folder / argument.partition("::")[0]).resolve() for argument in config.args if "::" in argument}
    deselected = [item for item in items if item.get_closest_marker("exhaustive") and item.path not in named]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive") or item.path in named]


def pytest_collection_finish():
    """Exclude the objects made during collection from garbage collection: they live on, and are 90% of all objects."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
    """Let plugins see what refers to what again: Hypothesis, imported for its summary, warns about objects without."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def add_up(profile):
    """Check that children and own cost sum to the parent, and that roots and cost outside them sum to the total."""
    rows = [row for row in profile.rows if row.floating]
    if not all(type(count) is int for row in rows for count in row.cost):
        return  # comparing symbolic counts would add guards
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
def _every_count_adds_up(request, monkeypatch):
    """Check the profile of every ``OpFlopMode`` block of every test when the block ends."""
    if request.node.get_closest_marker("counts_calls"):
        return
    leave = OpFlopMode.__exit__

    def checked(mode, *exception):
        leave(mode, *exception)
        try:
            profile = mode.profile
        except OpflopsError:
            return  # the test registered a wrong formula on purpose
        add_up(profile)

    monkeypatch.setattr(OpFlopMode, "__exit__", checked)


@pytest.fixture(autouse=True)
def _counts_inside_a_mode_that_does_nothing(request, monkeypatch, _every_count_adds_up):
    """Enter a mode that does nothing around every ``OpFlopMode`` block of every second test: nothing may change."""
    which = request.config.option.do_nothing_mode
    even = zlib.crc32(request.node.nodeid.encode()) % 2 == 0
    alone = any(map(request.node.get_closest_marker, ("counts_calls", "no_outer_mode")))
    if alone or which in {"never", "odd" if even else "even"}:
        return
    enter, leave = OpFlopMode.__enter__, OpFlopMode.__exit__
    around = []

    def entered(mode):
        with ExitStack() as stack:
            stack.enter_context(DoNothingMode())
            result = enter(mode)
            around.append((mode, stack.pop_all()))
        return result

    def left(mode, *exception):
        leave(mode, *exception)
        for index, (inner, stack) in enumerate(around):
            if inner is mode:
                del around[index]
                stack.close()
                return

    monkeypatch.setattr(OpFlopMode, "__enter__", entered)
    monkeypatch.setattr(OpFlopMode, "__exit__", left)


@pytest.fixture
def run_configuration(tmp_path, monkeypatch, capsys):
    """Run the command line on a configuration of transformers; returns the exit code, stdout and stderr."""
    required.models("transformers")
    from opflops.cli import main  # noqa: PLC0415 - most tests do without the command line

    monkeypatch.chdir(tmp_path)

    def call(configuration, *argv):
        (tmp_path / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
        return (main(["hf:config.json", *argv]), *capsys.readouterr())

    return call
