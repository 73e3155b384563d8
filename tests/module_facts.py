"""Profiles that know modules and memory: an example, and random ones."""

from dataclasses import replace

from hypothesis import strategies as st

from opflops.records.memory import LiveBytes, Memory, Moment, Sample
from opflops.records.modules import CallShapes, ModuleRecord, SharedParameter, TensorShape

IMAGE, HALF, IDS = (
    TensorShape((8, 3, 32, 32), "float32"), TensorShape((8, 10), "float16"), TensorShape((2, 64), "int64"),
)  # fmt: skip
EMBEDDING = ModuleRecord("Net.a", "Embedding", 640, 640, 2560, calls=(CallShapes((IDS,), (HALF,), 2),))
HEAD = ModuleRecord(
    "Net.b", "Linear", 10, 0, 40, 3, 24, (SharedParameter("weight", "Net.a", 640),),
    (CallShapes((HALF, IDS), ()), CallShapes((), (IMAGE, TensorShape((), "bool"), TensorShape((4, -1), "int8")), 3)),
)  # fmt: skip
MODULES = (ModuleRecord("Net", "Net", calls=(CallShapes((IDS,), (IMAGE,)),)), EMBEDDING, HEAD)

FIRST, WORST = (
    Moment("Net.a", "aten.embedding", "forward", "net.py:3", 4), Moment("Net.b", "aten.mm", "backward", "", 9),
)  # fmt: skip
MEMORY = Memory(
    "cuda:0", 2_000, WORST, LiveBytes(1_000, 400, 0, 100, 50, 250, 200), 1_500,
    {"forward": 1_500, "backward": 2_000}, {"Net.a": 200, "Net.b": 50}, {"Net": 2_000, "Net.a": 1_200},
    (Sample(FIRST, LiveBytes(1_000, inputs=50)), Sample(WORST, LiveBytes(1_000, 400, 0, 100, 50, 250, 200))),
    "cuda", (Memory("cpu", 5, None, LiveBytes(inputs=5), remarks=("Only what the program moved there.",)),),
    ("What kernels use inside is not seen.",),
)  # fmt: skip

amounts = st.integers(min_value=0, max_value=10**12)
texts = st.sampled_from(["", "Net", "Net.a", "\ud800\x1b", "=1", "net.py:3"])
tensors = st.lists(
    st.builds(
        TensorShape,
        st.lists(st.integers(min_value=-1, max_value=2**40), max_size=3).map(tuple),
        st.sampled_from(["float32", "int64"]),
    ),
    max_size=2,
).map(tuple)
calls = st.lists(
    st.builds(CallShapes, tensors, tensors, st.integers(min_value=1, max_value=9)),
    max_size=2,
    unique_by=lambda c: c[:2],
).map(tuple)
records = st.builds(
    ModuleRecord,
    st.sampled_from(["Net", "Net.a", "Net.a.0", "Net.b", "Net#2", "Net#2.a", "Net.idle"]),
    st.sampled_from(["Net", "Linear"]),
    *[amounts] * 5,
    st.lists(st.builds(SharedParameter, texts, texts, amounts), max_size=2, unique=True).map(tuple),
    calls,
)
modules = st.lists(records, max_size=5, unique_by=lambda record: record.module).map(tuple)
live = st.builds(LiveBytes, *[amounts] * 7)
moments = st.builds(Moment, texts, texts, st.sampled_from(["forward", "backward"]), texts, st.integers(0, 10**6))
by_path = st.dictionaries(texts, amounts, max_size=3)


@st.composite
def devices(draw, device="cpu"):
    """Draw the memory of a device, with a peak that nothing is above."""
    timeline = sorted(draw(st.lists(st.builds(Sample, moments, live), max_size=4)), key=lambda sample: sample.at.number)
    module_peaks, phase_peaks = draw(by_path), draw(by_path)
    end = draw(amounts)
    highest = max([end, *module_peaks.values(), *phase_peaks.values(), *(each.live.total for each in timeline)])
    at_peak = draw(live)
    at_peak = at_peak._replace(temporaries=at_peak.temporaries + max(highest - at_peak.total, 0))
    allocator, remarks = draw(st.sampled_from(["", "cuda"])), tuple(draw(st.lists(texts, max_size=1)))
    return Memory(
        device, at_peak.total, draw(st.one_of(st.none(), moments)), at_peak, end, phase_peaks, draw(by_path),
        module_peaks, tuple(timeline), allocator, (), remarks,
    )  # fmt: skip


@st.composite
def memories(draw):
    """Draw the memory of a device and of others."""
    others = tuple(draw(devices(name)) for name in draw(st.sampled_from([(), ("cuda:0",), ("cuda:0", "meta")])))
    return replace(draw(devices()), others=others)
