"""No cache of a process gives a stale count: what a program changes is counted as in a process that counted nothing.

Each program makes one change, between two blocks or inside one, of its model, its tensors, its inputs, a setting of
PyTorch or an operator. Profiles are compared as JSON has them: rows, modules, parameters, shapes of calls, remarks.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import changed_programs
import pytest
from changed_programs import COUNTED, between, inside, nested
from model_changes import CHANGES, MOVES, OF_BLOCKS, SKIPPED

from opflops import Cost

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


def check(profile, cold, kind, name):
    """Compare a profile with that of a process that had counted nothing."""
    expected = cold[name][kind]
    if SKIPPED in expected:
        pytest.skip(SKIPPED)
    written = profile.to_json()
    if written != expected:
        assert expected.startswith("{"), expected
        assert json.loads(written) == json.loads(expected)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_between_blocks_counts_as_in_a_process_that_counted_nothing(name, cold):
    """All of the second profile is that of a run of the changed program alone."""
    check(counted(between, name, counted_before=True), cold, "between", name)


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in OF_BLOCKS])
def test_a_change_inside_a_block_counts_from_there(name, cold):
    """A block has the calls and costs of the run before, of the change, and of the run after, which it may contain."""
    after, both, before = counted(nested, name)
    check(after, cold, "between", name)
    assert sums(both, name=name) == sums(*before, after, name=name)
    alone = counted(inside, name, counted_before=True)
    assert sums(alone, name=name) == sums(*before, after, name=name)
    if name not in MOVES:
        assert registered(alone, after) == registered(after, after)


@pytest.mark.parametrize("name", sorted(MOVES))
def test_a_module_that_moves_inside_a_block_counts_as_in_a_process_that_counted_nothing(name, cold):
    """Names too."""
    check(counted(inside, name, counted_before=True), cold, "inside", name)


@pytest.mark.parametrize("name", COUNTED)
def test_a_count_by_shapes_after_a_change_is_that_of_a_process_that_counted_nothing(name, cold):
    """With fake tensors, on meta, and for all sizes."""
    check(changed_programs.counted(name, counted_before=True), cold, "counted", name)


def sums(*profiles, name):
    """Add up calls and costs of each kind of row; a module that moves has one name in a block."""
    totals = {}
    for row in (row for profile in profiles for row in profile.rows):
        where = () if name in MOVES else (row.module, row.module_type)
        kind = (*where, row.op, row.phase, row.dtype, row.group, row.estimate, row.priced)
        calls, activations, cost = totals.get(kind, (0, 0, Cost()))
        totals[kind] = calls + row.calls, activations + row.activations, cost + row.cost
    return totals


def registered(profile, after):
    """Return what the modules of the models of a profile register, and others below these that were not made there."""
    models = {record.module.partition(".")[0] for record in after.modules}
    there = {record.module for record in after.modules}
    return {
        record.module: replace(record, calls=())
        for record in profile.modules
        if record.module.partition(".")[0] in models
        and (record.module in there or (record.parameters + record.buffers and "()" not in record.module))
    }
