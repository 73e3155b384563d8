"""Other threads are counted with ``threads=True``, and left alone without it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from test_backward import LINEAR, Net, X, check, macs
from torch import nn
from torch.utils import _python_dispatch

from opflops import OpFlopMode, Profile, count
from opflops.report.notes import uncounted_remark


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


def test_modules_that_other_threads_call_are_named_in_a_remark():
    """The outermost ones, with their calls; in every report, and in files."""
    net, layer = Net(), nn.Linear(4, 4)
    with OpFlopMode() as mode, ThreadPoolExecutor(4) as pool:
        net(X)
        list(pool.map(lambda _: net(X), range(24)))
        pool.submit(net.second, X).result()
        pool.submit(layer, X).result()
    assert macs(mode) == {("Net.first", "forward"): LINEAR, ("Net.second", "forward"): LINEAR}
    profile = mode.profile
    (remark,) = profile.remarks
    assert remark == (
        "Not counted: modules called in other threads: Net (24 calls), Net.second (1 call) and Linear (1 call). "
        "OpFlopMode(threads=True) counts them."
    )
    for kept in (profile, Profile.from_json(profile.to_json()), profile.where(phase="forward"), profile + profile):
        assert kept.remarks == (remark,)
    assert Profile().diff(profile).remarks == (remark,)
    for report in (str(profile), profile.table(by="op"), mode.table(tablefmt="grid"), profile.to_mermaid()):
        assert "Not counted: modules called in other threads: Net (24 calls)" in " ".join(report.split())


def test_a_block_that_counts_nothing_says_that_other_threads_worked():
    """The remark stands below the note that nothing was counted."""
    thread = threading.Thread(target=Net(), args=(X,))
    with OpFlopMode() as mode:
        thread.start()
        thread.join()
    text = " ".join(str(mode).split())
    assert "Nothing was counted." in text
    assert "Net (1 call)" in text


def test_what_is_counted_gets_no_remark():
    """With ``threads=True``, in the block's own thread, in a backward and its recomputation, outside the block."""
    net = Net()
    mode = OpFlopMode(threads=True)
    served(mode, net)
    assert mode.profile.remarks == ()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(net, X).result()
        with OpFlopMode() as mode:
            torch.utils.checkpoint.checkpoint(net, X, use_reentrant=False).sum().backward()
            with torch.utils._python_dispatch._disable_current_modes():
                net(X)
            pool.submit(torch.add, X, X).result()
        pool.submit(net, X).result()
    assert mode.profile.remarks == ()


def test_each_block_remarks_what_it_does_not_count():
    """Nested blocks of one thread, with and without ``threads=True``; a block that is entered again starts afresh."""
    net = Net()
    plain, following = OpFlopMode(), OpFlopMode(threads=True)
    with ThreadPoolExecutor(1) as pool, plain:
        with following:
            pool.submit(net, X).result()
        pool.submit(net, X).result()
        assert "Net (2 calls)" in plain.profile.remarks[0]
    assert following.profile.remarks == ()
    assert macs(following) == {("Net.first", "forward"): LINEAR, ("Net.second", "forward"): LINEAR}
    with plain:
        net(X)
    assert plain.profile.remarks == ()


def test_threads_with_blocks_of_their_own_are_not_remarked():
    """They count themselves; a thread without one is named by both."""
    ready, done = threading.Barrier(2), threading.Barrier(2)

    def other():
        with OpFlopMode() as mode:
            ready.wait()
            Net()(X)
            done.wait()
        return mode.profile

    with ThreadPoolExecutor(2) as pool, OpFlopMode() as mode:
        pending = pool.submit(other)
        ready.wait()
        pool.submit(nn.ReLU(), X).result()
        done.wait()
        theirs = pending.result()
    assert theirs.total.macs == 2 * LINEAR
    assert [profile.remarks for profile in (mode.profile, theirs)] == 2 * [(uncounted_remark({"ReLU": 1}),)]


def test_a_call_that_began_before_a_block_is_named_by_what_it_calls_inside():
    """Of a call that goes on, the modules that it calls while the block runs."""
    began, entered, finished = threading.Event(), threading.Event(), threading.Event()

    class Waiting(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, x):
            began.set()
            entered.wait()
            return self.net(x)

    def run():
        Waiting()(X)
        finished.set()

    for surrounding in (OpFlopMode(), None):
        began.clear(), entered.clear(), finished.clear()
        with ThreadPoolExecutor(1) as pool:
            if surrounding is not None:
                with surrounding:
                    pool.submit(run)
                    began.wait()
            else:
                pool.submit(run)
                began.wait()
            with OpFlopMode() as mode:
                entered.set()
                finished.wait()
        assert mode.profile.remarks == (uncounted_remark({"Net": 1}),)
        if surrounding is not None:
            assert surrounding.profile.remarks == (uncounted_remark({"Waiting": 1}),)


def test_a_call_that_fails_in_another_thread_is_named_too():
    """And the next one after it."""

    class Failing(nn.Module):
        def forward(self, _):
            raise ValueError("stop")

    with OpFlopMode() as mode, ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            with pytest.raises(ValueError, match="stop"):
                pool.submit(Failing(), X).result()
        pool.submit(Net(), X).result()
    assert mode.profile.remarks == (uncounted_remark({"Failing": 2, "Net": 1}),)


def test_a_recomputation_in_another_thread_is_no_other_call():
    """It belongs to the backward of a call that is named already."""
    net = Net()

    def train():
        torch.utils.checkpoint.checkpoint(net, X, use_reentrant=False).sum().backward()

    with OpFlopMode() as mode, ThreadPoolExecutor(1) as pool:
        pool.submit(train).result()
    assert mode.profile.remarks == (uncounted_remark({"Net": 1}, 1),)


def test_a_count_remarks_threads_of_the_model():
    """Also where costs are expressions, and where they are evaluated."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.layer = Net(), nn.Linear(4, 4)

        def forward(self, x):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(self.net, torch.ones(2, 4)).result()
            return self.layer(x)

    remarks = (uncounted_remark({"Pooled.net": 1}),)
    model = Pooled()
    with OpFlopMode() as mode:
        model(X)
    assert mode.profile.remarks == remarks
    profile = count(model, X, dynamic_shapes=({0: torch.export.Dim("n")},))
    assert profile.remarks == profile.at(n=3).remarks == remarks
    assert count(model, X).remarks == remarks


def test_a_remark_names_so_many_modules():
    """Of more than sixteen, the first fifteen."""
    sixteen = {f"Net.{number}": 1 for number in range(16)}
    assert uncounted_remark(sixteen).count("1 call)") == 16
    remark = uncounted_remark({**sixteen, "Net.16": 3})
    assert "Net.14 (1 call) and 2 more modules. " in remark
    assert "Net.15" not in remark


@pytest.mark.no_outer_mode
def test_no_flag_stays_after_counts_of_threads_that_overlap():
    """PyTorch's fake modes put back what they found, so one that ends after another's leaves that one's flags."""
    first_began, first_ended = threading.Event(), threading.Event()

    class Begins(nn.Linear):
        def forward(self, x):
            first_began.set()
            second_began.wait(10)
            return super().forward(x)

    class Ends(nn.Linear):
        def forward(self, x):
            second_began.set()
            first_ended.wait(10)
            return super().forward(x)

    second_began = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(count, Begins(4, 4), torch.ones(1, 4))
        assert first_began.wait(10)
        second = pool.submit(count, Ends(4, 4), torch.ones(1, 4))
        assert first.result().total.macs == 16
        first_ended.set()
        assert second.result().total.macs == 16
    assert not _python_dispatch._is_in_torch_dispatch_mode


def test_a_new_block_forgets_what_callbacks_ran_in_other_threads():
    """As those of collectives do, without ``threads=True``."""
    mode = OpFlopMode()

    def callback(get_mode):
        with get_mode():
            torch.add(X, X)

    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            with mode:
                pool.submit(callback, mode.for_callbacks()).result()
            assert mode.total.ops == X.numel()
    with mode:
        pass
    assert mode.total.ops == 0
