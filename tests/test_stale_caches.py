"""No cache of a process gives a stale count: what a program changes is counted as in a process that counted nothing.

Each program makes one change, between two blocks or inside one, of its model, its tensors, its inputs, a setting of
PyTorch or an operator. Profiles are compared as JSON has them: rows, modules, parameters, shapes of calls, remarks.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from changed_programs import between, inside, nested
from model_changes import CHANGES, MOVES, OF_BLOCKS, SKIPPED

pytestmark = pytest.mark.filterwarnings("ignore::opflops.UnpricedOpWarning")


@pytest.fixture(scope="module")
def cold():
    """Return the profiles of the programs, each counted by a process that has counted nothing before."""
    finished = subprocess.run(
        [sys.executable, "-m", "changed_programs"], cwd=Path(__file__).parent, capture_output=True, check=False
    )
    assert not finished.returncode, finished.stderr.decode()
    return json.loads(finished.stdout)


def counted(program, name, **options):
    """Count a program; skip the test if the program needs an address that is not used again."""
    try:
        return program(name, **options)
    except LookupError as error:
        if error.args != (SKIPPED,):
            raise
        pytest.skip(SKIPPED)


def expected(cold, kind, name):
    profile = cold[name][kind]
    if SKIPPED in profile:
        pytest.skip(SKIPPED)
    assert isinstance(profile, dict), profile
    return profile


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_between_blocks_counts_as_in_a_process_that_counted_nothing(name, cold):
    """All of the second profile is that of a run of the changed program alone."""
    assert counted(between, name, counted_before=True) == expected(cold, "between", name)


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in OF_BLOCKS])
def test_a_change_inside_a_block_counts_from_there(name, cold):
    """A block has the calls and costs of the run before, of the change, and of the run after, which it may contain."""
    (second, both), before = counted(nested, name)
    after = expected(cold, "between", name)
    assert second == after
    assert sums(both, name=name) == sums(*before, after, name=name)
    alone = counted(inside, name, counted_before=True)
    assert sums(alone, name=name) == sums(*before, after, name=name)
    if name not in MOVES:
        found = registered(alone)
        assert {module: found.get(module) for module in registered(after)} == registered(after)


@pytest.mark.parametrize("name", sorted(MOVES))
def test_a_module_that_moves_inside_a_block_counts_as_in_a_process_that_counted_nothing(name, cold):
    """Names too."""
    assert counted(inside, name, counted_before=True) == expected(cold, "inside", name)


def sums(*profiles, name):
    """Add up calls and costs of each kind of row; a module that moves has one name in a block."""
    totals = defaultdict(lambda: defaultdict(int))
    for row in (row for profile in profiles for row in profile["rows"]):
        where = () if name in MOVES else (row["module"], row["module_type"])
        kind = (*where, *(row.get(key) for key in ("op", "phase", "dtype", "group", "estimate", "priced")))
        for key, value in {"calls": row["calls"], "activations": row.get("activations", 0), **row["cost"]}.items():
            totals[kind][key] += value
    return totals


def registered(profile):
    """Return what modules register."""
    return {
        record["module"]: {key: value for key, value in record.items() if key not in ("module", "calls")}
        for record in profile["modules"]
    }
