"""Traces with kernels of a GPU, made up by hand in the form that torch.profiler writes."""

import copy

import pytest
from trace_format import annotated, check

from opflops import Cost, ProfileError, Row
from opflops.records.recordings import UNMARKED, RecordedCall, RecordedThread, Recordings
from opflops.report.files.chrome_trace import annotate
from opflops.report.files.trace_events import Trace

PROCESS, DEVICE, STREAM = 4242, 0, 7
NAME = "opflops 0123abcd"
MARKS = f"{NAME}.0.0"


def cpu_op(name, start, duration, number, **args):
    """Make the event of an operator, in microseconds."""
    return {
        "ph": "X", "cat": "cpu_op", "name": name, "pid": PROCESS, "tid": PROCESS, "ts": start, "dur": duration,
        "args": {"External id": number, "Record function id": 0, "Ev Idx": number - 1, **args},
    }  # fmt: skip


def launch(start, correlation, number, name="cudaLaunchKernel", category="cuda_runtime", tid=PROCESS):
    """Make the event of a launch, and the arrow from it."""
    about = {"pid": PROCESS, "tid": tid, "ts": start}
    return [
        {"ph": "X", "cat": category, "name": name, **about, "dur": 4.5,
         "args": {"External id": number, "cbid": 211, "correlation": correlation}},
        {"ph": "s", "id": correlation, **about, "cat": "ac2g", "name": "ac2g"},
    ]  # fmt: skip


def kernel(start, duration, correlation, number, name="ampere_sgemm_128x64_tn", category="kernel"):
    """Make the event of a kernel, and the end of the arrow to it."""
    about = {"pid": DEVICE, "tid": STREAM, "ts": start}
    args = {
        "External id": number, "queued": 0, "device": DEVICE, "context": 1, "stream": STREAM,
        "correlation": correlation, "registers per thread": 122, "shared memory": 12544, "blocks per SM": 0.59,
        "warps per SM": 2.37, "grid": [8, 8, 1], "block": [128, 1, 1], "est. achieved occupancy %": 4,
    }  # fmt: skip
    return [
        {"ph": "X", "cat": category, "name": name, **about, "dur": duration, "args": args},
        {"ph": "f", "id": correlation, **about, "cat": "ac2g", "name": "ac2g", "bp": "e"},
    ]


def row(op, dtype="float32", calls=1, priced=True, estimate="", **cost):
    return Row("Net.fc", "Linear", op, "forward", dtype, calls, Cost(**cost), None, estimate, priced)


def recordings(*rows, markers=None, device="cuda", name=NAME):
    """Hold one call for each row, in ranges one after the other; a pair has the number of its range."""
    numbered = [each if isinstance(each, tuple) else (number, each) for number, each in enumerate(rows)]
    calls = tuple(RecordedCall(marker, each, device) for marker, each in numbered)
    return Recordings(name, ((RecordedThread(f"{name}.0.0", len(rows) if markers is None else markers, calls),),))


ADDMM = row("aten.addmm", macs=500, ops=24, bytes_read=96, bytes_written=32)
# The dispatcher lists an operator once for the program and once inside the mode. It copies the bias, then multiplies.
ADDMM_EVENTS = [
    cpu_op("aten::linear", 0.0, 100.0, 1),
    cpu_op("aten::addmm", 2.5, 96.25, 2, **{"Sequence number": 7, "Fwd thread id": 0}),
    cpu_op("PythonDispatchMode", 3.0, 95.0, 3),
    cpu_op(MARKS, 20.0, 70.0, 4),
    cpu_op("aten::addmm", 21.0, 40.125, 5),
    cpu_op("aten::copy_", 22.0, 12.0, 6),
    *launch(24.0, 901, 6, "cudaMemcpyAsync"),
    *launch(50.0, 902, 5, "cuLaunchKernel", "cuda_driver"),
    *kernel(130.0, 2.0, 901, 6, "Memcpy DtoD (Device -> Device)", "gpu_memcpy"),
    *kernel(140.0, 3.0, 902, 5),
    # Launched outside of every counted operator.
    *launch(300.0, 903, 0),
    *kernel(310.0, 9.0, 903, 0, "elementwise_kernel"),
]


def annotated_of(events, *rows, **options):
    found = annotate({"traceEvents": events, "schemaVersion": 1}, recordings(*rows, **options))
    for event in found.document["traceEvents"]:
        check(event)
    return found, annotated(found.document)


def of_device(found, category="kernel"):
    return [event for event in found.document["traceEvents"] if event.get("cat") == category]


def test_an_operator_and_its_kernels_have_the_figures():
    """By hand: 1024 flops and 128 bytes in 2 + 3 µs are 204.8 Mflop/s and 25.6 MB/s, at 8 flops per byte."""
    found, (operator,) = annotated_of(ADDMM_EVENTS, ADDMM)
    assert (operator["ts"], operator["args"]["External id"]) == (21.0, 5)
    figures = operator["args"]
    rates = figures["intensity"], pytest.approx(figures["flops_per_s"]), pytest.approx(figures["bytes_per_s"])
    assert (figures["flops"], figures["bytes"], figures["kernels"], *rates) == (1024, 128, 2, 8.0, 204.8e6, 25.6e6)
    assert (figures["module"], figures["phase"], figures["dtype"]) == ("Net.fc", "forward", "float32")
    copy, product = *of_device(found, "gpu_memcpy"), of_device(found)[0]
    for each in (copy, product):
        args = each["args"]
        assert (args["operator"], args["operator_id"], args["operator_kernels"]) == ("aten::addmm", 5, 2)
        assert (args["operator_flops"], args["operator_bytes"], args["intensity"]) == (1024, 128, 8.0)
        assert args["flops_per_s"] == pytest.approx(204.8e6)
        assert (args["module"], args["phase"], args["stream"]) == ("Net.fc", "forward", STREAM)
        # What adds up is on the operator alone.
        assert not {"flops", "bytes", "macs"} & set(args)
    assert "operator" not in of_device(found)[1]["args"]
    assert (found.operators, found.kernels, found.calls, found.cost) == (1, 2, 1, ADDMM.cost)


def test_nothing_else_changes():
    """But for arguments and the range, which is left out; what was given stays as it was."""
    before = copy.deepcopy(ADDMM_EVENTS)
    found, _ = annotated_of(ADDMM_EVENTS, ADDMM)
    assert before == ADDMM_EVENTS
    assert found.document["schemaVersion"] == 1
    rest = [event for event in ADDMM_EVENTS if event["name"] != MARKS]
    for event, old in zip(found.document["traceEvents"], rest, strict=True):
        assert {**event, "args": None} == {**old, "args": None}
        assert event.get("args", {}).items() >= old.get("args", {}).items() if "grid" not in str(old) else True


def test_kernels_without_a_launch_are_found_by_their_external_id():
    """Some devices have no events of launches, or give their threads other numbers."""
    without = [event for event in ADDMM_EVENTS if event.get("cat") not in ("cuda_runtime", "cuda_driver")]
    elsewhere = [{**event, "tid": -1} if "cuda" in event.get("cat", "") else event for event in ADDMM_EVENTS]
    for events in (without, elsewhere):
        found, (operator,) = annotated_of(events, ADDMM)
        assert (found.kernels, operator["args"]["kernels"]) == (2, 2)
        assert operator["args"]["flops_per_s"] == pytest.approx(204.8e6)


@pytest.mark.parametrize(
    ("device", "duration", "rate"), [("cpu", 4.0, 256e6), ("cpu", 0.0, None), ("cuda", 4.0, None), ("", 4.0, None)]
)
def test_the_duration_of_an_operator_is_its_time_on_the_cpu_alone(device, duration, rate):
    """By hand: 1024 flops in 4 µs. A launch on a GPU is not the work, and tensors without values do none."""
    events = [cpu_op(MARKS, 0.0, 9.0, 1), cpu_op("aten::addmm", 1.0, duration, 2)]
    _, (operator,) = annotated_of(events, ADDMM, device=device)
    assert operator["args"].get("flops_per_s") == (rate and pytest.approx(rate))
    assert operator["args"]["flops"] == 1024


def test_kernels_without_a_duration_have_no_rate():
    """Numbers are finite; the counts are there all the same."""
    events = [{**event, "dur": 0} if event.get("tid") == STREAM and "dur" in event else event for event in ADDMM_EVENTS]
    found, (operator,) = annotated_of(events, ADDMM)
    assert operator["args"]["kernels"] == 2
    assert not any("flops_per_s" in event.get("args", {}) for event in found.document["traceEvents"])


def test_integer_work_does_not_add_to_flops():
    """As in totals; operators without a formula and estimates say so, and views have no intensity."""
    events = [
        each
        for number, name in enumerate(("aten::add", "my::op", "aten::t"))
        for each in (cpu_op(MARKS, 10.0 * number, 9.0, 9), cpu_op(name, 10.0 * number + 1, 5.0, 10))
    ]
    rows = (
        row("aten.add", "int64", ops=6, bytes_read=96, bytes_written=48),
        row("my.op", priced=False, estimate="a guess"),
        row("aten.t"),
    )
    found, (add, unknown, view) = annotated_of(events, *rows, device="cpu")
    assert (add["args"]["integer_ops"], add["args"]["integer_bytes"], add["args"]["dtype"]) == (6, 144, "int64")
    assert not {"flops", "bytes", "flops_per_s"} & set(add["args"])
    assert (unknown["args"]["unpriced"], unknown["args"]["estimate"]) == (True, "a guess")
    assert (view["args"]["flops"], view["args"]["bytes"]) == (0, 0)
    assert not {"intensity", "flops_per_s", "bytes_per_s", "unpriced", "estimate"} & set(view["args"])
    assert (found.cost, found.calls) == (Cost(), 3)


def test_a_range_without_an_operator_of_its_name_stands_for_it():
    """A Triton kernel has no event but its launch; a replayed graph stands for several operators."""
    events = [
        cpu_op(MARKS, 0.0, 9.0, 1),
        *launch(2.0, 11, 1, "cuLaunchKernel", "cuda_driver"),
        *kernel(20.0, 2.0, 11, 1, "add_kernel"),
        cpu_op(MARKS, 30.0, 9.0, 2),
        *launch(32.0, 12, 2, "cudaGraphLaunch"),
        *kernel(50.0, 1.0, 12, 2),
        *kernel(60.0, 3.0, 12, 2),
    ]
    rows = ((0, row("triton.add", ops=10)), (1, row("aten.mm", calls=3, macs=20)), (1, row("aten.relu", ops=8)))
    found, (triton, graph) = annotated_of(events, *rows, markers=2)
    assert (triton["name"], triton["args"]["flops"], triton["args"]["kernels"]) == ("triton::add", 10, 1)
    assert triton["args"]["flops_per_s"] == pytest.approx(5e6)
    assert (graph["name"], graph["args"]["flops"], graph["args"]["calls"]) == ("2 operators", 48, 4)
    assert graph["args"]["flops_per_s"] == pytest.approx(48 / 4e-6)
    assert [event["args"]["operator"] for event in of_device(found)] == ["triton::add", "2 operators", "2 operators"]
    assert found.calls == 5


def test_kernels_belong_to_the_innermost_counted_operator():
    """An operator that runs others, each of which is counted in a range of its own, has what it launches itself."""
    events = [
        cpu_op(MARKS, 0.0, 90.0, 1),
        cpu_op("my::block", 1.0, 80.0, 2),
        *launch(2.0, 21, 2),
        cpu_op(MARKS, 10.0, 30.0, 3),
        cpu_op("aten::mm", 12.0, 20.0, 4),
        *launch(14.0, 22, 4),
        *kernel(100.0, 1.0, 21, 2),
        *kernel(110.0, 2.0, 22, 4),
    ]
    found, operators = annotated_of(events, row("my.block", ops=4), row("aten.mm", macs=50))
    assert [(each["name"], each["args"]["kernels"]) for each in operators] == [("my::block", 1), ("aten::mm", 1)]
    assert [event["args"]["operator"] for event in of_device(found)] == ["my::block", "aten::mm"]


def test_events_that_touch_are_told_apart():
    """Of two that begin together the longer one is around the other; one that begins as another ends is beside it."""
    events = [
        cpu_op("inner", 0.0, 9.0, 2),
        cpu_op("outer", 0.0, 10.0, 1),
        cpu_op("next", 10.0, 5.0, 3),
        {**cpu_op("elsewhere", 1.0, 2.0, 4), "tid": 9},
    ]
    parents = {span.name: span.parent and span.parent.name for span in Trace(events).spans}
    assert parents == {"inner": "outer", "outer": None, "next": None, "elsewhere": None}


def test_an_operator_around_several_ranges_is_one_call():
    """The first; the others keep their ranges, so that no event has the figures of two calls."""
    events = [
        cpu_op("aten::linear", 0.0, 90.0, 1),
        cpu_op(MARKS, 10.0, 30.0, 2),
        cpu_op(MARKS, 50.0, 30.0, 3),
    ]
    found, operators = annotated_of(events, row("aten.linear", macs=1), row("aten.linear", macs=2))
    assert [(each["ts"], each["args"]["macs"]) for each in operators] == [(0.0, 1), (50.0, 2)]
    assert found.cost.macs == 3


def test_an_operator_is_not_looked_for_inside_another_counted_call():
    """Of two calls of one operator, one inside the other, the outer one that has no event keeps its range."""
    events = [
        cpu_op(MARKS, 0.0, 90.0, 1),
        cpu_op(MARKS, 10.0, 30.0, 2),
        cpu_op("aten::mm", 12.0, 20.0, 3),
    ]
    _, operators = annotated_of(events, row("aten.mm", macs=1), row("aten.mm", macs=2))
    assert [(each["ts"], each["args"]["macs"]) for each in operators] == [(0.0, 1), (12.0, 2)]


def test_an_operator_that_decomposes_is_around_its_range():
    """If PyTorch runs it before the mode sees it; an operator of the same name further out is another one."""
    events = [
        cpu_op("aten::linear", 0.0, 50.0, 1),
        cpu_op(MARKS, 1.0, 40.0, 2),
        cpu_op("aten::addmm", 5.0, 20.0, 3),
        cpu_op("aten::linear", 60.0, 50.0, 4),
        cpu_op("aten::dropout", 61.0, 40.0, 5),
        cpu_op(MARKS, 62.0, 30.0, 6),
    ]
    _, operators = annotated_of(events, row("aten.linear", ops=1), row("aten.linear", ops=2))
    assert [(each["ts"], each["name"], each["args"]["flops"]) for each in operators] == [
        (0.0, "aten::linear", 1),
        (62.0, "aten::linear", 2),
    ]


def test_threads_are_told_apart_by_the_names_of_their_ranges():
    """A thread without any range was not recorded; one with some must have all."""
    other = RecordedThread(f"{NAME}.0.1", 4, (RecordedCall(2, row("aten.mm", macs=9), "cpu"),))
    ((first,),) = recordings(ADDMM).threads
    found = annotate({"traceEvents": ADDMM_EVENTS}, Recordings(NAME, ((first, other),)))
    assert found.cost == ADDMM.cost
    one_of_four = [*ADDMM_EVENTS, {**cpu_op(f"{NAME}.0.1", 1.0, 5.0, 30), "tid": 9}]
    with pytest.raises(ProfileError, match=r"has 0 of the 1 calls of aten\.mm"):
        annotate({"traceEvents": one_of_four}, Recordings(NAME, ((first, other),)))


def test_calls_outside_any_range_are_left_out():
    """There is no event for them; they are not among the calls, nor in the cost."""
    found, (operator,) = annotated_of(ADDMM_EVENTS, ADDMM, (UNMARKED, row("aten.mm", macs=7)), markers=1)
    assert operator["args"]["flops"] == found.cost.flops == 1024


def test_expressions_have_no_place_in_a_trace():
    """The message names the counts."""
    sympy = pytest.importorskip("sympy")
    with pytest.raises(ProfileError, match=r"A trace needs numbers, but flops is 2\*n"):
        recordings(row("aten.mm", macs=sympy.Symbol("n"))).check_concrete()
