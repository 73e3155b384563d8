"""What notebooks show of a single record: its fields by name, each value as reports write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import is_expression
from opflops.records.datasheets import Device
from opflops.report.notebook.parts import Facts
from opflops.units import data_size, duration, exact, scaled
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Iterable

_TIMES = ("seconds", "spread", "median", "wall", "overhead", "bound", "own")
_BYTES = ("bytes", "sent", "saved", "peak", "needed", "available", "memory")
_SHARES = ("share", "saving", "attained")
# Properties that say more than the fields.
_COMPUTED = ("flops", "bytes", "total", "limit", "intensity", "attained", "saving", "speedup")
_PREFIXED = 1000
_LEFT_OUT = ("profile", "timeline", "model_seconds", "hardware_seconds")


def facts_of(record: Any, title: str = "") -> Facts:
    """List the fields of a named tuple or a dataclass that have a value.

    Args:
        record: The record.
        title: What stands above; by default the name of its class.
    """
    found = {}
    for name in (*_names(record), *_computed(record)):
        value = getattr(record, name)
        text = "" if name in _LEFT_OUT or value is None else _format(name, value, record)
        if text:
            found[name.replace("_", " ")] = text
    return Facts(title or type(record).__name__, found or {"": "nothing"})


def _names(record: Any) -> Iterable[str]:
    if is_dataclass(record):
        return [each.name for each in fields(record)]
    return [str(name) for name in record._fields]


def _computed(record: Any) -> list[str]:
    names = {*_names(record)}
    return [each for each in _COMPUTED if isinstance(getattr(type(record), each, None), property) and each not in names]


def _format(name: str, value: Any, record: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or is_expression(value):
        is_long = type(value) is int and abs(value) >= _PREFIXED and any(part in name for part in _BYTES)
        return f"{exact(value)} ({data_size(value)})" if is_long else exact(value)
    if isinstance(value, float):
        return _format_float(name, value, record)
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_format_entry(name, key, each)}" for key, each in value.items())
    if isinstance(value, Device):
        value = value.name
    return _format_tuple(name, value) if isinstance(value, tuple) else str(value)


def _format_tuple(name: str, value: tuple[Any, ...]) -> str:
    if hasattr(value, "_fields"):
        parts = {field: getattr(value, field) for field in value._fields}
        return ", ".join(
            f"{field} {_format(field, each, value)}" for field, each in parts.items() if each not in (0, "", ())
        )
    if name in ("ranks", "run") and value and all(type(each) is int for each in value):
        return join_ranks(value)
    return "\n".join(_format("", each, value) for each in value)


def _format_entry(name: str, key: str, value: Any) -> str:
    if name == "peaks":
        return f"{scaled(round(value))}{'OP/s' if key == 'int8' else 'FLOP/s'}"
    return duration(value) if name == "limits" else _format(name, value, None)


def _format_float(name: str, value: float, record: Any) -> str:
    if isinstance(record, Device):
        return f"{scaled(round(value))}{'B/s' if name == 'bandwidth' else 'B'}"
    if any(part in name for part in _TIMES):
        return duration(value)
    return f"{100 * value:.3g} %" if name in _SHARES else f"{value:,.4g}"
