"""Profiles whose rows are made when they are first read, since many programs read the total alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from opflops.records.cost import Cost

_UNREAD = "_unread"
_Made = TypeVar("_Made")


class Unread(Protocol):
    """Hold what the rows of a profile are made of."""

    @property
    def total(self) -> Cost:
        """Return the total of the profile."""

    def make_fields(self) -> dict[str, Any]:
        """Make the fields of the profile that are :class:`MadeWhenRead`, by name."""


class MadeWhenRead:
    """Describe a field of a profile that :func:`unread_profile` leaves out until something reads it.

    Python looks here only while the profile itself has no attribute of the name.

    Args:
        default: What the field is by default.
        name: The name of the field; "" if this is assigned to it in the body of the class.
    """

    def __init__(self, default: Any = (), name: str = "") -> None:
        self._default, self._name = default, name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, profile: Any, owner: type | None = None) -> Any:
        """Return the field of a profile; of the class its default."""
        if profile is None:
            return self._default
        make_fields(profile)
        return profile.__dict__[self._name]


def unread_profile(cls: type[_Made], unread: Unread) -> _Made:
    """Return a profile whose rows and the like are made when one of them is read; the rest has its defaults."""
    profile = object.__new__(cls)
    profile.__dict__[_UNREAD] = unread
    return profile


def leave_unread(profile: _Made, unread: Unread) -> _Made:
    """Return a new profile, whose rows and call sites are empty, with those that are made when one of them is read."""
    values = vars(profile)
    del values["rows"], values["sites"]
    values[_UNREAD] = unread
    return profile


def unread_of(profile: Any) -> Unread | None:
    """Return what the rows of a profile are made of; None if they are made."""
    found: Unread | None = profile.__dict__.get(_UNREAD)
    return found


def make_fields(profile: Any) -> None:
    """Make the fields of a profile that nothing has read yet. Several threads may do so at a time."""
    unread = unread_of(profile)
    if unread is not None:
        profile.__dict__.update(unread.make_fields())
        profile.__dict__.pop(_UNREAD, None)
