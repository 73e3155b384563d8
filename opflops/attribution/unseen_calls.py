"""Calls whose work no operator shows: replays of a captured graph, packages compiled ahead of time, fused scripts."""

from __future__ import annotations

import weakref
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.attribution.module_stack import HasModuleStack, counting_modes
from opflops.attribution.subgraphs import counting_modes_disabled
from opflops.torch_internals.dispatch import dispatch_modes
from opflops.torch_internals.jit_tracing import jit_names_of_program
from opflops.torch_internals.torchscript import fused_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

_PACKAGE = "aoti.package"
_PACKAGE_ADVICE = "Count the model that the package was compiled from."
_CAPTURE_ADVICE = "Capture the graph inside the block."
_SCRIPT_ADVICE = "Count the model before it is scripted, frozen or optimized."


class _Capture(NamedTuple):
    """Hold what one mode counted while a graph was captured.

    Attributes:
        mode: The mode; it may be gone by now.
        begun: What it had counted before, until the capture ends.
        work: What was added meanwhile; None until then.
    """

    mode: weakref.ref[Any]
    begun: Any
    work: Any = None


# The captures of each graph, one for each mode that was counting.
_captures: weakref.WeakKeyDictionary[Any, list[_Capture]] = weakref.WeakKeyDictionary()


def wrap_capture_begin(original: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what the modes have counted before a capture."""

    @wraps(original)
    def call(graph: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(graph, *args, **kwargs)
        _captures[graph] = [
            _Capture(weakref.ref(mode), mode.begin_capture()) for mode in counting_modes(dispatch_modes())
        ]
        return result

    return call


def wrap_capture_end(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what the modes counted during a capture. It also stays counted, where it was captured."""

    @wraps(original)
    def call(graph: Any, *args: Any, **kwargs: Any) -> Any:
        captures = _captures.pop(graph, [])
        ended = [
            capture._replace(begun=None, work=mode.end_capture(capture.begun))
            for capture in captures
            if (mode := capture.mode()) is not None and capture.work is None
        ]
        result = original(graph, *args, **kwargs)
        _captures[graph] = ended
        return result

    return call


def wrap_replay(original: Callable[..., Any]) -> Callable[..., Any]:
    """Count what a graph captured again, for each replay; list the replay of a graph that no mode saw captured."""

    @wraps(original)
    def call(graph: Any, *args: Any, **kwargs: Any) -> Any:
        modes = counting_modes(dispatch_modes())
        if not modes:
            return original(graph, *args, **kwargs)
        captures = [capture for capture in _captures.get(graph, []) if capture.work is not None]
        name = f"{type(graph).__module__.removeprefix('torch.').partition('.')[0]}.{type(graph).__name__}.replay"
        run: Callable[[], Any] = partial(original, graph, *args, **kwargs)
        for mode in modes:
            own = [capture for capture in captures if capture.mode() is mode] or captures[:1]
            if own:
                run = partial(mode.repeat_capture, own[0].work, run)
            else:
                run = partial(mode.run_unseen, name, "replays work that was captured outside", _CAPTURE_ADVICE, run)
        return run()

    return call


def wrap_package_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """List the call of a package. The few operators that it calls by itself are no count of its work."""

    @wraps(original)
    def call(package: Any, *args: Any, **kwargs: Any) -> Any:
        def run_uncounted() -> Any:
            with counting_modes_disabled():
                return original(package, *args, **kwargs)

        run: Callable[[], Any] = run_uncounted
        for mode in counting_modes(dispatch_modes()):
            run = partial(mode.run_unseen, _PACKAGE, "is compiled code", _PACKAGE_ADVICE, run)
        return run()

    return call


def wrap_script_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """List what TorchScript has fused: operators outside such groups were seen as they ran."""

    @wraps(original)
    def call(script: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(script, *args, **kwargs)
        modes = counting_modes(dispatch_modes())
        for name in fused_nodes() if modes else []:
            for mode in modes:
                mode.run_unseen(name, "is code that TorchScript fused", _SCRIPT_ADVICE, None)
        return result

    return call


def wrap_jit_trace(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell the modes when ``torch.jit.trace`` begins, and that it has ended once nobody holds what this returns."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        modes = [mode for mode in dispatch_modes() if isinstance(mode, HasModuleStack)]
        if not modes:
            return original(*args, **kwargs)
        result = jit_names_of_program(original, *args, **kwargs)
        for mode in modes:
            mode.begin_jit_trace()
            weakref.finalize(result, mode.end_jit_trace).atexit = False
        return result

    return call
