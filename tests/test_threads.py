"""Other threads are counted with ``threads=True``, and left alone without it."""

from concurrent.futures import ThreadPoolExecutor

import torch
from test_backward import LINEAR, Net, X, check, macs

from opflops import OpFlopMode


def served(mode, model, calls=24, workers=4):
    """Call a model from a pool of threads inside a block."""
    with mode, ThreadPoolExecutor(workers) as pool:
        model(X)
        return list(pool.map(lambda _: model(X), range(calls)))


def test_models_that_other_threads_call_are_counted_when_asked_for():
    """With the same paths as in the block's own thread, and in the same rows."""
    net = Net()
    mode = OpFlopMode(threads=True)
    results = served(mode, net)
    assert macs(mode) == {("Net.first", "forward"): 25 * LINEAR, ("Net.second", "forward"): 25 * LINEAR}
    assert {row.calls for row in mode.profile.rows if row.op == "aten.addmm"} == {25}
    assert all(torch.equal(result, net(X)) for result in results)


def test_other_threads_are_left_alone_when_nobody_asks():
    """Their work is not counted, and does not change the module stack of the block."""
    net, other = Net(), torch.nn.Linear(4, 4)

    class Busy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            with ThreadPoolExecutor(4) as pool:
                pending = [pool.submit(other, x) for _ in range(16)]
                y = self.net(x) @ torch.eye(4)
                [each.result() for each in pending]
            return y

    with OpFlopMode() as mode:
        Busy()(X)
    assert macs(mode) == {
        ("Busy.net.first", "forward"): LINEAR,
        ("Busy.net.second", "forward"): LINEAR,
        ("Busy", "forward"): LINEAR,
    }


def test_training_in_threads_is_told_apart_by_thread():
    """Each thread numbers its autograd nodes separately, and runs its own backward inside a module."""

    class Trained(Net):
        def forward(self, x):
            with torch.enable_grad():
                loss = super().forward(x).sum()
                return torch.autograd.grad(loss, list(self.parameters()))

    model = Trained()
    mode = OpFlopMode(threads=True)
    served(mode, model)
    assert macs(mode) == {
        ("Trained.first", "forward"): 25 * LINEAR,
        ("Trained.second", "forward"): 25 * LINEAR,
        ("Trained.second", "backward"): 50 * LINEAR,
        ("Trained.first", "backward"): 25 * LINEAR,
    }


def test_a_thread_may_count_by_itself():
    """Blocks in different threads do not see each other."""
    net = Net()

    def count(times):
        with OpFlopMode() as mode:
            for _ in range(times):
                net(X)
        return check(mode).total.macs

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, range(1, 9))) == [2 * times * LINEAR for times in range(1, 9)]


def test_nothing_of_a_thread_stays_behind():
    """After the block, module calls in a thread are not counted, and a new block starts afresh."""
    net = Net()
    mode = OpFlopMode(threads=True)
    with ThreadPoolExecutor(1) as pool:
        with mode:
            pool.submit(net, X).result()
        pool.submit(net, X).result()
        assert mode.total.macs == 2 * LINEAR
        with mode:
            pool.submit(net, X).result()
        assert mode.total.macs == 2 * LINEAR
