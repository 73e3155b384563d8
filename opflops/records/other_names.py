"""What counters of other libraries call their results, and where they are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.errors import UnknownAttributeError
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCK = "with OpFlopMode() as m: model(x)"
# {0} is the object, {1} its profile. Names that differ in get_ or print_ alone are one.
_HERE = {
    "{0}.flops": "total_flops flops_total num_flops flop_count flopcount flop",
    "{0}.macs": "total_macs num_macs mac mult_adds total_mult_adds",
    "{0}.flops / 1e9": "gflops total_gflops",
    "{0}.flops / 1e12": "tflops total_tflops",
    "{0}.macs / 1e9": "gmacs total_gmacs",
    "{1}.parameters": "params total_params num_params n_params num_parameters param_count",
    "{1}.inclusive()": "by_module flops_by_module flops_per_module macs_per_module",
    "{1}.by('op')": "by_op by_operator flops_by_op flops_by_operator",
    "{1}.by('module', 'op')": "by_module_and_operator flop_counts",
    "{1}.by('phase')": "by_phase",
    "{1}.where(phase='backward')": "backward backward_flops",
    "{1}.where(phase='forward')": "forward forward_flops",
    "{1}.unpriced": "unsupported_ops unpriced_ops",
    "print({0})": "summary report show display print model_profile model_summary",
    "{0}.table()": "to_table get_table",
    "{1}.to_dataframe()": "to_pandas to_df df dataframe",
    "{1}.to_json()": "json to_dict as_dict",
    "{1}.to_html()": "html",
    "{1}.memory.peak, of a block or count with memory=True": "peak peak_memory max_memory memory_peak",
    "{1}.timing, of a block with timing=True": "seconds time duration latency total_duration total_time",
}
_OF_BLOCKS = {"start", "stop", "enter", "exit", "reset", "clear", "begin", "end", "start_profile", "stop_profile"}


def _all_names() -> Iterator[str]:
    for name in " ".join(_HERE.values()).split():
        yield from (name, f"get_{name}", f"print_{name}")
    yield from _OF_BLOCKS


OTHER_NAMES = frozenset(_all_names())
"""What a mode might be asked for."""


def unknown_attribute(owner: type, name: str, profile_names: Iterable[str] | None = None) -> UnknownAttributeError:
    """Return the error for an attribute that a mode or a profile does not have, with the place of what was meant.

    Args:
        owner: The class of the mode, or of the profile.
        name: The attribute.
        profile_names: What the profile of a mode has; None for a profile.
    """
    own, profile = ("p", "p") if profile_names is None else ("m", "m.profile")
    if profile_names is not None and name in profile_names:
        advice = f"Its profile has: {profile}.{name}."
    elif profile_names is not None and name in _OF_BLOCKS:
        advice = f"It counts what runs in its block, afresh each time: {_BLOCK}."
    else:
        plain = name.lower().removeprefix("get_").removeprefix("print_")
        known = next((here for here, names in _HERE.items() if {name, plain} & {*names.split()}), "")
        near = nearest(name, [each for each in dir(owner) if not each.startswith("_")], 1)
        advice = f"Write {known.format(own, profile)}." if known else "".join(f"Did you mean {each}?" for each in near)
    return UnknownAttributeError(f"{owner.__name__} has no attribute {name!r}. {advice}".rstrip())


def missing(holder: Any, name: str) -> Any:
    """Be the ``__getattr__`` of a class, which Python calls also if a property of it raises an ``AttributeError``.

    Args:
        holder: An object of the class.
        name: The attribute.

    Raises:
        UnknownAttributeError: There is no such attribute.
    """
    if name.startswith("_") or hasattr(type(holder), name):
        # Raise what Python, or the property, has raised.
        return object.__getattribute__(holder, name)
    raise unknown_attribute(type(holder), name)
