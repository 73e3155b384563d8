"""What the conditions of ``where`` mean, and whether they name something that exists.

A question about something that cannot be in any profile, such as ``op="aten.adm"``, has no answer and is an error. A
question about something that is only absent from this profile, such as ``phase="backward"``, has the answer 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.pricing.registry import registry
from opflops.records.arguments import check_flag, check_text, describe
from opflops.records.groups import group_name, group_size
from opflops.records.rows import ancestry, check_keys
from opflops.torch_internals.dispatch import OpOverload, OpOverloadPacket, dispatcher_packets, is_operator
from opflops.wording import join_ranks, nearest, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from opflops.profile.profile import Profile
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row

    Test = Callable[[Any], bool]

PHASES = ("forward", "backward", "recompute", "optimizer", "prefill", "decode")
_DTYPES = {
    name: str(dtype).removeprefix("torch.") for name, dtype in vars(torch).items() if isinstance(dtype, torch.dtype)
}
"""The dtypes as rows name them, by all their names: ``half`` is ``float16``."""
_SUBTREE = ".*"
_KINDS = {
    "module": "module",
    "module_type": "module type",
    "op": "operator",
    "phase": "phase",
    "dtype": "dtype",
    "group": "group",
}
_MODULE_KEYS = {"module", "module_type"}
_MAX_LISTED = 8
_NO_COLLECTIVE = "No collective is in this profile, or in this selection of one."


class Selection(NamedTuple):
    """Hold the tests of ``where``, each of the values of one key; rows and modules fulfil all of them or not.

    Attributes:
        tests: The tests by key. Modules are tested for the keys that they have: ``module`` and ``module_type``.
    """

    tests: Mapping[str, Test]

    def has_row(self, row: Row) -> bool:
        """Tell whether ``where`` keeps a row."""
        return all(test(getattr(row, key)) for key, test in self.tests.items())

    def lacks_row(self, row: Row) -> bool:
        """Tell whether ``where_not`` keeps a row."""
        return not self.has_row(row)

    def has_module(self, record: ModuleRecord) -> bool:
        """Tell whether ``where`` keeps a module, which it does if it may keep rows of it."""
        return all(test(getattr(record, key)) for key, test in self.tests.items() if key in _MODULE_KEYS)

    def lacks_module(self, record: ModuleRecord) -> bool:
        """Tell whether ``where_not`` keeps a module, as :meth:`has_module` does."""
        return not (self.tests.keys() <= _MODULE_KEYS and self.has_module(record))


def selection(profile: Profile, below: bool | None, conditions: Mapping[str, Any], caller: str) -> Selection:
    """Return the tests for the conditions of ``where``.

    Args:
        profile: The profile in which values are looked up, with its cases.
        below: Whether a module path stands for all modules below it too; None means no, but is an error for a module
            that leaves all work to those below it.
        conditions: For each key of rows a value, a collection of values, or a function of the value.
        caller: What is called, for errors.

    Raises:
        ProfileError: A key or a value is unknown.
    """
    check_keys(conditions, caller)
    if below is not None:
        check_flag("below", below)
    if below is not None and "module" not in conditions:
        raise ProfileError(f"{caller} got below={below!r} without module=, whose modules it is about.")
    names = _Names(profile, below, caller)
    return Selection({key: names.test(key, value) for key, value in conditions.items()})


def check_module(profile: Profile, path: str, caller: str) -> None:
    """Check that a module was called, or a module below it.

    Raises:
        ProfileError: None of that path was.
    """
    check_text("module", path, f"{caller.removesuffix('()')}('Net.layer1')")
    _Names(profile, below=False, caller=caller).check_module(path)


def _profiles(profile: Profile) -> Iterator[Profile]:
    """List a profile and the profiles of its cases."""
    yield profile
    for case in profile.cases:
        yield from _profiles(case.profile)


class _Names:
    """Look up names in a profile; see :func:`selection` for the arguments."""

    def __init__(self, profile: Profile, below: bool | None, caller: str) -> None:
        profiles = list(_profiles(profile))
        self._below = below
        self._caller = caller
        self._rows = [row for each in profiles for row in (*each.rows, *each.sites)]
        self._own = {row.module for row in self._rows}
        self._called = {path for each in profiles for path in each.called}
        self._records = [record for each in profiles for record in each.modules]
        self._ranks_known = {rank for rank, _ in profile.ranks}

    def test(self, key: str, value: Any) -> Test:
        """Make a test of the values of one key."""
        if inspect.isroutine(value) or isinstance(value, partial):
            test: Test = value
            return test
        values = value if isinstance(value, Collection) and not isinstance(value, str) else (value,)
        if key == "rank":
            return self._ranks(values)
        for item in values:
            if key == "group" and type(item) is int:
                continue
            if not isinstance(item, (str, type, torch.dtype, OpOverload, OpOverloadPacket)):
                raise ProfileArgumentError(
                    f"{self._caller} got {key}={describe(item)}. Give text, a collection of texts, or a function that "
                    "tells whether a text is accepted."
                )
        accepted = {each for item in values for each in self._resolve(key, _name_of(item))}
        return accepted.__contains__

    def _resolve(self, key: str, name: str) -> Iterable[str]:
        """List the values of rows that a name stands for; none if it exists but no row has it."""
        if key == "module":
            return self._modules(name)
        present = list(dict.fromkeys(getattr(row, key) for row in self._rows))
        if key == "module_type":
            present = list(dict.fromkeys((*present, *(record.module_type for record in self._records))))
        if name in present:
            return (name,)
        if key == "group":
            return self._groups(name, present)
        if key == "op":
            return self._ops(name, present)
        if key == "dtype" and name in _DTYPES:
            return (_DTYPES[name],)
        known = {"phase": PHASES, "dtype": _DTYPES}.get(key, ())
        if name in known or (key == "module_type" and inspect.isclass(getattr(torch.nn, name, None))):
            return ()
        raise ProfileError(f"{self._caller} got {key}={name!r}. {unknown(_KINDS[key], name, [*present, *known])}")

    def _ops(self, name: str, present: Sequence[str]) -> Iterable[str]:
        """Find an operator by its name, without namespace (``mm``) or with an overload (``aten.mm.default``) too."""
        namespace, _, rest = name.partition(".")
        if not rest:
            found = [op for op in present if op.partition(".")[2] == name]
            if found or is_operator(f"aten.{name}"):
                return found
        elif is_operator(name) or name.replace(".", "::") in registry.named:
            packet = ".".join(name.split(".")[:2])
            return (packet,) if packet in present else ()
        every = map(str, dispatcher_packets(namespace if rest else "aten"))
        full = {op.partition(".")[2]: op for op in (*every, *present) if op.startswith(f"{namespace}.") or not rest}
        near = [full[each] for each in nearest(rest or name, full)]
        listed = f"{', '.join(present[:_MAX_LISTED])}{', …' * (len(present) > _MAX_LISTED)}"
        hint = f"did you mean {' or '.join(near)}?" if near else f"this profile has {listed or 'none'}."
        raise ProfileError(f"{self._caller} got op={name!r}. There is no operator {name!r}; {hint}")

    def _groups(self, name: str, present: Sequence[str]) -> Iterable[str]:
        """Find process groups by the name of their mesh dimension, or by their number of ranks."""
        groups = [each for each in present if each]
        if name.isdecimal():
            sized = [each for each in groups if group_size(each) == int(name)]
            if sized:
                return sized
            hint = f"No group has {name} ranks; there {'is' if len(groups) == 1 else 'are'} {', '.join(groups)}."
            raise ProfileError(f"{self._caller} got group={name}. {hint if groups else _NO_COLLECTIVE}")
        # A group may be a dimension of several meshes.
        found = [each for each in present if name and name in (group_name(each), *group_name(each).split("/"))]
        if found or not name:
            return found
        hint = unknown("group", name, groups) if groups else _NO_COLLECTIVE
        raise ProfileError(f"{self._caller} got group={name!r}. {hint}")

    def _ranks(self, values: Iterable[Any]) -> Test:
        given = list(values)
        if wrong := [each for each in given if type(each) is not int or each < 0]:
            raise ProfileArgumentError(
                f"{self._caller} got rank={describe(wrong[0])}. Give the number of a rank, from 0, a collection of "
                "numbers, or a function that tells whether one is accepted."
            )
        ranks = set(given)
        if self._rows and not self._ranks_known and all(row.rank is None for row in self._rows):
            raise ProfileError(
                f"{self._caller} got rank={min(ranks, default=0)}, but this profile is of one process, and its rows "
                "have no rank. Those of profile.gather() have."
            )
        if self._ranks_known and (unknown_ranks := ranks - self._ranks_known):
            raise ProfileError(
                f"{self._caller} got rank={min(unknown_ranks)}, and this profile has {join_ranks(self._ranks_known)}."
            )
        return ranks.__contains__

    def _modules(self, name: str) -> Iterable[str]:
        """Find a module by its path, with those below it if asked for."""
        path = name.removesuffix(_SUBTREE)
        registered = {record.module for record in self._records}
        self.check_module(path, registered)
        inside = [each for each in self._own if each.startswith(f"{path}.")] if path else []
        if path != name or self._below:
            return (path, *inside, *(each for each in registered if path and each.startswith(f"{path}.")))
        if self._below is None and inside and path not in self._own:
            raise ProfileError(
                f"{self._caller} got module={name!r}, which leaves all work to the modules below it. Select them too "
                f"with below=True or module={path + _SUBTREE!r}; below=False selects its own work, which is none."
            )
        return (path,)

    def check_module(self, path: str, registered: Iterable[str] = ()) -> None:
        """Check that a module was called, or a module below it, or that it is one of those that models register."""
        modules = (*self._called, *self._own, *registered)
        known = {"": None} | {above: None for each in modules for above in ancestry(each)}
        if path not in known:
            del known[""]
            hint = unknown("module", path, known) if known else "No module was called."
            raise ProfileError(f"{self._caller} got module={path!r}. {hint}")


def _name_of(item: Any) -> str:
    """Write a value as rows do: operators, dtypes and classes are accepted for their names."""
    if isinstance(item, type):
        return item.__name__
    if isinstance(item, (OpOverload, OpOverloadPacket)):
        return str(item)
    return (item if isinstance(item, str) else str(item).removeprefix("torch.")).replace("::", ".")
