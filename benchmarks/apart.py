"""Run a function in a process of its own: peers replace functions of torch, and do not always put them back."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep away what is printed, logged and warned of."""
    logging.disable()
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _send(end: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    end.send(function(*args))


def apart(function: Callable[..., Any], *args: Any, fresh: bool = False) -> Any:
    """Call a function; returns what it does, or None if its process died.

    Args:
        function: What to call.
        *args: Its arguments.
        fresh: Start a new interpreter. A copy of this one is quicker, but may hang where threads computed here before.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods and not fresh else "spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, function, args))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return None
    finally:
        process.join()
