"""What a block made is freed as soon as nobody uses it, without Python's garbage collector."""

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode

X = torch.ones(4, 4)
NET = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4)))
OPTIMIZER = torch.optim.AdamW(NET.parameters(), foreach=False)


class MakesModules(nn.Module):
    """Make a module in each forward."""

    def forward(self, x):
        return nn.ReLU()(x)


MAKES_MODULES = MakesModules()


def train():
    NET(X).sum().backward()
    OPTIMIZER.step()
    OPTIMIZER.zero_grad()


def delete_a_model():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model(X)
    del model


def call_parts():
    NET[2](X)
    NET(X)
    NET[0](X)


def recompute():
    checkpoint(NET, X.clone().requires_grad_(), use_reentrant=False).sum().backward()


def fail():
    with pytest.raises(RuntimeError):
        NET(torch.ones(3, 3))


def train_in_a_thread():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(NET, X).result().sum().backward()
        pool.submit(train).result()


PROGRAMS = {
    "a forward": (lambda: NET(X), {}),
    "training": (train, {}),
    "training with memory": (train, {"memory": True}),
    "training with times": (train, {"timing": True}),
    "a part of a model": (lambda: NET[2](X), {"root": NET}),
    "parts and the whole": (call_parts, {}),
    "a model deleted inside": (delete_a_model, {}),
    "a model deleted inside, with memory": (delete_a_model, {"memory": True}),
    "modules made in a forward": (lambda: MAKES_MODULES(X), {}),
    "a recomputed forward": (recompute, {}),
    "another thread": (train_in_a_thread, {"threads": True}),
    "an exception": (fail, {}),
    "inference mode": (torch.inference_mode()(lambda: NET(X)), {}),
}


@pytest.fixture
def _collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_collector_off")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_block_leaves_nothing_to_the_garbage_collector(name):
    """Nor does reading its profile: models may be counted in a loop, and collections take long in large programs."""
    program, options = PROGRAMS[name]

    def block():
        with OpFlopMode(**options) as m:
            program()
        assert m.profile.rows

    def collected(run):
        run()
        run()
        gc.collect()
        run()
        return gc.collect()

    assert collected(block) <= collected(program)
