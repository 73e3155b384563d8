"""Run a function in a subprocess: peers patch functions of torch, and do not always restore them."""

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
def silenced() -> Iterator[None]:
    """Suppress output, logging and warnings."""
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


def _send_result(connection: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    connection.send(function(*args))


def run_in_subprocess(function: Callable[..., Any], *args: Any, fresh: bool = False) -> Any:
    """Call a function in a subprocess; return its result, or None if the subprocess died.

    Args:
        function: The function to call.
        *args: Its arguments.
        fresh: Start a new interpreter. A fork is faster, but may hang if this process has used threads.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods and not fresh else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, function, args))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()
