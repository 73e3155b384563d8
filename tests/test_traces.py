"""Traces of PyTorch's profiler, annotated with what was counted while it recorded."""

import gzip
import json
import pickle
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from torch import nn
from torch._higher_order_ops.map import map as map_slices
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile, schedule
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from trace_format import annotated, read_strictly, recording_all_threads

from opflops import Cost, OpFlopMode, Profile, ProfileError, count, formula
from opflops.pricing.call_log import CallLog

CPU = [ProfilerActivity.CPU]


@torch.library.custom_op("traces_priced::gate", mutates_args=())
def gate(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x) * x


@torch.library.custom_op("traces_unpriced::product", mutates_args=())
def unpriced(x: torch.Tensor) -> torch.Tensor:
    return x @ x


@formula("traces_priced::gate")
def gate_cost(x):
    return Cost(ops=5 * x.numel())


class Fails(nn.Module):
    def forward(self, x):
        raise ArithmeticError(x @ x)


def mlp():
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.AdamW(net.parameters())

    def steps():
        for batch in (3, 5, 3):
            optimizer.zero_grad()
            net(torch.ones(batch, 8)).square().sum().backward()
            optimizer.step()

    return steps


def cnn():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step():
        nn.functional.cross_entropy(net(torch.ones(2, 3, 8, 8)), torch.tensor([1, 2])).backward()
        optimizer.step()

    return step


def encoder(context, *, train=False):
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=0, batch_first=True), 2).train(train)

    def run():
        with context():
            y = net(torch.ones(2, 5, 16))
        if train:
            y.sum().backward()

    return run


def lstm():
    net = nn.LSTM(10, 20, 2)
    return lambda: net(torch.ones(5, 3, 10))[0].sum().backward()


def checkpointed(use_reentrant):
    net, last = nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 1)
    x = torch.ones(4, 8, requires_grad=True)
    return lambda: last(checkpoint(net, x, use_reentrant=use_reentrant)).sum().backward()


def autocast():
    net = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4))

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            y = net(torch.ones(3, 8)).float().sum()
        y.backward()

    return run


def custom_operators():
    def run():
        gate(torch.ones(4, 4))
        unpriced(gate(torch.ones(3, 3)))

    return run


def decomposed():
    x, image, q = torch.ones(4, 4), torch.ones(1, 1, 5, 5), torch.ones(1, 2, 4, 8)

    def run():
        with torch.inference_mode():
            nn.functional.linear(x, x)
            nn.functional.conv2d(image, torch.ones(1, 1, 3, 3))
            torch.matmul(torch.ones(2, 3, 4), x)
            nn.functional.scaled_dot_product_attention(q, q, q)
            torch.einsum("ij,jk->ik", x, x)

    return run


def variants():
    def run():
        x, out = torch.ones(4, 4), torch.empty(4, 4)
        torch.add(x, x, out=out)
        torch.mm(x, x, out=out)
        x.mul_(2)
        x[1:] += 1
        x[0] = 5
        x.int().add(1).sum().item()
        torch.linalg.svd(x)
        torch.view_as_complex(torch.ones(4, 2)).mul(2)

    return run


def failing():
    net, last = Fails(), nn.Linear(3, 3)

    def run():
        for _ in range(2):
            with pytest.raises(RuntimeError):
                net(torch.ones(2, 3))
            with pytest.raises(ArithmeticError):
                net(torch.ones(3, 3))
        last(torch.ones(2, 3))

    return run


def subgraphs():
    branch = torch.ones(4, 4)
    return lambda: torch.cond(branch.sum() > 0, lambda x: x @ x, lambda x: x + 1, (branch,))


def transforms():
    def squared(x):
        return (x @ x).sin().sum()

    def run():
        torch.func.grad(squared)(torch.ones(3, 3))
        torch.func.vmap(squared)(torch.ones(2, 3, 3))
        x = torch.ones(3, 3, requires_grad=True)
        (gradient,) = torch.autograd.grad(squared(x), x, create_graph=True)
        gradient.sum().backward()

    return run


def without_values():
    net = nn.Linear(4, 4, device="meta")
    return lambda: net(torch.ones(2, 4, device="meta")).sum().backward()


PROGRAMS = {
    "mlp": mlp,
    "cnn": cnn,
    "encoder, no_grad": lambda: encoder(torch.no_grad),
    "encoder, inference_mode": lambda: encoder(torch.inference_mode),
    "encoder, training": lambda: encoder(torch.enable_grad, train=True),
    "lstm": lstm,
    "checkpoint": lambda: checkpointed(False),
    "reentrant checkpoint": lambda: checkpointed(True),
    "autocast": autocast,
    "custom operators": custom_operators,
    "decomposed": decomposed,
    "variants": variants,
    "failing": failing,
    "subgraphs": subgraphs,
    "transforms": transforms,
    "meta tensors": without_values,
}


@pytest.mark.filterwarnings("ignore::opflops.UnpricedOpWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_each_counted_call_is_one_event(name, tmp_path):
    """Each program counts as without the profiler, and its calls and flops are those of the annotated events."""
    program = PROGRAMS[name]()
    program()
    with OpFlopMode() as plain:
        program()
    with OpFlopMode() as mode, profile(activities=CPU) as profiler:
        program()
    counted = mode.profile
    assert counted.by("module", "op", "phase", "dtype") == plain.profile.by("module", "op", "phase", "dtype")
    found = counted.annotate_trace(profiler, tmp_path / "out.json")
    document = read_strictly(tmp_path / "out.json")
    events = annotated(document)
    assert sum(event["args"].get("flops", 0) for event in events) == plain.total.flops == document["opflops"]["flops"]
    assert sum(event["args"].get("bytes", 0) for event in events) == plain.total.bytes
    assert found.cost == plain.total
    assert not found.left_out
    calls = Counter()
    for row in plain.profile.rows:
        calls[row.op.replace(".", "::", 1)] += row.calls
    assert Counter(event["name"] for event in events) == calls
    work = Counter()
    for event in events:
        work[tuple(event["args"][key] for key in ("module", "phase", "dtype"))] += event["args"].get("flops", 0)
    assert +work == +Counter({key: cost.flops for key, cost in plain.profile.by("module", "phase", "dtype").items()})
    assert not any(event["name"].startswith("opflops") for event in document["traceEvents"])


def record(program, *managers):
    """Run a program in a block, with the profiler inside it, and inside others."""
    with ExitStack() as entered:
        for each in managers:
            entered.enter_context(each)
        mode = entered.enter_context(OpFlopMode())
        profiler = entered.enter_context(profile(activities=CPU))
        program()
    return mode, profiler


def test_the_operator_is_the_event_that_no_mode_is_left_to_see(tmp_path):
    """By hand: 2·b·8·4 + b·4 flops for batches of 3 and 5. Each addmm is listed once for each mode, and inside them."""
    net = nn.Linear(8, 4)

    def program():
        for batch in (3, 5):
            net(torch.ones(batch, 8))

    mode, profiler = record(program, FlopCounterMode(display=False))
    mode.profile.annotate_trace(profiler, tmp_path / "out.json")
    document = read_strictly(tmp_path / "out.json")
    listed = [event for event in document["traceEvents"] if event["name"] == "aten::addmm"]
    products = [event for event in annotated(document) if event["name"] == "aten::addmm"]
    assert [event["args"]["flops"] for event in products] == [2 * b * 8 * 4 + b * 4 for b in (3, 5)]
    assert len(listed) >= 3 * len(products)
    for event in products:
        others = [each for each in listed if each["ts"] > event["ts"] and each["ts"] < event["ts"] + event["dur"]]
        assert not others
        assert event["args"]["module"] == "Linear"
        assert event["args"]["phase"] == "forward"
        figures = event["args"]
        assert figures["bytes"] == figures["bytes_read"] + figures["bytes_written"]
        assert figures["intensity"] == figures["flops"] / figures["bytes"]
        assert figures["flops_per_s"] == pytest.approx(figures["flops"] / (event["dur"] * 1e-6))
        assert figures["bytes_per_s"] == pytest.approx(figures["bytes"] / (event["dur"] * 1e-6))


def step_of(net, x):
    return lambda: net(x).sum().backward()


STEP = step_of(nn.Linear(8, 4), torch.ones(3, 8))


def counted(program):
    """Count a program without the profiler."""
    program()
    with OpFlopMode() as mode:
        program()
    return mode.total


def test_the_profiler_may_begin_first(tmp_path):
    """As in ``with profile() as prof, OpFlopMode() as m``; what runs before and after the block has no figures."""
    with profile(activities=CPU) as profiler:
        STEP()
        with OpFlopMode() as mode:
            STEP()
        assert "__torch_dispatch__" not in vars(mode)
        STEP()
    found = mode.profile.annotate_trace(profiler, tmp_path / "out.json")
    assert (found.cost, found.left_out) == (counted(STEP), Cost())


def test_blocks_of_one_recording_have_their_own_calls(tmp_path):
    """One after the other, and one inside the other; the outer counts what the inner counts too."""
    with profile(activities=CPU) as profiler:
        with OpFlopMode() as first:
            STEP()
        with OpFlopMode() as outer:
            STEP()
            with OpFlopMode() as inner:
                STEP()
            STEP()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    once = counted(STEP)
    for mode, times in ((first, 1), (outer, 3), (inner, 1)):
        found = mode.profile.annotate_trace(tmp_path / "trace.json", tmp_path / "out.json")
        assert found.cost == times * once
        assert sum(event["args"]["flops"] for event in annotated(read_strictly(tmp_path / "out.json"))) == (
            times * once.flops
        )


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")
def test_each_trace_of_a_schedule_has_its_own_steps(tmp_path):
    """Two steps of six are in each of two traces; the other steps are left out, and named."""
    files = []

    def export(profiler):
        files.append(tmp_path / f"{len(files)}.json")
        profiler.export_chrome_trace(str(files[-1]))

    steps = schedule(wait=1, warmup=1, active=2, repeat=2)
    with OpFlopMode() as mode, profile(activities=CPU, schedule=steps, on_trace_ready=export) as profiler:
        for _ in range(8):
            STEP()
            profiler.step()
    once = counted(STEP)
    assert len(files) == 2
    for file in files:
        found = mode.profile.annotate_trace(file, tmp_path / "out.json")
        assert (found.cost, found.left_out) == (2 * once, 6 * once)
        assert f"Not in the trace: {6 * once.flops:,} flops" in str(found)


def test_calls_are_counted_as_before_once_the_profiler_has_stopped(tmp_path):
    """Started and stopped by hand in the middle of a block; the fast path serves the steps before and after."""
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    step = step_of(net, torch.ones(3, 8))
    once = counted(step)
    with OpFlopMode() as mode:
        step()
        profiler = profile(activities=CPU)
        profiler.start()
        step()
        profiler.stop()
        assert "__torch_dispatch__" not in vars(mode)
        step()
        step()
    assert mode.total == 4 * once
    assert mode.profile.annotate_trace(profiler, tmp_path / "out.json").cost == once


def test_the_profiler_is_left_as_it_was():
    """Its own functions, which blocks replace to learn when it records, are back after the last block."""
    names = "_run_on_profiler_start", "_run_on_profiler_stop"
    before = [getattr(torch.autograd.profiler, name) for name in names]
    with OpFlopMode(), OpFlopMode():
        assert all(getattr(torch.autograd.profiler, name) not in before for name in names)
    assert [getattr(torch.autograd.profiler, name) for name in names] == before


def test_threads_that_the_profiler_records_are_annotated(tmp_path):
    """With its option for all threads; without it, only the block's own thread is in the trace."""
    once, net = counted(STEP), nn.Linear(8, 4)

    def forwards():
        for _ in range(2):
            net(torch.ones(3, 8))

    def program():
        threads = [threading.Thread(target=forwards) for _ in range(3)]
        for thread in threads:
            thread.start()
        STEP()
        for thread in threads:
            thread.join()

    others = 6 * Cost(macs=3 * 8 * 4, ops=3 * 4)
    for options, recorded in ((recording_all_threads(), True), ({}, False)):
        with OpFlopMode(threads=True) as mode, profile(activities=CPU, **options) as profiler:
            program()
        found = mode.profile.annotate_trace(profiler, tmp_path / "out.json")
        assert found.cost.flops == once.flops + (others.flops if recorded else 0)
        assert found.left_out.flops == (0 if recorded else others.flops)
        events = annotated(read_strictly(tmp_path / "out.json"))
        assert len({event["tid"] for event in events}) == (4 if recorded else 1)


def test_threads_that_ran_before_are_annotated_too(tmp_path):
    """A worker of a pool has called a module before the profiler begins to record; only the second call is recorded."""
    net = nn.Linear(8, 4)
    with ThreadPoolExecutor(1) as pool, OpFlopMode(threads=True) as mode:
        pool.submit(net, torch.ones(3, 8)).result()
        with profile(activities=CPU, **recording_all_threads()) as profiler:
            pool.submit(net, torch.ones(5, 8)).result()
    found = mode.profile.annotate_trace(profiler, tmp_path / "out.json")
    assert (found.cost.macs, found.left_out.macs) == (5 * 8 * 4, 3 * 8 * 4)


def test_a_thread_that_works_for_others_has_a_name_for_each(monkeypatch):
    """A thread of the autograd engine is recorded while it works for one that is; its other ranges are in no trace."""
    log, recorded = CallLog("opflops 0123abcd", 2), [True, False, True]
    monkeypatch.setattr("opflops.pricing.call_log.records_thread", lambda: recorded.pop(0))
    names = [log.here().call_marked(str.upper, name) for name in "abc"]
    assert names == ["A", "B", "C"]
    assert {thread.name: thread.markers for thread in log.threads()} == {
        "opflops 0123abcd.2.0": 2,
        "opflops 0123abcd.2.1": 1,
    }


def test_a_formula_of_an_operator_that_decomposes_is_on_that_operator(tmp_path):
    """By hand: a formula of 7 operations for each of two calls, of which PyTorch's autograd decomposes one itself."""
    net, x = nn.Linear(8, 4), torch.ones(3, 8)
    with OpFlopMode(formulas={torch.ops.aten.linear: lambda input: Cost(ops=7)}) as mode, profile() as profiler:  # noqa: A006
        net(x)
        with torch.inference_mode():
            net(x)
    mode.profile.annotate_trace(profiler, tmp_path / "out.json")
    events = [(event["name"], event["args"]["flops"]) for event in annotated(read_strictly(tmp_path / "out.json"))]
    assert [event for event in events if event[1]] == [("aten::linear", 7), ("aten::linear", 7)]


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_an_operator_without_an_event_has_its_range(tmp_path):
    """Attention by flex_attention runs as products, of which it is none; its cost is on one event of its own name."""
    attention = torch.nn.attention.flex_attention.flex_attention
    q = torch.ones(1, 2, 16, 8)
    mode, profiler = record(lambda: attention(q, q, q))
    mode.profile.annotate_trace(profiler, tmp_path / "out.json")
    events = [event for event in annotated(read_strictly(tmp_path / "out.json")) if event["args"].get("macs")]
    assert [(event["name"], event["args"]["macs"]) for event in events] == [
        ("higher_order::flex_attention", 2 * 2 * 16 * 16 * 8)
    ]


def test_an_iteration_that_stands_for_others_has_the_work_of_all(tmp_path):
    """By hand: a product of 4 x 4 matrices for each of 3 slices, of which fake tensors run one, in no time of worth."""
    with FakeTensorMode():
        x = torch.ones(3, 4, 4)
        mode, profiler = record(lambda: map_slices(lambda each: each @ each, x))
    found = mode.profile.annotate_trace(profiler, tmp_path / "out.json")
    assert (found.cost.macs, found.calls) == (3 * 4**3, sum(row.calls for row in mode.profile.rows))
    events = [event for event in annotated(read_strictly(tmp_path / "out.json")) if event["args"].get("macs")]
    assert [(event["name"], event["args"]["macs"], event["args"]["calls"]) for event in events] == [
        ("aten::mm", 192, 3)
    ]
    assert "flops_per_s" not in events[0]["args"]


def test_python_stacks_may_be_recorded(tmp_path):
    """The profiler then reads ``self`` of the calls of modules, also of those that a mode has patched."""
    with OpFlopMode():
        assert nn.Module.__call__.__code__.co_varnames[0] == "self"
    with OpFlopMode(memory=True) as mode, profile(activities=CPU, with_stack=True, record_shapes=True) as profiler:
        STEP()
    assert mode.profile.annotate_trace(profiler, tmp_path / "out.json").cost == counted(STEP)
    read_strictly(tmp_path / "out.json")


def test_a_module_may_have_an_argument_of_any_name():
    """The patched call of modules takes no name of an argument for itself but ``self``, as PyTorch's own."""

    class Named(nn.Module):
        def forward(self, module, call):
            return module + call

    with OpFlopMode() as mode:
        Named()(module=torch.ones(2), call=torch.ones(2))
    assert mode.total.flops == 2


def test_the_tables_of_the_profiler_stay_short():
    """All ranges of a thread have one name, so that its calls are one line."""
    _, profiler = record(lambda: [STEP() for _ in range(3)])
    assert len([line for line in profiler.key_averages() if line.key.startswith("opflops")]) == 1


def test_what_is_no_number_becomes_null(tmp_path):
    """The profiler writes NaN for what it cannot compute, such as an occupancy; strict readers refuse that."""
    mode, profiler = record(STEP)
    source, out = tmp_path / "trace.json", tmp_path / "out.json"
    profiler.export_chrome_trace(str(source))
    text = source.read_text().replace('"Record function id": 0', '"Record function id": 0, "est. occupancy %": NaN')
    source.write_text(text)
    mode.profile.annotate_trace(source, out)
    assert {event["args"]["est. occupancy %"] for event in annotated(read_strictly(out))} == {None}
    with pytest.raises(ProfileError, match="cannot be written as JSON"):
        mode.profile.annotate_trace(json.loads(text), out)


def test_traces_are_read_from_files_objects_and_compressed(tmp_path):
    """All forms give the same; the object that was given does not change, nor does the file."""
    mode, profiler = record(STEP)
    source, packed = tmp_path / "trace.json", tmp_path / "trace.json.gz"
    profiler.export_chrome_trace(str(source))
    content = source.read_bytes()
    packed.write_bytes(gzip.compress(content))
    document = json.loads(content)
    outputs = []
    for number, trace in enumerate((source, str(packed), document, document["traceEvents"])):
        out = tmp_path / f"out{number}.json.gz"
        mode.profile.annotate_trace(trace, str(out))
        outputs.append(read_strictly(out)["traceEvents"])
    assert all(output == outputs[0] for output in outputs)
    assert document == json.loads(content)
    ranges = [event for event in document["traceEvents"] if event["name"].startswith("opflops")]
    assert len(outputs[0]) == len(document["traceEvents"]) - len(ranges)
    # Nothing else changes but arguments.
    kept = [event for event in document["traceEvents"] if event not in ranges]
    assert [{**event, "args": {}} for event in outputs[0]] == [{**event, "args": {}} for event in kept]


def test_calls_are_kept_by_a_profile_of_a_mode_alone(tmp_path):
    """It equals one without them; copies have them; one from JSON, a part or a sum says that it does not."""
    mode, profiler = record(STEP)
    whole = mode.profile
    assert whole == Profile.from_json(whole.to_json())
    pickle.loads(pickle.dumps(whole)).annotate_trace(profiler, tmp_path / "out.json")  # noqa: S301 - made here
    others = (
        Profile.from_json(whole.to_json()),
        whole.where(phase="forward"),
        whole + whole,
        count(nn.ReLU(), torch.ones(2)),
    )
    for other in others:
        with pytest.raises(ProfileError, match=r"no calls to annotate a trace with.*read from a file"):
            other.annotate_trace(tmp_path / "out.json", tmp_path / "again.json")


def damaged(document):
    """Leave out the second addmm, with all that is inside its range."""
    ranges = [event for event in document["traceEvents"] if event["name"].startswith("opflops")]
    products = [event for event in document["traceEvents"] if event["name"] == "aten::addmm"]

    def inside(event, around):
        return around["ts"] <= event["ts"] < around["ts"] + around["dur"]

    second = [each for each in ranges if any(inside(product, each) for product in products)][1]
    kept = [event for event in document["traceEvents"] if "dur" not in event or not inside(event, second)]
    return {**document, "traceEvents": kept}


def test_a_trace_that_does_not_fit_is_refused_in_a_sentence(tmp_path):
    """Of another block, of none, not whole, annotated before, or of more than the profile has."""
    net = nn.Linear(8, 4)
    mode, profiler = record(lambda: [net(torch.ones(3, 8)) for _ in range(3)])
    trace, out = tmp_path / "trace.json", tmp_path / "out.json"
    profiler.export_chrome_trace(str(trace))
    other, _ = record(STEP)
    with pytest.raises(ProfileError, match="recorded in another block"):
        other.profile.annotate_trace(trace, out)
    with pytest.raises(ProfileError, match=r"has 2 of the 3 calls of aten\.addmm"):
        mode.profile.annotate_trace(damaged(json.loads(trace.read_text())), out)
    with profile(activities=CPU) as alone:
        STEP()
    with pytest.raises(ProfileError, match="no OpFlopMode counted"):
        mode.profile.annotate_trace(alone, out)
    assert not out.exists()
    mode.profile.annotate_trace(trace, out)
    with pytest.raises(ProfileError, match="annotated already"):
        mode.profile.annotate_trace(out, tmp_path / "again.json")
    with OpFlopMode() as early, profile(activities=CPU) as going_on:
        STEP()
        read_early = early.profile
        STEP()
    with pytest.raises(ProfileError, match="before the profiler had stopped"):
        read_early.annotate_trace(going_on, out)


def test_what_is_no_trace_is_refused_in_a_sentence(tmp_path):
    """Files and objects of other kinds, and names that Perfetto does not take for traces."""
    mode, profiler = record(STEP)
    p, out = mode.profile, tmp_path / "out.json"
    text, missing = tmp_path / "notes.json", tmp_path / "missing.json"
    text.write_text("not JSON")
    for trace, message in (
        (text, "is no Chrome trace, since it is no JSON"),
        (missing, "Cannot read the trace"),
        ({"events": []}, "no list of traceEvents"),
        ([1], "event 0 is 1"),
        ([{"ph": "X", "cat": "cpu_op", "name": "a", "ts": "b", "dur": 1}], "has no number as 'ts'"),
        (3, "needs a trace"),
    ):
        with pytest.raises(ProfileError, match=message):
            p.annotate_trace(trace, out)
    for wrong, message in (
        ("out.txt", r"\.json"),
        (3, "name of a file"),
        (tmp_path / "no" / "out.json", "Cannot write"),
    ):
        with pytest.raises(ProfileError, match=message):
            p.annotate_trace(text if wrong == 3 else {"traceEvents": []} if wrong == "out.txt" else profiler, wrong)
    with pytest.raises(ProfileError, match="Trace is already saved"):
        p.annotate_trace(profiler, out)
