"""``opflops.compat.deepspeed``: DeepSpeed's flops profiler, with figures by hand."""

import copy
import re
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import linear, mse_loss
from torch.utils.checkpoint import checkpoint

import opflops
from opflops.compat import calflops, deepspeed
from opflops.compat.deepspeed import (
    FlopsProfiler,
    get_model_profile,
    get_module_duration,
    get_module_flops,
    get_module_macs,
)
from opflops.compat.durations import SelfTimingMode
from opflops.errors import OpflopsError

# Of a batch of 5: 5*4*3 and 5*3*2 multiply-accumulates; 5*3 and 5*2 additions of a bias, and 5*3 maxima.
MACS = 5 * 4 * 3 + 5 * 3 * 2
FLOPS = 2 * MACS + 5 * 3 + 5 * 2 + 5 * 3
PARAMS = 4 * 3 + 3 + 3 * 2 + 2


def small():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def profile_of(model, *args, **kwargs):
    return get_model_profile(model, args=[*args], kwargs=kwargs, print_profile=False, as_string=False)


class Counting(nn.Module):
    """Counts its calls, and has several ways to be called."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.calls = 0

    def forward(self, x, scale=None, **named):
        self.calls += 1
        out = self.linear(x["x"] if isinstance(x, dict) else x)
        return out if scale is None else out * scale

    def generate(self, x, steps=1):
        for _ in range(steps):
            self(x)
        return torch.ones(1000) + 1  # no module does it


def state_of(model):
    return [
        (
            {name: value for name, value in vars(each).items() if not isinstance(value, dict)},
            {name: [*value] for name, value in vars(each).items() if isinstance(value, dict)},
        )
        for each in model.modules()
    ]


def test_a_model_has_the_figures_by_hand_in_deepspeeds_order():
    """Flops, macs, params: as integers, and as text without a unit for flops."""
    figures = get_model_profile(small(), (5, 4), print_profile=False, as_string=False)
    assert figures == (FLOPS, MACS, PARAMS)
    assert [type(each) for each in figures] == [int, int, int]
    assert get_model_profile(small(), (5, 4), [], {}, False) == (f"{FLOPS} ", f"{MACS} MACs", f"{PARAMS}")
    wide = nn.Linear(2000, 3000, bias=False)
    assert get_model_profile(wide, (7, 2000), print_profile=False) == ("84 M", "42 MMACs", "6 M")


def test_arguments_come_by_position_by_keyword_and_in_dicts():
    """An input shape replaces the positional arguments and keeps those by keyword."""
    x, model = torch.ones(2, 4), Counting()
    alone, scaled = (2 * 24 + 6, 24, 15), (2 * 24 + 6 + 6, 24, 15)
    assert profile_of(model, x) == profile_of(model, {"x": x}) == profile_of(model, x=x) == alone
    assert profile_of(model, x, torch.ones(3)) == profile_of(model, x, scale=torch.ones(3)) == scaled
    given = get_model_profile(model, (2, 4), ["ignored"], {"scale": torch.ones(3)}, False, as_string=False)
    assert given == scaled
    assert get_model_profile(model, (2, 4), None, None, False, as_string=False) == alone
    assert get_model_profile(model, None, None, {"x": x}, False, as_string=False) == alone


@pytest.mark.parametrize("warm_up", [0, 1, 3])
def test_a_model_runs_once_more_than_it_warms_up(warm_up):
    """State that a forward changes is as with DeepSpeed."""
    model = Counting()
    get_model_profile(model, (2, 4), print_profile=False, warm_up=warm_up)
    assert model.calls == warm_up + 1


def test_generate_counts_what_modules_do():
    """Three calls of the model; what the method does outside modules is left out, as by DeepSpeed."""
    figures = get_model_profile(
        Counting(), args=[torch.ones(2, 4)], kwargs={"steps": 3}, mode="generate", print_profile=False, as_string=False
    )
    assert figures == (3 * (2 * 24 + 6), 3 * 24, 15)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_stays_as_it_was(fails):
    """Training flags of each module, hooks, attributes and grad mode; also where the model raises, its own error."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(), nn.BatchNorm1d(3))
    model[1].eval()
    model.register_forward_hook(lambda *_: None)
    failure = RuntimeError("as the model says")

    def fail(*_):
        assert not any(each.training for each in model.modules())
        assert torch.is_grad_enabled()
        if fails:
            raise failure

    model[2].register_forward_pre_hook(fail)
    before = state_of(model)
    global_hooks = [{**each} for each in _global_hooks()]
    if fails:
        with pytest.raises(RuntimeError) as caught:
            get_model_profile(model, (5, 4), print_profile=False, warm_up=0)
        assert caught.value is failure
    else:
        get_model_profile(model, (5, 4), print_profile=True)
    assert state_of(model) == before
    assert [each.training for each in model.modules()] == [True, True, False, True]
    assert [{**each} for each in _global_hooks()] == global_hooks


def _global_hooks():
    return torch.nn.modules.module._global_forward_hooks, torch.nn.modules.module._global_forward_pre_hooks


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "ResNet"}, "model is str"),
        ({}, "input_shape"),
        ({"input_shape": [5, 4]}, r"tuple.*\[5, 4\]"),
        ({"input_shape": ()}, "at least one"),
        ({"input_shape": (5, 4), "mode": "train"}, "mode='train'"),
        ({"input_shape": (5, 4), "mode": "generate"}, "Sequential has none"),
    ],
)
def test_arguments_that_cannot_be_used_are_errors_of_both(arguments, words):
    """A subclass of OpflopsError, and the AssertionError that DeepSpeed raises."""
    for error in (OpflopsError, AssertionError):
        with pytest.raises(error, match=words):
            get_model_profile(**{"model": small(), **arguments})


def test_a_profiler_counts_the_forward_between_start_and_stop():
    """Not the loss, the backward pass, or what comes after; running sums can be read, and another call adds up."""
    model, x = small(), torch.ones(5, 4)
    prof = FlopsProfiler(model)
    prof.start_profile()
    assert (prof.get_total_flops(), prof.get_total_params()) == (0, PARAMS)
    loss = mse_loss(model(x), torch.ones(5, 2))
    assert (prof.get_total_flops(), prof.get_total_macs()) == (FLOPS, MACS)
    loss.backward()
    model(x)
    prof.stop_profile()
    prof.stop_profile()
    model(x)
    assert (prof.get_total_flops(), prof.get_total_macs(), prof.get_total_params()) == (2 * FLOPS, 2 * MACS, PARAMS)
    assert prof.profile.where(phase="backward").total.macs > 0
    assert prof.get_total_flops(as_string=True) == f"{2 * FLOPS} "
    assert prof.get_total_macs(as_string=True) == f"{2 * MACS} MACs"
    assert prof.get_total_params(as_string=True) == f"{PARAMS}"
    assert prof.started
    prof.end_profile()
    prof.end_profile()
    assert not prof.started


def test_a_profiler_starts_again_from_zero():
    """By reset_profile(), which goes on counting, and by start_profile(), ended or not."""
    model, x = small(), torch.ones(5, 4)
    prof = FlopsProfiler(model)
    for _ in range(2):
        prof.start_profile()
        model(x)
        prof.reset_profile()
        assert (prof.get_total_macs(), prof.get_total_duration()) == (0, 0)
        model(x)
        assert prof.get_total_macs() == MACS
    prof.end_profile()
    prof.start_profile()
    model(x)
    assert prof.get_total_macs() == MACS
    prof.end_profile()


@pytest.mark.parametrize("ended", [False, True])
def test_a_profiler_without_figures_says_so(ended, capsys):
    """Before the start and after the end: errors also of the class that DeepSpeed's missing attributes raise."""
    prof = FlopsProfiler(small())
    if ended:
        prof.start_profile()
        prof.end_profile()
    for ask in (prof.get_total_flops, prof.get_total_macs, prof.get_total_params, prof.get_total_duration):
        for error in (OpflopsError, AttributeError):
            with pytest.raises(error, match="start_profile"):
                ask()
    prof.print_model_profile()
    assert capsys.readouterr().out == ""
    prof.print_model_aggregated_profile()
    assert "between start_profile() and end_profile()" in capsys.readouterr().out


def test_modules_of_a_profiled_model_can_be_asked():
    """While a profiler has figures of them."""
    model = small()
    prof = FlopsProfiler(model)
    prof.start_profile()
    model(torch.ones(5, 4))
    prof.stop_profile()
    assert (get_module_macs(model), get_module_flops(model[0]), get_module_flops(model[1])) == (MACS, 2 * 60 + 15, 15)
    assert get_module_duration(model[0]) > 0
    prof.end_profile()
    with pytest.raises(OpflopsError, match="Linear"):
        get_module_macs(model[0])


def test_a_shared_module_counts_once_for_each_call():
    """By each module that has it, all of its calls; in the total once. A module that is not called has nothing."""
    linear = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(
        nn.Sequential(linear), nn.Sequential(linear, linear), nn.ModuleDict({"spare": nn.Linear(4, 4)})
    )
    model[2].forward = lambda x: x
    prof = FlopsProfiler(model)
    prof.start_profile()
    model(torch.ones(2, 4))
    prof.stop_profile()
    assert (prof.get_total_macs(), prof.get_total_params()) == (3 * 2 * 4 * 4, 16 + 20)
    assert get_module_macs(model[0]) == get_module_macs(model[1]) == 3 * 2 * 4 * 4
    assert get_module_macs(model[2]) == 0
    prof.end_profile()


class Functional(nn.Module):
    """Work in functions, in a module made on the fly, and in a module inside."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)
        self.weight = nn.Parameter(torch.ones(3, 4))

    def forward(self, x):
        return linear(nn.ReLU()(self.inner(x)), self.weight) @ torch.ones(3, 3)


def test_ignored_classes_lose_their_own_work_only():
    """That of modules inside counts; parameters always do. DeepSpeed counts it for the module around."""
    x = torch.ones(2, 4)
    all_macs = 2 * 4 * 4 + 2 * 4 * 3 + 2 * 3 * 3
    assert profile_of(Functional(), x) == (2 * all_macs + 8, all_macs, 28)
    for ignored, macs, ops in ([nn.Linear], all_macs - 32, 8), ([Functional], 32, 0), ([nn.Module], all_macs, 8):
        figures = get_model_profile(
            Functional(), args=[x], ignore_modules=ignored, print_profile=False, as_string=False
        )
        assert figures == (2 * macs + ops, macs, 28)
    prof = FlopsProfiler(Functional())
    prof.start_profile(ignore_list={nn.Linear})
    prof.model(x)
    assert (get_module_macs(prof.model.inner), get_module_duration(prof.model.inner)) == (0, 0)
    prof.end_profile()


@pytest.mark.parametrize("grad", [True, False])
def test_fused_kernels_count_as_their_parts(grad):
    """Also without gradients, where PyTorch runs one kernel; by hand for two heads of two, three tokens, batch 2."""
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    tokens = 2 * 3
    products = tokens * 4 * 12 + 2 * (tokens * 3 * 4) + tokens * 4 * 4 + 2 * (tokens * 4 * 8)
    with torch.set_grad_enabled(grad):
        assert profile_of(layer, torch.ones(2, 3, 4))[1] == products
        attention = nn.MultiheadAttention(4, 2, batch_first=True)
        x = torch.ones(2, 3, 4)
        assert profile_of(attention, x, x, x)[1] == products - 2 * (tokens * 4 * 8)
        assert profile_of(nn.LSTM(10, 20), torch.ones(5, 3, 10))[1] == 36_000


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (nn.Conv2d(4, 8, 3, groups=2, bias=False), (2, 4, 9, 9), 2 * 49 * 8 * 2 * 9),
        (nn.Conv2d(4, 8, 3, dilation=3, bias=False), (2, 4, 9, 9), 2 * 9 * 8 * 4 * 9),
        (nn.Conv1d(4, 8, 4, padding="same", bias=False), (2, 4, 9), 2 * 9 * 8 * 4 * 4),
        (nn.ConvTranspose2d(4, 8, 3, stride=2, groups=4, bias=False), (2, 4, 5, 5), 2 * 25 * 4 * 2 * 9),
        (nn.Linear(4, 3, bias=False).bfloat16(), (2, 4), 24),
        (nn.Identity(), (2, 4), 0),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_convolutions_and_dtypes(model, shape, macs):
    """Groups, dilation, even kernels, transposed; half precision, and a model without parameters."""
    figures = get_model_profile(model, shape, print_profile=False, as_string=False)
    assert figures == (2 * macs, macs, sum(each.numel() for each in model.parameters()))


def test_recomputed_forwards_do_not_count():
    """Checkpointing runs a forward again inside the backward pass, which is not the forward pass."""
    inner = nn.Linear(4, 4, bias=False)

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False)

    prof = FlopsProfiler(Checkpointed())
    prof.start_profile()
    out = prof.model(torch.ones(2, 4))
    seconds = get_module_duration(inner)
    out.sum().backward()
    assert (prof.get_total_macs(), get_module_duration(inner)) == (32, seconds)
    prof.end_profile()


def test_time_is_that_of_the_model_without_counting():
    """At least what the model waits, and at most the whole time without what the mode measured of itself."""

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        def forward(self, x):
            time.sleep(0.02)
            return self.parts[1](self.parts[0](x))

    prof = FlopsProfiler(Slow())
    prof.start_profile()
    began = time.perf_counter()
    prof.model(torch.ones(2, 4))
    whole = time.perf_counter() - began
    assert isinstance(prof._mode, SelfTimingMode)
    assert prof._mode.own_seconds > 0
    assert 0.02 <= prof.get_total_duration() <= whole - prof._mode.own_seconds
    # A container that is not called has the time of those inside.
    parts = prof.model.parts
    assert get_module_duration(parts) == get_module_duration(parts[0]) + get_module_duration(parts[1]) < 0.02
    assert re.fullmatch(r"[\d.]+ m?s", prof.get_total_duration(as_string=True))
    prof.end_profile()


def test_a_module_that_calls_itself_is_timed_once():
    """Three waits of 20 ms, the outer ones with the inner ones inside: 60 ms, and no more than the whole took."""

    class Recursive(nn.Module):
        def forward(self, x, depth=2):
            time.sleep(0.02)
            return x if depth == 0 else self(x, depth - 1)

    prof, x = FlopsProfiler(Recursive()), torch.ones(2, 4)
    prof.start_profile()
    began = time.perf_counter()
    prof.model(x)
    assert 0.06 <= prof.get_total_duration() <= time.perf_counter() - began
    prof.end_profile()


def test_the_time_that_counting_takes_is_left_out(monkeypatch):
    """Here half a second for each operator that a module meets for the first time."""
    record = SelfTimingMode.record_first

    def record_slowly(*args):
        time.sleep(0.5)
        return record(*args)

    monkeypatch.setattr(SelfTimingMode, "record_first", record_slowly)
    prof = FlopsProfiler(nn.ReLU())
    prof.start_profile()
    prof.model(torch.ones(2, 4))
    assert 0 < prof.get_total_duration() < 0.5
    prof.end_profile()


REPORT = """
-------------------------- DeepSpeed Flops Profiler --------------------------
Profile Summary at step 1:
Notations:
...
params per GPU:                                                         23      \n\
params of model = params per GPU * mp_size:                             23      \n\
fwd MACs per GPU:                                                       90 MACs \n\
fwd flops per GPU:                                                      220     \n\
fwd flops of model = fwd flops per GPU * mp_size:                       220     \n\
fwd latency:                                                            (time)
fwd FLOPS per GPU = fwd flops per GPU / fwd latency:                    (rate)

----------------------------- Aggregated Profile per GPU -----------------------------
Top 1 modules in terms of params, MACs or fwd latency at different model depths:
depth 0:
    params      - {'Sequential': '23'}
    MACs        - {'Sequential': '90 MACs'}
    fwd latency - {'Sequential': '(time)'}
"""
DETAILS = """
------------------------------ Detailed Profile per GPU ------------------------------
...
Sequential(
  23 = 100% Params, 90 MACs = 100% MACs, (time) = 100% latency, (rate)
  (0): Linear(15 = 65.22% Params, 60 MACs = 66.67% MACs, (time) = (share) latency, (rate), \
in_features=4, out_features=3, bias=True)
  (1): ReLU(0 = 0% Params, 0 MACs = 0% MACs, (time) = (share) latency, (rate))
  (2): Linear(8 = 34.78% Params, 30 MACs = 33.33% MACs, (time) = (share) latency, (rate), \
in_features=3, out_features=2, bias=True)
)
"""
END = "------------------------------------------------------------------------------\n"


def masked(text):
    for pattern, mask in (
        (r"(Notations:\n|Profile per GPU -{30}\n).*?\n\n(?=params per|Sequential)", r"\1...\n"),
        (r" [\d.e+]+ [KMGT]?FLOPS *", " (rate)"),
        (r"(?<=[ '])[\d.e-]+ [mun]?s(?=$|'| ) *", "(time)"),
        (r"\(time\)= (?!100%)[\d.e-]+%", "(time) = (share)"),
        (r"\(time\)= ", "(time) = "),
    ):
        text = re.sub(pattern, mask, text, flags=re.DOTALL | re.MULTILINE)
    return text


def test_the_report_has_deepspeeds_lines(capsys):
    """Labels, columns, and the model as PyTorch prints it with the figures of each module first."""
    get_model_profile(small(), (5, 4))
    assert masked(capsys.readouterr().out) == REPORT + DETAILS + END
    get_model_profile(small(), (5, 4), detailed=False)
    assert masked(capsys.readouterr().out) == REPORT + END


def test_the_report_goes_to_a_file(tmp_path, capsys):
    """Its folder is made, and nothing is printed."""
    path = tmp_path / "reports" / "first.txt"
    get_model_profile(small(), (5, 4), output_file=str(path))
    assert masked(path.read_text(encoding="utf-8")) == REPORT + DETAILS + END
    assert capsys.readouterr().out == ""


def test_the_largest_classes_of_modules_are_added_up_by_depth(capsys):
    """Classes of equal names together, the largest first; all but the innermost level unless a depth is given."""
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4, bias=False), nn.Conv1d(1, 2, 1)), nn.Linear(3, 3))
    model.forward = lambda x: model[1](x[:, :3]) + model[0][0](x)[:, :3] + model[0][1](x[:, None])[:, 0, :3]
    prof = FlopsProfiler(model)
    prof.start_profile()
    model(torch.ones(2, 4))

    def printed(*arguments):
        prof.print_model_aggregated_profile(*arguments)
        return capsys.readouterr().out

    # 2*3*3 for the outer Linear; inside 2*4*4 and 2*2*4.
    inner = "depth 1:\n    params      - {'Sequential': '20', 'Linear': '12'}\n"
    inner += "    MACs        - {'Sequential': '48 MACs', 'Linear': '18 MACs'}\n"
    assert inner in printed(-1, 5)
    assert "depth 2" not in printed(-1, 5)
    assert "depth 2:\n    params      - {'Linear': '16'}\n    MACs        - {'Linear': '32 MACs'}" in printed(3, 1)
    assert printed(99, 1) == printed(3, 1)
    assert printed(0, 1) == printed()[: len(printed(0, 1))]
    assert "depth" not in printed(0, 1).partition("\n")[2]
    prof.end_profile()


def engine(**changes):
    timers = {"fwd": 4.0, "bwd": 8.0, "step": 2.0}
    return SimpleNamespace(
        **{
            "world_size": 8,
            "dp_world_size": 4,
            "seq_dp_world_size": 6,
            "mp_world_size": 2,
            "has_moe_layers": False,
            "train_micro_batch_size_per_gpu": lambda: 16,
            "wall_clock_breakdown": lambda: True,
            "timers": lambda name: SimpleNamespace(elapsed=lambda reset: timers[name]),
            **changes,
        }
    )


def engine_report(capsys, model, engine, **options):
    prof = FlopsProfiler(model, engine, **options)
    prof.start_profile()
    prof.model(torch.ones(5, 4))
    prof.print_model_profile(profile_step=7, detailed=False)
    prof.end_profile()
    assert (prof.macs, prof.flops, prof.params) == (MACS, FLOPS, sum(each.numel() for each in model.parameters()))
    text = capsys.readouterr().out
    assert "Profile Summary at step 7:" in text
    return {line[:72].rstrip(): line[72:].rstrip() for line in text.splitlines()}


def test_an_engine_adds_its_sizes_and_times(capsys):
    """4, 8 and 2 ms of forward, backward and step, a backward of two forwards and half a recomputed one."""
    lines = engine_report(capsys, small(), engine(), recompute_fwd_factor=0.5)
    assert (lines["world size:"], lines["data parallel size:"], lines["model parallel size:"]) == ("8", "4", "2")
    assert lines["batch size per GPU:"] == "16"
    assert lines["params of model = params per GPU * mp_size:"] == f"{2 * PARAMS}"
    assert lines["fwd flops of model = fwd flops per GPU * mp_size:"] == f"{2 * FLOPS}"
    assert (lines["fwd latency:"], lines["bwd latency:"], lines["step latency:"]) == ("4 ms", "8 ms", "2 ms")
    assert lines["iter latency:"] == "14 ms"
    assert lines["fwd FLOPS per GPU = fwd flops per GPU / fwd latency:"] == "55 KFLOPS"
    assert lines["bwd FLOPS per GPU = 2.5 * fwd flops per GPU / bwd latency:"] == "68.75 KFLOPS"
    assert lines["fwd+bwd FLOPS per GPU = 3.5 * fwd flops per GPU / (fwd+bwd latency):"] == "64.17 KFLOPS"
    assert lines["FLOPS per GPU = 3.5 * fwd flops per GPU / iter latency:"] == "55 KFLOPS"
    assert lines["samples/second:"] == f"{16 * 8 / 0.014:.2f}"


def test_an_engine_of_sequence_parallel_ranks_or_experts(capsys):
    """Sequence parallelism has no number of data-parallel ranks; experts are spread over four groups, and split."""
    model = small()
    for each in model[2].parameters():
        each.group_name = "ep_size_4"
    model[2].enable_expert_tensor_parallelism = True
    lines = engine_report(capsys, model, engine(dp_world_size=None, has_moe_layers=True))
    assert lines["data parallel size:"] == "6"
    assert lines["expert tensor parallelism enabled:"] == "1"
    assert lines["params per GPU:"] == f"{PARAMS}"
    assert lines["non-expert params of model:".rjust(30)] == f"{2 * 15}"
    assert lines["expert params of model:".rjust(26)] == f"{4 * 2 * 8}"
    assert lines["params of model:"] == f"{2 * 15 + 4 * 2 * 8}"


def test_what_is_not_counted_is_said_in_the_report(capsys):
    """An operator without a formula is warned about, and named in the report."""
    with torch.library._scoped_library("compat_deepspeed", "FRAGMENT") as library:
        library.define("odd(Tensor x) -> Tensor")
        library.impl("odd", torch.neg, "CPU")

        class Odd(nn.Module):
            def forward(self, x):
                return torch.ops.compat_deepspeed.odd(x)

        with pytest.warns(opflops.errors.UnpricedOpWarning):
            get_model_profile(Odd(), (5, 4))
    assert "compat_deepspeed.odd, 1 call, since it has no formula" in capsys.readouterr().out


def test_integers_count_as_other_numbers(capsys):
    """In the figures, in the table of modules and in the report, and nothing warns: 2*4*3 products, 2*3 sums."""

    class Whole(nn.Module):
        def forward(self, x):
            return torch.add(x @ torch.ones(4, 3, dtype=x.dtype), 1)

    x = torch.ones(2, 4, dtype=torch.int64)
    assert profile_of(Whole(), x) == profile_of(Whole(), x.float()) == profile_of(Whole(), x.to(torch.int8))
    assert profile_of(Whole(), x) == (2 * 24 + 6, 24, 0)
    get_model_profile(Whole(), args=[x])
    text = capsys.readouterr().out
    assert "fwd MACs per GPU:                                                       24 MACs" in text
    assert "Whole(0 = 0% Params, 24 MACs = 100% MACs" in text.replace("\n  ", "")


def test_a_compiled_model_is_profiled_without_a_warning(capsys):
    """It runs as it is written, and is printed as PyTorch prints it; no hooks are left."""
    model = torch.compile(small(), backend="eager")
    assert get_model_profile(model, (5, 4), warm_up=0, as_string=False) == (FLOPS, MACS, PARAMS)
    assert "OptimizedModule(\n  23 = 100% Params, 90 MACs = 100% MACs" in capsys.readouterr().out
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


def test_a_part_of_a_larger_model_can_be_profiled():
    """Its own figures, whoever calls it."""
    part = small()
    prof = FlopsProfiler(part)
    prof.start_profile()
    nn.Sequential(nn.Linear(4, 4), part, nn.Linear(2, 2))(torch.ones(5, 4))
    prof.stop_profile()
    assert (prof.get_total_flops(), prof.get_total_macs()) == (FLOPS, MACS)
    assert prof.get_total_duration() > 0
    prof.end_profile()


def test_a_model_is_printed_with_its_own_text_and_left_alone(capsys):
    """A module with an extra text of its own, on the object, keeps it, as does one that forbids attributes."""

    class Closed(nn.Linear):
        def __setattr__(self, name, value):
            if getattr(self, "closed", False):
                raise AttributeError(name)
            super().__setattr__(name, value)

        def train(self, mode=True):
            return self

    closed = Closed(4, 3)
    closed.closed = True
    model = nn.Sequential(closed, nn.ReLU())
    closed.__dict__["training"] = False
    extra = model[1].extra_repr = lambda: "mine"
    get_model_profile(model, (5, 4))
    text = capsys.readouterr().out
    assert re.search(r"\(1\): ReLU\(0 = 0% Params, .*FLOPS, mine\)", text)
    assert model[1].extra_repr is extra
    assert "extra_repr" not in vars(closed)


class Threaded(nn.Module):
    """Calls a module in another thread, and waits for it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        results = []
        thread = threading.Thread(target=lambda: results.append(self.linear(x)))
        thread.start()
        thread.join()
        return torch.relu(results[0])


@pytest.mark.parametrize("package", [deepspeed, calflops])
def test_modules_that_another_thread_calls_count(package, capsys):
    """In the figures and the report, without a warning: 2*4*3 products, 2*3 additions of a bias and 2*3 maxima."""
    function = package.get_model_profile if package is deepspeed else package.calculate_flops
    options = ["print_profile", "as_string"] if package is deepspeed else ["print_results", "output_as_string"]
    assert function(Threaded(), (2, 4), **dict.fromkeys(options, False)) == (2 * 24 + 6 + 6, 24, 15)
    function(Threaded(), (2, 4))
    assert "(linear): Linear(15 = 100% Params, 24 MACs = 100% MACs" in capsys.readouterr().out


def test_a_profiler_counts_and_times_a_model_that_another_thread_calls():
    """Also the part that a third thread calls; each wait is in the time of the module that waits."""
    model = nn.Sequential(Threaded(), nn.Linear(3, 2, bias=False))
    model[1].register_forward_pre_hook(lambda *_: time.sleep(0.02))
    prof = FlopsProfiler(model)
    prof.start_profile()
    thread = threading.Thread(target=model, args=(torch.ones(2, 4),))
    thread.start()
    thread.join()
    prof.stop_profile()
    assert (prof.get_total_macs(), get_module_macs(model[0].linear)) == (24 + 12, 24)
    assert prof.get_total_duration() >= get_module_duration(model[1]) >= 0.02
    assert get_module_duration(model[0].linear) > 0
    prof.end_profile()


# An outer mode that a fixture enters here would have to be left in the other thread.
@pytest.mark.no_outer_mode
@pytest.mark.parametrize("end", ["stop_profile", "end_profile", "reset_profile", "start_profile"])
def test_a_profiler_ends_in_another_thread(end):
    """What ran before counts, nothing after it in the thread that started, and both threads can count anew."""
    model, x, errors = small(), torch.ones(5, 4), []
    prof = FlopsProfiler(model)
    prof.start_profile()
    model(x)

    def run():
        try:
            getattr(prof, end)()
        except OpflopsError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not errors
    prof.stop_profile()
    model(x)
    if end == "stop_profile":
        assert prof.get_total_macs() == MACS
    prof.start_profile()
    model(x)
    assert prof.get_total_macs() == MACS
    prof.end_profile()
    with opflops.OpFlopMode() as mode:
        model(x)
    assert mode.total.macs == MACS


class Changing(nn.Linear):
    """Has another class after its first call."""

    def forward(self, x):
        out = super().forward(x)
        self.__class__ = nn.Linear
        return out


def change_parametrization(model):
    if nn.utils.parametrize.is_parametrized(model):
        nn.utils.parametrize.remove_parametrizations(model, "weight")
    else:
        nn.utils.parametrizations.weight_norm(model)


def weight_normed():
    return nn.utils.parametrizations.weight_norm(nn.Linear(5, 3, bias=False))


@pytest.mark.parametrize(
    ("make", "change", "macs"),
    [
        (lambda: nn.LazyLinear(3), None, 2 * 5 * 3),
        (lambda: nn.LazyConv1d(3, 2), None, 2 * 3 * 2 * 4),
        (lambda: Changing(5, 3), None, 2 * 5 * 3),
        (lambda: nn.Linear(5, 3), change_parametrization, 2 * 5 * 3),
        (weight_normed, change_parametrization, 2 * 5 * 3),
    ],
)
def test_a_model_whose_class_changes_keeps_its_figures(make, change, macs):
    """Lazy modules, an assignment to the class, and parametrizations that are added or removed before it is read."""
    x = torch.ones(2, 1, 5)
    x = x.mT.mT if isinstance(make(), nn.LazyConv1d) else x[:, 0]
    model = make()
    prof = FlopsProfiler(model)
    prof.start_profile()
    model(x)
    if change is not None:
        change(model)
    assert (prof.get_total_macs(), get_module_macs(model)) == (macs, macs)
    prof.stop_profile()
    assert (prof.get_total_macs(), get_module_macs(model)) == (macs, macs)
    prof.end_profile()
    assert get_model_profile(make(), args=[x], print_profile=False, as_string=False, warm_up=0)[1] == macs
    figures = calflops.calculate_flops(make(), args=[x], print_results=False, output_as_string=False)
    assert figures[1] == macs


def test_a_module_has_the_figures_of_the_profiler_that_started_last():
    """Of many, whether ended in between or not; when that has ended, of the one before."""
    model, x = small(), torch.ones(5, 4)
    profilers = [FlopsProfiler(model) for _ in range(12)]
    for calls, prof in enumerate(profilers, 1):
        prof.start_profile()
        for _ in range(calls):
            model(x)
        prof.stop_profile()
        assert get_module_macs(model) == calls * MACS
    profilers[3].start_profile()
    assert get_module_macs(model) == 0
    for prof in (profilers[3], *reversed(profilers[9:])):
        prof.end_profile()
    assert get_module_macs(model) == 9 * MACS


def test_one_tensor_of_arguments_is_its_rows():
    """As in model(*args): each row an argument."""
    model = Counting()
    assert get_model_profile(model, args=torch.ones(1, 4), print_profile=False, as_string=False) == (24 + 3, 12, 15)
    given = get_model_profile(model, args=torch.ones(1, 3, 4), print_profile=False)
    assert given == (f"{2 * 36 + 9} ", "36 MACs", "15")
    model.forward = lambda x, y: model.linear(x) * model.linear(y)
    figures = calflops.calculate_flops(model, args=torch.ones(2, 5, 4), print_results=False, output_as_string=False)
    assert figures == (2 * 120 + 2 * 15 + 15, 2 * 5 * 4 * 3, 15)
    model = Counting()
    with pytest.raises(OpflopsError, match="nothing to call"):
        get_model_profile(model, args=torch.ones(0, 4))


@pytest.mark.filterwarnings("error")
def test_a_compiled_form_of_the_model_runs_without_a_warning():
    """The profiler has the model inside, and the program calls what torch.compile made of it."""
    model, x = small(), torch.ones(5, 4)
    compiled = torch.compile(model, backend="eager")
    prof = FlopsProfiler(model)
    prof.start_profile()
    compiled(x)
    prof.stop_profile()
    assert (prof.get_total_macs(), get_module_macs(model[0])) == (MACS, 60)
    assert prof.get_total_duration() > 0
    prof.end_profile()


def test_a_copy_of_a_profiler_has_the_figures_so_far():
    """Of the copied model and its modules; it does not count, and the original goes on."""
    model, x = small(), torch.ones(5, 4)
    prof = FlopsProfiler(model)
    prof.start_profile()
    model(x)
    other = copy.deepcopy(prof)
    model(x)
    other.model(x)
    assert (prof.get_total_macs(), other.get_total_macs()) == (2 * MACS, MACS)
    assert (prof.func_patched, other.func_patched) == (True, False)
    assert get_module_macs(other.model[0]) == 60
    assert 0 < get_module_duration(other.model[2]) < other.get_total_duration() < prof.get_total_duration()
    prof.end_profile()
    assert not prof.func_patched
    assert other.get_total_macs() == MACS
    other.end_profile()


def test_a_profiler_says_whether_it_counts():
    """By the attribute that DeepSpeed has for its patches."""
    prof = FlopsProfiler(small())
    assert not prof.func_patched
    prof.start_profile()
    assert prof.func_patched
    prof.stop_profile()
    assert (prof.func_patched, prof.started) == (False, True)
    prof.end_profile()
