"""Callbacks of weak references that keep nothing alive, so that what a block made is freed without the collector."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import MethodType


def weak_callback(method: Callable[..., Any], *arguments: Any) -> Callable[..., None]:
    """Return a function that calls a method as long as its object exists, and does nothing afterwards.

    Args:
        method: The bound method.
        *arguments: What it is called with first, before what the function is called with.
    """
    # As weakref.WeakMethod does, in fewer calls.
    bound = cast("MethodType", method)
    reference, function = weakref.ref(bound.__self__), bound.__func__

    def call(*given: Any, **named: Any) -> None:
        owner = reference()
        if owner is not None:
            function(owner, *arguments, *given, **named)

    return call
