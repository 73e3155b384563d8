"""Objects that refer to others without holding them as their elements: weak references, proxies and read-only views."""

from __future__ import annotations

import gc
import weakref
from types import MappingProxyType
from typing import Any

PROXIES = frozenset(weakref.ProxyTypes)
"""The types of proxies."""

_CONTAINERS = (weakref.WeakValueDictionary, weakref.WeakKeyDictionary, weakref.WeakSet)


def is_reference(value: object) -> bool:
    """Tell whether an object refers to others that way. A proxy says of itself that it is what it refers to."""
    kind = type(value)
    return kind in PROXIES or kind is MappingProxyType or issubclass(kind, (weakref.ref, *_CONTAINERS))


def is_proxy(value: object) -> bool:
    """Tell whether an object is a proxy of another one."""
    return type(value) in PROXIES


def referents(value: Any) -> list[Any]:
    """List what a reference refers to now, and the values of a container; nothing of one whose object is gone."""
    kind = type(value)
    if kind in PROXIES:
        found = _behind_proxy(value)
    elif kind is MappingProxyType or issubclass(kind, weakref.WeakValueDictionary):
        return [*value.values()]
    elif issubclass(kind, weakref.WeakKeyDictionary):
        return [part for item in list(value.items()) for part in item]
    elif issubclass(kind, weakref.WeakSet):
        return [*value]
    else:
        found = value()
    return [] if found is None else [found]


def _behind_proxy(proxy: Any) -> Any:
    """Return the object of a proxy; None if it is gone, or is a class."""
    try:
        # A proxy passes on each attribute, and a method has its object.
        return getattr(proxy.__repr__, "__self__", None)
    except ReferenceError:
        return None


def viewed_mapping(view: MappingProxyType[Any, Any]) -> Any:
    """Return the mapping that a read-only view shows."""
    (mapping,) = gc.get_referents(view)
    return mapping
