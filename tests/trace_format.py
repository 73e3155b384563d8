"""What Chrome's trace event format asks of a file; Perfetto reads the same."""

import gzip
import json
import math
from pathlib import Path

import pytest
from torch._C._profiler import _ExperimentalConfig


def _refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def read_strictly(path):
    """Read a trace as a strict reader of JSON does, and check each event."""
    content = Path(path).read_bytes()
    content = gzip.decompress(content) if str(path).endswith(".gz") else content
    document = json.loads(content, parse_constant=_refuse)
    for event in document["traceEvents"]:
        check(event)
    return document


def recording_all_threads():
    """Return options of the profiler that let it record all threads."""
    try:
        return {"experimental_config": _ExperimentalConfig(profile_all_threads=True)}
    except TypeError:
        pytest.skip("this PyTorch records one thread")


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check(event):
    """Check what the format asks of an event of its phase."""
    assert event["ph"] in {*"BEXiIsftCbneNODMPRcVv"}
    assert isinstance(event["name"], str)
    assert all(isinstance(event[key], (int, str)) for key in ("pid", "tid"))
    assert _is_number(event["ts"])
    if event["ph"] == "X":
        assert _is_number(event["dur"])
        assert event["dur"] >= 0
    if event["ph"] in "stf":
        assert "id" in event
    assert isinstance(event.get("args", {}), dict)
    for value in event.get("args", {}).values():
        assert not isinstance(value, float) or math.isfinite(value)


def annotated(document):
    """Return the operators with figures, in order of their beginnings."""
    found = [event for event in document["traceEvents"] if "phase" in event.get("args", {})]
    operators = [event for event in found if "operator" not in event["args"]]
    return sorted(operators, key=lambda event: event["ts"])
