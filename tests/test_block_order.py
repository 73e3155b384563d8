"""Blocks that end in another order than they began, in another thread, too often, or in tasks of asyncio."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from opflops import ActiveModeError, Cost, OpFlopMode, OpflopsError, count
from opflops.attribution import threads

CALL = nn.Module.__call__
MINE, YOURS = nn.Linear(4, 4), nn.Linear(4, 8)
X = torch.ones(2, 4)
MACS_MINE, MACS_YOURS = 2 * 4 * 4, 2 * 4 * 8


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch, _every_count_adds_up):
    """No mode, flag or patch is left by a test. Blocks end by the mode's own ``__exit__``."""
    monkeypatch.undo()
    yield
    assert torch._C._len_torch_dispatch_stack() == 0
    assert not _python_dispatch._is_in_torch_dispatch_mode
    assert nn.Module.__call__ is CALL
    with OpFlopMode() as mode:
        MINE(X)
    assert mode.profile.by("module").keys() == {"Linear"}


class Foreign(TorchDispatchMode):
    """Count the operators that it sees."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))


def macs(mode):
    return mode.total.macs


def test_leaving_a_mode_that_was_not_entered_is_an_error():
    """A sentence, also for a mode whose block has ended, whether or not another block runs."""
    for mode in (OpFlopMode(), OpFlopMode()):
        with pytest.raises(ActiveModeError, match="no block to end"):
            mode.__exit__(None, None, None)
        with mode:
            MINE(X)
        with pytest.raises(OpflopsError, match="once too often"):
            mode.__exit__(ValueError, ValueError(), None)
        assert macs(mode) == MACS_MINE


def test_leaving_once_too_often_takes_nothing_from_another_block():
    """It goes on counting, and names modules."""
    first, second = OpFlopMode(), OpFlopMode()
    with first:
        MINE(X)
        with second:
            YOURS(X)
        for mode in (second, OpFlopMode()):
            with pytest.raises(ActiveModeError):
                mode.__exit__(None, None, None)
        YOURS(X)
    assert first.profile.by("module").keys() == {"Linear", "Linear#2"}
    assert (macs(first), macs(second)) == (MACS_MINE + 2 * MACS_YOURS, MACS_YOURS)


def test_leaving_by_hand_inside_a_with_statement_is_told_at_its_end():
    """The block ends once; that the program called __exit__ itself is told."""
    mode = OpFlopMode()

    def block():
        with mode:
            MINE(X)
            mode.__exit__(None, None, None)
            MINE(X)

    with pytest.raises(ActiveModeError, match="A with statement calls both"):
        block()
    assert macs(mode) == MACS_MINE


def test_a_mode_that_leaves_before_a_later_one_counts_until_then():
    """Each counts everything between its beginning and its end, and names it."""
    first, second, third = OpFlopMode(), OpFlopMode(), OpFlopMode()
    first.__enter__()
    MINE(X)
    second.__enter__()
    YOURS(X)
    third.__enter__()
    first.__exit__(None, None, None)
    MINE(X)
    third.__exit__(None, None, None)
    YOURS(X)
    second.__exit__(None, None, None)
    MINE(X)
    assert macs(first) == MACS_MINE + MACS_YOURS
    assert macs(second) == MACS_YOURS + MACS_MINE + MACS_YOURS
    assert macs(third) == MACS_MINE
    for mode, names in ((first, 2), (second, 2), (third, 1)):
        assert len(mode.profile.by("module")) == names
        assert "" not in mode.profile.by("module")


def steps(net, times=3):
    """Call a module in a block, once a step."""
    with OpFlopMode() as mode:
        for _ in range(times):
            yield mode
            net(X)
        yield mode


def test_generators_that_take_turns_count_their_own_work():
    """Whichever ends first; what runs between their steps counts for each that is open."""
    for last in (False, True):
        mine, yours = steps(MINE), steps(YOURS)
        first, second = next(mine), next(yours)
        next(mine), next(yours), next(mine)
        X @ torch.ones(4, 1)
        for each in (yours, mine) if last else (mine, yours):
            each.close()
        assert (macs(first), macs(second)) == (2 * MACS_MINE + 8, MACS_YOURS + 8)
        assert second.profile.by("module")["Linear"].macs == MACS_YOURS


def test_gradients_of_generators_that_take_turns_are_their_own():
    """Forward and backward, with module and phase."""

    def training(net):
        with OpFlopMode() as mode:
            for _ in range(2):
                loss = net(X).sum()
                yield mode
                loss.backward()
                yield mode

    mine, yours = training(MINE), training(YOURS)
    *_, (first, second) = zip(mine, yours, strict=True)
    for mode, each in ((first, MACS_MINE), (second, MACS_YOURS)):
        assert mode.profile.by("module")["Linear"].macs == 2 * 2 * each
        assert mode.profile.by("phase")["backward"].macs == 2 * each


def test_a_generator_that_runs_another_counts_it_too():
    """By a loop or by ``yield from``; the other counts only its own."""
    modes = []

    def inner():
        with OpFlopMode() as mode:
            modes.append(mode)
            yield MINE(X)
            yield MINE(X)

    def outer():
        with OpFlopMode() as mode:
            modes.append(mode)
            for _ in inner():
                yield YOURS(X)
            yield from inner()

    assert len(list(outer())) == 4
    assert [macs(mode) for mode in modes] == [4 * MACS_MINE + 2 * MACS_YOURS, 2 * MACS_MINE, 2 * MACS_MINE]


def test_a_generator_that_stands_for_a_with_statement_counts_what_runs_inside():
    """Although it waits meanwhile, and another generator with a block runs."""

    @contextmanager
    def counting():
        with OpFlopMode() as mode:
            yield mode

    with counting() as mode:
        MINE(X)
        assert sum(1 for _ in steps(YOURS, 2)) == 3
    assert macs(mode) == MACS_MINE + 2 * MACS_YOURS


def test_an_exit_stack_may_be_emptied_in_any_order():
    """A mode that is moved to another stack ends with that one."""
    with ExitStack() as outer:
        with ExitStack() as inner:
            first = inner.enter_context(OpFlopMode())
            second = outer.enter_context(OpFlopMode())
            MINE(X)
        YOURS(X)
    assert (macs(first), macs(second)) == (MACS_MINE, MACS_MINE + MACS_YOURS)


def test_a_fake_mode_stays_when_a_block_ends_before_it():
    """PyTorch keeps it apart from other modes; its flags are right at the end."""
    block = OpFlopMode()
    block.__enter__()
    with FakeTensorMode():
        x = torch.empty(2, 4)
        nn.functional.relu(x)
        block.__exit__(None, None, None)
        with OpFlopMode() as later:
            assert nn.functional.relu(x).shape == (2, 4)
    assert block.total == later.total == Cost(ops=8, bytes_read=32, bytes_written=32)


def test_another_mode_stays_when_a_block_ends_before_it():
    """It goes on seeing operators, and so does a block that is entered then."""
    block, foreign, later = OpFlopMode(), Foreign(), OpFlopMode()
    block.__enter__()
    with foreign:
        MINE(X)
        seen = foreign.seen
        block.__exit__(None, None, None)
        MINE(X)
        assert foreign.seen == 2 * seen
        with later:
            YOURS(X)
        assert foreign.seen > 2 * seen
    assert (macs(block), macs(later)) == (MACS_MINE, MACS_YOURS)
    assert not block.profile.remarks


def test_a_block_says_that_another_mode_ended_inside():
    """PyTorch takes the block's mode off with it: what follows is not counted, and the profile says so."""
    foreign, block = Foreign(), OpFlopMode()
    foreign.__enter__()
    with block:
        MINE(X)
        foreign.__exit__(None, None, None)
        MINE(X)
    assert macs(block) == MACS_MINE
    assert "another dispatch mode ended" in block.profile.remarks[0]
    assert "another dispatch mode ended" in str(block)
    seen = foreign.seen
    MINE(X)
    assert foreign.seen == seen
    with block:
        MINE(X)
    assert not block.profile.remarks


def test_a_block_cannot_end_in_another_thread():
    """The error comes before anything changes; the block goes on, and ends in its own thread."""
    with OpFlopMode() as mode:
        MINE(X)
        with ThreadPoolExecutor(1) as pool, pytest.raises(ActiveModeError, match="cannot end in another"):
            pool.submit(mode.__exit__, None, None, None).result()
        assert mode.active
        YOURS(X)
    assert macs(mode) == MACS_MINE + MACS_YOURS
    assert mode.profile.by("module").keys() == {"Linear", "Linear#2"}


def test_a_block_of_a_thread_that_has_ended_may_end_anywhere():
    """Its thread's stack is gone with it."""
    mode = OpFlopMode()

    def begin():
        mode.__enter__()
        MINE(X)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    mode.__exit__(None, None, None)
    assert macs(mode) == MACS_MINE


def test_threads_end_their_blocks_in_any_order():
    """Each counts its own thread; no flag of PyTorch's is left set."""
    begun, ended = threading.Barrier(2), threading.Event()

    def run(net, first):
        with OpFlopMode() as mode:
            begun.wait()
            net(X)
            if not first:
                ended.wait()
        ended.set()
        return macs(mode)

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(run, net, first) for net, first in ((MINE, True), (YOURS, False))]
        assert [result.result() for result in results] == [MACS_MINE, MACS_YOURS]


async def task(net, times, switch=None):
    with OpFlopMode() as mode:
        for _ in range(times):
            await asyncio.sleep(0)
            net(X).sum().backward()
            await asyncio.sleep(0)
    return mode


def test_tasks_count_their_own_work():
    """Two tasks of one thread that take turns, forward and backward; the first one ends first."""

    async def main():
        return await asyncio.gather(task(MINE, 1), task(YOURS, 3))

    mine, yours = asyncio.run(main())
    assert mine.profile.where(phase="forward").total.macs == MACS_MINE
    assert yours.profile.where(phase="forward").total.macs == 3 * MACS_YOURS
    # Inputs need no gradient.
    assert (macs(mine), macs(yours)) == (2 * MACS_MINE, 6 * MACS_YOURS)
    for mode, path in ((mine, "Linear"), (yours, "Linear")):
        assert {row.module for row in mode.profile.rows} == {"", path}


def test_a_block_counts_the_tasks_that_it_creates():
    """Those created inside count for it, with a block of their own or without. A sibling with a block counts itself."""

    async def without_block():
        await asyncio.sleep(0)
        MINE(X)

    async def main():
        with OpFlopMode() as outer:
            inner, _ = await asyncio.gather(task(YOURS, 1), without_block())
            MINE(X)
        return outer, inner

    outer, inner = asyncio.run(main())
    assert outer.profile.where(phase="forward").total.macs == 2 * MACS_MINE + MACS_YOURS
    assert inner.profile.where(phase="forward").total.macs == MACS_YOURS


def test_a_task_s_block_does_not_count_the_task_that_created_it():
    """Which has a block too."""

    async def main():
        with OpFlopMode() as outer:
            pending = asyncio.create_task(task(YOURS, 2))
            await asyncio.sleep(0)
            MINE(X)
            await asyncio.sleep(0)
            MINE(X)
            inner = await pending
        return outer, inner

    outer, inner = asyncio.run(main())
    assert inner.profile.where(phase="forward").total.macs == 2 * MACS_YOURS
    assert outer.profile.where(phase="forward").total.macs == 2 * MACS_MINE + 2 * MACS_YOURS


def test_a_task_without_a_block_is_counted_by_the_blocks_of_its_thread():
    """As any other work of the thread: one that was begun elsewhere, as in a fixture, is not lost."""

    async def main():
        mode = OpFlopMode()

        async def begin():
            mode.__enter__()

        await asyncio.create_task(begin())
        MINE(X)
        await asyncio.create_task(asyncio.sleep(0))
        mode.__exit__(None, None, None)
        return mode

    assert macs(asyncio.run(main())) == MACS_MINE


def test_threads_that_work_for_tasks_count_for_them():
    """``asyncio.to_thread`` runs a function in the task's context; a thread of a pool works for every block."""

    async def run(net, pool):
        with OpFlopMode(threads=True) as mode:
            await asyncio.sleep(0)
            await asyncio.to_thread(net, X)
            await asyncio.get_running_loop().run_in_executor(pool, MINE, X)
            await asyncio.sleep(0.01)
        return mode

    async def main():
        with ThreadPoolExecutor(1) as pool:
            return await asyncio.gather(run(MINE, pool), run(YOURS, pool))

    mine, yours = asyncio.run(main())
    assert (macs(mine), macs(yours)) == (3 * MACS_MINE, 2 * MACS_MINE + MACS_YOURS)


def test_threads_of_autograd_work_for_the_task_that_waits():
    """A device's thread has no context of its own; here another thread's backward stands for it."""
    asked = []

    def backward():
        leaf = torch.ones(2, requires_grad=True)
        leaf.register_hook(lambda _: asked.append([threads.counts_here(block) for block in threads._blocks]))
        leaf.sum().backward()

    async def run(net):
        with OpFlopMode() as mode:
            await asyncio.sleep(0)
            net(X)
            thread = threading.Thread(target=backward)
            thread.start()
            thread.join()
            await asyncio.sleep(0)
        return mode

    async def main():
        return await asyncio.gather(run(MINE), run(YOURS))

    asyncio.run(main())
    assert asked == [[True, False], [False, True]]


def test_tasks_with_formulas_of_composites_count_their_own_work():
    """A formula of one task's block is not asked for another task's operators, in inference mode too."""
    asked = []

    def cost(input, weight, bias=None, *, out):
        asked.append(weight.shape[0])
        return Cost(macs=5)

    async def run(net, inference, **options):
        with OpFlopMode(**options) as mode:
            await asyncio.sleep(0)
            with torch.inference_mode(inference):
                net(X)
            await asyncio.sleep(0)
        return macs(mode)

    for inference in (False, True):

        async def main(inference=inference):
            formulas = {torch.ops.aten.linear: cost}
            return await asyncio.gather(run(MINE, inference, formulas=formulas), run(YOURS, inference))

        assert asyncio.run(main()) == [5, MACS_YOURS]
    assert set(asked) == {4}


def test_generators_that_are_collected_end_their_blocks():
    """In the middle of another block, in whatever order."""

    def steps():
        with OpFlopMode() as mode:
            yield mode

    mine, yours = steps(), steps()
    first, second = next(mine), next(yours)
    with OpFlopMode() as block:
        MINE(X)
        del mine
        gc.collect()
        YOURS(X)
        del yours
        MINE(X)
    assert not first.active
    assert not second.active
    assert (macs(first), macs(second)) == (MACS_MINE, MACS_MINE + MACS_YOURS)
    assert macs(block) == 2 * MACS_MINE + MACS_YOURS


def test_a_generator_that_is_closed_in_another_thread_counts_no_more():
    """Its mode is taken off when the thread's next block begins; until then it does nothing."""

    def steps():
        with OpFlopMode() as mode:
            yield mode

    with OpFlopMode() as block:
        generator = steps()
        mode = next(generator)
        MINE(X)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(generator.close).result()
        assert not mode.active
        YOURS(X)
        assert torch._C._len_torch_dispatch_stack() == 2
        with OpFlopMode() as other:
            assert torch._C._len_torch_dispatch_stack() == 2
            MINE(X)
    assert (macs(mode), macs(block), macs(other)) == (MACS_MINE, 2 * MACS_MINE + MACS_YOURS, MACS_MINE)
    assert block.profile.by("module").keys() == {"Linear", "Linear#2"}
    with mode:
        YOURS(X)
    assert macs(mode) == MACS_YOURS


@torch.library.custom_op("opflops_tests::calls_back", mutates_args=())
def calls_back(x: torch.Tensor) -> torch.Tensor:
    CALLBACKS.pop()()
    return x.clone()


CALLBACKS = []


def test_a_block_cannot_end_inside_an_operator():
    """The error comes before anything changes; a generator that is collected there ends with the next block."""
    formulas = {torch.ops.opflops_tests.calls_back: lambda x: Cost(macs=3)}
    with OpFlopMode(formulas=formulas) as mode:
        CALLBACKS.append(lambda: mode.__exit__(None, None, None))
        with pytest.raises(ActiveModeError, match="running an operator"):
            calls_back(X)
        MINE(X)

        def steps():
            with OpFlopMode(formulas=formulas) as inner:
                yield inner

        generator = steps()
        inner = next(generator)
        MINE(X)
        CALLBACKS.append(generator.close)
        calls_back(X)
        assert not inner.active
        YOURS(X)
    assert macs(mode) == 2 * MACS_MINE + MACS_YOURS + 3
    # The operator that ran when it was closed is the last one.
    assert macs(inner) == MACS_MINE + 3
    assert mode.profile.by("module").keys() == {"Linear", "Linear#2", ""}


def test_an_interruption_while_pytorch_runs_an_operator_comes_through():
    """PyTorch has taken the mode off the stack then, and may not have put it back."""

    def interrupted():
        with OpFlopMode() as mode:
            MINE(X)
            torch._C._pop_torch_dispatch_stack(None)
            modes.append(mode)
            raise KeyboardInterrupt

    modes = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not modes[0].active
    assert macs(modes[0]) == MACS_MINE
    assert nn.Module.__call__ is CALL


def test_nested_blocks_see_inside_operators_that_call_functions():
    """Higher-order operators, composite ones and subclasses are counted by both as by one."""

    def program():
        torch.cond(torch.tensor(True), MINE, MINE, (X,))
        with torch.inference_mode():
            MINE(X)
        nn.functional.linear(TwoTensor(X, X), MINE.weight)

    with OpFlopMode() as single:
        program()
    with OpFlopMode() as outer, OpFlopMode() as inner:
        program()
    assert macs(outer) == macs(inner) == macs(single) == 4 * MACS_MINE
    assert outer.profile.rows == inner.profile.rows == single.profile.rows


def test_a_count_inside_a_block_leaves_the_block_as_it_was():
    """The fake modes that it enters come and go below the block's mode."""
    with OpFlopMode() as mode:
        MINE(X)
        assert count(YOURS, X).total.macs == MACS_YOURS
        MINE(X)
    assert mode.profile.by("module").keys() >= {"Linear"}


LINEAR, ROW = nn.Linear(4, 3, bias=False), torch.ones(1, 4)


def test_a_block_may_end_inside_an_inference_mode_that_began_in_it():
    """PyTorch restores at the end of that mode what was before it, so the block's mode must still be there then."""
    mode = OpFlopMode()
    mode.__enter__()
    LINEAR(ROW)
    with torch.inference_mode():
        LINEAR(ROW)
        mode.__exit__(None, None, None)
        LINEAR(ROW)
    assert mode.total.macs == 24
    assert mode.profile.remarks == ()
    LINEAR(ROW).sum().backward()
    with OpFlopMode() as another:
        LINEAR(ROW)
    assert (another.total.macs, mode.total.macs) == (12, 24)


def test_blocks_that_end_inside_an_inference_mode_do_not_pile_up():
    """The next block outside of it takes the ended ones off."""
    before = torch._C._len_torch_dispatch_stack()
    for _ in range(3):
        mode = OpFlopMode()
        mode.__enter__()
        with torch.inference_mode():
            LINEAR(ROW)
            mode.__exit__(None, None, None)
            with OpFlopMode() as inside:
                LINEAR(ROW)
        assert (mode.total.macs, inside.total.macs) == (12, 12)
    with OpFlopMode():
        pass
    assert torch._C._len_torch_dispatch_stack() == before


def test_a_block_that_outlives_its_inference_mode_says_what_is_missing():
    """PyTorch shows the mode no operators then."""
    mode = OpFlopMode()
    with torch.inference_mode():
        mode.__enter__()
        LINEAR(ROW)
    LINEAR(ROW)
    mode.__exit__(None, None, None)
    assert mode.total.macs == 12
    assert "after the end of torch.inference_mode" in mode.profile.remarks[0]
    with OpFlopMode() as another:
        LINEAR(ROW)
    assert another.total.macs == 12
