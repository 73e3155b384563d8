"""Programs that change what they run, counted in this process or in processes that have counted nothing before.

Run with ``python -m changed_programs``, this counts each program in a process of its own, a fork of one that has only
imported what a count imports, and prints all profiles as JSON.
"""

import copy
import gc
import importlib
import json
import os
import sys
import traceback
import warnings
from contextlib import nullcontext

import class_changes
import model_changes
import operator_changes
import tensor_changes
import torch
from model_changes import CHANGES, MOVES, State, begin

from opflops import OpFlopMode, UnpricedOpWarning, count

MODULES = (model_changes, class_changes, tensor_changes, operator_changes)

_BY_SHAPES = (
    "module replaced",
    "class of a block changed",
    "parametrization registered",
    "parameter of another shape",
    "other strides",
    "default dtype",
    "formula of a composite",
)
COUNTED = [
    *(f"{engine} {name}" for name in _BY_SHAPES for engine in ("fake", "meta")),
    *("symbols module replaced", "symbols formula of aten"),
]
"""The changes that are counted by shapes, each with the engine."""


def between(name, *, counted_before=False):
    """Change what a program runs between two runs, and return the profile of the second one."""
    state = State()
    with state.stack:
        make_change = begin(name, state)
        state.run()
        with OpFlopMode(**state.options) if counted_before else nullcontext() as before:
            state.run()
        if counted_before:
            before.profile.to_json()
        make_change()
        with OpFlopMode(**state.options) as mode:
            state.run()
        return mode.profile


def inside(name, *, counted_before=False):
    """Change what a program runs between two runs that one block counts."""
    state = State()
    with state.stack:
        make_change = begin(name, state)
        state.run()
        with OpFlopMode(**state.options) if counted_before else nullcontext():
            state.run()
        with OpFlopMode(**state.options) as mode:
            state.run()
            make_change()
            state.run()
        return mode.profile


def nested(name):
    """Return the profiles of a run, of a change and of a run after it, each in a block of its own, and of all of it."""
    state = State()
    with state.stack:
        make_change = begin(name, state)
        state.run()
        with OpFlopMode(**state.options) as outer:
            with OpFlopMode(**state.options) as inner:
                state.run()
            first = inner.profile
            with OpFlopMode() as changing:
                make_change()
            with inner:
                state.run()
        return inner.profile, outer.profile, (first, changing.profile)


def counted(name, *, counted_before=False):
    """Count a model by its shapes after a change, whose name has the engine before it."""
    engine, _, name = name.partition(" ")
    state = State()
    if engine == "symbols":
        # Formulas of more layers take longer, and find the same.
        del state.model.blocks, state.model.norm
    with state.stack:
        make_change = begin(name, state)
        if counted_before:
            _count(state, engine).to_json()
        make_change()
        return _count(state, engine)


def _count(state, engine):
    model, args = state.model, state.args
    if engine == "meta":
        model, args = copy.deepcopy(model).to("meta"), [each.to("meta") for each in args]
    if engine == "symbols":
        return count(model, *args, dynamic_shapes=({0: "batch"},) * len(args))
    return count(model, *args, backward=any(each.requires_grad for each in model.parameters()))


def _forked(function):
    """Return what a function returns in a fork of this process, or the text of its error; import what it imported."""
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        before = set(sys.modules)
        try:
            answer = function()
        except BaseException:  # noqa: BLE001 - it is reported
            answer = traceback.format_exc()
        with os.fdopen(theirs, "w") as pipe:
            json.dump((answer, [name for name in sys.modules if name not in before]), pipe)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        answer, imported = json.load(pipe)
    os.waitpid(process, 0)
    for name in imported:
        importlib.import_module(name)
    if imported:
        gc.collect()
        gc.freeze()
    return answer


def main():
    """Print the profiles of all programs."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UnpricedOpWarning)
    _forked(lambda: between("nothing").to_json())
    profiles = {name: {"between": _forked(lambda: between(name).to_json())} for name in CHANGES}  # noqa: B023 - called at once
    for name in MOVES:
        profiles[name]["inside"] = _forked(lambda: inside(name).to_json())  # noqa: B023 - as above
    for name in COUNTED:
        profiles[name] = {"counted": _forked(lambda: counted(name).to_json())}  # noqa: B023 - as above
    json.dump(profiles, sys.stdout)


if __name__ == "__main__":
    main()
