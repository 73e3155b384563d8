"""Phases of a training step: optimizers, clipping and scaling of gradients, averaging, closures; failures."""

import gc
import sys
import tracemalloc

import pytest
import torch
from torch import nn
from torch.optim import swa_utils

from opflops import OpFlopMode

X = torch.ones(2, 4)
LINEAR = 32


def work(mode):
    """List in which module and phase arithmetic was done."""
    return {key for key, cost in mode.profile.by("module", "phase").items() if cost.flops or cost.transcendentals}


@pytest.mark.parametrize(
    "kind",
    [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad],
    ids=lambda kind: kind.__name__,
)
@pytest.mark.parametrize("foreach", [False, True])
def test_a_step_is_optimizer_work_outside_any_module(kind, foreach):
    """Everything that a step does, and nothing that a forward or backward does."""
    net = nn.Linear(4, 4)
    optimizer = kind(net.parameters(), lr=0.1, foreach=foreach)
    with OpFlopMode() as mode:
        net(X).sum().backward()
        before = mode.total
        optimizer.step()
        step = mode.total - before
        optimizer.zero_grad()
        net(X)
    assert mode.profile.by("module", "phase")["", "optimizer"] == step
    assert step.ops >= 2 * 20
    assert mode.profile.where(phase="forward", module="Linear").total.macs == 2 * LINEAR


def test_an_optimizer_created_inside_the_block_is_patched_too():
    """Also one whose class is defined there."""
    net = nn.Linear(4, 4)
    with OpFlopMode() as mode:

        class Mine(torch.optim.Optimizer):
            def __init__(self, parameters):
                super().__init__(parameters, {})

            @torch.no_grad()
            def step(self, closure=None):
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.sub_(parameter.grad)

        optimizer = Mine(net.parameters())
        net(X).sum().backward()
        optimizer.step()
    assert mode.profile.where(phase="optimizer").by("module", "op")["", "aten.sub_"].ops == 4 * 4 + 4
    assert Mine.step.hooked
    parameter = net.weight.clone()
    optimizer.step()
    assert not torch.equal(parameter, net.weight)


def test_a_closure_is_forward_and_backward_again():
    """LBFGS calls it several times inside its step."""
    net = nn.Linear(4, 4)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=3)
    calls = []

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = net(X).pow(2).sum()
        loss.backward()
        return loss

    with OpFlopMode() as mode:
        optimizer.step(closure)
    by = mode.profile.by("module", "phase")
    assert len(calls) > 1
    assert by["Linear", "forward"].macs == by["Linear", "backward"].macs == len(calls) * LINEAR
    assert by["", "forward"].transcendentals == len(calls) * 8
    assert by["", "optimizer"].ops


def test_clipping_scaling_and_averaging_are_optimizer_work():
    """What a training loop does with gradients and parameters between backward and the next forward."""
    net = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    average = swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    scaler = torch.amp.GradScaler("cpu")
    with OpFlopMode() as mode:
        for _ in range(2):
            scaler.scale(net(X).sum()).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            average.update_parameters(net)
    assert {path for path, _ in work(mode)} == {"", "Linear"}
    optimizing = mode.profile.where(phase="optimizer")
    assert set(optimizing.by("module")) == {""}
    assert {
        "aten._amp_foreach_non_finite_check_and_unscale_",
        "aten._amp_update_scale_",
        "aten._foreach_norm",
        "aten._foreach_lerp_",
        "aten.add_",
    } <= set(optimizing.by("op"))
    assert not any("_foreach" in op for op in mode.profile.where(phase="forward").by("op"))


def test_an_optimizer_that_fails_leaves_its_phase():
    """Later work is forward work."""
    net = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def closure():
        raise RuntimeError("stop")

    with OpFlopMode() as mode:
        with pytest.raises(RuntimeError, match="stop"):
            optimizer.step(closure)
        X.exp()
    assert work(mode) == {("", "forward")}


def test_a_step_inside_a_backward_is_optimizer_work():
    """For optimizers that step as soon as a gradient is accumulated."""
    net = nn.Linear(4, 4, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, foreach=False)
    net.weight.register_post_accumulate_grad_hook(lambda _: optimizer.step())
    with OpFlopMode() as mode:
        net(X).sum().backward()
    assert mode.profile.by("module", "phase")["", "optimizer"].ops == 2 * 16
    assert mode.profile.by("module", "phase")["Linear", "backward"].macs == LINEAR


def test_a_gan_keeps_its_two_models_apart():
    """Two models, two optimizers, one loss through both."""

    class Generator(nn.Linear):
        pass

    class Critic(nn.Linear):
        pass

    generator, critic = Generator(4, 4), Critic(4, 1)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (generator, critic)]
    with OpFlopMode() as mode:
        for optimizer in optimizers:
            optimizer.zero_grad()
            critic(generator(X)).sum().backward()
            optimizer.step()
    by = mode.profile.by("module", "phase")
    assert by["Generator", "forward"].macs == by["Generator", "backward"].macs == 2 * 32
    assert by["Critic", "forward"].macs == 2 * 8
    assert by["Critic", "backward"].macs == 2 * 2 * 8
    assert by["", "optimizer"].ops


def test_model_and_hardware_utilisation_are_one_call_away():
    """MFU takes forward and backward, HFU the recomputation too."""
    x = X.clone().requires_grad_()
    net = nn.Linear(4, 4)
    with OpFlopMode() as mode:
        torch.utils.checkpoint.checkpoint(net, x, use_reentrant=True).sum().backward()
    p = mode.profile
    assert p.where(phase=("forward", "backward")).total.macs == 3 * LINEAR
    assert p.where(phase=("forward", "backward", "recompute")).total.macs == 4 * LINEAR


def test_every_patch_is_removed():
    """Classes and modules of PyTorch are as before, also after an exception."""
    from opflops.torch_internals.autograd import checkpoint_callables  # noqa: PLC0415 - for this test alone
    from opflops.torch_internals.optimizers import (  # noqa: PLC0415 - for this test alone
        STEP_RECORDER,
        optimizer_callables,
    )

    torch.optim.Adam([nn.Parameter(X)])

    def state():
        recorder = [(STEP_RECORDER, "__enter__"), (STEP_RECORDER, "__exit__")]
        patched = [*checkpoint_callables(), *optimizer_callables(), *recorder, (nn.Module, "__call__")]
        hooks = list(sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks.values())
        return hooks, {(owner, name): vars(owner)[name] for owner, name in patched}

    before = state()
    with pytest.raises(RuntimeError, match="stop"), OpFlopMode(), OpFlopMode():
        raise RuntimeError("stop")
    assert state() == before


def test_memory_does_not_grow_with_steps():
    """Thousands of training steps under one mode keep nothing but the rows of the first ones."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            net(X).sum().backward()
            optimizer.step()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        with OpFlopMode() as mode:
            before, rows = train(1000), len(mode.profile.rows)
            after = train(1500)
    finally:
        tracemalloc.stop()
    assert len(mode.profile.rows) == rows
    # The least that could be kept of each step, one small object, is more than this.
    assert after - before < 1500 * 48
