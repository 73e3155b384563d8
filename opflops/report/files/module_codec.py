"""Write what a profile knows of modules into a document, and read it; :mod:`.codec` describes the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.module_arithmetic import NUMBERS
from opflops.records.modules import UNKNOWN_SIZE, CallShapes, ModuleRecord, SharedParameter, TensorShape
from opflops.report.files.checks import DamagedError, check_amount, check_text, list_of, object_of, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.report.files.checks import Reader
    from opflops.report.files.count_reading import CountReader

_MAX_DIMENSIONS, _MAX_TENSORS, _MAX_SHARED, _MAX_CALLS = 1_000, 100_000, 100_000, 100_000


def encode_module(record: ModuleRecord) -> dict[str, Any]:
    """Write a module as an object."""
    return {
        "module": record.module,
        "module_type": record.module_type,
        **{name: getattr(record, name) for name in NUMBERS},
        "shared": [each._asdict() for each in record.shared],
        "calls": [
            {"inputs": _encode_tensors(call.inputs), "outputs": _encode_tensors(call.outputs), "calls": call.calls}
            for call in record.calls
        ],
    }


def _encode_tensors(tensors: Sequence[TensorShape]) -> list[dict[str, Any]]:
    return [{"shape": [*map(_encode_size, each.shape)], "dtype": each.dtype} for each in tensors]


def _encode_size(size: Any) -> Any:
    # To compare a SymInt would add a guard.
    return None if type(size) is int and size == UNKNOWN_SIZE else size


def module_reader(counts: CountReader) -> Reader:
    """Make a reader of modules, with sizes as ``counts`` reads them."""

    def read_size(size: Any, what: str) -> Any:
        return UNKNOWN_SIZE if size is None else counts.size(size, what)

    tensor = object_of(TensorShape, {"shape": list_of(read_size, "a size", _MAX_DIMENSIONS), "dtype": check_text})
    tensors = list_of(tensor, "a tensor", _MAX_TENSORS)
    call = object_of(CallShapes, {"inputs": tensors, "outputs": tensors, "calls": counts.whole_number})
    shared = object_of(SharedParameter, {"name": check_text, "owner": check_text, "elements": check_amount})
    read = object_of(
        ModuleRecord,
        {
            "module": check_text,
            "module_type": check_text,
            **dict.fromkeys(NUMBERS, counts.whole_number),
            "shared": list_of(shared, "a shared parameter", _MAX_SHARED),
            "calls": list_of(call, "a call", _MAX_CALLS),
        },
    )
    known: set[str] = set()

    def read_module(entry: Any, what: str) -> ModuleRecord:
        record: ModuleRecord = read(entry, what)
        if record.module in known:
            raise DamagedError(f"the module {quote(record.module)} is there more than once")
        known.add(record.module)
        return record

    return read_module
