"""``Throughput``: rates of loops written by hand, against counts by hand."""

import contextlib
import copy
import enum
import gc
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from opflops import ArgumentError, Device, OpFlopMode, ProfileError, UsageWarning
from opflops.integrations import Throughput, rates, step_clock, step_hooks
from opflops.torch_internals.dispatch import dispatch_modes

MINE = Device("mine", {"float32": 1e9, "bfloat16": 4e9}, 1e9, source="made up")
WIDE, NARROW = 6, 5
PARAMETERS = WIDE * NARROW


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Let each step take as many seconds as its block asks for."""

    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(step_clock, "time", made)
    monkeypatch.setattr(step_clock, "accelerator_in_use", lambda: None)
    return made


def linear():
    return nn.Linear(WIDE, NARROW, bias=False)


def products(batch):
    """Forward, and the gradient of the weight: the inputs need none."""
    return 2 * (2 * batch * WIDE * NARROW)


def train_flops(batch):
    """Products, and the additions of the sum."""
    return products(batch) + batch * NARROW - 1


SGD_FLOPS = 2 * PARAMETERS  # times the learning rate, and minus


def backward(model, batch):
    model(torch.ones(batch, WIDE)).sum().backward()


def counted(function, *args):
    with OpFlopMode() as m:
        function(*args)
    return m.total.flops


def test_rates_times_seconds_are_the_counts_by_hand(clock):
    """The first step of each shape is counted and left out; a smaller last batch has its own count."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)
    batches = [8, 8, 8, 3, 8, 8, 8, 3]
    for batch in batches:
        with meter.step(tokens=7 * batch, samples=batch):
            backward(model, batch)
            optimizer.step()
            optimizer.zero_grad()
            clock.now += batch / 4
    timed = [8, 8, 8, 8, 8, 3]
    logged = meter.rates()
    assert (meter.window.steps, meter.window.seconds, meter.counted_steps) == (6, sum(timed) / 4, 2)
    assert meter.window.flops == sum(map(train_flops, timed)) + 6 * SGD_FLOPS
    assert logged == pytest.approx(
        {
            "flops_per_s": meter.window.flops / (sum(timed) / 4),
            "mfu": sum(map(products, timed)) / 1e9 / (sum(timed) / 4),
            "hfu": sum(map(products, timed)) / 1e9 / (sum(timed) / 4),
            "tokens_per_s": 28,
            "samples_per_s": 4,
        },
        rel=1e-12,
    )
    assert meter.rates() == {}, "a new window begins"


def test_the_mode_is_entered_in_steps_that_do_something_new_only(monkeypatch):
    """Two shapes make two blocks of the mode, and none of it is left."""
    entered = []
    enter = OpFlopMode.__enter__
    monkeypatch.setattr(OpFlopMode, "__enter__", lambda mode: (entered.append(mode), enter(mode))[1])
    model = linear()
    meter = Throughput(model, device=MINE)
    for batch in (2, 2, 4, 2, 4, 4):
        with meter.step():
            model(torch.ones(batch, WIDE))
    assert len(entered) == meter.counted_steps == 2
    assert dispatch_modes() == []


def test_an_optimizer_that_makes_its_state_in_the_first_step_is_counted_in_the_second_too():
    """Momentum takes two operations more for each parameter once it is there: times the momentum, plus the gradient."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    meter = Throughput(model, device=MINE)
    for _ in range(5):
        with meter.step():
            backward(model, 4)
            optimizer.step()
            optimizer.zero_grad()
    meter.rates()
    assert meter.window.steps == 3
    assert meter.window.flops == 3 * (train_flops(4) + SGD_FLOPS + 2 * PARAMETERS)


def test_an_optimizer_with_matmuls_in_its_step_adds_nothing_to_mfu():
    """Nor when counting begins in its step, as where it steps rarely."""

    class Matrix(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_((parameter.grad @ parameter.grad.T) @ parameter.grad)

    model = linear()
    optimizer = Matrix(model.parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)
    for index in range(8):
        with meter.step():
            backward(model, 4)
            if index in {2, 4, 6}:
                optimizer.step()
            model.zero_grad()
    meter.rates()
    # Counted are the first step, the second (which adds to gradients as far as the meter knows), the first step of the
    # optimizer, and the steps up to its next, for what comes between the backward pass and it.
    assert meter.counted_steps == 4
    steps = meter.window.steps
    in_optimizer = 2 * 2 * NARROW * NARROW * WIDE + PARAMETERS
    assert meter.window.flops == steps * train_flops(4) + in_optimizer
    assert meter.window.model_seconds == pytest.approx(steps * products(4) / 1e9)


def test_accumulated_batches_of_several_shapes_are_counted_once_each():
    """Whatever their order in a step: a batch whose backward has run does not change what the next costs.

    That a batch costs the same before the next one as before the optimizer's step is found out once, for all shapes.
    """
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)
    steps = [(2, 3), (3, 2), (2, 2), (3, 3), (3, 2, 2), (2, 3, 3, 2), (3, 3, 2), (4, 2), (2, 4), (2, 4, 2), (4, 4, 3)]
    for batches in steps:
        with meter.step():
            for batch in batches:
                backward(model, batch)
            optimizer.step()
            optimizer.zero_grad()
    meter.rates()
    timed = [each for index, each in enumerate(steps) if index not in {0, 1, 4, 5, 7, 8}]
    expected = sum(sum(map(train_flops, each)) + (len(each) - 1) * PARAMETERS + SGD_FLOPS for each in timed)
    assert (meter.window.steps, meter.window.flops) == (len(timed), expected)


def test_blocks_of_accumulated_batches_with_an_optimizer_in_every_third():
    """Each batch is a block of its own; gradients are added from the second on."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)
    for index in range(12):
        with meter.step():
            backward(model, 4)
            if index % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()
        if index == 5:
            meter.rates()
    meter.rates()
    assert meter.window.steps == 6
    assert meter.window.flops == 6 * train_flops(4) + 4 * PARAMETERS + 2 * SGD_FLOPS


@pytest.mark.parametrize("give_batch", [False, True])
@pytest.mark.parametrize("batches", [3, 20])
def test_gradients_that_are_clipped_before_an_optimizer_steps_now_and_then(give_batch, batches):
    """The norm and the scaling of gradients are work of the steps with an optimizer alone; few steps are counted."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)

    def step(index):
        backward(model, 4)
        if index % batches == batches - 1:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    for index in range(12 * batches):
        with meter.step(*[torch.ones(4, WIDE)] * give_batch):
            step(index)
        if index == 4 * batches - 1:
            meter.rates()
    meter.rates()
    model.zero_grad()
    assert meter.window.steps == 8 * batches
    assert meter.window.flops == 8 * sum(counted(step, index) for index in range(batches))


def test_a_step_that_ends_early_costs_what_it_does():
    """What comes after the only call of the model differs: another call, the optimizer, or nothing."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)

    def step(kind):
        loss = model(torch.ones(4, WIDE)).sum()
        if kind == "o":
            loss.backward()
        if kind == "b":
            model(torch.ones(4, WIDE)).sum().backward()
        if kind != "n":
            optimizer.step()
        optimizer.zero_grad()

    expected = {kind: counted(step, kind) for kind in "obn"}
    seen = set()
    for kind in 3 * "obn" + "nbo":
        with meter.step():
            step(kind)
        meter.rates()
        if meter.window.steps:
            seen.add(kind)
            assert (kind, meter.window.flops) == (kind, expected[kind])
    assert seen == {*expected}


def test_an_optimizer_that_does_not_step_at_first():
    """As with a scaler of gradients, whose first steps overflow: what comes after backward is not counted twice."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)
    for index in range(8):
        with meter.step():
            backward(model, 4)
            if index >= 3:
                optimizer.step()
            torch.ones(7) + torch.ones(7)
            optimizer.zero_grad()
    meter.rates()
    without, steps = 1, 2
    assert meter.window.steps == without + steps
    assert meter.window.flops == (without + steps) * (train_flops(4) + 7) + steps * SGD_FLOPS


@pytest.mark.parametrize("give_batch", [False, True])
def test_an_optimizer_whose_options_change(give_batch):
    """Weight decay takes two operations for each parameter, and parameters that are added take their own."""
    model = nn.Sequential(linear(), nn.Linear(NARROW, 3, bias=False))
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)
    flops = []
    for index in range(9):
        if index == 3:
            optimizer.param_groups[0]["weight_decay"] = 0.5
        if index == 6:
            optimizer.add_param_group({"params": [model[1].weight], "weight_decay": 0.0})
        optimizer.param_groups[0]["lr"] = 0.1 * index
        with meter.step(*[torch.ones(4, WIDE)] * give_batch):
            backward(model, 4)
            optimizer.step()
            model.zero_grad()
        meter.rates()
        flops.append(meter.window.flops)
    plain = flops[2]
    decay, added = 2 * PARAMETERS, 2 * NARROW * 3
    assert [flops[5], flops[8]] == [plain + decay, plain + decay + added]


def test_switches_among_the_arguments_of_a_model():
    """Members of an enumeration and dtypes are such as well as flags."""

    class Kind(enum.Enum):
        ONCE, TWICE = 1, 2

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(WIDE, WIDE, bias=False)

        def forward(self, x, kind, dtype=torch.float32):
            return self.layer(x if kind is Kind.ONCE else self.layer(x)).to(dtype) + 1

    meter = Throughput(Net(), device=MINE)
    (model,) = meter._models
    product, ones = 2 * 4 * WIDE * WIDE, 4 * WIDE
    for kind, dtype, expected in 3 * [(Kind.ONCE, torch.float32, product), (Kind.TWICE, torch.int32, 2 * product)]:
        with meter.step(), torch.no_grad():
            model(torch.ones(4, WIDE), kind, dtype=dtype)
        meter.rates()
        if meter.window.steps:
            assert meter.window.flops == expected + ones * (dtype is torch.float32)
    assert meter.counted_steps == 2


def test_what_is_known_at_the_end_of_a_step_alone_tells_steps_apart():
    """As a loop's own skipping of a batch, for which the integrations use it."""
    model = linear()
    meter = Throughput(model, device=MINE)
    flops = {True: [], False: []}
    for index in range(8):
        skips = index % 2 == 1
        meter.start_clock()
        meter.start_counting("equal inputs")
        total = model(torch.ones(4, WIDE)).sum()
        if not skips:
            total.backward()
        model.zero_grad()
        meter.stop_clock(meter.stop_counting(skips))
        meter.rates()
        if meter.window.steps:
            flops[skips].append(meter.window.flops)
    assert set(flops[False]) == {train_flops(4)}
    assert set(flops[True]) == {train_flops(4) - products(4) // 2}


def test_a_step_belongs_to_one_thread():
    """Another cannot end it, nor begin its own meanwhile; it then ends where it began, and leaves no mode."""
    model = linear()
    meter = Throughput(model, device=MINE)
    step = meter.step()
    step.__enter__()
    backward(model, 2)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ArgumentError, match=r"began in another thread\. End its block in that thread"):
            pool.submit(step.__exit__, None, None, None).result()
        with pytest.raises(ArgumentError, match=r"running already\..*Threads .* need a Throughput each"):
            pool.submit(meter.step().__enter__).result()
    step.__exit__(None, None, None)
    assert dispatch_modes() == []
    for _ in range(3):
        with meter.step():
            model.zero_grad()
            backward(model, 2)
    meter.rates()
    assert meter.window.flops == meter.window.steps * train_flops(2) > 0


def test_work_that_depends_on_which_optimizers_step_is_known_by_them():
    """The batch is given, and what follows the first optimizer's step is no call of a model that the meter has."""
    model, other = linear(), linear()
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, other)]
    meter = Throughput(device=MINE)
    x = torch.ones(4, WIDE)

    def part(net, optimizer):
        net(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    for index in range(12):
        with meter.step(x):
            part(model, optimizers[0])
            if index % 2:
                part(other, optimizers[1])
        if index == 5:
            meter.rates()
    meter.rates()
    assert (meter.window.steps, meter.window.flops) == (6, 9 * (train_flops(4) + SGD_FLOPS))


class Adversaries:
    """Two models in one step, of which one is called three times."""

    def __init__(self):
        self.generator, self.critic = nn.Linear(4, WIDE, bias=False), linear()
        self.optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (self.generator, self.critic)]

    def step(self, batch):
        fake = self.generator(torch.ones(batch, 4))
        (self.critic(torch.ones(batch, WIDE)).sum() - self.critic(fake.detach()).sum()).backward()
        self.optimizers[1].step()
        self.critic.zero_grad()
        self.critic(fake).sum().backward()
        self.optimizers[0].step()
        self.generator.zero_grad()
        self.critic.zero_grad()


@pytest.mark.parametrize("give_models", [True, False], ids=["models", "batch"])
def test_models_that_are_called_several_times_in_a_step(give_models):
    """Every timed step costs what a block around such a step counts."""
    pair = Adversaries()
    meter = Throughput(*([pair.generator, pair.critic] if give_models else []), device=MINE)
    batches = [3, 3, 5, 3, 5, 5]
    for batch in batches:
        with meter.step(*([] if give_models else [torch.ones(batch, 4)])):
            pair.step(batch)
    meter.rates()
    of = {batch: counted(pair.step, batch) for batch in (3, 5)}
    assert meter.window.steps == 4
    assert meter.window.flops == of[3] * 2 + of[5] * 2


def test_a_backward_pass_through_an_output_from_before_another_one():
    """What seemed to stand on its own is looked up by all that the step did before."""
    model = linear()

    def step():
        first = model(torch.ones(2, WIDE))
        backward(model, 3)
        backward(model, 3)
        (model(torch.ones(3, WIDE)).sum() + first.sum()).backward()
        model.zero_grad()

    meter = Throughput(model, device=MINE)
    for _ in range(6):
        with meter.step():
            step()
    meter.rates()
    assert meter.window.steps >= 2
    # Each of the four calls adds to the gradient as far as the meter knows, and the first of a step does not.
    assert meter.window.flops == meter.window.steps * counted(step)


def test_a_teacher_without_gradients_and_its_student():
    """The modes of gradients and of training are part of what a call is."""
    teacher, student = linear(), linear()

    def step(batch, grad):
        x = torch.ones(batch, WIDE)
        with contextlib.nullcontext() if grad else torch.no_grad():
            target = teacher(x)
        (student(x) - target).sum().backward()
        teacher.zero_grad()
        student.zero_grad()

    meter = Throughput(teacher, student, device=MINE)
    calls = [(2, False), (2, True), (2, False), (2, True)]
    for call in calls:
        with meter.step():
            step(*call)
    # Gradients were added as far as the meter knows, so that each was counted once more.
    meter.rates()
    for call in calls:
        with meter.step():
            step(*call)
    meter.rates()
    assert meter.window.steps == 4
    assert meter.window.flops == sum(counted(step, *call) for call in calls)


def test_autocast_moves_products_to_the_peak_of_their_dtype():
    """In bfloat16 the peak is four times as high here; the same shapes outside autocast are counted for themselves."""
    model = linear()
    meter = Throughput(model, device=MINE)
    for repetition in range(4):
        if repetition == 2:
            meter.rates()
        for enabled in (True, False):
            with meter.step():
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    loss = model(torch.ones(4, WIDE)).sum()
                loss.backward()
                model.zero_grad()
    meter.rates()
    assert meter.window.steps == 4
    assert meter.window.model_seconds == pytest.approx(2 * products(4) / 1e9 * (1 + 1 / 4))


def test_what_checkpointing_computes_again_is_in_hfu_alone():
    """A third of the products again: forward twice, backward once."""
    model = nn.Sequential(linear(), nn.ReLU())  # whose result the backward pass needs

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False).sum()

    outer = Checkpointed()
    meter = Throughput(outer, device=MINE)
    for _ in range(4):
        with meter.step():
            outer(torch.ones(4, WIDE)).backward()
            model.zero_grad()
    meter.rates()
    assert meter.window.steps == 2
    assert meter.window.model_seconds == pytest.approx(2 * products(4) / 1e9)
    assert meter.window.hardware_seconds == pytest.approx(1.5 * meter.window.model_seconds)


class Net(nn.Module):
    """Be a module that the compiler compiles as it is."""

    def __init__(self):
        super().__init__()
        self.layer = linear()

    def forward(self, x):
        return self.layer(x)


class Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


COMPILED = {
    "the compiled model": lambda model, **how: (torch.compile(model, **how),) * 2,
    "the model inside": lambda model, **how: (torch.compile(model, **how), model),
    "the model inside a compiled wrapper": lambda model, **how: (torch.compile(Wrapper(model), **how), model),
    "compiled in place": lambda model, **how: (model.compile(**how), (model,) * 2)[1],
}


@pytest.mark.parametrize("how", COMPILED)
def test_compiled_models_stay_compiled(how):
    """The counted steps run in eager mode, all others the graphs, of which there are as many as without a meter."""
    torch.compiler.reset()
    runs = []

    def backend(graph, inputs):
        def run(*args):
            runs.append(graph)
            return graph(*args)

        return run

    called, given = COMPILED[how](Net(), backend=backend, fullgraph=True, dynamic=False)
    meter = Throughput(given, device=MINE)
    batches = [2, 2, 4, 4, 2, 4]
    for batch in batches:
        with meter.step():
            backward(called, batch)
        called.zero_grad()
    meter.rates()
    assert meter.window.steps == len(runs)
    assert len({id(each) for each in runs}) == 2
    backwards = {2: train_flops(2), 4: train_flops(4)}
    assert meter.window.flops == sum(backwards[batch] for batch in [2, 4, 2, 4][-meter.window.steps :])
    assert meter.window.steps == 3  # of the first shape two: gradients were added as far as the meter knows
    torch.compiler.reset()


def test_a_compiled_function_that_calls_the_model_is_explained():
    """Its steps are left out with one sentence, and counted if the batch is given."""
    torch.compiler.reset()
    model = Net()
    compiled = torch.compile(lambda x: model(x), backend="eager")
    meter = Throughput(model, device=MINE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UsageWarning)
        for _ in range(3):
            with meter.step():
                compiled(torch.ones(2, WIDE))
    assert len(caught) == 1
    assert "give the compiled model, as in Throughput(torch.compile(model)), or the batch" in str(caught[0].message)
    assert meter.rates() == {}
    for _ in range(3):
        x = torch.ones(2, WIDE)
        with meter.step(x):
            compiled(x)
    meter.rates()
    assert (meter.window.steps, meter.window.flops) == (2, 2 * products(2) // 2)
    torch.compiler.reset()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, StopIteration])
@pytest.mark.parametrize("where", ["forward", "backward", "optimizer"])
def test_no_mode_is_left_behind_when_a_step_raises(error, where):
    """In a counted step and in one that is not; the step is in no rate, and later ones are as before."""
    model, fails = linear(), []

    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            if "forward" in fails:
                raise error
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            if "backward" in fails:
                raise error
            return gradient

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: raise_if("optimizer" in fails))

    def raise_if(condition):
        if condition:
            raise error

    meter = Throughput(model, device=MINE)

    def step():
        with meter.step(tokens=1):
            Failing.apply(model(torch.ones(2, WIDE))).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    for times in (1, 3):
        fails.append(where)
        with pytest.raises(error):
            step()
        assert dispatch_modes() == []
        fails.clear()
        optimizer.zero_grad()
        for _ in range(times):
            step()
    meter.rates()
    assert meter.window.steps == 3
    assert meter.window.flops == meter.window.steps * (train_flops(2) + SGD_FLOPS)


def test_validation_between_steps_is_neither_work_nor_time(clock):
    """What is called outside the block has other shapes, and takes long."""
    model = linear()
    meter = Throughput(model, device=MINE)
    for _ in range(4):
        with meter.step(samples=2):
            model(torch.ones(2, WIDE))
            clock.now += 1
        with torch.no_grad():
            model(torch.ones(9, WIDE))
        clock.now += 50
    logged = meter.rates()
    assert meter.counted_steps == 1
    assert logged["samples_per_s"] == 2
    assert logged["flops_per_s"] == products(2) / 2


def test_freezing_parameters_changes_what_a_step_costs():
    """The shapes are the same: without the first layer's gradients there are four of six products."""
    model = nn.Sequential(nn.Linear(WIDE, 4, bias=False), nn.Linear(4, NARROW, bias=False))
    meter = Throughput(model, device=MINE)
    seconds = []
    for frozen in (False, True, False):
        model[0].requires_grad_(not frozen)
        for _ in range(4):
            with meter.step():
                backward(model, 2)
            model.zero_grad()
        meter.rates()
        seconds.append(meter.window.model_seconds * 1e9 / meter.window.steps)
    first, second = 2 * 2 * WIDE * 4, 2 * 2 * 4 * NARROW
    full, part = 2 * first + 3 * second, first + 2 * second
    assert seconds == pytest.approx([full, part, full])


def test_freezing_parameters_inside_a_step_changes_what_it_costs():
    """As by loops that freeze a network in the middle of a step; in each, the state at its beginning is the same."""
    model = nn.Sequential(nn.Linear(WIDE, 4, bias=False), nn.Linear(4, NARROW, bias=False))
    meter = Throughput(model, device=MINE)
    seconds = []
    for index in range(9):
        with meter.step():
            model[0].requires_grad_(index % 3 == 0)
            backward(model, 2)
            model[0].requires_grad_(True)
        model.zero_grad()
        meter.rates()
        if meter.window.steps:
            seconds.append((index % 3 == 0, meter.window.model_seconds * 1e9))
    first, second = 2 * 2 * WIDE * 4, 2 * 2 * 4 * NARROW
    full, part = 2 * first + 3 * second, first + 2 * second
    assert {each for each, _ in seconds} == {False, True}
    assert [each for _, each in seconds] == pytest.approx([full if is_full else part for is_full, _ in seconds])


def test_tokens_and_samples_that_are_not_known_are_left_out(clock):
    """One step without them is enough; a tensor is added up without being read."""
    model = linear()
    meter = Throughput(model, device=MINE)
    for samples in (1, 1, None, 1):
        with meter.step(tokens=torch.tensor([[1, 0], [1, 1]]).sum(), samples=samples):
            model(torch.ones(2, WIDE))
            clock.now += 2
    logged = meter.rates()
    assert "samples_per_s" not in logged
    assert logged["tokens_per_s"] == 1.5


def test_utilization_is_left_out_with_one_sentence_where_the_peaks_are_not_known(clock):
    """Not zero; the other rates are there."""
    model = linear()
    meter = Throughput(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UsageWarning)
        for _ in range(3):
            with meter.step():
                model(torch.ones(2, WIDE))
                clock.now += 1
        logged = [meter.rates(), meter.rates()][0]
    assert set(logged) == {"flops_per_s"}
    assert [str(each.message).partition(". ")[0] for each in caught] == [
        "mfu and hfu are left out, since the peak of this device is not known"
    ]


def test_a_device_without_a_peak_for_the_dtype_is_explained(clock):
    """The sentence names the dtype."""
    model = linear()
    meter = Throughput(model, device=Device("halves", {"float16": 1e12}, 1e9))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UsageWarning)
        for _ in range(3):
            with meter.step():
                model(torch.ones(2, WIDE))
                clock.now += 1
    assert "mfu" not in meter.rates()
    assert len(caught) == 1
    assert "float32" in str(caught[0].message)


def test_wrong_arguments_are_explained():
    """Each says what to type."""
    with pytest.raises(ArgumentError, match=r"device='h100-sxm'"):
        Throughput("h100-sxm")
    with pytest.raises(ProfileError, match="no figures"):
        Throughput(linear(), device="h1000")
    with pytest.raises(ArgumentError, match=r"meter\.step\(batch\)"):
        Throughput(device=MINE).step()
    meter = Throughput(linear(), device=MINE)
    with pytest.raises(ArgumentError, match="tokens must be a number"):
        meter.step(tokens="12")
    with pytest.raises(ArgumentError, match=r"samples must be one number, .* not a Tensor of shape \(2,\)"):
        meter.step(samples=torch.ones(2))
    with meter.step(torch.ones(2)):
        torch.ones(2) + 1
        with pytest.raises(ArgumentError, match="running already"), meter.step():
            pass
    assert dispatch_modes() == []


def test_many_kinds_of_steps_are_pointed_out():
    """Where each step has another shape, counting never ends."""
    meter = Throughput(device=MINE)

    def steps():
        for length in range(102):
            with meter.step(torch.ones(length)):
                torch.ones(2) + 1

    with pytest.warns(UsageWarning, match="101 steps so far"):
        steps()


def test_a_step_without_arithmetic_is_pointed_out():
    """As where a CUDA graph is replayed: zero is no rate."""
    meter = Throughput(device=MINE)
    with pytest.warns(UsageWarning, match="CUDA graph"), meter.step(torch.ones(2)):
        pass


@pytest.mark.parametrize("make", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))], ids=["copy", "pickle"])  # noqa: S301 - its own
def test_a_copy_counts_for_itself(make):
    """Its models are copies too; what was counted stays behind."""
    model = linear()
    meter = Throughput(model, device=MINE)
    with meter.step():
        model(torch.ones(2, WIDE))
    made = make(meter)
    assert made.counted_steps == 0
    twin = made._models[0]
    assert twin is not model
    for _ in range(3):
        with made.step():
            twin(torch.ones(2, WIDE))
    made.rates()
    assert made.window.flops == 2 * products(2) // 2
    assert meter.counted_steps == 1


@pytest.mark.parametrize("end", ["close", "del"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_meter_that_is_closed_or_gone_leaves_no_hook(end, compiled):
    """Neither on the model nor in its compiled call."""
    model = linear()
    if compiled:
        model.compile(backend="eager")
    before = model._compiled_call_impl

    def measure():
        meter = Throughput(model, device=MINE)
        with meter.step(), torch.no_grad():
            model(torch.ones(2, WIDE))
        return meter

    meter = measure()
    if end == "close":
        meter.close()
    else:
        del meter
        gc.collect()
    assert not model._forward_pre_hooks
    assert model._compiled_call_impl is before


def test_the_last_meter_that_is_closed_leaves_no_hook_of_optimizers():
    """Neither that of all optimizers nor those of the one that stepped; before, another meter still sees it."""
    for meter in [*step_hooks._followers, Throughput(linear(), device=MINE)]:
        meter.close()
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    hooks = sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks
    before = len(hooks)
    first, second = Throughput(model, device=MINE), Throughput(model, device=MINE)
    for _ in range(2):
        with second.step():
            model(torch.ones(2, WIDE)).sum().backward()
            optimizer.step()
        assert len(hooks) == before + 1
        assert len(optimizer._optimizer_step_pre_hooks) == 1
        first.close()
    second.close()
    assert len(hooks) == before
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize(
    "batch",
    [
        {"x": torch.ones(2, 3), "meta": {"path": "a"}},
        [torch.ones(2, 3), ["a", "b"], 5],
        (torch.ones(2, 3), [torch.ones(2), torch.ones(3)]),
        nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)]),
        torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged),
    ],
    ids=["dict", "list", "tuple", "packed", "nested"],
)
def test_batches_in_nested_containers(batch):
    """Equal shapes are counted once, and others again."""
    meter = Throughput(device=MINE)
    for _ in range(3):
        with meter.step(copy.deepcopy(batch)):
            torch.ones(2) + 1
    assert meter.counted_steps == 1
    with meter.step([copy.deepcopy(batch), torch.ones(1)]):
        torch.ones(2) + 1
    assert meter.counted_steps == 2


def test_lengths_inside_packed_and_nested_tensors_count():
    """The total length is the same, and attention would not be."""
    sizes = [(3, 3), (4, 2)]
    packed = [nn.utils.rnn.pack_sequence([torch.ones(each, 2) for each in pair]) for pair in sizes]
    nested = [torch.nested.nested_tensor([torch.ones(each, 2) for each in pair], layout=torch.jagged) for pair in sizes]
    for batches in (packed, nested):
        meter = Throughput(device=MINE)
        for batch in batches:
            with meter.step(batch):
                torch.ones(2) + 1
        assert meter.counted_steps == 2


@pytest.mark.counts_calls
def test_a_step_that_is_known_makes_few_calls():
    """Python calls of the meter in a step; a loop of ten milliseconds has room for a thousand."""
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Throughput(model, device=MINE)
    x = torch.ones(2, WIDE)

    def step():
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    def measured():
        with meter.step(tokens=2, samples=2):
            step()

    for _ in range(3):
        measured()

    def calls(function):
        seen = []
        sys.setprofile(lambda _frame, event, _arg: seen.append(event) if event in {"call", "c_call"} else None)
        try:
            function()
        finally:
            sys.setprofile(None)
        return len(seen)

    assert calls(measured) - calls(step) < 160


class Event:
    """Stand for an event of an accelerator whose clock runs ahead by what the program queued."""

    queue, waits = 0.0, 0

    def __init__(self, device, enable_timing):
        self.time = None

    def record(self):
        self.time = Event.queue

    def query(self):
        return True

    def synchronize(self):
        Event.waits += 1

    def elapsed_time(self, end):
        return 1e3 * (end.time - self.time)


def test_an_accelerator_is_timed_by_its_own_clock_and_waited_for_once(monkeypatch, clock):
    """The program runs ahead: steps take no time of its own, and three seconds each on the accelerator."""
    monkeypatch.setattr(step_clock, "accelerator_in_use", lambda: "stand-in")
    monkeypatch.setattr(step_clock.torch, "Event", Event)
    Event.waits = 0
    meter = Throughput(device=MINE)
    for _ in range(600):
        with meter.step(torch.ones(2), samples=6):
            torch.ones(2) + 1
            Event.queue += 3
        Event.queue += 5
    assert Event.waits == 0
    assert meter.rates()["samples_per_s"] == 2
    assert Event.waits == 1
    assert meter.window.seconds == 3 * 599


def test_the_package_imports_no_framework():
    """Neither PyTorch nor the loops' own packages; the callbacks say what to install."""
    code = """
import sys
import opflops.integrations
assert not {"torch", "lightning", "pytorch_lightning", "transformers"} & set(sys.modules)
opflops.integrations.Throughput
assert not {"lightning", "pytorch_lightning", "transformers"} & set(sys.modules)
for name in ("lightning", "pytorch_lightning", "transformers"):
    sys.modules[name] = None
for name in ("lightning", "huggingface"):
    try:
        getattr(opflops.integrations, name)
    except opflops.MissingExtraError as error:
        assert f"pip install 'opflops[{name}]'" in str(error), error
    else:
        raise SystemExit(f"{name} imports")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


PROCESSES = """
import os, sys, torch
from torch import distributed, multiprocessing, nn
from opflops import Device
from opflops.integrations import Throughput, step_clock

class Clock:
    now = 0.0
    def perf_counter(self):
        return self.now

def run(rank, file):
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    clock = step_clock.time = Clock()
    model = nn.parallel.DistributedDataParallel(nn.Linear(6, 5, bias=False))
    meter = Throughput(model, device=Device("mine", {"float32": 1e9}, 1e9))
    for _ in range(4):
        with meter.step(tokens=10):
            model(torch.ones(2, 6)).sum().backward()
            clock.now += 1 + rank
        model.zero_grad()
    rates = meter.rates()
    # 240 FLOPs of products a step, in one second and in two.
    assert abs(rates["mfu"] - (240e-9 + 120e-9) / 2) < 1e-15, rates
    assert rates["tokens_per_s"] == 7.5, rates
    # A process that has no rates in a window takes part.
    if rank:
        for _ in range(2):
            with meter.step(tokens=10):
                with torch.no_grad():
                    model(torch.ones(2, 6))
                clock.now += 4
    rates = meter.rates()
    assert rates.get("tokens_per_s") == 2.5, rates
    assert bool(meter.rates(all_ranks=False)) is False
    distributed.barrier()
    # At an ordinary exit gloo's threads may end the process with an error.
    os._exit(0)

if __name__ == "__main__":
    multiprocessing.spawn(run, (sys.argv[1],), nprocs=2)
"""


def test_the_mean_is_over_the_processes_that_have_a_rate(monkeypatch):
    """One small sum over the processes, in which each rate comes with how many have it."""
    monkeypatch.setattr(rates.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(rates.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(rates.distributed, "get_backend", lambda: "gloo")
    others = {"flops_per_s": (5e15, 2), "tokens_per_s": (0.0, 0), "mfu": (0.25, 1)}
    calls = []

    def all_reduce(sums):
        calls.append(sums)
        sums += torch.tensor([others.get(name, (0, 0)) for name in rates.NAMES], dtype=sums.dtype)

    monkeypatch.setattr(rates.distributed, "all_reduce", all_reduce)
    mean = rates.mean_over_ranks({"flops_per_s": 1e15 + 3, "tokens_per_s": 4.0})
    assert mean == {"flops_per_s": (6e15 + 3) / 3, "mfu": 0.25, "tokens_per_s": 4.0}
    assert len(calls) == 1


@pytest.mark.exhaustive
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_each_process_has_its_own_rates_and_logs_their_mean(tmp_path):
    """Two processes of DDP, of which one takes twice as long."""
    (tmp_path / "program.py").write_text(PROCESSES)
    subprocess.run([sys.executable, tmp_path / "program.py", tmp_path / "rendezvous"], check=True, timeout=300)
