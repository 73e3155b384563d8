"""Optimizer steps that schedulers, libraries and programs wrap: same phases, same results, nothing left behind."""

import copy
import functools
import pickle
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, AdamW, lr_scheduler

from opflops import OpFlopMode

X = torch.ones(2, 4)
# Of one forward: a product of (2, 4) and (4, 4), eight biases, eight products and seven sums of the loss.
FORWARD = 2 * 32 + 8 + 8 + 7


class Plain:
    """Make steps as a simple program does."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self, *closure):
        return self.optimizer.step(*closure)


class Scaled(Plain):
    """Make steps with a scaler of gradients; it takes closures only while it is turned off."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.scalers = [torch.amp.GradScaler("cpu", enabled=enabled) for enabled in (True, False)]
        self.scalers[0].scale(X)  # makes the scale

    def step(self, *closure):
        scaler = self.scalers[len(closure)]
        result = scaler.step(self.optimizer, *closure)
        scaler.update()
        return result


class Accelerated(torch.optim.Optimizer):
    """Wrap an optimizer as accelerate does: as an optimizer that PyTorch did not prepare, and with a patched step."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self, *closure):
        bound = self.optimizer.step
        self.optimizer.step = lambda *args: bound(*args)
        try:
            return self.optimizer.step(*closure)
        finally:
            self.optimizer.step = bound


class Training:
    """Hold a model, an optimizer and one closure of each kind."""

    def __init__(self, make):
        torch.manual_seed(0)
        self.net = nn.Linear(4, 4)
        self.optimizer = make(self.net.parameters())
        self.calls = 0

    def closure(self, scale=1.0):
        self.calls += 1
        self.net.zero_grad()
        loss = (self.net(X) * scale).sum()
        loss.backward()
        return loss

    def __call__(self):
        return self.closure()

    def closures(self):
        return {
            "function": lambda: self.closure(),
            "partial": functools.partial(self.closure, scale=1.0),
            "object": self,
            "method": self.closure,
        }


MAKERS = {
    "SGD": lambda parameters: SGD(parameters, 0.1),
    "SGD, not foreach": lambda parameters: SGD(parameters, 0.1, momentum=0.9, foreach=False),
    "AdamW": lambda parameters: AdamW(parameters, foreach=True),
    "Adagrad": lambda parameters: Adagrad(parameters, 0.1),
    "LBFGS": lambda parameters: torch.optim.LBFGS(parameters, lr=0.01, max_iter=3),
}


def phases(training, mode):
    """Return the flops and transcendentals of each phase, with those of forwards divided by their number."""
    found = {phase: (cost.flops, cost.transcendentals) for phase, cost in mode.profile.by("phase").items()}
    (forward, none), number = found.pop("forward"), training.calls
    assert none == 0
    assert forward % number == 0
    return {**found, "forward": forward // number}


@functools.cache
def reference(name):
    """Count a step without anything around it; what the step does is what the total has beside its closure."""
    training = Training(MAKERS[name])
    with OpFlopMode() as mode:
        if name == "LBFGS":
            training.optimizer.step(lambda: training.closure())
        else:
            training.closure()
            training.optimizer.step()
    return phases(training, mode)


@pytest.mark.parametrize("kind", ["none", "function", "partial", "object", "method"])
@pytest.mark.parametrize("scheduler", ["none", "before", "inside"])
@pytest.mark.parametrize("name", MAKERS)
def test_phases_do_not_depend_on_what_wraps_a_step(name, scheduler, kind):
    """A scheduler made before the block or inside, a closure of any kind, a scaler, a library's wrapper."""
    if name == "LBFGS" and kind == "none":
        return
    for wrapper in (Plain, Scaled, Accelerated):
        training = Training(MAKERS[name])
        if scheduler == "before":
            lr_scheduler.StepLR(training.optimizer, 1)
        wrapped = wrapper(training.optimizer)
        with OpFlopMode() as mode:
            if scheduler == "inside":
                lr_scheduler.StepLR(training.optimizer, 1)
            if kind == "none":
                training.closure()
                wrapped.step()
            else:
                wrapped.step(training.closures()[kind])
        found, expected = phases(training, mode), reference(name)
        if wrapper is Scaled and kind == "none":
            # Unscaling and the scaler's own arithmetic come on top.
            assert found.pop("optimizer") > expected["optimizer"]
            assert found == {"forward": FORWARD, "backward": expected["backward"]}
        else:
            assert found["forward"] == FORWARD
            assert found == expected


def test_the_step_of_adamw_is_the_arithmetic_of_adamw():
    """By hand: 13 operations and a square root for each of 20 parameters, and a counter for each of two tensors.

    A parameter takes a decay (1), the averages of its gradient (3) and of the square (1 + 3), the square root with its
    correction (1) and epsilon (1), and the update (3).
    """
    training = Training(MAKERS["AdamW"])
    scheduler = lr_scheduler.LambdaLR(training.optimizer, lambda _: 1.0)
    with OpFlopMode() as mode:
        for _ in range(3):
            training.closure()
            training.optimizer.step()
            scheduler.step()
    by = mode.profile.by("phase")
    assert by["forward"].flops == 3 * FORWARD
    assert by["optimizer"].transcendentals == 3 * 20
    assert by["optimizer"].flops == 3 * (13 * 20 + 2)


@pytest.mark.parametrize("scheduler", ["none", "before", "inside"])
@pytest.mark.parametrize("where", ["closure", "step", "pre-hook", "post-hook"])
def test_after_a_step_that_raises_work_is_forward(scheduler, where):
    """Wherever it is raised, and whoever bound the step."""

    class Failing(SGD):
        def step(self, closure=None):
            super().step(closure)
            if where == "step":
                raise ValueError("stop")

    def fail(*_):
        raise ValueError("stop")

    optimizer = Failing([nn.Parameter(X)], lr=0.1)
    if where == "pre-hook":
        optimizer.register_step_pre_hook(fail)
    if where == "post-hook":
        optimizer.register_step_post_hook(fail)
    if scheduler == "before":
        lr_scheduler.StepLR(optimizer, 1)
    with OpFlopMode() as outer, OpFlopMode() as inner:
        if scheduler == "inside":
            lr_scheduler.StepLR(optimizer, 1)
        with pytest.raises(ValueError, match="stop"):
            optimizer.step(fail if where == "closure" else None)
        X.exp()
    for mode in (outer, inner):
        assert {phase: cost.transcendentals for phase, cost in mode.profile.by("phase").items()} == {"forward": 8}


@pytest.mark.parametrize("made", ["before", "inside"])
def test_nothing_stays_on_an_optimizer(made):
    """Its class, its attributes and what a scheduler bound are as a block had never been."""

    def attributes(count):
        training = Training(MAKERS["SGD"])
        if made == "before":
            scheduler = lr_scheduler.StepLR(training.optimizer, 1)
        with count():
            if made == "inside":
                scheduler = lr_scheduler.StepLR(training.optimizer, 1)
            training.closure()
            training.optimizer.step()
            scheduler.step()
            copied = copy.deepcopy(training.optimizer)
        step = training.optimizer.step
        assert step.__wrapped__ is SGD.step
        functions = [cell.cell_contents for cell in step.__closure__ if callable(cell.cell_contents)]
        assert SGD.step in functions
        assert SGD.step.__wrapped__.__module__ == "torch.optim.sgd"
        assert SGD.step.__code__.co_filename == sys.modules["torch.optim.optimizer"].__file__
        pickle.loads(pickle.dumps(training.optimizer)).step()  # noqa: S301 - what was written on this line
        copied.step()
        return sorted(vars(training.optimizer)), training.optimizer.state_dict()

    # Meters of training loops have hooks of their own.
    hooks = sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks
    step, before = SGD.step, dict(hooks)
    with_mode = attributes(OpFlopMode)
    assert SGD.step is step
    assert str(with_mode) == str(attributes(warnings.catch_warnings))
    assert hooks == before


@pytest.mark.parametrize("kind", ["function", "partial", "object", "method"])
@pytest.mark.parametrize("name", MAKERS)
def test_results_are_the_same_as_without_counting(name, kind):
    """Parameters, losses and the number of calls, bit by bit."""

    def train(count):
        training = Training(MAKERS[name])
        lr_scheduler.StepLR(training.optimizer, 1)
        with count():
            losses = [training.optimizer.step(training.closures()[kind]) for _ in range(3)]
        return [*losses, *training.net.parameters()], training.calls

    (plain, calls), (counted, counted_calls) = train(warnings.catch_warnings), train(OpFlopMode)
    assert calls == counted_calls
    assert all(torch.equal(one, other) for one, other in zip(plain, counted, strict=True))


@pytest.mark.parametrize("order", ["step", "scheduler", "replaced"])
@pytest.mark.parametrize("made", ["before", "inside"])
def test_schedulers_warn_as_without_counting(order, made):
    """Of their step before the optimizer's, and of a step that was replaced."""

    def messages(count):
        training = Training(MAKERS["SGD"])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scheduler = lr_scheduler.StepLR(training.optimizer, 1) if made == "before" else None
            with count():
                scheduler = scheduler or lr_scheduler.StepLR(training.optimizer, 1)
                training.closure()
                if order == "replaced":
                    training.optimizer.step = functools.partial(SGD.step, training.optimizer)
                if order != "scheduler":
                    training.optimizer.step()
                scheduler.step()
        return [str(each.message) for each in caught]

    assert messages(OpFlopMode) == messages(warnings.catch_warnings)
    assert bool(messages(OpFlopMode)) == (order != "step")


def test_a_step_that_was_bound_before_the_block_is_optimizer_work():
    """By the program itself, as ``step = optimizer.step`` or by its class."""
    for bind in (lambda optimizer: optimizer.step, lambda optimizer: functools.partial(SGD.step, optimizer)):
        training = Training(MAKERS["SGD"])
        step = bind(training.optimizer)
        with OpFlopMode() as mode:
            training.closure()
            step()
        assert phases(training, mode) == reference("SGD")


def test_hooks_of_a_step_are_optimizer_work():
    """They run inside it; what a forward in them does is still forward."""
    net = nn.Linear(4, 4)
    optimizer = SGD([nn.Parameter(X)], lr=0.1)

    def before(*_):
        X.exp()

    def after(*_):
        net(X)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    with OpFlopMode() as mode:
        optimizer.step()
    by = mode.profile.by("module", "phase")
    assert by["", "optimizer"].transcendentals == 8
    assert by["Linear", "forward"].macs == 32


def test_a_step_inside_a_step_leaves_the_outer_phase_alone():
    """An optimizer that calls another one with its closure, and works before and after."""

    class Lookahead(torch.optim.Optimizer):
        def __init__(self, inner):
            super().__init__(inner.param_groups, {})
            self.inner = inner

        def step(self, closure=None):
            X.exp()
            loss = self.inner.step(closure)
            X.exp()
            return loss

    training = Training(MAKERS["SGD"])
    outer = Lookahead(training.optimizer)
    lr_scheduler.StepLR(outer, 1)
    with OpFlopMode() as mode:
        outer.step(functools.partial(training.closure))
        X.exp()
    by = mode.profile.by("phase")
    assert by["optimizer"].transcendentals == 2 * 8
    assert by["forward"].transcendentals == 8
    assert by["forward"].flops == FORWARD
    assert by["optimizer"].flops == reference("SGD")["optimizer"][0]


def test_blocks_inside_a_closure_and_across_a_step_count_what_they_hold():
    """A block that begins and ends in a closure, and one that ends there."""
    training = Training(MAKERS["SGD"])
    lr_scheduler.StepLR(training.optimizer, 1)
    blocks = [OpFlopMode(), OpFlopMode()]

    def closure():
        with blocks[0]:
            loss = training.closure()
        blocks[1].__exit__(None, None, None)
        return loss

    with OpFlopMode() as outer:
        blocks[1].__enter__()
        training.optimizer.step(closure)
    assert phases(training, outer) == reference("SGD")
    assert blocks[0].profile.by("phase")["forward"].flops == FORWARD
    assert blocks[1].profile.by("phase")["forward"].flops == FORWARD
    assert set(blocks[1].profile.by("phase")) <= {"forward", "backward", "optimizer"}


def test_an_optimizer_sees_its_closure_as_it_is():
    """Attributes, class and copies are those of the object that was passed; a module and a class stay themselves."""
    seen = []

    class Curious(torch.optim.Optimizer):
        def __init__(self):
            super().__init__([nn.Parameter(X)], {})

        def step(self, closure, *others):
            closure.steps = getattr(closure, "steps", 0) + 1
            seen.extend([closure, *others])
            return closure()

    class Loss:
        def __call__(self):
            return self.steps

    optimizer, loss, net = Curious(), Loss(), nn.Linear(4, 4)
    with OpFlopMode():
        assert optimizer.step(loss, functools.partial(max, 3), X.exp, net, Loss, None, 2.5) == 1
    assert loss.steps == 1
    passed, partial, method, *others = seen
    assert isinstance(passed, Loss)
    assert isinstance(partial, functools.partial)
    assert (partial.func, partial.args) == (max, (3,))
    assert method.__self__ is X
    assert others == [net, Loss, None, 2.5]
    assert type(copy.copy(passed)) is Loss
    del passed.steps
    assert not hasattr(loss, "steps")


def test_a_recording_named_as_a_step_is_optimizer_work():
    """So optimizers that do not derive from PyTorch's can be told, and only they."""
    with OpFlopMode() as mode:
        with torch.profiler.record_function("Optimizer.step#Mine.step"):
            X.exp()
        with torch.profiler.record_function("mine"):
            X.exp()
    by = mode.profile.by("phase")
    assert by["optimizer"].transcendentals == by["forward"].transcendentals == 8


def test_a_scaler_of_gradients_works_in_the_optimizer_phase():
    """Whether the optimizer applies the scale itself, as the fused ones do, and also an optimizer of another kind."""

    class Foreign:
        def __init__(self, optimizer):
            self.param_groups = optimizer.param_groups

        def __call__(self):
            raise AssertionError

        def step(self, closure=None):
            X.exp()
            return closure() if closure else None

    for make in (lambda net: SGD(net, 0.1, fused=True), lambda net: SGD(net, 0.1), lambda net: Foreign(SGD(net, 0.1))):
        training = Training(make)
        scaler = torch.amp.GradScaler("cpu")
        scaler.scale(X)
        training.closure()
        with OpFlopMode() as mode:
            scaler.step(training.optimizer)
            scaler.update()
        assert set(mode.profile.by("phase")) == {"optimizer"}
    with OpFlopMode() as mode:
        torch.amp.GradScaler("cpu", enabled=False).step(training.optimizer, training.closure)
    by = mode.profile.by("phase")
    assert by["forward"].flops == FORWARD
    assert by["optimizer"].transcendentals == 8


def test_recordings_can_be_scripted_inside_a_block():
    """TorchScript reads the source of the functions that the block wraps."""

    def labelled(x: torch.Tensor):
        with torch.autograd.profiler.record_function("labelled"):
            return x + 1

    with warnings.catch_warnings(), OpFlopMode():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(labelled)
    assert torch.equal(scripted(X), X + 1)
